/* The engine's parts and what they ask of each other. One thread; `now` is the time of the tick or request at hand. */
#ifndef GM_ENGINE_H
#define GM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "cursor.h"
#include "disk.h"
#include "log.h"
#include "stream.h"
#include "wide.h"

struct options {
    const char *control;
    unsigned streams, files, wide; /* wide: streams in other codecs than G.711 at once */
    uint16_t port_first, port_last;
    unsigned silence_milliseconds, grace_seconds, delay_milliseconds;
    bool realtime;
};

struct engine {
    struct options options;
    int64_t now;         /* microseconds, monotonic */
    int64_t wall;        /* what to add to get the wall clock */
    /* When a message came, as the kernel says; a test has a clock of its own. */
    int64_t (*arrival)(const struct engine *e, struct msghdr *m);
    int64_t tick;        /* of TICK_US since `origin`; the next to be run */
    int64_t origin;
    int64_t looked;      /* the frame in which what is rare was last looked at */
    int outer, media;    /* epoll: control, disk; and what of the streams is rare */
    bool running;        /* there are streams: time goes on in ticks */
    uint64_t random;
    unsigned patience;   /* strangers' packets that are read in this frame yet, beside each stream's own share */
    struct secure_library secure;
    uint16_t next_port;
    unsigned next_phase;
    struct streams streams;
    struct wides wides;
    struct schedule hearing, reading;
    struct control control;
    struct disk disk;
};

/* engine.c */
int engine_open(struct engine *e, const struct options *options);
void engine_close(struct engine *e);
/* Waits for the next tick or request, at most so long (-1: for ever), and does what is due; 0 or an errno. While it waits
 * no signal is blocked: who blocks one otherwise has it there and cannot miss it. */
int engine_step(struct engine *e, int milliseconds);
/* Runs the ticks that are due at `now`. */
void engine_ticks(struct engine *e);
/* When the next tick comes at which somebody is due, on the clock of `now`; -1: there are no streams. */
int64_t engine_next(const struct engine *e);
uint32_t engine_random(struct engine *e);
/* Of a time of the clock of `now`. */
uint64_t engine_ntp(const struct engine *e, int64_t at);
/* Adds `fd` (RTCP, or where a TDM stream listens) to what is looked at in each tick. */
int engine_watch(struct engine *e, const struct stream *s, int fd);

/* bridge.c: what goes from stream to stream. */
/* Gives `s`, which hears, its place in the schedule; and takes it away, with its wiring. */
void bridge_join(struct engine *e, struct stream *s);
void bridge_leave(struct engine *e, struct stream *s);
void bridge_connect(struct engine *e, struct stream *first, struct stream *second);
void bridge_disconnect(struct engine *e, struct stream *s);
void bridge_tick(struct engine *e);
/* A block of 20 ms that a TDM stream received goes at once to who hears it. */
void bridge_push(struct engine *e, struct stream *s, enum law law, const uint8_t *frame);
/* Who hears `s`, and whom it hears; NULL: nobody. */
struct stream *bridge_partner(struct stream *s);
/* Something came in on `s`. */
void bridge_heard(struct engine *e, struct stream *s);
/* A digit that was received as RFC 4733. */
void bridge_event(struct engine *e, struct stream *s, const struct event_change *change);
/* Looks for in-band digits in what `s` received; true if the frame is to be muted. */
bool bridge_inband(struct engine *e, struct stream *s, enum law law, const uint8_t *frame);

/* rtp_stream.c */
int rtp_open(struct engine *e, struct stream *s, int family, const uint8_t *address);
void rtp_close(struct engine *e, struct stream *s);
/* Body of GM_SET_RTP. */
int rtp_set(struct engine *e, struct stream *s, struct cursor *c);
/* The address to send to, after something was learned about the far end. */
void rtp_aim(struct stream *s);
/* RTCP came from there that the far end sent. */
void rtp_aim_rtcp(struct stream *s, const union address *from);
/* Takes what has come since the last call. */
void rtp_receive(struct engine *e, struct stream *s);
void rtp_receive_rtcp(struct engine *e, struct stream *s);
void rtp_send(struct engine *e, struct stream *s, enum law law, const uint8_t *frame);
/* The same to one in another codec than G.711: WIDE_SAMPLES of linear voice. */
void rtp_send_wide(struct engine *e, struct stream *s, const int16_t *frame);
/* Are digits taken out of the voice that goes there? */
bool rtp_takes_digits(const struct stream *s);
/* A packet came that bears our own SSRC. */
void rtp_own_ssrc(struct engine *e, struct stream *s, const struct rtp_packet *p);
/* A change of an RFC 4733 event, counted in the clock of the codec. */
void rtp_event(struct engine *e, struct stream *s, struct event_change *change);
/* Once a frame: reports, events whose end was lost. */
void rtp_upkeep(struct engine *e, struct stream *s);

/* To the far end as it came, with these numbers. */
void rtp_pass(struct stream *s, const struct rtp_packet *p, uint16_t sequence, uint32_t stamp, unsigned samples);

/* rtp_relay.c: from one RTP stream to another of the same codec. */
enum relay_result {
    RELAY_DONE,    /* there is nothing else to send */
    RELAY_WAIT,    /* nothing yet: again at the next tick */
    RELAY_SILENCE, /* a frame of silence, or digits */
};

struct relay_packet {
    uint32_t stamp;   /* of SAMPLE_RATE */
    unsigned samples; /* of it */
    uint8_t codec;
    int64_t arrival;
};

/* Is what `source` receives passed on to `hearer` undecoded? Then it is from now on. */
bool rtp_relays(struct stream *source, const struct stream *hearer);
/* `s` is wired otherwise. */
void rtp_relay_stop(struct stream *s);
enum relay_result rtp_relay(struct engine *e, struct stream *source, struct stream *hearer, unsigned *phase);
void rtp_relay_take(struct engine *e, struct stream *source, struct stream *hearer, const struct rtp_packet *p,
                    const struct relay_packet *packet);

/* rtp_socket.c */
int rtp_bind_pair(struct engine *e, struct stream *s, const uint8_t *address);

/* tdm_stream.c */
int tdm_open(struct engine *e, struct stream *s, const char *path, size_t size, enum law law, bool listening);
void tdm_close(struct engine *e, struct stream *s);
/* Takes what has come, see serve_function. */
bool tdm_receive(struct engine *e, struct stream *s, unsigned *phase);
void tdm_accept(struct engine *e, struct stream *s);
void tdm_send(struct engine *e, struct stream *s, enum law law, const uint8_t *frame);
void tdm_upkeep(struct engine *e, struct stream *s);

/* statistics.c: the body of a statistics reply after its code. */
void statistics_put(const struct engine *e, const struct stream *s, struct writer *w);

/* requests.c */
void request_execute(struct engine *e, const struct message *m, struct cursor *c);
/* requests_open.c: GM_OPEN_*; 0 or an errno. */
int requests_open(struct engine *e, const struct message *m, struct cursor *c);
void requests_close(struct engine *e, struct stream *s);
void requests_disk(struct engine *e);

#endif
