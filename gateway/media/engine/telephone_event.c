#include "telephone_event.h"

#include <string.h>

#include "cursor.h"

enum { SEGMENT_MAX = 0xffff };

void event_reset(struct event_receiver *r)
{
    memset(r, 0, sizeof *r);
}

static bool has_ended(const struct event_receiver *r, uint32_t stamp)
{
    unsigned count = r->ended_count < EVENTS_REMEMBERED ? r->ended_count : EVENTS_REMEMBERED;

    for (unsigned i = 0; i < count; i++)
        if (r->ended[i] == stamp)
            return true;
    return false;
}

static uint32_t finish(struct event_receiver *r)
{
    r->active = false;
    r->ended[r->ended_count++ % EVENTS_REMEMBERED] = r->stamp;
    return r->before + r->duration;
}

static void end_current(struct event_receiver *r, struct event_change *change)
{
    change->ended = true;
    change->ended_event = r->event;
    change->ended_samples = finish(r);
}

bool event_take(struct event_receiver *r, uint32_t stamp, const uint8_t *payload, size_t size, int64_t now,
                struct event_change *change)
{
    struct cursor c = cursor_over(payload, size);
    uint8_t event = cursor_u8(&c);
    bool end = cursor_u8(&c) >> 7;
    uint32_t duration = cursor_be16(&c);

    memset(change, 0, sizeof *change);
    if (c.bad)
        return false;
    if (event >= EVENT_DIGITS || has_ended(r, stamp))
        return true;
    if (r->active && (int32_t)(stamp - r->stamp) < 0)
        return true; /* an older event's packet, late */
    r->heard = now;
    if (r->active && stamp == r->stamp + SEGMENT_MAX && event == r->event) {
        r->before += SEGMENT_MAX;
        r->stamp = stamp;
        r->duration = 0;
    } else if (r->active && stamp != r->stamp) {
        end_current(r, change);
    }
    if (!r->active) {
        r->active = true;
        r->event = event;
        r->stamp = stamp;
        r->before = 0;
        r->duration = 0;
        change->began = true;
        change->began_event = event;
    }
    if (event == r->event && duration > r->duration)
        r->duration = duration;
    if (end && change->began) {
        change->finished = true;
        change->finished_samples = finish(r);
    } else if (end) {
        end_current(r, change);
    }
    return true;
}

bool event_expire(struct event_receiver *r, int64_t now, struct event_change *change)
{
    memset(change, 0, sizeof *change);
    if (!r->active || now - r->heard < EVENT_SILENCE_US)
        return false;
    end_current(r, change);
    return true;
}
