/* In-band DTMF in a stream of G.711: spandsp's receiver behind two gates, for it costs as much as a system call. The first
 * skips what is too faint, the second what has not two DTMF frequencies in it. */
#ifndef GM_INBAND_H
#define GM_INBAND_H

#include <stdbool.h>
#include <stdint.h>

#include "law.h"

struct inband {
    struct dtmf_rx_state_s *rx;
    char digit;       /* sounding now, 0: none */
    uint32_t samples; /* since it began */
    unsigned open;    /* frames for which the gates stay open */
    char began, ended; /* set by the receiver within one frame */
    char held;         /* what ended and may go on, 0: none */
    uint8_t waited;    /* frames since */
    bool lull;         /* a whole frame was faint since a digit began */
    uint8_t concealed; /* of its stream's concealed frames, when last looked at */
    uint8_t skipped;   /* frames in a row that nobody looked at */
    uint32_t length;   /* samples that it had */
};

struct inband_change {
    char began, ended; /* digits, 0: none; `ended` applies first */
    uint32_t samples;  /* of what ended */
    bool mute;         /* the frame is (likely) part of a digit */
};

/* Fills the tables; call once before anything else here. */
void inband_init(void);

/* Allocates; 0 or an errno. */
int inband_open(struct inband *b);
void inband_close(struct inband *b);
void inband_reset(struct inband *b);
/* `bridged`: frames that a digit may be missing while there is no silence and is still one press, for voice that went
 * through a codec made for speech. */
void inband_frame(struct inband *b, enum law law, const uint8_t *codes, unsigned bridged, struct inband_change *change);

#endif
