#include "codec.h"

#include <opus/opus.h>

#include "protocol.h"

/* RFC 3551 4.5.2: G.722 has the clock of half its rate; RFC 7587 4.1: Opus that of its highest, whatever is spoken. */
static const struct codec codecs[] = {
    {.id = GM_CODEC_ULAW, .clock = 1, .octets = 1}, {.id = GM_CODEC_ALAW, .clock = 1, .octets = 1},
    {.id = GM_CODEC_G722, .clock = 1, .octets = 1}, {.id = GM_CODEC_OPUS, .clock = 6, .octets = 0},
    {.id = GM_CODEC_L16, .clock = 2, .octets = 4},
};

const struct codec *codec_find(unsigned id)
{
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++)
        if (codecs[i].id == id)
            return &codecs[i];
    return NULL;
}

unsigned codec_duration(const struct codec *c, const uint8_t *payload, size_t size)
{
    size_t samples = 0;

    if (c->octets) {
        samples = size % c->octets ? 0 : size / c->octets;
    } else if (size) {
        int count = opus_packet_get_nb_samples(payload, (opus_int32)size, SAMPLE_RATE);

        samples = count < 0 ? 0 : (size_t)count;
    }
    return samples > CODED_SAMPLES_MAX ? 0 : (unsigned)samples;
}

void codec_swap(uint8_t *to, const uint8_t *from, size_t size)
{
    for (size_t i = 0; i + 1 < size; i += 2) {
        to[i] = from[i + 1];
        to[i + 1] = from[i];
    }
}
