#include "inband.h"

#include <errno.h>
#include <math.h>
#include <spandsp.h>
#include <string.h>

enum {
    FAINT = 13000,  /* sum of magnitudes of a frame at about -45 dBm0, below what the receiver takes */
    OPEN_FRAMES = 3, /* the receiver needs some quiet to see a digit's end */
    HALVED = SAMPLES / 2,
    PAIR_SCALE = 4, WAVE_PEAK = 511, EIGHT = 8,
    STRIDE = 4, /* loudness is seen in every fourth sample as well */
};

/* Shares of a frame's power below which there is no DTMF in it, not even in half of it. */
#define BOTH_GROUPS 0.2F
#define EACH_GROUP 0.01F

static int16_t waves[2][4][2][HALVED]; /* low group and high group: cosine and sine of each frequency */

void inband_init(void)
{
    static const double hertz[2][4] = {{697, 770, 852, 941}, {1209, 1336, 1477, 1633}};
    const double two_pi = 2.0 * acos(-1.0);

    for (int group = 0; group < 2; group++) {
        for (int i = 0; i < 4; i++) {
            for (int k = 0; k < HALVED; k++) {
                const double angle = two_pi * hertz[group][i] * k / (SAMPLE_RATE / 2.0);

                waves[group][i][0][k] = (int16_t)lrint(WAVE_PEAK * cos(angle));
                waves[group][i][1][k] = (int16_t)lrint(WAVE_PEAK * sin(angle));
            }
        }
    }
}

/* In integers, so that the compiler takes eight samples at a time. Does not overflow: 80 times 16062 times 511. */
static float product(const int16_t *x, const int16_t *wave)
{
    int32_t sum = 0;

    for (int i = 0; i < HALVED; i++)
        sum += x[i] * wave[i];
    return (float)sum / WAVE_PEAK;
}

static float strongest(const int16_t *x, int16_t (*group)[2][HALVED])
{
    float most = 0.0F;

    for (int i = 0; i < 4; i++) {
        const float re = product(x, group[i][0]), im = product(x, group[i][1]);
        const float power = re * re + im * im;

        most = power > most ? power : most;
    }
    return most;
}

/* The power at the eight frequencies, of pairs of samples: much cheaper than the receiver, and a little too willing. */
static bool two_tones(const int16_t *linear)
{
    int16_t x[HALVED];
    float energy = 0.0F, low, high;

    for (size_t i = 0; i < HALVED; i++)
        x[i] = (int16_t)((linear[2 * i] + linear[2 * i + 1]) / PAIR_SCALE);
    for (size_t i = 0; i < HALVED; i += EIGHT) { /* which is all that an int32_t has room for */
        int32_t part = 0;

        for (size_t k = 0; k < EIGHT; k++)
            part += x[i + k] * x[i + k];
        energy += (float)part;
    }
    energy *= HALVED / 2.0F; /* what a lone sine gives at its frequency */
    low = strongest(x, waves[0]);
    high = strongest(x, waves[1]);
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
