/* Tones: sums of up to four sines with a cadence, and DTMF (Q.23). */
#ifndef GM_TONE_H
#define GM_TONE_H

#include <stdbool.h>
#include <stdint.h>

#include "law.h"
#include "protocol.h"

/* Fills the sine table; call once before anything else here. */
void tone_init(void);

struct sines {
    uint32_t phase[GM_FREQUENCIES_MAX];
    uint32_t step[GM_FREQUENCIES_MAX];
    int32_t peak[GM_FREQUENCIES_MAX];
    unsigned count;
};

void sines_clear(struct sines *s);
/* False if there are GM_FREQUENCIES_MAX already. */
bool sines_add(struct sines *s, double hertz, double dbm0);
void sines_generate(struct sines *s, int16_t *out, unsigned count);

/* The two frequencies of an RFC 4733 event 0..15. */
void sines_dtmf(struct sines *s, unsigned event);
/* 0..15 of a digit 0-9 * # A-D (or a-d), else -1; and back. */
int dtmf_event(char digit);
char dtmf_digit(unsigned event);

struct tone_step {
    uint16_t hertz[GM_FREQUENCIES_MAX]; /* 0: none */
    uint32_t milliseconds;              /* 0: for ever */
    int16_t centibels;                  /* dBm0 x 100, of each frequency */
};

struct tone {
    struct tone_step steps[GM_STEPS_MAX];
    unsigned count;
    unsigned repeat_from; /* GM_NO_REPEAT: once */
    unsigned at;
    uint32_t left; /* samples of this step */
    bool ended;
    struct sines sines;
};

/* From the first step on; `steps`, `count` and `repeat_from` are set. */
void tone_start(struct tone *t);
/* One frame; silence once it has ended. */
void tone_frame(struct tone *t, int16_t *out);

#endif
