/* The engine's parts and what they ask of each other. One thread; `now` is the time of the tick or request at hand. */
#ifndef GM_ENGINE_H
#define GM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "beat.h"
#include "control.h"
#include "cursor.h"
#include "disk.h"
#include "iax_sockets.h"
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
    int64_t wall;        /* what to add to get the wall clock ... */
    int64_t wall_until;  /* ... as was asked not long ago */
    /* When a message came, as the kernel says; a test has a clock of its own. */
    int64_t (*arrival)(const struct engine *e, struct msghdr *m);
    unsigned asking;     /* that of a line's blocks is asked for once in so many frames */
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
    struct beat beat;
    struct control control;
    struct disk disk;
    struct iax iax;
    struct {
        unsigned count, left_out;
    } taps;
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
void rtp_pass(struct engine *e, struct stream *s, const struct rtp_packet *p, uint16_t sequence, uint32_t stamp, unsigned samples);

/* rtp_relay.c: from one RTP stream to another of the same codec, and from one of IAX2 to another. */
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
void iax_relay_take(struct engine *e, struct stream *source, struct stream *hearer, const uint8_t *payload, size_t size,
                    const struct relay_packet *packet);
void rtp_relay_take(struct engine *e, struct stream *source, struct stream *hearer, const struct rtp_packet *p,
                    const struct relay_packet *packet);

/* tap.c: copies of what goes over a stream's socket, for captures. */
/* From now on, or no more; 0 or an errno. */
int tap_set(struct engine *e, struct stream *s, bool on);
/* No more of any stream: the client is gone. */
void tap_none(struct engine *e);
/* A packet in clear that came from `far` at `at`, or goes there. For streams that are tapped. */
void tap_packet(struct engine *e, const struct stream *s, bool inward, const union address *far, int64_t at,
                const uint8_t *packet, size_t size);
/* Voice of an IAX2 call in clear, with the call's time in ms; it came or goes as `copied` (GM_COPIED_...) says. */
void tap_mini(struct engine *e, const struct stream *s, bool inward, unsigned copied, int64_t at, uint32_t stamp,
              const uint8_t *payload, size_t size);

/* rtp_socket.c */
int rtp_bind_pair(struct engine *e, struct stream *s, const uint8_t *address);

enum { BIND_BOTH = 1 /* one of IPv6 hears IPv4 too */, BIND_SHARED = 2 /* others may share the port */ };
/* A voice socket of `family`; 0 or an errno. */
int rtp_bind(int family, const uint8_t *address, uint16_t port, unsigned how, int *fd);

/* voice_codec.c: which codec a stream with voice in packets speaks. */
/* What it needs beside for that, in `*wide`; NULL: nothing. 0 or an errno. */
int voice_codec_prepare(struct engine *e, const struct stream *s, const struct codec *codec, struct wide **wide);
/* From now on; true if it was another before. */
bool voice_codec_set(struct engine *e, struct stream *s, const struct codec *codec, struct wide *wide);
void voice_codec_end(struct engine *e, struct stream *s);

/* iax_socket.c */
int iax_open(struct engine *e);
void iax_close(struct engine *e);
/* At `address` and `port`, 0: any. */
int iax_socket_open(struct engine *e, struct stream *s, int family, const uint8_t *address, uint16_t port);
void iax_socket_close(struct engine *e, struct stream *s);
/* An address as the socket has it; 0 or EAFNOSUPPORT. */
int iax_socket_address(const struct iax_socket *k, union address *a, int family, const uint8_t *bytes, uint16_t port);
/* Writes family (4 or 6), 0, port and 16 octets; an IPv4 address is one, though it be mapped. */
void iax_address_put(struct writer *w, const union address *a);
/* Its calls are one more (1), or one less (-1). */
void iax_socket_calls(struct engine *e, struct iax_socket *k, int change);
/* Of all sockets: is any to be looked at in each tick? */
bool iax_polled(const struct engine *e);
/* Streams that need no ticks. */
unsigned iax_idle_streams(const struct engine *e);
void iax_readable(struct engine *e, uint32_t index);
/* A full frame, as it is. */
int iax_send_frame(struct engine *e, struct stream *s, const union address *to, const uint8_t *data, size_t size);
/* Full frames of its host are awaited for a while; it has so many calls more. False: there is no room to keep that in mind. */
bool iax_know(struct engine *e, const union address *a, int calls);
bool iax_knows(const struct engine *e, const union address *a);
/* Has its host? */
bool iax_has_calls(const struct engine *e, const union address *a);

