/* Level and dominant single frequency of a stretch of voice, computed only when somebody asks. */
#ifndef GM_SPECTRUM_H
#define GM_SPECTRUM_H

#include "law.h"

enum { SPECTRUM_SAMPLES = 1024 };

double level_dbm0(const int16_t *linear, size_t count);
/* Hertz of the one sine that makes up nearly all of SPECTRUM_SAMPLES samples at SAMPLE_RATE, or twice as many at twice that;
 * 0 if none does. */
double dominant_frequency(const int16_t *linear, unsigned rate);

#endif
