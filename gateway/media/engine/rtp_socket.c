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

int rtp_bind(int family, const uint8_t *address, uint16_t port, unsigned how, int *fd)
{
    const int one = 1, only = !(how & BIND_BOTH), tos = DSCP_EF, priority = PRIORITY_VOICE;
    union address a;
    int err = 0;

    address_fill(&a, family, address, port);
    *fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return errno;
    if (family == AF_INET6)
        (void)setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    if (how & BIND_SHARED)
        (void)setsockopt(*fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(*fd, &a.any, family == AF_INET ? sizeof a.v4 : sizeof a.v6)) {
        err = errno;
        close(*fd);
        *fd = NO_FD;
        return err;
    }
    /* Wishes: voice works without them. */
    if (family == AF_INET || how & BIND_BOTH)
        (void)setsockopt(*fd, IPPROTO_IP, IP_TOS, &tos, sizeof tos);
    if (family == AF_INET6)
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
        err = rtp_bind(s->rtp.family, address, (uint16_t)port, 0, &s->rtp.fd);
        if (!err) {
            err = rtp_bind(s->rtp.family, address, (uint16_t)(port + 1), 0, &s->rtp.rtcp_fd);
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
