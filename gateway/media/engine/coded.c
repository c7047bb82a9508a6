#include "coded.h"

#include <stdbool.h>
#include <string.h>

void coded_clear(struct coded *c)
{
    c->put = 0;
    c->next = c->count = 0;
}

static bool overwritten(const struct coded *c, const struct coded_packet *p)
{
    return c->put - p->at > CODED_ROOM;
}

void coded_put(struct coded *c, const struct coded_packet *packet, const uint8_t *payload)
{
    struct coded_packet *p = &c->packets[c->next];
    uint32_t at = c->put % CODED_ROOM;

    if (at + packet->size > CODED_ROOM)
        c->put += CODED_ROOM - at;
    *p = *packet;
    p->at = c->put;
    memcpy(c->room + c->put % CODED_ROOM, payload, packet->size);
    c->put += packet->size;
    c->next = (c->next + 1) % CODED_PACKETS;
    if (c->count < CODED_PACKETS)
        c->count++;
    for (; overwritten(c, &c->packets[(c->next + CODED_PACKETS - c->count) % CODED_PACKETS]); c->count--)
        ;
}

const struct coded_packet *coded_find(const struct coded *c, uint32_t stamp)
{
    for (unsigned i = 1; i <= c->count; i++) {
        const struct coded_packet *p = &c->packets[(c->next + CODED_PACKETS - i) % CODED_PACKETS];

        if (stamp - p->stamp < p->samples)
            return p;
    }
    return NULL;
}

const struct coded_packet *coded_after(const struct coded *c, uint32_t stamp)
{
    const struct coded_packet *best = NULL;
    uint32_t nearest = UINT32_C(1) << 30;

    for (unsigned i = 1; i <= c->count; i++) {
        const struct coded_packet *p = &c->packets[(c->next + CODED_PACKETS - i) % CODED_PACKETS];
        uint32_t ahead = p->stamp - stamp;

        if (ahead && ahead < nearest) {
            nearest = ahead;
            best = p;
        }
    }
    return best;
}

const uint8_t *coded_payload(const struct coded *c, const struct coded_packet *packet)
{
    return c->room + packet->at % CODED_ROOM;
}
