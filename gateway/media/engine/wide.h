/* What an RTP stream has beside the rest while it speaks another codec than G.711: both directions' codecs, and the way to
 * 8 kHz and back. All addresses are had at the start; memory is behind them from when they are used first, which is when a
 * stream is set up, and stays there: a box on which nobody speaks so has it for other things. */
#ifndef GM_WIDE_H
#define GM_WIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "decoder.h"
#include "encoder.h"
#include "halfband.h"
#include "rtp.h"

/* What is passed on undecoded (rtp_relay.c). */
struct relay {
    bool on;          /* what is received is passed on */
    uint32_t count;   /* packets so far */
    uint32_t seen;    /* of those of the other side, when it was looked last */
    unsigned longest; /* samples of SAMPLE_RATE in one */
    int64_t arrival;  /* of the last */
    bool begun;       /* what is sent are the packets of `ssrc`, with this added to their numbers */
    uint16_t sequence;
    uint32_t ssrc, stamp;
    unsigned quiet;   /* frames in which nothing was sent */
};

struct wide {
    struct wide *chain; /* next free */
    uint8_t codec;      /* GM_CODEC_*, of what is sent and expected */
    uint8_t packet[RTP_HEADER + CODED_PAYLOAD_MAX]; /* on its way out */
    int16_t sent[WIDE_SAMPLES];                     /* the last frame */
    struct relay relay;
    uint32_t stamp, sample; /* the same time of what is received in the codec's clock and in SAMPLE_RATE */
    struct halver halver;                           /* of what is received */
    struct doubler doubler;                         /* of what is sent */
    struct decoder decoder;
    struct encoder encoder;
};

struct wide_states {
    struct g722_decode_state_s *decoding;
    struct g722_encode_state_s *encoding;
};

struct wides {
    uint8_t *all;
    struct wide_states *states;
    size_t each; /* octets */
    unsigned count, made, used; /* made: with memory behind them */
    struct wide *free;
};

/* Allocates; 0 or an errno. */
int wides_open(struct wides *t, unsigned count);
void wides_close(struct wides *t);
/* NULL: all are taken, or there is no memory. */
struct wide *wide_new(struct wides *t, uint8_t codec);
void wide_free(struct wides *t, struct wide *w);
/* Another codec from now on. */
void wide_reset(struct wide *w, uint8_t codec);

/* A frame received, in mu-law. */
void wide_narrowed(struct wide *w, uint8_t *codes, const int16_t *frame);
/* SAMPLES at 8 kHz that are to be sent, as WIDE_SAMPLES. */
void wide_widened(struct wide *w, int16_t *frame, const int16_t *narrow);

#endif
