/* From 16 to 8 kHz and back by one half-band FIR of 63 taps: flat to 3.5 kHz, 60 dB down from 4.5 kHz, 2 ms late. */
#ifndef GM_HALFBAND_H
#define GM_HALFBAND_H

#include <stdint.h>

#include "codec.h"

enum { HALFBAND_TAPS = 32 /* that are not 0, beside the one in the middle */ };

struct halver {
    float odd[HALFBAND_TAPS - 1], even[HALFBAND_TAPS / 2 - 1];
};

struct doubler {
    float past[HALFBAND_TAPS];
};

/* Fills the tables; call once before anything else here. */
void halfband_init(void);
/* A frame: WIDE_SAMPLES to SAMPLES; and SAMPLES to WIDE_SAMPLES. All zeros is where both begin. */
void halver_run(struct halver *h, int16_t *out, const int16_t *in);
void doubler_run(struct doubler *d, int16_t *out, const int16_t *in);

#endif
