#include <stdlib.h>

#include "engine.h"

/* Time stamps of IAX2 voice, in milliseconds. A mini frame has 16 bits of one, a trunk frame one for all its calls, of the
 * trunk's own clock and told when the frame was sent, not when the voice was. Voice comes in frames that follow each other, so
 * a stamp is taken for what it says only where it is far from what is expected. */

enum {
    NEAR_MS = 10,        /* of what is expected: rounding, or a sender that reads its clock for each frame */
    EARLY_MS = 30,       /* in a trunk frame: voice that was late for the one before */
    BEHIND_MAX = 3,      /* frames in a row of a time before: the sender counts anew */
    JUMP_MS = 1000,      /* a trunk's clock that does not go on from where it was */
    DOUBT_MS = 15, DOUBT_STEP = 4, DOUBT_MIN = 16, DOUBT_MAX = 200,
    SLOW_MAX = 8, SLOW_MS = 200, /* frames, or a delay, after which something was lost */
    SEEN = 64,
    PAUSE_FRAMES = 25,   /* what is missing longer was not sent */
    JOIN_MS = 250,       /* what is no further apart follows each other, whoever's clock tells its time */
    BEGINNING_MS = 500,
    OWN_MIN = 3,         /* frames in a row with a time of their own: it is no trunk any more */
};

/* What the far end's clock says now, as far as is known: before anything was heard both sides have counted for about as long. */
static uint32_t expected(const struct iax_part *x, int64_t at)
{
    return x->clock.known ? x->clock.next + (uint32_t)((at - x->clock.at) / 1000) : (uint32_t)((at - x->epoch) / 1000);
}

uint32_t iax_unwrap(const struct iax_part *x, unsigned stamp, int64_t at)
{
    const uint32_t about = expected(x, at);
    const int32_t off = (int16_t)(uint16_t)(stamp + x->clock.own_offset - about);

    return about + (uint32_t)off;
}

/* A frame with a time of its own among those of a trunk that has none: it is where one of them is missing, or the next one. The
 * two clocks have nothing to do with each other, and the frame may have come after one that was sent later. */
static uint32_t among(struct iax_clock *k, uint32_t stamp, unsigned duration)
{
    const int32_t ahead = (int32_t)(stamp - k->next);
    const bool hole = k->hole_size >= duration && k->next - k->hole <= JOIN_MS;
    uint32_t place = k->next;

    if (k->joined) {
        if (ahead > JOIN_MS || ahead < -JOIN_MS)
            return stamp;
        if (ahead > 0)
            place += ((uint32_t)ahead + duration / 2) / duration * duration;
        if (hole && abs((int32_t)(stamp - k->hole)) < abs((int32_t)(stamp - place)))
            place = k->hole;
    } else if (hole) {
        place = k->hole;
    } else if (k->next - k->began <= BEGINNING_MS) {
        place = k->began - duration; /* the first voice of a call is in a full frame */
    }
    if (place == k->hole)
        k->hole_size = 0;
    k->joined = true;
    k->own_offset += place - stamp;
    return place;
}

uint32_t iax_place(struct iax_part *x, uint32_t stamp, unsigned duration, bool loose, int64_t at)
{
    struct iax_clock *k = &x->clock;
    int32_t ahead;

    if (!k->known)
        k->began = stamp;
    else if (!loose && !k->own)
        stamp = among(k, stamp, duration);
    k->joined |= !loose;
    k->own = loose ? 0 : k->own < OWN_MIN ? (uint8_t)(k->own + 1) : OWN_MIN;
    ahead = (int32_t)(stamp - k->next);
    if (k->known && ahead < (loose ? -EARLY_MS : -NEAR_MS) && ++k->behind < BEHIND_MAX)
        return stamp; /* on its way for longer than what came before it */
    k->behind = 0;
    if (k->known && ahead <= NEAR_MS && ahead >= (loose ? -EARLY_MS : -NEAR_MS))
        stamp = k->next;
    if (k->known && loose && stamp != k->next) {
        k->hole = k->next;
        k->hole_size = stamp - k->next;
    }
    k->known = true;
    k->next = stamp + duration;
    k->at = at;
    return stamp;
}

/* Whether a trunk frame's stamps are to be believed. chan_iax2 sends a frame whenever one is full and counts 20 ms for each,
 * until it is 160 ms ahead of its clock and begins there again: with more calls than go into one frame they say nothing. */
static bool doubted(struct iax_clock *k, uint32_t stamp, int64_t at)
{
    const int32_t off = (int32_t)(stamp - k->told) - (int32_t)((at - k->told_at) / 1000);

    if (k->told_at && (off > DOUBT_MS || off < -DOUBT_MS))
        k->doubt = k->doubt + DOUBT_STEP < DOUBT_MAX ? (uint8_t)(k->doubt + DOUBT_STEP) : DOUBT_MAX;
    else if (k->doubt)
        k->doubt--;
    k->told = stamp;
    k->told_at = at;
    return k->known && k->doubt >= DOUBT_MIN;
}

/* The time of a frame by when it came: it follows the one before, unless all have been later for a while. */
static uint32_t paced(struct iax_clock *k, int64_t at)
{
    const int32_t lag = (int32_t)((uint32_t)(at / 1000) - k->next);
    int32_t over;

    if (!k->paced || lag < k->least) {
        k->paced = true;
        k->least = lag;
        k->slow = 0;
    }
    over = lag - k->least;
    if (over < IAX_FRAME_MS) {
        k->slow = 0;
        return k->next;
    }
    k->slower = k->slow && k->slower < over ? k->slower : over;
    if (++k->slow < SLOW_MAX && over < SLOW_MS)
        return k->next;
    k->slow = 0;
    return k->next + (uint32_t)(k->slower / IAX_FRAME_MS * IAX_FRAME_MS);
}

uint32_t iax_trunk_time(struct iax_part *x, uint32_t stamp, int64_t at)
{
    struct iax_clock *k = &x->clock;
    uint32_t about = expected(x, at);
    int32_t ahead = (int32_t)(stamp + k->trunk - about);

    if (doubted(k, stamp, at))
        return paced(k, at);
    k->paced = false;
    if (!k->trunk_known || k->own == OWN_MIN || ahead > JUMP_MS || ahead < -JUMP_MS) {
        k->trunk = (k->known && (at - k->at) / 1000 < JOIN_MS ? k->next : about) - stamp;
        k->trunk_known = true;
    }
    return stamp + k->trunk;
}

void iax_account(struct stream *s, uint32_t stamp, unsigned duration)
{
    struct iax_part *x = &s->iax;
    const uint32_t end = stamp + duration;
    const int32_t half = (int32_t)duration / 2, apart = (int32_t)(end - x->latest);
    const int32_t frames = (apart >= 0 ? apart + half : apart - half) / (int32_t)duration;

    if (!x->counted || frames > 0) {
        x->lost += x->counted && frames <= PAUSE_FRAMES ? (uint32_t)frames - 1 : 0;
        x->seen = x->counted && frames < SEEN ? x->seen << frames | 1 : 1;
        x->counted = true;
        x->latest = end;
    } else if (-frames < SEEN) {
        const uint64_t bit = UINT64_C(1) << -frames;

        if (x->seen & bit) {
            s->rtp.source.duplicated++;
        } else {
            s->rtp.source.reordered++;
            x->lost -= x->lost != 0;
        }
        x->seen |= bit;
    }
}
