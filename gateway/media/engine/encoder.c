#include "encoder.h"

#include <opus/opus.h>
#include <spandsp.h>
#include <string.h>

#include "protocol.h"

/* Speech at 16 kHz is as good as at any higher rate, and half as dear to encode as with the highest complexity. */
enum { BITRATE = 24000, COMPLEXITY = 2, FRAME_LEAST = WIDE_SAMPLES / 2, FRAMES_MAX = 6, LOSS_MAX = 30,
       G722_RATE = 64000 };

size_t encoder_opus_size(void)
{
    return (size_t)opus_encoder_get_size(1);
}

size_t encoder_joiner_size(void)
{
    return (size_t)opus_repacketizer_get_size();
}

void encoder_reset(struct encoder *n, uint8_t codec)
{
    n->codec = codec;
    n->count = 0;
    n->narrow = false;
    if (codec == GM_CODEC_G722) {
        (void)g722_encode_init(n->g722, G722_RATE, 0);
    } else if (codec == GM_CODEC_OPUS) {
        (void)opus_encoder_init(n->opus, WIDE_RATE, 1, OPUS_APPLICATION_VOIP);
        (void)opus_encoder_ctl(n->opus, OPUS_SET_BITRATE(BITRATE));
        (void)opus_encoder_ctl(n->opus, OPUS_SET_COMPLEXITY(COMPLEXITY));
        (void)opus_encoder_ctl(n->opus, OPUS_SET_SIGNAL(OPUS_SIGNAL_VOICE));
        (void)opus_encoder_ctl(n->opus, OPUS_SET_INBAND_FEC(1));
    }
}

void encoder_drop(struct encoder *n)
{
    n->count = 0;
}

void encoder_narrow(struct encoder *n, bool narrow)
{
    if (narrow == n->narrow)
        return;
    n->narrow = narrow;
    if (n->codec == GM_CODEC_OPUS)
        (void)opus_encoder_ctl(n->opus,
                               OPUS_SET_MAX_BANDWIDTH(narrow ? OPUS_BANDWIDTH_NARROWBAND : OPUS_BANDWIDTH_WIDEBAND));
}

void encoder_loss(struct encoder *n, unsigned percent)
{
    if (n->codec == GM_CODEC_OPUS)
        (void)opus_encoder_ctl(n->opus, OPUS_SET_PACKET_LOSS_PERC((int)(percent < LOSS_MAX ? percent : LOSS_MAX)));
}

void encoder_add(struct encoder *n, uint8_t *payload, unsigned done, const int16_t *voice, unsigned samples)
{
    const unsigned count = WIDE * samples;

    if (n->codec == GM_CODEC_G722) {
        (void)g722_encode(n->g722, payload + done, voice, (int)count);
    } else if (n->codec == GM_CODEC_L16) {
        uint8_t *to = payload + (size_t)done * 2 * WIDE;

        for (size_t i = 0; i < count; i++) {
            to[2 * i] = (uint8_t)((uint16_t)voice[i] >> 8);
            to[2 * i + 1] = (uint8_t)voice[i];
        }
    } else if (n->count + count <= WIDE * PACKET_SAMPLES_MAX) {
        memcpy(n->waiting + n->count, voice, count * sizeof *voice);
        n->count += count;
    }
}

/* A packet of 30 or 50 ms has frames of 10. */
static size_t join(struct encoder *n, uint8_t *payload, unsigned frames)
{
    uint8_t parts[FRAMES_MAX][CODED_PAYLOAD_MAX / FRAMES_MAX];
    int size = 0;

    (void)opus_repacketizer_init(n->joiner);
    for (unsigned i = 0; i < frames && size >= 0; i++) {
        size = opus_encode(n->opus, n->waiting + (size_t)i * FRAME_LEAST, FRAME_LEAST, parts[i], sizeof parts[i]);
        if (size > 0 && opus_repacketizer_cat(n->joiner, parts[i], size) != OPUS_OK)
            size = -1; /* another bandwidth in the middle of a packet */
    }
    if (opus_repacketizer_get_nb_frames(n->joiner) < 1)
        return 0;
    size = opus_repacketizer_out(n->joiner, payload, CODED_PAYLOAD_MAX);
    return size > 0 ? (size_t)size : 0;
}

size_t encoder_finish(struct encoder *n, uint8_t *payload, unsigned samples)
{
    const unsigned count = n->count;
    int size;

    n->count = 0;
    if (n->codec == GM_CODEC_G722)
        return samples;
    if (n->codec == GM_CODEC_L16)
        return (size_t)samples * 2 * WIDE;
    if (count != WIDE * samples || count % FRAME_LEAST)
        return 0;
    if (count > FRAME_LEAST && count % WIDE_SAMPLES)
        return join(n, payload, count / FRAME_LEAST);
    size = opus_encode(n->opus, n->waiting, (int)count, payload, CODED_PAYLOAD_MAX);
    return size > 0 ? (size_t)size : 0;
}
