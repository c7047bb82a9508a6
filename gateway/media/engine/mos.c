#include "mos.h"

#include <math.h>

/* G.107 tables 2 and 3 defaults, and G.113 appendix I for G.711 with concealment. */
#define RO 94.7688          /* basic signal-to-noise ratio at the defaults */
#define IS 1.4136           /* simultaneous impairments at the defaults */
#define TELR 65.0           /* talker echo loudness rating, dB */
#define WEPL 110.0          /* weighted echo path loss, dB */
#define ROE 94.7688         /* -1.5 (No - RLR) at the defaults */
#define PACKET_LOSS_BPL 25.1
#define EQUIPMENT_IE 0.0

static double talker_echo(double ta)
{
    double terv = TELR - 40.0 * log10((1.0 + ta / 10.0) / (1.0 + ta / 150.0)) + 6.0 * exp(-0.3 * ta * ta);
    double re = 80.0 + 2.5 * (terv - 14.0);
    double half = (ROE - re) / 2.0;

    return (half + sqrt(half * half + 100.0) - 1.0) * (1.0 - exp(-ta));
}

static double listener_echo(double ta)
{
    double rle = 10.5 * (WEPL + 7.0) * pow(2.0 * ta + 1.0, -0.25);
    double half = (RO - rle) / 2.0;

    return half + sqrt(half * half + 169.0);
}

static double too_long(double ta)
{
    double x;

    if (ta <= 100.0)
        return 0.0;
    x = log2(ta / 100.0);
    return 25.0 * (pow(1.0 + pow(x, 6.0), 1.0 / 6.0) - 3.0 * pow(1.0 + pow(x / 3.0, 6.0), 1.0 / 6.0) + 2.0);
}

double mos_rating(double delay_milliseconds, double loss)
{
    double ta = fmax(delay_milliseconds, 0.0);
    double percent = fmin(fmax(loss, 0.0), 1.0) * 100.0;
    double equipment = EQUIPMENT_IE + (95.0 - EQUIPMENT_IE) * percent / (percent + PACKET_LOSS_BPL);

    return RO - IS - talker_echo(ta) - listener_echo(ta) - too_long(ta) - equipment;
}

double mos_of_rating(double rating)
{
    if (rating <= 0.0)
        return 1.0;
    if (rating >= 100.0)
        return 4.5;
    return fmax(1.0, 1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6);
}
