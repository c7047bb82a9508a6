/* Adaptive jitter buffer: RTP audio in, one frame of 20 ms out for each frame of the stream that hears it.
 *
 * Delay has two parts: whole frames held here, and the tick within a 20 ms frame (the phase) at which the hearer asks.
 * A frame not there yet is asked for again at the next tick, so small delays shift the phase and lose nothing. Once a
 * packet misses the whole frame, a concealed frame is played in its stead; if the packet does come, the delay has grown
 * by that frame, if it was lost, the concealed frame has stood for it. Delay shrinks when, over a window, even the
 * second-latest packet came more than a tick too early: by an earlier phase, or by cross-fading two frames into one.
 * A clock that drifts shows as exactly that, so drift is followed without a clock model. Pure: time is handed in.
 */
#ifndef GM_JITTER_H
#define GM_JITTER_H

#include <stdbool.h>
#include <stdint.h>

#include "conceal.h"
#include "law.h"

enum {
    TICK_US = 5000,
    FRAME_US = 20000,
    PHASES = FRAME_US / TICK_US,
    RING = 4096, /* samples; a power of two */
    PAST = 1024, /* of which a stream that only passes on uses so many: cache is short with many streams */
};

struct decoder;

enum jitter_result {
    JITTER_FRAME,   /* audio, maybe concealed */
    JITTER_WAIT,    /* nothing yet: ask again at the next tick */
    JITTER_SILENCE, /* nothing: idle code is in the frame */
};

struct jitter {
    uint32_t play;   /* time stamp of the next sample to play */
    uint32_t newest; /* time stamp after the newest sample held */
    uint32_t played; /* samples played in sequence, at most RING: what the ring holds of the past */
    bool running;
    bool merge; /* play the next two frames as one */
    bool passing;
    enum law law;
    int16_t noise;      /* peak of the comfort noise that is played when nothing is there, 0: none */
    uint8_t misplaced;  /* packets in a row that no network delays so much */
    unsigned borrowed;  /* concealed samples played without moving `play` */
    unsigned delay_max; /* samples */
    struct decoder *decoder; /* NULL: G.711, of which the ring is; else that has the packets, and a frame is WIDE_SAMPLES */
    int64_t next_pull;  /* when the hearer asks next, microseconds */
    int32_t slack[2];   /* smallest and second smallest margin in this window, microseconds */
    unsigned measured, window; /* packets in this window, packets it takes */
    int64_t slack_sum;
    int32_t slack_mean;        /* of the last window */
    uint32_t late, concealed, slips;
    struct conceal conceal;
    uint64_t present[RING / 64]; /* a bit a sample */
    uint8_t ring[RING]; /* by time stamp; what has been played stays until overwritten */
};

/* Allocates the concealment's state. */
int jitter_open(struct jitter *j, unsigned delay_max_milliseconds);
void jitter_close(struct jitter *j);
void jitter_reset(struct jitter *j, enum law law);
/* Another sequence begins: forgets what is buffered, keeps the counters. */
void jitter_restart(struct jitter *j, enum law law);
/* From now on in this codec, NULL: in G.711. Begins anew. */
void jitter_decode(struct jitter *j, struct decoder *decoder);
/* `count` samples of `from` law, `stamp` the first one's time stamp; false if they were of no use any more. */
bool jitter_put(struct jitter *j, uint32_t stamp, const uint8_t *payload, size_t count, enum law from, int64_t arrival);
/* The same in any codec: `count` samples' time of SAMPLE_RATE in `size` octets. */
bool jitter_put_coded(struct jitter *j, uint32_t stamp, uint8_t codec, const uint8_t *payload, size_t size, size_t count,
                      int64_t arrival);
/* The far end says that it will be silent, with background noise of `level` -dBov (RFC 3389 3). */
void jitter_quiet(struct jitter *j, unsigned level);
/* `*phase` is the hearer's tick in its frame, moved for the next frame; `last`: no more ticks in this frame. The frame is of
 * SAMPLES codes; with a decoder of WIDE_SAMPLES int16_t. */
enum jitter_result jitter_pull(struct jitter *j, void *frame, unsigned *phase, bool last);
/* Drops a frame that nobody hears. */
void jitter_drain(struct jitter *j);
/* Notes a frame that is passed on at once (TDM), for jitter_history() only. */
void jitter_pass(struct jitter *j, const uint8_t *frame);
/* The last `count` samples played, oldest first; missing ones are idle. Returns how many are real. */
size_t jitter_history(const struct jitter *j, uint8_t *to, size_t count);
/* Mean time from arrival to playing, milliseconds. */
double jitter_delay(const struct jitter *j);

#endif
