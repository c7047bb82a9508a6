#include "wide_conceal.h"

#include <math.h>
#include <string.h>

enum {
    WINDOW = 320,  /* samples that have to be alike, 20 ms */
    STEP = 2,      /* a period is looked for in every other sample ... */
    FULL = 160,    /* samples at full strength, 10 ms */
    FADE = 800,    /* and until there is nothing left, 50 ms more */
    BLEND = 80,
};

void wide_conceal_reset(struct wide_conceal *c)
{
    c->active = false;
}

/* How well a period fits; below 0 at the worst. */
static float likeness(const int16_t *end, unsigned period, unsigned step)
{
    const int16_t *now = end - WINDOW, *before = now - period;
    float product = 0.0F, energy = 1.0F;

    for (unsigned i = 0; i < WINDOW; i += step) {
        product += (float)now[i] * (float)before[i];
        energy += (float)before[i] * (float)before[i];
    }
    return product / sqrtf(energy);
}

static unsigned find_period(const int16_t *end)
{
    unsigned best = PERIOD_MOST, fine;
    float most = likeness(end, PERIOD_MOST, STEP);

    for (unsigned period = PERIOD_LEAST; period < PERIOD_MOST; period += STEP) {
        float value = likeness(end, period, STEP);

        if (value > most) {
            most = value;
            best = period;
        }
    }
    fine = best;
    most = likeness(end, best, 1);
    for (unsigned period = best - 1; period <= best + 1; period++) {
        float value = period >= PERIOD_LEAST && period <= PERIOD_MOST ? likeness(end, period, 1) : -1.0F;

        if (value > most) {
            most = value;
            fine = period;
        }
    }
    return fine;
}

/* One period whose end leads into its own beginning. */
static void begin(struct wide_conceal *c, const int16_t *end)
{
    unsigned lap, period = find_period(end);

    c->period = period;
    memcpy(c->cycle, end - period, period * sizeof *c->cycle);
    lap = period / 4;
    for (unsigned i = 0; i < lap; i++) {
        const unsigned at = period - lap + i;
        const int before = end[-(int)(period + lap) + (int)i];

        c->cycle[at] = (int16_t)((c->cycle[at] * (int)(lap - i) + before * (int)i) / (int)lap);
    }
    c->at = c->made = 0;
    c->active = true;
}

static int16_t next(struct wide_conceal *c)
{
    int value = c->cycle[c->at];
    unsigned made = c->made;

    c->at = (c->at + 1) % c->period;
    if (made >= FULL + FADE)
        return 0;
    c->made++;
    return (int16_t)(made < FULL ? value : value * (int)(FULL + FADE - made) / FADE);
}

void wide_conceal_fill(struct wide_conceal *c, int16_t *out, unsigned count, const int16_t *history)
{
    if (!c->active)
        begin(c, history + WIDE_HISTORY);
    for (unsigned i = 0; i < count; i++)
        out[i] = next(c);
}

void wide_conceal_blend(struct wide_conceal *c, int16_t *samples, unsigned count)
{
    unsigned blend = count < BLEND ? count : BLEND;

    if (!c->active)
        return;
    for (unsigned i = 0; i < blend; i++)
        samples[i] = (int16_t)((next(c) * (int)(blend - i) + samples[i] * (int)i) / (int)blend);
    c->active = false;
}
