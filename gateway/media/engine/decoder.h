/* One direction of an RTP stream in a codec other than G.711: packets in coded form in, frames of WIDE_SAMPLES at 16 kHz out.
 * What is missing is made up: by Opus itself, from the packet behind it if that says (FEC), else by repetition. */
#ifndef GM_DECODER_H
#define GM_DECODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "coded.h"
#include "codec.h"
#include "halfband.h"
#include "wide_conceal.h"

enum { HEARD_SAMPLES = 2048 /* 128 ms */ };

struct decoder {
    struct OpusDecoder *opus;         /* these two are memory that it is given */
    struct g722_decode_state_s *g722;
    uint8_t codec;       /* of the packet decoded last */
    bool fresh;          /* nothing is heard yet */
    uint32_t at;         /* stamp of the first sample that waits */
    unsigned first, count;
    uint32_t newest;     /* stamp behind the packet that came last, of those that are passed on */
    unsigned losing;     /* frames for which the delay does not shrink: what is lost is in packets to come */
    uint32_t recovered;  /* packets made of the one behind them */
    struct wide_conceal conceal;
    struct doubler doubler; /* for G.711, which may come in between */
    struct coded coded;
    int16_t waiting[WIDE * CODED_SAMPLES_MAX]; /* decoded */
    int16_t heard[HEARD_SAMPLES];              /* the last that was played */
};

/* Octets of memory for Opus's state. */
size_t decoder_opus_size(void);
/* As new, for a far end that speaks `codec` (GM_CODEC_*). */
void decoder_reset(struct decoder *d, uint8_t codec);
/* Forgets what waits; the codec goes on. */
void decoder_skip(struct decoder *d);
/* The frame at `stamp`; false if a part of it is made up. */
bool decoder_read(struct decoder *d, int16_t *out, uint32_t stamp);
/* A frame that stands for one that is not here; `*real` samples of SAMPLE_RATE at `stamp` were decoded and are in it. */
void decoder_conceal(struct decoder *d, int16_t *out, uint32_t stamp, unsigned *real);
/* Decodes what came last into `heard`, where packets are passed on and nothing else is decoded. */
void decoder_look(struct decoder *d);
/* Can `samples` (of SAMPLE_RATE) before the packet at `stamp` be made of that? */
bool decoder_recovers(const struct decoder *d, uint32_t stamp, unsigned samples);

#endif
