#include "tone.h"

#include <math.h>
#include <string.h>

enum { TABLE_BITS = 12, TABLE = 1 << TABLE_BITS, FRACTION_BITS = 32 - TABLE_BITS };

static int16_t sine[TABLE + 1];

static const char digits[] = "0123456789*#ABCD";
static const uint16_t dtmf_low[4] = {697, 770, 852, 941};
static const uint16_t dtmf_high[4] = {1209, 1336, 1477, 1633};
static const uint8_t dtmf_row[16] = {3, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 0, 1, 2, 3};
static const uint8_t dtmf_column[16] = {1, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 2, 3, 3, 3, 3};

/* Low group 2 dB below the high one: what a telephone sends. */
#define DTMF_LOW_DBM0 (-9.0)
#define DTMF_HIGH_DBM0 (-7.0)

void tone_init(void)
{
    const double pi = acos(-1.0);

    for (int i = 0; i <= TABLE; i++)
        sine[i] = (int16_t)lrint(32767.0 * sin(2.0 * pi * i / TABLE));
}

void sines_clear(struct sines *s)
{
    memset(s, 0, sizeof *s);
}

bool sines_add(struct sines *s, double hertz, double dbm0)
{
    if (s->count == GM_FREQUENCIES_MAX)
        return false;
    s->step[s->count] = (uint32_t)llrint(hertz / SAMPLE_RATE * 4294967296.0);
    s->peak[s->count] = (int32_t)lrint(fmin(dbm0_to_peak(dbm0), 32767.0));
    s->phase[s->count++] = 0;
    return true;
}

void sines_generate(struct sines *s, int16_t *out, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int32_t sum = 0;

        for (unsigned k = 0; k < s->count; k++) {
            uint32_t index = s->phase[k] >> FRACTION_BITS;
            int32_t fraction = (int32_t)(s->phase[k] >> (FRACTION_BITS - 8) & 0xff);
            int32_t value = sine[index] * 256 + (sine[index + 1] - sine[index]) * fraction;

            sum += (int32_t)((int64_t)value * s->peak[k] >> 23);
            s->phase[k] += s->step[k];
        }
        out[i] = (int16_t)(sum > INT16_MAX ? INT16_MAX : sum < INT16_MIN ? INT16_MIN : sum);
    }
}

void sines_dtmf(struct sines *s, unsigned event)
{
    sines_clear(s);
    sines_add(s, dtmf_low[dtmf_row[event % 16]], DTMF_LOW_DBM0);
    sines_add(s, dtmf_high[dtmf_column[event % 16]], DTMF_HIGH_DBM0);
}

int dtmf_event(char digit)
{
    const char *at;

    if (digit >= 'a' && digit <= 'd')
        digit = (char)(digit - 'a' + 'A');
    at = digit ? strchr(digits, digit) : NULL;
    return at ? (int)(at - digits) : -1;
}

char dtmf_digit(unsigned event)
{
    return digits[event % 16];
}

static void enter_step(struct tone *t, unsigned at)
{
    const struct tone_step *step = &t->steps[at];

    t->at = at;
    t->left = step->milliseconds * (SAMPLE_RATE / 1000);
    sines_clear(&t->sines);
    for (int k = 0; k < GM_FREQUENCIES_MAX; k++)
        if (step->hertz[k])
            sines_add(&t->sines, step->hertz[k], step->centibels / 100.0);
}

void tone_start(struct tone *t)
{
    t->ended = t->count == 0;
    if (!t->ended)
        enter_step(t, 0);
}

static void next_step(struct tone *t)
{
    if (t->at + 1 < t->count)
        enter_step(t, t->at + 1);
    else if (t->repeat_from < t->count)
        enter_step(t, t->repeat_from);
    else
        t->ended = true;
}

void tone_frame(struct tone *t, int16_t *out)
{
    unsigned at = 0;

    while (at < SAMPLES && !t->ended) {
        bool for_ever = t->steps[t->at].milliseconds == 0;
        unsigned run = for_ever || t->left > SAMPLES - at ? SAMPLES - at : t->left;

        sines_generate(&t->sines, out + at, run);
        at += run;
        if (for_ever)
            continue;
        t->left -= run;
        if (!t->left)
            next_step(t);
    }
    memset(out + at, 0, (SAMPLES - at) * sizeof *out);
}
