#include "spectrum.h"

#include <complex.h>
#include <math.h>

enum { BITS_MOST = 11, LOBE = 3 /* half width of a Hann window's main lobe and a little, in bins */ };

#define DOMINANT 0.85       /* share of the power that a single tone has at least */
#define FAINTEST_DBM0 (-50.0)
#define MINUS_TWO_PI (-6.283185307179586)

double level_dbm0(const int16_t *linear, size_t count)
{
    double squares = 0.0;

    for (size_t i = 0; i < count; i++) {
        double value = linear[i];

        /* Both laws' smallest steps are what an idle line carries: digital silence. */
        squares += fabs(value) <= 8.0 ? 0.0 : value * value;
    }
    return power_to_dbm0(squares, count);
}

static unsigned reversed(unsigned value, unsigned size)
{
    unsigned result = 0;

    for (unsigned bit = 1, other = size / 2; bit < size; bit *= 2, other /= 2)
        result |= value & bit ? other : 0;
    return result;
}

/* In place, decimation in time; `x` is in bit-reversed order. */
static void transform(float complex *x, unsigned size)
{
    for (unsigned half = 1; half < size; half *= 2) {
        float complex turn = (float complex)cexp(MINUS_TWO_PI * I / (2.0 * half));
        float complex w = 1.0F;

        for (unsigned k = 0; k < half; k++, w *= turn) {
            for (unsigned i = k; i < size; i += 2 * half) {
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

double dominant_frequency(const int16_t *linear, unsigned rate)
{
    float complex x[1U << BITS_MOST];
    const unsigned size = rate > SAMPLE_RATE ? 1U << BITS_MOST : SPECTRUM_SAMPLES;
    double total = 0.0, peak = 0.0, near = 0.0, left, right;
    unsigned at = 0;

    if (level_dbm0(linear, size) < FAINTEST_DBM0)
        return 0.0;
    for (unsigned i = 0; i < size; i++) {
        double window = 0.5 - 0.5 * cos(MINUS_TWO_PI * i / size);

        x[reversed(i, size)] = (float)(window * linear[i]);
    }
    transform(x, size);
    for (unsigned i = LOBE; i < size / 2 - 1; i++) {
        double p = power(x, i);

        total += p;
        if (p > peak) {
            peak = p;
            at = i;
        }
    }
    if (at <= LOBE)
        return 0.0;
    for (unsigned i = at - LOBE; i <= at + LOBE && i < size / 2 - 1; i++)
        near += power(x, i);
    if (near < DOMINANT * total)
        return 0.0;
    /* A Hann window's main lobe gives the offset from the two bins beside the peak exactly (amplitudes). */
    left = sqrt(power(x, at - 1));
    right = sqrt(power(x, at + 1));
    peak = sqrt(peak);
    if (right >= left)
        return (at + (2.0 * right - peak) / (right + peak)) * rate / size;
    return (at - (2.0 * left - peak) / (left + peak)) * rate / size;
}