/* iax_split.c */
/* Another socket for the full frames that come to the port of `fd`, in `*full`; 0 or an errno: all comes to `fd` then. */
int iax_split(int fd, int family, const uint8_t *address, uint16_t port, bool both, int *full);

/* iax_stream.c */
int iax_stream_open(struct engine *e, struct stream *s, struct stream *socket);
void iax_stream_close(struct engine *e, struct stream *s);
/* Body of GM_SET_IAX. */
int iax_stream_set(struct engine *e, struct stream *s, struct cursor *c);
/* Without its socket, which is gone. */
void iax_stream_detach(struct engine *e, struct stream *s);
/* What comes is protected with this key, or with none (`size` 0); for a while it may be with the former one, as mini frames are
 * faster than who tells the engine. 0 or an errno. */
int iax_stream_key(struct engine *e, struct stream *s, const uint8_t *key, size_t size);
/* Somebody else sees to it from now on, whoever was before may not have come to what it was told last. */
void iax_say_again(const struct engine *e, struct stream *s);
/* Whose voice bears call number `far`; NULL: nobody's. */
struct stream *iax_find(const struct engine *e, const struct iax_socket *k, const union address *from, unsigned far);

/* iax_receive.c */
void iax_intake_open(struct iax_intake *n);
/* Takes what has come since the last call. */
void iax_receive(struct engine *e, struct iax_socket *k, int fd);
void iax_receive_all(struct engine *e);
/* Body of GM_IAX_VOICE. */
int iax_voice(struct engine *e, struct stream *s, struct cursor *c);

/* iax_stamp.c */
/* A stamp of which 16 bits are known. */
uint32_t iax_unwrap(const struct iax_part *x, unsigned stamp, int64_t at);
/* Where a frame of `duration` ms belongs whose sender's clock said `stamp`. `loose`: it was told for many at once. */
uint32_t iax_place(struct iax_part *x, uint32_t stamp, unsigned duration, bool loose, int64_t at);
/* Time of a call, of that of a trunk frame. */
uint32_t iax_trunk_time(struct iax_part *x, uint32_t stamp, int64_t at);
/* Counts what came, and what did not. */
void iax_account(struct stream *s, uint32_t stamp, unsigned duration);

/* iax_send.c */
/* A frame of voice of `size` octets, whose time is `sample` of struct rtp_part's stamp. */
void iax_transmit(struct engine *e, struct stream *s, const uint8_t *payload, size_t size, uint32_t sample);
/* What has gathered. */
void iax_flush(struct engine *e);

/* iax_trunk.c */
/* The one that `s` is to be in from now on, or NULL. */
int iax_trunk_join(struct engine *e, struct stream *s, bool stamps, size_t most);
void iax_trunk_leave(struct engine *e, struct stream *s);
void iax_trunk_add(struct engine *e, struct stream *s, const uint8_t *payload, size_t size, uint32_t stamp);
/* Is there something to be sent at that tick? */
bool iax_trunk_due(const struct engine *e, int64_t tick);
/* At the end of each tick. */
void iax_trunk_tick(struct engine *e);

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
bool requests_opens(unsigned opcode);
void requests_close(struct engine *e, struct stream *s);
void requests_disk(struct engine *e);

#endif
