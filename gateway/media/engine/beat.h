/* The beat: the tick of each frame at which the lines in trunk frames are read. A trunk frame waits for the last of them, so
 * as well they may wait for each other outside: a wake-up costs as much as several calls, and what the kernel and we touch
 * for one line is in the cache for the next. */
#ifndef GM_BEAT_H
#define GM_BEAT_H

#include <stdbool.h>
#include <stdint.h>

#include "jitter.h"

enum {
    BEAT_MANY = 256, /* lines that are read in a frame: more fill ticks of their own */
};

struct beat {
    bool on;
    uint8_t tick;
    uint32_t reading[PHASES]; /* how often a line could be read at that tick, since the last choice */
    int64_t chosen;           /* the frame of that */
};

/* A line could have been read at tick `natural`. */
void beat_reads(struct beat *b, unsigned natural);
/* Once a frame. */
void beat_choose(struct beat *b, int64_t frame);

#endif
