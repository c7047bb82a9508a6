/* The other direction of an RTP stream in a codec other than G.711: voice at 16 kHz in, payloads out. */
#ifndef GM_ENCODER_H
#define GM_ENCODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"

struct encoder {
    struct OpusEncoder *opus; /* these three are memory that it is given */
    struct OpusRepacketizer *joiner; /* for packets that no single frame of Opus is as long as */
    struct g722_encode_state_s *g722;
    uint8_t codec;
    bool narrow; /* what is sent has nothing above 4 kHz */
    unsigned count; /* samples of 16 kHz that wait for Opus */
    int16_t waiting[WIDE * PACKET_SAMPLES_MAX];
};

/* Octets of memory for Opus's state, and for what joins its frames. */
size_t encoder_opus_size(void);
size_t encoder_joiner_size(void);
/* As new. */
void encoder_reset(struct encoder *n, uint8_t codec);
/* Forgets the packet that was begun. */
void encoder_drop(struct encoder *n);
void encoder_narrow(struct encoder *n, bool narrow);
/* Share of packets that get lost on the way: what Opus is to repeat it for. */
void encoder_loss(struct encoder *n, unsigned percent);
/* WIDE x `samples` of voice go to a payload that holds `done` samples (of SAMPLE_RATE) so far, at most PACKET_SAMPLES_MAX. */
void encoder_add(struct encoder *n, uint8_t *payload, unsigned done, const int16_t *voice, unsigned samples);
/* Its size once it is complete with `samples`, a multiple of 10 ms; 0: there is nothing to send. */
size_t encoder_finish(struct encoder *n, uint8_t *payload, unsigned samples);

#endif
