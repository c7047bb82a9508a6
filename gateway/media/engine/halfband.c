#include "halfband.h"

#include <math.h>
#include <string.h>

enum { LANES = 4 };

#define KAISER_BETA 6.0

typedef float four __attribute__((vector_size(LANES * sizeof(float))));

static float taps[HALFBAND_TAPS];

static double bessel_i0(double x)
{
    double term = 1.0, sum = 1.0;

    for (int k = 1; k < 40; k++) {
        term *= x / (2.0 * k) * (x / (2.0 * k));
        sum += term;
    }
    return sum;
}

void halfband_init(void)
{
    const double pi = acos(-1.0);
    double sum = 0.0;

    for (int i = 0; i < HALFBAND_TAPS; i++) {
        double offset = HALFBAND_TAPS - 1 - 2 * i;
        double edge = offset / HALFBAND_TAPS;
        double tap = sin(pi * offset / 2.0) / (pi * offset) * bessel_i0(KAISER_BETA * sqrt(1.0 - edge * edge)) /
                     bessel_i0(KAISER_BETA);

        taps[i] = (float)tap;
        sum += tap;
    }
    for (int i = 0; i < HALFBAND_TAPS; i++)
        taps[i] *= (float)(0.5 / sum);
}

/* The taps are symmetric, so it does not matter which end is the newest. */
static float filtered(const float *x)
{
    four sum[2] = {0};

    for (int i = 0; i < HALFBAND_TAPS; i += 2 * LANES) {
        four a[2], b[2];

        memcpy(a, x + i, sizeof a);
        memcpy(b, taps + i, sizeof b);
        sum[0] += a[0] * b[0];
        sum[1] += a[1] * b[1];
    }
    sum[0] += sum[1];
    return sum[0][0] + sum[0][1] + sum[0][2] + sum[0][3];
}

static int16_t sample(float value)
{
    int rounded = (int)(value + (value < 0.0F ? -0.5F : 0.5F));

    return (int16_t)(rounded > INT16_MAX ? INT16_MAX : rounded < INT16_MIN ? INT16_MIN : rounded);
}

void halver_run(struct halver *h, int16_t *out, const int16_t *in)
{
    enum { ODD = HALFBAND_TAPS - 1, EVEN = HALFBAND_TAPS / 2 - 1 };
    float odd[ODD + SAMPLES], even[EVEN + SAMPLES];

    memcpy(odd, h->odd, sizeof h->odd);
    memcpy(even, h->even, sizeof h->even);
    for (size_t i = 0; i < SAMPLES; i++) {
        even[EVEN + i] = in[2 * i];
        odd[ODD + i] = in[2 * i + 1];
    }
    for (int i = 0; i < SAMPLES; i++)
        out[i] = sample(0.5F * even[i] + filtered(odd + i));
    memcpy(h->odd, odd + SAMPLES, sizeof h->odd);
    memcpy(h->even, even + SAMPLES, sizeof h->even);
}

void doubler_run(struct doubler *d, int16_t *out, const int16_t *in)
{
    float x[HALFBAND_TAPS + SAMPLES];

    memcpy(x, d->past, sizeof d->past);
    for (int i = 0; i < SAMPLES; i++)
        x[HALFBAND_TAPS + i] = in[i];
    for (size_t i = 0; i < SAMPLES; i++) {
        out[2 * i] = sample(x[HALFBAND_TAPS / 2 + i]);
        out[2 * i + 1] = sample(2.0F * filtered(x + i + 1));
    }
    memcpy(d->past, x + SAMPLES, sizeof d->past);
}
