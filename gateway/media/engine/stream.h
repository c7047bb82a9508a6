/* A stream: one place voice comes from and goes to, wired to at most one other. Fixed pool, found by the client's number. */
#ifndef GM_STREAM_H
#define GM_STREAM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "digits.h"
#include "disk.h"
#include "inband.h"
#include "jitter.h"
#include "protocol.h"
#include "rtcp.h"
#include "rtp.h"
#include "schedule.h"
#include "telephone_event.h"
#include "tone.h"

enum {
    SENT_RING = 1024,         /* samples sent that the level is taken from */
    PACKET_SAMPLES_MAX = 480, /* 60 ms */
    FED_FRAMES = 2,           /* frames a pushing source may be late before silence takes its place */
    NO_FD = -1,
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct rtp_part {
    int fd, rtcp_fd;
    uint16_t port;
    int family;
    bool set;
    union address remote, remote_rtcp;
    socklen_t address_size;
    enum law law;
    uint8_t payload_type, dtmf_payload_type, direction;
    bool mux;
    bool marker; /* the next audio packet begins a talkspurt */
    bool sent_since_report, sent_before_report;
    unsigned packet_samples, gathered; /* payload so far */
    uint8_t packet[RTP_HEADER + PACKET_SAMPLES_MAX];
    uint16_t sequence;
    uint32_t stamp, ssrc;
    int64_t next_report;
    struct rtp_source source;
    struct rtcp rtcp;
    struct event_receiver events;
};

struct tdm_part {
    int fd, listen_fd;
    enum law law;
    bool device; /* not a socket: no card is supported yet */
    bool lost;   /* said so */
    int64_t retry;
    struct sockaddr_un path;
};

struct file_part {
    struct disk_file *file;
    uint32_t request; /* OPEN not answered yet */
    bool opened, ended;
};

struct stream {
    uint32_t id;
    unsigned slot;
    uint8_t kind; /* GM_KIND_*, 0: free */
    bool adopted;
    char label[GM_LABEL_BYTES];
    struct stream *peer;
    struct stream *chain; /* next with the same hash, or next free */

    struct place hearing; /* when it is given a frame */
    struct place reading; /* when a TDM stream is read */
    uint8_t fed;          /* frames for which a pushing source counts as alive */

    int64_t heard_at, expected_from;
    bool first, silent;
    uint64_t packets_sent, octets_sent, packets_received, octets_received;
    uint32_t rejected, dropped;
    uint8_t sent[SENT_RING];
    uint32_t sent_at;
    bool in_fault; /* sending fails; said so */

    struct digits digits;
    struct inband inband;
    struct jitter jitter; /* of what is received, also as history for a TDM stream */
    struct rtp_part rtp;
    struct tdm_part tdm;
    struct tone tone;
    bool tone_told;
    struct file_part file;
};

struct streams {
    struct stream *all;
    unsigned count, used;
    struct stream *free;
    struct stream **buckets;
    unsigned bucket_mask;
};

/* Allocates everything a stream will ever need; 0 or an errno. */
int streams_open(struct streams *t, unsigned count, unsigned delay_max_milliseconds);
void streams_close(struct streams *t);
struct stream *stream_find(const struct streams *t, uint32_t id);
/* NULL if the table is full. Everything but the number and the kind is as new. */
struct stream *stream_new(struct streams *t, uint32_t id, uint8_t kind);
void stream_free(struct streams *t, struct stream *s);
enum law stream_law(const struct stream *s);
/* Notes `count` samples as sent, for the level. */
void stream_sent(struct stream *s, const uint8_t *codes, size_t count);

#endif
