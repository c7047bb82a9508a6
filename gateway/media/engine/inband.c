#include "inband.h"

#include <errno.h>
#include <math.h>
#include <spandsp.h>
#include <string.h>

enum {
    FAINT = 13000,  /* sum of magnitudes of a frame at about -45 dBm0, below what the receiver takes */
    OPEN_FRAMES = 3, /* the receiver needs some quiet to see a digit's end */
    HALVED = SAMPLES / 2,
    STRIDE = 4, /* loudness is seen in every fourth sample as well */
};

/* Shares of a frame's power below which there is no DTMF in it, not even in half of it. */
#define BOTH_GROUPS 0.2F
#define EACH_GROUP 0.01F

typedef float four __attribute__((vector_size(16)));

static four factor[2]; /* of the Goertzel filters: low group, high group */

void inband_init(void)
{
    static const double hertz[2][4] = {{697, 770, 852, 941}, {1209, 1336, 1477, 1633}};
    const double pi = acos(-1.0);

    for (int group = 0; group < 2; group++)
        for (int i = 0; i < 4; i++)
            factor[group][i] = (float)(2.0 * cos(2.0 * pi * hertz[group][i] / (SAMPLE_RATE / 2.0)));
}

static float strongest(four a, four b, four c)
{
    four power = a * a + b * b - c * a * b;
    float most = power[0];

    for (int i = 1; i < 4; i++)
        most = power[i] > most ? power[i] : most;
    return most;
}

/* Eight Goertzel filters side by side on pairs of samples: much cheaper than the receiver, and a little too willing. */
static bool two_tones(const int16_t *linear)
{
    four low1 = {0}, low2 = {0}, high1 = {0}, high2 = {0};
    float energy = 0.0F, low, high;

    for (size_t i = 0; i < HALVED; i++) {
        float pair = (float)(linear[2 * i] + linear[2 * i + 1]);
        four x = {pair, pair, pair, pair};
        four low0 = (x - low2) + factor[0] * low1;
        four high0 = (x - high2) + factor[1] * high1;

        low2 = low1;
        low1 = low0;
        high2 = high1;
        high1 = high0;
        energy += pair * pair;
    }
    energy *= HALVED / 2.0F; /* what a filter at the frequency of a lone sine gives */
    low = strongest(low1, low2, factor[0]);
    high = strongest(high1, high2, factor[1]);
    return low > EACH_GROUP * energy && high > EACH_GROUP * energy && low + high > BOTH_GROUPS * energy;
}

/* Called within dtmf_rx() at each confirmed change; code 0 is the end. */
static void on_change(void *user, int code, int level, int delay)
{
    struct inband *b = user;

    (void)level;
    (void)delay;
    if (b->digit) {
        b->ended = b->digit;
        b->digit = 0;
    }
    if (code) {
        b->began = (char)code;
        b->digit = (char)code;
    }
}

int inband_open(struct inband *b)
{
    memset(b, 0, sizeof *b);
    b->rx = dtmf_rx_init(NULL, NULL, NULL);
    if (!b->rx)
        return ENOMEM;
    inband_reset(b);
    return 0;
}

void inband_close(struct inband *b)
{
    if (b->rx)
        dtmf_rx_free(b->rx);
    b->rx = NULL;
}

static void restart(struct inband *b)
{
    dtmf_rx_init(b->rx, NULL, NULL);
    dtmf_rx_set_realtime_callback(b->rx, on_change, b);
}

void inband_reset(struct inband *b)
{
    restart(b);
    b->digit = b->began = b->ended = b->held = 0;
    b->samples = 0;
    b->open = 0;
}

/* True if the receiver is to look at this frame. */
static bool worth_it(struct inband *b, enum law law, const uint8_t *codes, int16_t *linear)
{
    bool loud = law_magnitude(law, codes, SAMPLES, STRIDE) >= FAINT / STRIDE;

    if (!loud)
        b->lull = true;
    if (loud || b->open)
        law_decode(law, linear, codes, SAMPLES);
    if (loud && two_tones(linear)) {
        if (!b->open)
            restart(b);
        b->open = OPEN_FRAMES;
    } else if (b->open) {
        b->open--;
    }
    return b->open;
}

static void look(struct inband *b, const int16_t *linear, struct inband_change *change)
{
    uint32_t samples = b->samples + SAMPLES;

    dtmf_rx(b->rx, linear, SAMPLES);
    change->began = b->began;
    change->ended = b->ended;
    change->samples = samples;
    b->samples = b->began ? 0 : samples;
    change->mute = dtmf_rx_status(b->rx) != 0 || b->ended;
}

/* An end is told at once where there was a pause, else when the digit has not come back in time: what is left of two
 * tones may seem to be interrupted. */
static void hold(struct inband *b, unsigned bridged, struct inband_change *change)
{
    if (change->ended) {
        b->held = change->ended;
        b->length = change->samples;
        b->waited = 0;
        change->ended = 0;
    } else {
        b->waited++;
    }
    change->mute = true;
    if (change->began == b->held && !b->lull) {
        b->samples = b->length + b->waited * (uint32_t)SAMPLES;
        b->held = change->began = 0;
    } else if (change->began || b->lull || b->waited >= bridged) {
        change->ended = b->held;
        change->samples = b->length;
        b->held = 0;
    }
}

void inband_frame(struct inband *b, enum law law, const uint8_t *codes, unsigned bridged, struct inband_change *change)
{
    int16_t linear[SAMPLES];

    memset(change, 0, sizeof *change);
    b->began = b->ended = 0;
    if (worth_it(b, law, codes, linear))
        look(b, linear, change);
    if (b->held || (bridged && change->ended))
        hold(b, bridged, change);
    if (b->began)
        b->lull = false;
}
