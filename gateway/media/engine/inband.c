#include "inband.h"

#include <errno.h>
#include <spandsp.h>
#include <string.h>

enum {
    GATE = 13000,  /* sum of magnitudes of a frame at about -45 dBm0, below what the receiver takes */
    GATE_FRAMES = 3 /* the receiver needs some quiet to see a digit's end */
};

/* Called within dtmf_rx() at each confirmed change; code 0 is the end. */
static void on_change(void *user, int code, int level, int delay)
{
    struct inband *b = user;

    (void)level;
    (void)delay;
    if (b->digit) {
        b->ended = b->digit;
        b->digit = 0;
    }
    if (code) {
        b->began = (char)code;
        b->digit = (char)code;
    }
}

int inband_open(struct inband *b)
{
    memset(b, 0, sizeof *b);
    b->rx = dtmf_rx_init(NULL, NULL, NULL);
    if (!b->rx)
        return ENOMEM;
    inband_reset(b);
    return 0;
}

void inband_close(struct inband *b)
{
    if (b->rx)
        dtmf_rx_free(b->rx);
    b->rx = NULL;
}

void inband_reset(struct inband *b)
{
    dtmf_rx_init(b->rx, NULL, NULL);
    dtmf_rx_set_realtime_callback(b->rx, on_change, b);
    b->digit = b->began = b->ended = 0;
    b->samples = 0;
    b->open = 0;
}

void inband_frame(struct inband *b, enum law law, const uint8_t *codes, struct inband_change *change)
{
    int16_t linear[SAMPLES];
    uint32_t samples = b->samples + SAMPLES;

    memset(change, 0, sizeof *change);
    if (law_magnitude(law, codes, SAMPLES) >= GATE)
        b->open = GATE_FRAMES;
    else if (b->open)
        b->open--;
    if (!b->open)
        return;
    b->began = b->ended = 0;
    law_decode(law, linear, codes, SAMPLES);
    dtmf_rx(b->rx, linear, SAMPLES);
    change->began = b->began;
    change->ended = b->ended;
    change->samples = samples;
    b->samples = b->began ? 0 : samples;
    change->mute = dtmf_rx_status(b->rx) != 0 || b->ended;
}
