/* Level and dominant single frequency of a stretch of G.711, computed only when somebody asks. */
#ifndef GM_SPECTRUM_H
#define GM_SPECTRUM_H

#include "law.h"

enum { SPECTRUM_SAMPLES = 1024 };

double level_dbm0(enum law law, const uint8_t *codes, size_t count);
/* Hertz of the one sine that makes up nearly all of SPECTRUM_SAMPLES samples, 0 if none does. */
double dominant_frequency(enum law law, const uint8_t *codes);

#endif
