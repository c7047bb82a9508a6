/* Packets in coded form that wait to be decoded: a ring of their payloads, found by time. */
#ifndef GM_CODED_H
#define GM_CODED_H

#include <stddef.h>
#include <stdint.h>

enum {
    CODED_PACKETS = 128, /* of 2.5 ms for 320 ms: more than the longest delay */
    CODED_ROOM = 16384,  /* octets: the longest delay at 500 kbit/s */
};

struct coded_packet {
    uint32_t stamp;   /* of SAMPLE_RATE */
    uint32_t at;      /* in the room; modulo 2^32 */
    uint16_t samples; /* of SAMPLE_RATE */
    uint16_t size;
    uint8_t codec;
};

struct coded {
    uint32_t put;         /* octets in all; modulo 2^32 */
    unsigned next, count; /* packets */
    struct coded_packet packets[CODED_PACKETS];
    uint8_t room[CODED_ROOM];
};

void coded_clear(struct coded *c);
/* The oldest make room. The payload has 1 to CODED_ROOM / 2 octets. */
void coded_put(struct coded *c, const struct coded_packet *packet, const uint8_t *payload);
/* The packet that is heard at `stamp`, NULL if it is not here. */
const struct coded_packet *coded_find(const struct coded *c, uint32_t stamp);
/* The first that begins after `stamp`, NULL if there is none within 2^30. */
const struct coded_packet *coded_after(const struct coded *c, uint32_t stamp);
/* Its payload, until the next is put. */
const uint8_t *coded_payload(const struct coded *c, const struct coded_packet *packet);

#endif
