#include "beat.h"

#include <string.h>

enum {
    FRAMES = 50, /* between choices */
    WORTH = 8,   /* another tick has to save this part of a tick for each */
};

void beat_reads(struct beat *b, unsigned natural)
{
    b->reading[natural]++;
}

/* Ticks that lines wait if it is at `tick`. */
static uint32_t cost(const struct beat *b, unsigned tick)
{
    uint32_t sum = 0;

    for (unsigned i = 0; i < PHASES; i++)
        sum += b->reading[i] * ((tick + PHASES - i) % PHASES);
    return sum;
}

void beat_choose(struct beat *b, int64_t frame)
{
    uint32_t all = 0;
    unsigned best = b->tick;

    if (frame - b->chosen < FRAMES)
        return;
    for (unsigned i = 0; i < PHASES; i++) {
        all += b->reading[i];
        if (cost(b, i) < cost(b, best))
            best = i;
    }
    b->on = all <= BEAT_MANY * FRAMES;
    if (cost(b, best) + all / WORTH < cost(b, b->tick))
        b->tick = (uint8_t)best;
    b->chosen = frame;
    memset(b->reading, 0, sizeof b->reading);
}
