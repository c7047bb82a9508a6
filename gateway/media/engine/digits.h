/* Digits on their way out of a stream: a queue, sent as tones or as RFC 4733 packets, one 20 ms frame at a time. */
#ifndef GM_DIGITS_H
#define GM_DIGITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"
#include "tone.h"

enum {
    DIGIT_LEAST = 400,  /* samples: 50 ms, above the 40 ms every receiver must take (Q.24) */
    DIGIT_PAUSE = 480,  /* samples: 60 ms; also covers in-band audio of the same digit that follows late */
    DIGIT_MOST = 480000, /* samples: a live digit whose end never comes */
};

struct digit_entry {
    uint8_t event;
    bool live;        /* its end is not known yet */
    uint32_t samples;
};

struct digits {
    unsigned count;
    uint32_t pause;   /* samples of pause to come */
    unsigned ends;    /* RFC 4733: end packets still to send */
    unsigned head;
    bool sounding;
    uint32_t done;    /* samples of the digit so far */
    uint32_t stamp;   /* RFC 4733: of this segment */
    uint32_t segment; /* RFC 4733: of the segments before, in the clock of time stamps */
    uint32_t final;   /* duration in the end packets */
    struct sines sines;
    struct digit_entry queue[GM_DIGITS_MAX];
};

void digits_clear(struct digits *d);
/* False if the queue is full. */
bool digits_add(struct digits *d, unsigned event, uint32_t samples);
/* A digit whose length is not known yet, and its end. */
bool digits_begin(struct digits *d, unsigned event);
void digits_end(struct digits *d, uint32_t samples);
/* Is this frame the queue's, not the audio's? */
bool digits_busy(const struct digits *d);
/* One frame of tones and pauses. */
void digits_tones(struct digits *d, int16_t *out);

struct digit_packet {
    uint32_t stamp;
    bool marker;
    uint8_t payload[4];
};

/* The packet of this frame; `stamp` is the audio's, in a clock that is `clock` times SAMPLE_RATE. */
void digits_packet(struct digits *d, uint32_t stamp, unsigned clock, struct digit_packet *packet);

#endif
