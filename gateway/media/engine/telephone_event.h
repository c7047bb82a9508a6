/* RFC 4733 telephone events, receiving: a digit begins once and ends once, whatever is lost or sent again. */
#ifndef GM_TELEPHONE_EVENT_H
#define GM_TELEPHONE_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EVENT_DIGITS = 16, EVENT_PAYLOAD = 4, EVENT_SILENCE_US = 150000, EVENTS_REMEMBERED = 4 };

struct event_receiver {
    bool active;
    uint8_t event;
    uint32_t stamp;
    uint32_t before;   /* samples of the segments before this one (2.5.1.3) */
    uint32_t duration; /* samples of this segment */
    int64_t heard;
    uint32_t ended[EVENTS_REMEMBERED]; /* stamps of the last events that ended */
    unsigned ended_count;
};

struct event_change {
    bool ended; /* applies before `began` */
    uint8_t ended_event;
    uint32_t ended_samples;
    bool began;
    uint8_t began_event;
    bool finished; /* what began has ended at once */
    uint32_t finished_samples;
};

void event_reset(struct event_receiver *r);
/* False if the payload is no telephone event. Events above 15 are taken and change nothing. */
bool event_take(struct event_receiver *r, uint32_t stamp, const uint8_t *payload, size_t size, int64_t now,
                struct event_change *change);
/* Ends an event whose end packets are all lost; true if it did. */
bool event_expire(struct event_receiver *r, int64_t now, struct event_change *change);

#endif
