/* Loss concealment (spandsp's PLC), fed only around a loss so that a clean stream costs nothing. */
#ifndef GM_CONCEAL_H
#define GM_CONCEAL_H

#include <stdbool.h>
#include <stdint.h>

#include "law.h"

enum { HISTORY = 2 * SAMPLES /* what concealment begins from */ };

struct conceal {
    void *plc; /* spandsp names its type differently from version to version */
    bool active; /* the last samples played were made up */
};

/* Allocates; 0 or an errno. */
int conceal_open(struct conceal *c);
void conceal_close(struct conceal *c);
void conceal_reset(struct conceal *c);
/* Makes up `count` samples; `history` are the HISTORY samples played before a loss begins. */
void conceal_fill(struct conceal *c, int16_t *out, unsigned count, const int16_t *history);
/* Blends real samples that follow made-up ones; no-op otherwise. */
void conceal_blend(struct conceal *c, int16_t *samples, unsigned count);
/* Cross-fades two frames into one: 20 ms less of a stream, without a click. */
void conceal_merge(int16_t *out, const int16_t *first, const int16_t *second);

#endif
