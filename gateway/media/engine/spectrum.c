#include "spectrum.h"

#include <complex.h>
#include <math.h>

enum { BITS = 10, LOBE = 3 /* half width of a Hann window's main lobe and a little, in bins */ };

#define DOMINANT 0.85       /* share of the power that a single tone has at least */
#define FAINTEST_DBM0 (-50.0)
#define MINUS_TWO_PI (-6.283185307179586)

double level_dbm0(enum law law, const uint8_t *codes, size_t count)
{
    double squares = 0.0;

    for (size_t i = 0; i < count; i++) {
        double value = law_linear(law, codes[i]);

        /* Both laws' smallest steps are what an idle line carries: digital silence. */
        squares += fabs(value) <= 8.0 ? 0.0 : value * value;
    }
    return power_to_dbm0(squares, count);
}

static unsigned reversed(unsigned value)
{
    unsigned result = 0;

    for (int i = 0; i < BITS; i++)
        result |= (value >> i & 1) << (BITS - 1 - i);
    return result;
}

/* In place, decimation in time; `x` is in bit-reversed order. */
static void transform(float complex *x)
{
    for (unsigned half = 1; half < SPECTRUM_SAMPLES; half *= 2) {
        float complex turn = (float complex)cexp(MINUS_TWO_PI * I / (2.0 * half));
        float complex w = 1.0F;

        for (unsigned k = 0; k < half; k++, w *= turn) {
            for (unsigned i = k; i < SPECTRUM_SAMPLES; i += 2 * half) {
                float complex odd = w * x[i + half];

                x[i + half] = x[i] - odd;
                x[i] += odd;
            }
        }
    }
}

static double power(const float complex *x, unsigned bin)
{
    double re = crealf(x[bin]);
    double im = cimagf(x[bin]);

    return re * re + im * im;
}

double dominant_frequency(enum law law, const uint8_t *codes)
{
    float complex x[SPECTRUM_SAMPLES];
    double total = 0.0, peak = 0.0, near = 0.0, left, right;
    unsigned at = 0;

    if (level_dbm0(law, codes, SPECTRUM_SAMPLES) < FAINTEST_DBM0)
        return 0.0;
    for (unsigned i = 0; i < SPECTRUM_SAMPLES; i++) {
        double window = 0.5 - 0.5 * cos(MINUS_TWO_PI * i / SPECTRUM_SAMPLES);

        x[reversed(i)] = (float)(window * law_linear(law, codes[i]));
    }
    transform(x);
    for (unsigned i = LOBE; i < SPECTRUM_SAMPLES / 2 - 1; i++) {
        double p = power(x, i);

        total += p;
        if (p > peak) {
            peak = p;
            at = i;
        }
    }
    if (at <= LOBE)
        return 0.0;
    for (unsigned i = at - LOBE; i <= at + LOBE && i < SPECTRUM_SAMPLES / 2 - 1; i++)
        near += power(x, i);
    if (near < DOMINANT * total)
        return 0.0;
    /* A Hann window's main lobe gives the offset from the two bins beside the peak exactly (amplitudes). */
    left = sqrt(power(x, at - 1));
    right = sqrt(power(x, at + 1));
    peak = sqrt(peak);
    if (right >= left)
        return (at + (2.0 * right - peak) / (right + peak)) * SAMPLE_RATE / SPECTRUM_SAMPLES;
    return (at - (2.0 * left - peak) / (left + peak)) * SAMPLE_RATE / SPECTRUM_SAMPLES;
}
