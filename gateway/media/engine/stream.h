/* A stream: one place voice comes from and goes to, wired to at most one other. Fixed pool, found by the client's number. */
#ifndef GM_STREAM_H
#define GM_STREAM_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "address.h"
#include "codec.h"
#include "digits.h"
#include "disk.h"
#include "far_end.h"
#include "iax.h"
#include "inband.h"
#include "jitter.h"
#include "protocol.h"
#include "rtcp.h"
#include "rtp.h"
#include "schedule.h"
#include "secure.h"
#include "telephone_event.h"
#include "tone.h"
#include "wide.h"

enum {
    FED_FRAMES = 2,           /* frames a pushing source may be late before silence takes its place */
    NO_FD = -1,
    CACHE_LINE = 64,
};

/* What every frame touches stands together here and in struct stream, as with many streams the cache is what is short: from
 * the end of far_end to where secure begins. */
struct rtp_part {
    int rtcp_fd, family;
    uint16_t port;
    bool rtcp_latched;
    bool wrapped; /* our sequence has, since our SSRC began */
    bool secured; /* our SSRC has been used with an SRTP key */
    union address remote_rtcp, signalled_rtcp;
    uint32_t strangers;
    uint64_t packets_before, octets_before; /* sent with another SSRC */
    int64_t conflict_until; /* the far end has had our SSRC: again is a loop, not chance */
    struct far_end far_end;
    int fd;
    bool set;
    bool aimed; /* `remote` is an address to send to */
    uint8_t payload_type, dtmf_payload_type, direction;    /* what is sent */
    uint8_t receive_payload_type, receive_dtmf_payload_type;
    bool mux;
    bool digits_told; /* in signalling: here they are silence */
    uint8_t clock; /* RTP time stamps in one of SAMPLE_RATE */
    bool marker; /* the next audio packet begins a talkspurt */
    bool sent_since_report, sent_before_report;
    uint16_t sequence;
    uint32_t stamp, ssrc;
    enum law law;       /* of G.711 */
    struct wide *wide;  /* NULL: it speaks G.711 */
    unsigned packet_samples, gathered; /* payload so far, in samples of SAMPLE_RATE */
    int64_t next_report;
    socklen_t address_size;
    union address remote; /* where it is sent to */
    struct rtp_source source;
    struct event_receiver events;
    struct rtcp rtcp;
    struct secure secure;
    uint8_t packet[RTP_HEADER + PACKET_SAMPLES_MAX];
};

struct tdm_part {
    int fd, listen_fd;
    enum law law;
    bool device; /* not a socket: no card is supported yet */
    bool lost;   /* said so */
    uint8_t natural, steady; /* the tick of a frame at which a block is there, and for how long that has been so */
    int64_t retry, wait; /* when to connect again, and how long to wait after that */
    uint8_t block[SAMPLES]; /* the last one sent */
    struct sockaddr_un path;
};

struct file_part {
    struct disk_file *file;
    uint32_t request; /* OPEN not answered yet */
    bool opened, ended;
};

/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): whole cache lines, in the order of their use */
struct stream {
    _Alignas(CACHE_LINE) struct stream *peer;
    uint8_t kind; /* GM_KIND_*, 0: free */
    uint8_t fed;  /* frames for which a pushing source counts as alive */
    bool adopted, first, silent;
    bool in_fault; /* sending fails; said so */
    bool tone_told;
    bool tapped; /* its packets are copied to the client */
    struct place hearing; /* when it is given a frame */
    struct place reading; /* when a TDM stream is read */
    int64_t heard_at, expected_from;
    uint64_t packets_sent, octets_sent, packets_received, octets_received;
    struct digits digits; /* of which a frame without any sees the beginning */

    uint32_t id;
    unsigned slot;
    struct stream *chain; /* next with the same hash, or next free */
    uint32_t rejected, dropped;
    struct rtp_part rtp;
    struct tdm_part tdm;
    struct iax_part iax; /* beside .rtp, of which it uses what voice in packets has in common */
    struct inband inband;
    _Alignas(CACHE_LINE) struct jitter jitter; /* of what is received, also as history for a TDM stream */
    struct file_part file;
    struct tone tone;
    char label[GM_LABEL_BYTES];
};

/* Of a power of two all streams would fight for the same few places of the cache. */
_Static_assert(sizeof(struct stream) / CACHE_LINE % 2, "a stream takes an even number of cache lines");

struct streams {
    struct stream *all;
    unsigned count, used;
    struct stream *free;
    struct stream **buckets;
    unsigned bucket_mask;
};

/* Has it voice in packets, with a jitter buffer and a codec? */
static inline bool stream_packets(const struct stream *s)
{
    return s->kind == GM_KIND_RTP || s->kind == GM_KIND_IAX;
}

/* Allocates everything a stream will ever need; 0 or an errno. */
int streams_open(struct streams *t, unsigned count, unsigned delay_max_milliseconds);
void streams_close(struct streams *t);
struct stream *stream_find(const struct streams *t, uint32_t id);
/* NULL if the table is full. Everything but the number and the kind is as new. */
struct stream *stream_new(struct streams *t, uint32_t id, uint8_t kind);
void stream_free(struct streams *t, struct stream *s);
enum law stream_law(const struct stream *s);
/* The last SAMPLES codes of G.711 sent, NULL if there are none. */
const uint8_t *stream_sent(const struct stream *s);

#endif
