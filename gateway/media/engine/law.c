#include "law.h"

#include <math.h>
#include <string.h>

/* Encoding looks the code up by the upper 14 bits, all that mu-law can tell apart. */
enum { ENCODE_SHIFT = 2, ENCODE_SIZE = 1 << 14 };

static int16_t to_linear[2][256];
static uint16_t magnitude[2][256];
static uint8_t from_linear[2][ENCODE_SIZE];
static uint8_t other_law[2][256]; /* indexed by the law of the input */

static int16_t ulaw_value(uint8_t code)
{
    int bits = ~code & 0xff;
    int value = ((((bits & 0x0f) << 3) + 0x84) << (bits >> 4 & 7)) - 0x84;

    return (int16_t)(bits & 0x80 ? -value : value);
}

static int16_t alaw_value(uint8_t code)
{
    int bits = code ^ 0x55;
    int segment = bits >> 4 & 7;
    int value = ((bits & 0x0f) << 4) + 8;

    if (segment)
        value = (value + 0x100) << (segment - 1);
    return (int16_t)(bits & 0x80 ? value : -value);
}

static uint8_t ulaw_code(int value)
{
    int sign = value < 0 ? 0x80 : 0;
    int size = (value < 0 ? -value : value) + 0x84;
    int segment = 7;

    if (size > 0x7fff)
        size = 0x7fff;
    while (segment > 0 && size < 0x80 << segment)
        segment--;
    return (uint8_t)~(sign | segment << 4 | (size >> (segment + 3) & 0x0f));
}

static uint8_t alaw_code(int value)
{
    int sign = value >= 0 ? 0x80 : 0;
    int size = value >= 0 ? value : -value - 1;
    int segment = 7;

    if (size > 0x7fff)
        size = 0x7fff;
    while (segment > 0 && size < 0x80 << segment)
        segment--;
    return (uint8_t)((sign | segment << 4 | (size >> (segment ? segment + 3 : 4) & 0x0f)) ^ 0x55);
}

void law_init(void)
{
    for (int i = 0; i < 256; i++) {
        to_linear[ULAW][i] = ulaw_value((uint8_t)i);
        to_linear[ALAW][i] = alaw_value((uint8_t)i);
    }
    for (int i = 0; i < ENCODE_SIZE; i++) {
        int value = (int16_t)(uint16_t)(i << ENCODE_SHIFT);

        from_linear[ULAW][i] = ulaw_code(value);
        from_linear[ALAW][i] = alaw_code(value);
    }
    for (int law = ULAW; law <= ALAW; law++) {
        for (int i = 0; i < 256; i++) {
            int16_t value = to_linear[law][i];

            magnitude[law][i] = (uint16_t)(value < 0 ? -value : value);
            other_law[law][i] = from_linear[!law][(uint16_t)value >> ENCODE_SHIFT];
        }
    }
}

uint8_t law_idle(enum law law)
{
    return law == ULAW ? 0xff : 0xd5;
}

int16_t law_linear(enum law law, uint8_t code)
{
    return to_linear[law][code];
}

void law_decode(enum law law, int16_t *to, const uint8_t *from, size_t count)
{
    const int16_t *table = to_linear[law];

    for (size_t i = 0; i < count; i++)
        to[i] = table[from[i]];
}

void law_encode(enum law law, uint8_t *to, const int16_t *from, size_t count)
{
    const uint8_t *table = from_linear[law];

    for (size_t i = 0; i < count; i++)
        to[i] = table[(uint16_t)from[i] >> ENCODE_SHIFT];
}

void law_convert(enum law to_law, uint8_t *to, enum law from_law, const uint8_t *from, size_t count)
{
    const uint8_t *table = other_law[from_law];

    if (to_law == from_law) {
        memmove(to, from, count);
        return;
    }
    for (size_t i = 0; i < count; i++)
        to[i] = table[from[i]];
}

uint32_t law_magnitude(enum law law, const uint8_t *from, size_t count, size_t stride)
{
    const uint16_t *table = magnitude[law];
    uint32_t sum = 0;

    for (size_t i = 0; i < count; i += stride)
        sum += table[from[i]];
    return sum;
}

double dbm0_to_peak(double dbm0)
{
    return G711_PEAK * pow(10.0, (dbm0 - G711_PEAK_DBM0) / 20.0);
}

double power_to_dbm0(double squares, size_t count)
{
    const double reference = G711_PEAK * G711_PEAK / 2.0; /* mean square of the loudest sine */
    double level;

    if (!count || squares <= 0.0)
        return SILENT_DBM0;
    level = 10.0 * log10(squares / (double)count / reference) + G711_PEAK_DBM0;
    return level < SILENT_DBM0 ? SILENT_DBM0 : level;
}
