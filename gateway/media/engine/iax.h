/* IAX2 (RFC 5456): sockets that many calls share, and the voice of a call in mini frames (8.1.2) and trunk frames (8.1.3.2).
 * Full frames go to signalling as they come, and out as it wants them; here nobody looks into them while there is any. */
#ifndef GM_IAX_H
#define GM_IAX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "codec.h"
#include "iax_cipher.h"

enum {
    IAX_SOCKETS_MAX = 16,
    IAX_FULL = 0x8000,          /* F bit: of a full frame */
    IAX_FULL_HEADER = 12,
    IAX_MINI_HEADER = 4,
    IAX_FRAME_MS = 20,
    IAX_DATAGRAM_MAX = 16384,   /* octets, either way */
    IAX_MINI_MAX = IAX_MINI_HEADER + CODED_PAYLOAD_MAX + IAX_CIPHER_ROOM,
};

struct stream;

/* How time stamps of what comes are made whole, and put in a row (iax_stamp.c). */
struct iax_clock {
    bool known;
    bool trunk_known;
    uint8_t behind;     /* in a row, that belong to a time before */
    uint8_t doubt;      /* how often a trunk's stamps went otherwise than time did */
    bool paced;         /* `least` is known: they are not believed */
    uint8_t slow;       /* frames in a row that came later than that, by `slower` ms at least */
    bool joined;        /* `own_offset` is known */
    uint8_t own;        /* frames in a row that had a time of their own, as far as it matters */
    uint32_t next;      /* ms: expected */
    uint32_t began;     /* where the first frame was put */
    int64_t at;         /* when something came */
    uint32_t trunk;     /* to be added to a trunk frame's time stamp */
    uint32_t own_offset; /* to be added to a stamp that is a frame's own */
    uint32_t hole, hole_size; /* where trunk frames were missing last */
    uint32_t told;      /* the last time stamp of a trunk frame, as it was ... */
    int32_t slower;
    int64_t told_at;    /* ... and when that was */
    int32_t least;      /* ms of our clock less the call's, when a frame came as early as any */
};

/* Of a call. What its voice has in common with RTP is in struct rtp_part. */
struct iax_part {
    struct iax_socket *socket;
    struct stream *chain; /* with the same hash */
    struct iax_trunk *trunk; /* NULL: mini frames */
    uint16_t source, far; /* call numbers: ours, theirs */
    bool listed, counted_host; /* found by whoever looks; its host is known to have this call */
    bool encrypted, told_clear;
    uint8_t clear;        /* frames in a row that came in clear, ... */
    int64_t clear_at;     /* ... and when the last of them did */
    uint8_t codec;        /* of what comes */
    bool begun;           /* `stamp` is of what is sent next */
    bool said;            /* a full frame has said `said_codec` and the upper half of the stamp */
    uint8_t said_codec;
    uint16_t said_upper;
    int64_t said_at;
    int64_t again; /* when that is told anew, as whoever was to send it is gone; 0: never */
    uint32_t stamp, sample; /* ms of the call, and the same time in struct rtp_part's */
    int64_t epoch;
    bool counted;
    uint32_t lost, latest; /* latest: ms, where the last frame of what came ends */
    uint64_t seen;        /* bit n: the frame that many before the latest has come */
    struct iax_clock clock;
    struct iax_cipher send, receive, former;
    int64_t former_until;
    uint16_t size;        /* of the last decrypted frame */
    uint8_t odd;          /* frames in a row that decrypted to a time that makes no sense, ... */
    uint32_t odd_stamp;   /* ... and the last of them */
};

#endif
