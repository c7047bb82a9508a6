/* What all IAX2 calls share: sockets, the table of whose voice is whose, trunks, and what is gathered to be sent at once. */
#ifndef GM_IAX_SOCKETS_H
#define GM_IAX_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include "address.h"
#include "iax.h"
#include "jitter.h"

enum {
    IAX_BATCH = 32,         /* datagrams of one system call, either way */
    IAX_STRANGERS = 32768,  /* octets of full frames of strangers that wait for their turn */
};

/* Full frames of whom nobody knows, each behind this. */
struct iax_waiting {
    union address from;
    uint16_t size;
};

struct iax_socket {
    struct stream *owner; /* NULL: free */
    int fd, family;       /* fd: of voice, and of what is sent */
    int full;             /* of full frames; NO_FD: they come to `fd` too */
    bool both;            /* of IPv6, and IPv4 as mapped addresses */
    bool waking;          /* full frames (or all, if there is one fd) wake the engine; else they are looked for in each tick */
    bool flooded;         /* the last look left something, or brought much */
    bool in_fault;        /* sending fails; said so */
    unsigned calls;
    union address local;
    int64_t served;       /* the frame in which strangers had their turn last */
    unsigned share;       /* of theirs that are handed over in it yet */
    size_t first, used;   /* of `strangers`: a ring */
    uint8_t *strangers;   /* IAX_STRANGERS octets */
};

/* One for each address that calls are trunked to, over one socket and in one format. */
struct iax_trunk {
    struct iax_trunk *next;
    struct iax_socket *socket;
    union address to;
    bool stamps;
    unsigned calls;
    unsigned phase;            /* the tick of each frame at whose end it is sent */
    unsigned votes[PHASES], voted; /* when its calls' voice came */
    uint32_t stamp;            /* ms; of what is gathered */
    int64_t began;             /* when that was 0 */
    size_t path;               /* octets of a datagram that the path takes */
    size_t most;               /* the same that the calls want, 0: no matter */
    int64_t looked;            /* when the path was */
    size_t size;               /* octets so far, 0: nothing yet */
    uint8_t data[IAX_DATAGRAM_MAX];
};

struct iax_intake {
    struct mmsghdr messages[IAX_BATCH];
    struct iovec parts[IAX_BATCH];
    union address from[IAX_BATCH];
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(struct timespec))];
    } control[IAX_BATCH];
    uint8_t data[IAX_BATCH][IAX_DATAGRAM_MAX];
};

struct iax_outlet {
    struct iax_socket *socket;
    unsigned count;
    struct mmsghdr messages[IAX_BATCH];
    struct iovec parts[IAX_BATCH];
    union address to[IAX_BATCH];
    uint8_t data[IAX_BATCH][IAX_MINI_MAX];
};

/* A host that full frames are awaited of. */
struct iax_known {
    uint8_t host[16];
    bool used;
    unsigned calls;
    int64_t until;
};

struct iax {
    struct iax_socket *sockets; /* IAX_SOCKETS_MAX */
    unsigned open;
    struct stream **buckets;
    unsigned bucket_mask;
    struct iax_known *known;
    struct iax_trunk *trunks;
    struct iax_intake *intake;
    struct iax_outlet *outlet;
};

#endif
