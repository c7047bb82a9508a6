/* The engine's parts and what they ask of each other. One thread; `now` is the time of the tick or request at hand. */
#ifndef GM_ENGINE_H
#define GM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "cursor.h"
#include "disk.h"
#include "stream.h"

struct options {
    const char *control;
    unsigned streams, files;
    uint16_t port_first, port_last;
    unsigned silence_milliseconds, grace_seconds, delay_milliseconds;
    bool realtime;
};

struct engine {
    struct options options;
    int64_t now;         /* microseconds, monotonic */
    int64_t wall;        /* what to add to get the wall clock */
    int64_t tick;        /* of TICK_US since `origin`; the next to be run */
    int64_t origin;
    int outer, media;    /* epoll: control, timer, disk; and all voice */
    int timer;
    bool armed;
    uint64_t random;
    uint16_t next_port;
    unsigned next_phase;
    struct streams streams;
    struct stream *phases[PHASES];
    struct stream **waiting; /* asked to be served again in this frame */
    unsigned waiting_count;
    struct control control;
    struct disk disk;
};

/* engine.c */
int engine_open(struct engine *e, const struct options *options);
void engine_close(struct engine *e);
/* Until *stop; 0 or an errno. */
int engine_run(struct engine *e, const volatile int *stop);
uint32_t engine_random(struct engine *e);
uint64_t engine_ntp(const struct engine *e);
/* Adds `fd` to the voice epoll; `which` is handed back with the stream. */
int engine_watch(struct engine *e, const struct stream *s, unsigned which, int fd);
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* bridge.c: what goes from stream to stream. */
void bridge_join(struct engine *e, struct stream *s);
void bridge_leave(struct engine *e, struct stream *s);
void bridge_connect(struct engine *e, struct stream *first, struct stream *second);
void bridge_disconnect(struct engine *e, struct stream *s);
void bridge_tick(struct engine *e);
/* A block of 20 ms that a TDM stream received goes at once to who hears it. */
void bridge_push(struct engine *e, struct stream *s, enum law law, const uint8_t *frame);
/* Something came in on `s`. */
void bridge_heard(struct engine *e, struct stream *s);
/* A digit that was received as RFC 4733. */
void bridge_event(struct engine *e, struct stream *s, const struct event_change *change);
/* Looks for in-band digits in what `s` received; true if the frame is to be muted. */
bool bridge_inband(struct engine *e, struct stream *s, enum law law, const uint8_t *frame);

/* rtp_stream.c */
enum { WATCH_MEDIA = 0, WATCH_SECOND = 1 /* RTCP; a TDM stream's listening socket */ };
int rtp_open(struct engine *e, struct stream *s, int family, const uint8_t *address);
void rtp_close(struct engine *e, struct stream *s);
/* Body of GM_SET_RTP. */
int rtp_set(struct engine *e, struct stream *s, struct cursor *c);
void rtp_readable(struct engine *e, struct stream *s, unsigned which);
void rtp_send(struct engine *e, struct stream *s, enum law law, const uint8_t *frame);
bool rtp_sends_events(const struct stream *s);
/* Once a frame: reports, events whose end was lost. */
void rtp_upkeep(struct engine *e, struct stream *s);

/* rtp_socket.c */
int rtp_bind_pair(struct engine *e, struct stream *s, const uint8_t *address);
void address_fill(union address *a, int family, const uint8_t *bytes, uint16_t port);
bool address_equal(const union address *a, const union address *b);
bool address_same_host(const union address *a, const union address *b);

/* tdm_stream.c */
int tdm_open(struct engine *e, struct stream *s, const char *path, size_t size, enum law law, bool listening);
void tdm_close(struct engine *e, struct stream *s);
void tdm_readable(struct engine *e, struct stream *s, unsigned which);
void tdm_send(struct engine *e, struct stream *s, enum law law, const uint8_t *frame);
void tdm_upkeep(struct engine *e, struct stream *s);

/* statistics.c: the body of a statistics reply after its code. */
void statistics_put(const struct engine *e, const struct stream *s, struct writer *w);

/* requests.c */
void request_execute(struct engine *e, const struct message *m, struct cursor *body);
void requests_close(struct engine *e, struct stream *s);
void requests_disk(struct engine *e);

#endif
