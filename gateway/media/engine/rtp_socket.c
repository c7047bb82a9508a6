#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"

enum {
    DSCP_EF = 0xb8, /* RFC 3246, as the TOS octet */
    PRIORITY_VOICE = 6, /* the highest that needs no privilege */
    ATTEMPTS = 1024,
};

void address_fill(union address *a, int family, const uint8_t *bytes, uint16_t port)
{
    memset(a, 0, sizeof *a);
    if (family == AF_INET) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons(port);
        memcpy(&a->v4.sin_addr, bytes, sizeof a->v4.sin_addr);
    } else {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons(port);
        memcpy(&a->v6.sin6_addr, bytes, sizeof a->v6.sin6_addr);
    }
}

bool address_same_host(const union address *a, const union address *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
    return memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
}

bool address_equal(const union address *a, const union address *b)
{
    /* The port is at the same place in both families. */
    return a->v4.sin_port == b->v4.sin_port && address_same_host(a, b);
}

static int bind_one(int family, const uint8_t *address, uint16_t port, int *fd)
{
    const int one = 1, tos = DSCP_EF, priority = PRIORITY_VOICE;
    union address a;
    int err = 0;

    address_fill(&a, family, address, port);
    *fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return errno;
    if (family == AF_INET6)
        (void)setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(*fd, &a.any, family == AF_INET ? sizeof a.v4 : sizeof a.v6)) {
        err = errno;
        close(*fd);
        *fd = NO_FD;
        return err;
    }
    /* Wishes: voice works without them. */
    if (family == AF_INET)
        (void)setsockopt(*fd, IPPROTO_IP, IP_TOS, &tos, sizeof tos);
    else
        (void)setsockopt(*fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof tos);
    (void)setsockopt(*fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof priority);
    (void)setsockopt(*fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    return 0;
}

/* RFC 3550 11: RTP at an even port, RTCP at the next. Ports go round the range, so that one just freed rests longest. */
int rtp_bind_pair(struct engine *e, struct stream *s, const uint8_t *address)
{
    unsigned first = (e->options.port_first + 1U) & ~1U;
    unsigned pairs = e->options.port_last > first ? (e->options.port_last - first + 1) / 2 : 0;
    int err = EADDRNOTAVAIL;

    for (unsigned i = 0; i < pairs && i < ATTEMPTS; i++) {
        unsigned port = e->next_port;

        if (port < first || port + 1 > e->options.port_last || port & 1)
            port = first + engine_random(e) % pairs * 2;
        e->next_port = (uint16_t)(port + 3 > e->options.port_last ? first : port + 2);
        err = bind_one(s->rtp.family, address, (uint16_t)port, &s->rtp.fd);
        if (!err) {
            err = bind_one(s->rtp.family, address, (uint16_t)(port + 1), &s->rtp.rtcp_fd);
            if (!err) {
                s->rtp.port = (uint16_t)port;
                return 0;
            }
            close(s->rtp.fd);
            s->rtp.fd = NO_FD;
        }
        if (err != EADDRINUSE && err != EACCES)
            break;
    }
    return err;
}
