#include "digits.h"

#include <string.h>

#include "cursor.h"

enum { END_PACKETS = 3, SEGMENT_MAX = 0xffff, VOLUME = 10 /* -dBm0 */, END_BIT = 0x80 };

void digits_clear(struct digits *d)
{
    memset(d, 0, sizeof *d);
}

static struct digit_entry *entry(struct digits *d, unsigned index)
{
    return &d->queue[(d->head + index) % GM_DIGITS_MAX];
}

static bool add(struct digits *d, unsigned event, uint32_t samples, bool live)
{
    if (d->count == GM_DIGITS_MAX)
        return false;
    *entry(d, d->count++) = (struct digit_entry){.event = (uint8_t)event, .live = live, .samples = samples};
    return true;
}

bool digits_add(struct digits *d, unsigned event, uint32_t samples)
{
    return add(d, event, samples < DIGIT_LEAST ? DIGIT_LEAST : samples, false);
}

bool digits_begin(struct digits *d, unsigned event)
{
    return add(d, event, DIGIT_MOST, true);
}

void digits_end(struct digits *d, uint32_t samples)
{
    for (unsigned i = 0; i < d->count; i++) {
        struct digit_entry *e = entry(d, i);

        if (e->live) {
            e->live = false;
            e->samples = samples < DIGIT_LEAST ? DIGIT_LEAST : samples;
            return;
        }
    }
}

bool digits_busy(const struct digits *d)
{
    return d->count || d->pause || d->ends;
}

static void finish_digit(struct digits *d)
{
    d->sounding = false;
    d->head = (d->head + 1) % GM_DIGITS_MAX;
    d->count--;
}

void digits_tones(struct digits *d, int16_t *out)
{
    unsigned at = 0;

    while (at < SAMPLES) {
        uint32_t room = SAMPLES - at;
        uint32_t run = room;

        if (d->pause) {
            run = d->pause < room ? d->pause : room;
            memset(out + at, 0, run * sizeof *out);
            d->pause -= run;
        } else if (d->count) {
            uint32_t samples = entry(d, 0)->samples;

            if (!d->sounding) {
                sines_dtmf(&d->sines, entry(d, 0)->event);
                d->sounding = true;
                d->done = 0;
            }
            run = samples > d->done && samples - d->done < room ? samples - d->done : samples > d->done ? room : 0;
            sines_generate(&d->sines, out + at, run);
            d->done += run;
            if (d->done >= samples) {
                finish_digit(d);
                d->pause = DIGIT_PAUSE;
            }
        } else {
            memset(out + at, 0, run * sizeof *out);
        }
        at += run;
    }
}

static void put_event(struct digit_packet *p, unsigned event, bool end, uint32_t duration)
{
    struct writer w = writer_over(p->payload, sizeof p->payload);

    put_u8(&w, event);
    put_u8(&w, (end ? END_BIT : 0U) | VOLUME);
    put_be16(&w, duration);
}

void digits_packet(struct digits *d, uint32_t stamp, unsigned clock, struct digit_packet *packet)
{
    const struct digit_entry *e = entry(d, 0);
    uint32_t duration;

    packet->marker = false;
    if (d->ends) {
        packet->stamp = d->stamp;
        put_event(packet, e->event, true, d->final);
        if (!--d->ends)
            finish_digit(d);
        return;
    }
    if (!d->sounding) {
        d->sounding = true;
        d->done = 0;
        d->segment = 0;
        d->stamp = stamp;
        packet->marker = true;
    }
    d->done += SAMPLES;
    duration = d->done * clock - d->segment;
    if (duration > SEGMENT_MAX) { /* RFC 4733 2.5.1.3: the event goes on in a new segment */
        d->stamp += SEGMENT_MAX;
        d->segment += SEGMENT_MAX;
        duration -= SEGMENT_MAX;
    }
    packet->stamp = d->stamp;
    if (d->done >= e->samples) {
        d->final = duration;
        d->ends = END_PACKETS - 1;
    }
    put_event(packet, e->event, d->ends != 0, duration);
}
