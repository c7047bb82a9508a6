#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine.h"

/* Copies of a stream's voice for captures: what was received, in clear, and what is sent, before it is protected. They are
 * RTP packets as they were, and of IAX2 mini frames, whatever the voice came in. They are events to the client; where it does not read as fast as they come they are left out, as it has more important things to
 * hear from us. */

enum { BACKLOG_MAX = 65536 /* octets that the client may have before it, for a copy to be worth sending */ };

int tap_set(struct engine *e, struct stream *s, bool on)
{
    if (!stream_packets(s))
        return EINVAL;
    if (on && !s->tapped && e->taps.count >= GM_TAPS_MAX)
        return ENOBUFS;
    if (on == s->tapped)
        return 0;
    s->tapped = on;
    if (on)
        e->taps.count++;
    else
        e->taps.count--;
    if (!e->taps.count && e->taps.left_out) {
        log_line("%u packets were left out of captures", e->taps.left_out);
        e->taps.left_out = 0;
    }
    return 0;
}

void tap_none(struct engine *e)
{
    for (unsigned i = 0; i < e->streams.count && e->taps.count; i++)
        if (e->streams.all[i].kind)
            (void)tap_set(e, &e->streams.all[i], false);
}

static void put_address(struct writer *w, const union address *a)
{
    if (a->any.sa_family == AF_INET6) {
        put_bytes(w, &a->v6.sin6_addr, 16);
    } else {
        put_bytes(w, &a->v4.sin_addr, 4);
        put_zeros(w, 12);
    }
}

static bool room_for(struct engine *e, size_t size)
{
    const bool room = GM_TAP_HEADER + size <= GM_BODY_MAX && control_backlog(e) <= BACKLOG_MAX;

    e->taps.left_out += !room;
    return room;
}

static struct writer begin(struct engine *e, const struct stream *s, bool inward, unsigned copied, int64_t at,
                           const union address *near, const union address *far)
{
    struct writer w = control_begin(e, GM_EVENT_TAP, 0, s->id);

    put_u8(&w, near->any.sa_family == AF_INET6 ? 6 : 4);
    put_u8(&w, inward);
    put_le16(&w, address_port(near));
    put_le16(&w, address_port(far));
    put_u8(&w, copied);
    put_u8(&w, 0);
    put_le64(&w, (uint64_t)at);
    put_address(&w, near);
    put_address(&w, far);
    return w;
}

void tap_packet(struct engine *e, const struct stream *s, bool inward, const union address *far, int64_t at,
                const uint8_t *packet, size_t size)
{
    union address near = {0};
    socklen_t length = sizeof near;
    struct writer w;

    if (!room_for(e, size))
        return;
    if (getsockname(s->rtp.fd, &near.any, &length)) {
        e->taps.left_out++;
        return;
    }
    w = begin(e, s, inward, GM_COPIED_RTP, at, &near, far);
    put_bytes(&w, packet, size);
    control_commit(e, &w);
}

/* IPv4 by a socket of both families is seen as IPv4; any address ends in that of IPv4. */
static union address of_family(const union address *a, bool v4)
{
    union address plain = *a;

    if (v4)
        address_fill(&plain, AF_INET, a->v6.sin6_addr.s6_addr + 12, address_port(a));
    return plain;
}

void tap_mini(struct engine *e, const struct stream *s, bool inward, unsigned copied, int64_t at, uint32_t stamp,
              const uint8_t *payload, size_t size)
{
    const union address *to = &s->rtp.remote;
    const bool v4 = to->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&to->v6.sin6_addr);
    const union address near = of_family(&s->iax.socket->local, v4), far = of_family(to, v4);
    struct writer w;

    if (!room_for(e, IAX_MINI_HEADER + size))
        return;
    w = begin(e, s, inward, copied, at, &near, &far);
    put_be16(&w, inward ? s->iax.far : s->iax.source);
    put_be16(&w, stamp & 0xffff);
    put_bytes(&w, payload, size);
    control_commit(e, &w);
}
