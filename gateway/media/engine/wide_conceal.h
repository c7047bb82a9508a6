/* Loss concealment at 16 kHz, for codecs that have none of their own: the last period of the voice again and again, fading. */
#ifndef GM_WIDE_CONCEAL_H
#define GM_WIDE_CONCEAL_H

#include <stdbool.h>
#include <stdint.h>

enum {
    PERIOD_LEAST = 40,  /* samples: 400 Hz */
    PERIOD_MOST = 320,  /* 50 Hz */
    WIDE_HISTORY = 960, /* what concealment looks at */
};

struct wide_conceal {
    bool active; /* the last samples played were made up */
    unsigned period, at, made;
    int16_t cycle[PERIOD_MOST];
};

void wide_conceal_reset(struct wide_conceal *c);
/* Makes up `count` samples; `history` are the WIDE_HISTORY samples played before a loss begins. */
void wide_conceal_fill(struct wide_conceal *c, int16_t *out, unsigned count, const int16_t *history);
/* Blends real samples that follow made-up ones; no-op otherwise. */
void wide_conceal_blend(struct wide_conceal *c, int16_t *samples, unsigned count);

#endif
