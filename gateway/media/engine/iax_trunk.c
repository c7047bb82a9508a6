#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "socket_call.h"

/* Trunk frames (RFC 5456 8.1.3.2, and the stamped kind of chan_iax2): the voice of all calls with one address, in one frame
 * every 20 ms. It is sent at the end of the tick at which most of them have spoken, so that nobody waits for long. */

enum {
    META_TRUNK = 1,
    HEADER = 8,
    ENTRY = 4, ENTRY_STAMPED = 6,
    SKEW_MS = 160,
    LOOK_US = 5000000,      /* how often the path is looked at */
    USUAL_MOST = 4096,      /* octets that chan_iax2 reads of a datagram: it hears none of the calls behind them */
    PATH_LEAST = 508,       /* octets that any path takes (RFC 791: 576 with a header of 60) */
    VOTES = 50,             /* frames of voice after which the tick is chosen anew */
    IPV4_UDP = 20 + 8, IPV6_UDP = 40 + 8,
};

static size_t entry_size(const struct iax_trunk *t)
{
    return t->stamps ? ENTRY_STAMPED : ENTRY;
}

/* What the kernel knows of the path, octets of a datagram's content. */
static size_t path_of(const struct iax_trunk *t)
{
    const bool v6 = t->to.any.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&t->to.v6.sin6_addr);
    int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    union address to = t->to;
    int mtu = 0;
    socklen_t size = sizeof mtu;
    size_t octets = 0;

    if (fd < 0)
        return PATH_LEAST;
    if (!v6 && to.any.sa_family == AF_INET6)
        address_fill(&to, AF_INET, t->to.v6.sin6_addr.s6_addr + 12, address_port(&t->to));
    if (!connect(fd, &to.any, v6 ? sizeof to.v6 : sizeof to.v4) &&
        !getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &size) && mtu > IPV6_UDP)
        octets = (size_t)mtu - (v6 ? IPV6_UDP : IPV4_UDP);
    close(fd);
    return octets < PATH_LEAST ? PATH_LEAST : octets > IAX_DATAGRAM_MAX ? IAX_DATAGRAM_MAX : octets;
}

static size_t room(const struct iax_trunk *t)
{
    const size_t most = t->most ? t->most : USUAL_MOST;

    return most < t->path ? most : t->path;
}

static struct iax_trunk *find(const struct engine *e, const struct stream *s, bool stamps)
{
    struct iax_trunk *t = e->iax.trunks;

    while (t && !(t->socket == s->iax.socket && t->stamps == stamps && address_equal(&t->to, &s->rtp.remote)))
        t = t->next;
    return t;
}

int iax_trunk_join(struct engine *e, struct stream *s, bool stamps, size_t most)
{
    struct iax_trunk *t = find(e, s, stamps);

    if (t && t == s->iax.trunk)
        return 0;
    iax_trunk_leave(e, s);
    if (!t) {
        t = calloc(1, sizeof *t);
        if (!t)
            return ENOMEM;
        t->socket = s->iax.socket;
        t->to = s->rtp.remote;
        t->stamps = stamps;
        t->phase = (unsigned)(e->tick % PHASES);
        t->began = e->now;
        t->path = path_of(t);
        t->looked = e->now;
        t->next = e->iax.trunks;
        e->iax.trunks = t;
    }
    if (most && (!t->most || most < t->most))
        t->most = most < PATH_LEAST ? PATH_LEAST : most;
    t->calls++;
    s->iax.trunk = t;
    return 0;
}

static void start(struct iax_trunk *t)
{
    struct writer w = writer_over(t->data, HEADER);

    put_be16(&w, 0);
    put_u8(&w, META_TRUNK);
    put_u8(&w, t->stamps);
    put_be32(&w, t->stamp);
    t->size = HEADER;
}

static void send_out(struct engine *e, struct iax_trunk *t)
{
    struct stream *owner = t->socket->owner;
    const socklen_t size = t->to.any.sa_family == AF_INET ? sizeof t->to.v4 : sizeof t->to.v6;

    (void)e;
    if (!t->size)
        return;
    if (call_sendto(t->socket->fd, t->data, t->size, MSG_DONTWAIT | MSG_NOSIGNAL, &t->to.any, size) < 0) {
        owner->dropped++;
        if (errno == EMSGSIZE)
            t->looked = 0;
        else if (!t->socket->in_fault && errno != EAGAIN)
            log_line("stream %u (%s): sending a trunk frame: %s", owner->id, owner->label, strerrordesc_np(errno));
        t->socket->in_fault = true;
    } else {
        t->socket->in_fault = false;
        owner->packets_sent++;
        owner->octets_sent += t->size;
    }
    t->size = 0;
}

void iax_trunk_leave(struct engine *e, struct stream *s)
{
    struct iax_trunk *t = s->iax.trunk;
    struct iax_trunk **at = &e->iax.trunks;

    if (!t)
        return;
    s->iax.trunk = NULL;
    if (--t->calls)
        return;
    send_out(e, t);
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    free(t);
}

void iax_trunk_add(struct engine *e, struct stream *s, const uint8_t *payload, size_t size, uint32_t stamp)
{
    struct iax_trunk *t = s->iax.trunk;
    struct writer w;

    if (t->size && t->size + entry_size(t) + size > room(t))
        send_out(e, t);
    if (!t->size)
        start(t);
    w = writer_over(t->data + t->size, sizeof t->data - t->size);
    if (t->stamps) {
        put_be16(&w, (unsigned)size);
        put_be16(&w, s->iax.source);
        put_be16(&w, stamp & 0xffff);
    } else {
        put_be16(&w, s->iax.source);
        put_be16(&w, (unsigned)size);
    }
    put_bytes(&w, payload, size);
    if (!w.full)
        t->size += w.at;
    t->votes[e->tick % PHASES]++;
    t->voted++;
}

bool iax_trunk_due(const struct engine *e, int64_t tick)
{
    for (const struct iax_trunk *t = e->iax.trunks; t; t = t->next)
        if (t->size && t->phase == (unsigned)(tick % PHASES))
            return true;
    return false;
}

/* How many ticks all of it has waited, or would have at another phase. */
static unsigned waited(const struct iax_trunk *t, unsigned phase)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < PHASES; i++)
        sum += t->votes[i] * ((phase + PHASES - i) % PHASES);
    return sum;
}

static void choose_phase(struct iax_trunk *t)
{
    unsigned best = t->phase;

    for (unsigned i = 0; i < PHASES; i++)
        if (waited(t, i) < waited(t, best))
            best = i;
    if (waited(t, best) + t->voted / PHASES < waited(t, t->phase))
        t->phase = best;
    memset(t->votes, 0, sizeof t->votes);
    t->voted = 0;
}

/* Every 20 ms by exactly that, as long as our clock is near. */
static void go_on(const struct engine *e, struct iax_trunk *t)
{
    int64_t clock = (e->origin + e->tick * TICK_US - t->began) / 1000;
    int32_t off;

    t->stamp += IAX_FRAME_MS;
    off = (int32_t)((uint32_t)clock - t->stamp);
    if (off > SKEW_MS || off < -SKEW_MS)
        t->stamp = (uint32_t)clock;
}

void iax_trunk_tick(struct engine *e)
{
    for (struct iax_trunk *t = e->iax.trunks; t; t = t->next) {
        if (t->phase != (unsigned)(e->tick % PHASES))
            continue;
        send_out(e, t);
        go_on(e, t);
        if (t->voted >= VOTES * t->calls)
            choose_phase(t);
        if (e->now - t->looked >= LOOK_US) {
            t->looked = e->now;
            t->path = path_of(t);
        }
    }
}
