#include "conceal.h"

#include <errno.h>
#include <spandsp.h>
#include <string.h>

int conceal_open(struct conceal *c)
{
    c->plc = plc_init(NULL);
    c->active = false;
    return c->plc ? 0 : ENOMEM;
}

void conceal_close(struct conceal *c)
{
    if (c->plc)
        plc_free(c->plc);
    c->plc = NULL;
}

void conceal_reset(struct conceal *c)
{
    c->active = false;
}

void conceal_fill(struct conceal *c, int16_t *out, unsigned count, const int16_t *history)
{
    int16_t room[SAMPLES];

    if (!c->active) {
        int16_t scratch[HISTORY];

        memcpy(scratch, history, sizeof scratch);
        plc_init(c->plc);
        plc_rx(c->plc, scratch, HISTORY);
        c->active = true;
    }
    /* At the start of a gap spandsp writes a quarter of a pitch period, whatever the count. */
    plc_fillin(c->plc, room, (int)count);
    memcpy(out, room, count * sizeof *out);
}

void conceal_blend(struct conceal *c, int16_t *samples, unsigned count)
{
    if (!c->active)
        return;
    plc_rx(c->plc, samples, (int)count);
    c->active = false;
}

void conceal_merge(int16_t *out, const int16_t *first, const int16_t *second)
{
    for (int i = 0; i < SAMPLES; i++)
        out[i] = (int16_t)((first[i] * (SAMPLES - i) + second[i] * i) / SAMPLES);
}
