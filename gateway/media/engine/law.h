/* G.711 by table: both laws to 16-bit linear and back, one law to the other, and each law's idle code. */
#ifndef GM_LAW_H
#define GM_LAW_H

#include <stddef.h>
#include <stdint.h>

enum { SAMPLES = 160, SAMPLE_RATE = 8000 }; /* a frame is 20 ms everywhere in the engine */

/* Values are GM_LAW_*. */
enum law { ULAW = 0, ALAW = 1 };

/* Peak of a sine of +3.17 dBm0, the loudest that mu-law carries (G.711 table 6), on the 16-bit scale. */
#define G711_PEAK 32636.0
#define G711_PEAK_DBM0 3.17
#define SILENT_DBM0 (-99.0)

/* Fills the tables; call once before anything else here. */
void law_init(void);

uint8_t law_idle(enum law law);
int16_t law_linear(enum law law, uint8_t code);
void law_decode(enum law law, int16_t *to, const uint8_t *from, size_t count);
void law_encode(enum law law, uint8_t *to, const int16_t *from, size_t count);
/* Copies, transcoding if the laws differ; `to` may be `from`. */
void law_convert(enum law to_law, uint8_t *to, enum law from_law, const uint8_t *from, size_t count);
/* Sum of the magnitudes of each `stride`-th sample: a cheap measure of loudness (32256 a sample at most). */
uint32_t law_magnitude(enum law law, const uint8_t *from, size_t count, size_t stride);

double dbm0_to_peak(double dbm0);
/* Level of `count` samples with this sum of squares; SILENT_DBM0 at nothing. */
double power_to_dbm0(double squares, size_t count);

#endif
