#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "socket_call.h"

/* Sockets that IAX2 calls share. Voice is read at every tick at which anybody is due, as it is expected then; a full frame
 * wakes the engine, so that signalling has it at once, and a gateway without calls never wakes otherwise. */

enum {
    RECEIVE_BUFFER = 1 << 20,
    KNOWN_MAX = 4096,            /* hosts; a power of two */
    KNOWN_PROBES = 32,
    AWAITED_US = 120000000,      /* who is asked something is known for so long: twice the interval of a POKE */
    CALL_MASK = 0x7fff,
};

int iax_open(struct engine *e)
{
    struct iax *x = &e->iax;
    unsigned buckets = 1;

    while (buckets < 2 * e->options.streams)
        buckets *= 2;
    x->sockets = calloc(IAX_SOCKETS_MAX, sizeof *x->sockets);
    x->buckets = (struct stream **)calloc(buckets, sizeof(struct stream *));
    x->bucket_mask = buckets - 1;
    return x->sockets && x->buckets ? 0 : ENOMEM;
}

void iax_close(struct engine *e)
{
    struct iax *x = &e->iax;

    free(x->sockets);
    free((void *)x->buckets);
    free(x->known);
    free(x->intake);
    free(x->outlet);
    memset(x, 0, sizeof *x);
}

/* What a gateway without IAX2 need not have. */
static int make_room(struct iax *x)
{
    if (!x->intake) {
        x->intake = calloc(1, sizeof *x->intake);
        if (x->intake)
            iax_intake_open(x->intake);
    }
    if (!x->outlet)
        x->outlet = calloc(1, sizeof *x->outlet);
    if (!x->known)
        x->known = calloc(KNOWN_MAX, sizeof *x->known);
    return x->intake && x->outlet && x->known ? 0 : ENOMEM;
}

/* -- addresses -- */

int iax_socket_address(const struct iax_socket *k, union address *a, int family, const uint8_t *bytes, uint16_t port)
{
    uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff};

    if (family == AF_INET && k->both) {
        memcpy(mapped + 12, bytes, 4);
        address_fill(a, AF_INET6, mapped, port);
        return 0;
    }
    address_fill(a, family, bytes, port);
    return family == k->family ? 0 : EAFNOSUPPORT;
}

void iax_address_put(struct writer *w, const union address *a)
{
    const bool v6 = a->any.sa_family == AF_INET6;
    const bool mapped = v6 && IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr);

    put_u8(w, v6 && !mapped ? 6 : 4);
    put_u8(w, 0);
    put_le16(w, address_port(a));
    if (v6 && !mapped) {
        put_bytes(w, &a->v6.sin6_addr, 16);
    } else {
        put_bytes(w, mapped ? (const void *)(a->v6.sin6_addr.s6_addr + 12) : &a->v4.sin_addr, 4);
        put_zeros(w, 12);
    }
}

/* -- whose full frames are awaited -- */

static void host_of(const union address *a, uint8_t *host)
{
    memset(host, 0, 16);
    if (a->any.sa_family == AF_INET6) {
        memcpy(host, &a->v6.sin6_addr, 16);
    } else {
        host[10] = host[11] = 0xff;
        memcpy(host + 12, &a->v4.sin_addr, 4);
    }
}

static bool worth_less(const struct engine *e, const struct iax_known *n, const struct iax_known *than)
{
    const bool over = !n->used || n->until < e->now;

    return !n->calls && (!than || (over && than->used && than->until >= e->now));
}

/* `add`: if it is not there, instead of the one that is missed least, but for those with calls. */
static struct iax_known *known(const struct engine *e, const union address *a, bool add)
{
    uint8_t host[16];
    uint32_t at = 2166136261U;
    struct iax_known *spare = NULL;

    host_of(a, host);
    for (unsigned i = 0; i < sizeof host; i++)
        at = (at ^ host[i]) * 16777619U;
    for (unsigned i = 0; i < KNOWN_PROBES; i++) {
        struct iax_known *n = &e->iax.known[(at + i) % KNOWN_MAX];

        if (n->used && !memcmp(n->host, host, sizeof host))
            return n;
        if (worth_less(e, n, spare))
            spare = n;
    }
    if (!add || !spare)
        return NULL;
    *spare = (struct iax_known){.used = true};
    memcpy(spare->host, host, sizeof host);
    return spare;
}

bool iax_know(struct engine *e, const union address *a, int calls)
{
    struct iax_known *n = known(e, a, calls >= 0);

    if (!n)
        return false;
    n->calls += (unsigned)calls;
    n->until = e->now + AWAITED_US;
    return true;
}

bool iax_knows(const struct engine *e, const union address *a)
{
    const struct iax_known *n = known(e, a, false);

    return n && (n->calls || n->until >= e->now);
}

bool iax_has_calls(const struct engine *e, const union address *a)
{
    const struct iax_known *n = known(e, a, false);

    return n && n->calls;
}

/* -- sockets -- */

static int full_fd(const struct iax_socket *k)
{
    return k->full >= 0 ? k->full : k->fd;
}

static void wake(struct engine *e, struct iax_socket *k, bool on)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = KEY_IAX + (uint64_t)(k - e->iax.sockets)};

    if (on != k->waking && !epoll_ctl(e->outer, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, full_fd(k), &event))
        k->waking = on;
}

static void wake_or_not(struct engine *e, struct iax_socket *k)
{
    wake(e, k, !k->flooded && (!k->calls || k->full >= 0));
}

void iax_socket_calls(struct engine *e, struct iax_socket *k, int change)
{
    k->calls += (unsigned)change;
    wake_or_not(e, k);
}

static bool at_address(const struct iax_socket *k, const union address *a)
{
    return k->owner && address_port(a) && address_equal(&k->local, a);
}

static void own(struct stream *s, struct iax_socket *k)
{
    k->owner = s;
    s->iax.socket = k;
    s->rtp.port = address_port(&k->local);
}

/* The socket of a client that is gone goes to the one that comes. */
static bool take_over(struct engine *e, struct stream *s, const union address *a)
{
    for (unsigned i = 0; i < IAX_SOCKETS_MAX; i++) {
        struct iax_socket *k = &e->iax.sockets[i];
        struct stream *former = k->owner;

        if (!at_address(k, a) || former->adopted)
            continue;
        own(s, k);
        s->packets_received = former->packets_received;
        s->octets_received = former->octets_received;
        former->iax.socket = NULL;
        requests_close(e, former);
        return true;
    }
    return false;
}

static void make_roomy(int fd)
{
    const int room = RECEIVE_BUFFER;

    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
}

int iax_socket_open(struct engine *e, struct stream *s, int family, const uint8_t *address, uint16_t port)
{
    static const uint8_t any[16];
    const bool both = family == AF_INET6 && !memcmp(address, any, sizeof any);
    struct iax_socket *k = NULL;
    union address a;
    socklen_t size = sizeof a;
    int err = make_room(&e->iax), fd;

    if (err)
        return err;
    address_fill(&a, family, address, port);
    if (take_over(e, s, &a))
        return 0;
    for (unsigned i = 0; i < IAX_SOCKETS_MAX && !k; i++)
        k = e->iax.sockets[i].owner ? NULL : &e->iax.sockets[i];
    if (!k)
        return ENFILE;
    memset(k, 0, sizeof *k);
    k->strangers = malloc(IAX_STRANGERS);
    err = k->strangers ? rtp_bind(family, address, port, both ? BIND_BOTH : 0, &fd) : ENOMEM;
    if (err) {
        free(k->strangers);
        return err;
    }
    k->fd = fd;
    k->family = family;
    k->both = both;
    if (getsockname(fd, &k->local.any, &size))
        k->local = a;
    make_roomy(fd);
    if (iax_split(fd, family, address, address_port(&k->local), both, &k->full))
        k->full = NO_FD; /* an older kernel: voice is looked for when anything comes */
    else
        make_roomy(k->full);
    own(s, k);
    e->iax.open++;
    wake(e, k, true);
    return 0;
}

void iax_socket_close(struct engine *e, struct stream *s)
{
    struct iax_socket *k = s->iax.socket;

    if (!k)
        return;
    for (unsigned i = 0; k->calls && i < e->streams.count; i++)
        if (e->streams.all[i].kind == GM_KIND_IAX && e->streams.all[i].iax.socket == k)
            iax_stream_detach(e, &e->streams.all[i]);
    iax_flush(e);
    wake(e, k, false);
    close(k->fd);
    if (k->full >= 0)
        close(k->full);
    free(k->strangers);
    k->owner = NULL;
    s->iax.socket = NULL;
    e->iax.open--;
}

unsigned iax_idle_streams(const struct engine *e)
{
    return e->iax.open;
}

bool iax_polled(const struct engine *e)
{
    for (unsigned i = 0; e->iax.open && i < IAX_SOCKETS_MAX; i++)
        if (e->iax.sockets[i].owner && e->iax.sockets[i].flooded)
            return true;
    return false;
}

void iax_readable(struct engine *e, uint32_t index)
{
    struct iax_socket *k = &e->iax.sockets[index];

    if (k->owner)
        iax_receive(e, k, full_fd(k));
    wake_or_not(e, k);
    control_flush(e);
}

void iax_receive_all(struct engine *e)
{
    for (unsigned i = 0; e->iax.open && i < IAX_SOCKETS_MAX; i++) {
        struct iax_socket *k = &e->iax.sockets[i];

        if (!k->owner)
            continue;
        if (k->full >= 0 && k->calls)
            iax_receive(e, k, k->fd);
        if (!k->waking) {
            iax_receive(e, k, full_fd(k));
            wake_or_not(e, k);
        }
    }
}

/* Whom we ask something of our own accord (no call number of theirs in it) is somebody that signalling knows. */
int iax_send_frame(struct engine *e, struct stream *s, const union address *to, const uint8_t *data, size_t size)
{
    struct iax_socket *k = s->iax.socket;
    const socklen_t address = to->any.sa_family == AF_INET ? sizeof to->v4 : sizeof to->v6;
    struct cursor c = cursor_over(data, size);
    unsigned source = cursor_be16(&c), destination = cursor_be16(&c);

    if (!k || !address_usable(to))
        return EINVAL;
    if (size >= IAX_FULL_HEADER && source & IAX_FULL && !(destination & CALL_MASK))
        (void)iax_know(e, to, 0);
    if (call_sendto(k->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL, &to->any, address) < 0) {
        s->dropped++;
        if (!k->in_fault && errno != EAGAIN)
            log_line("stream %u (%s): sending IAX2: %s", s->id, s->label, strerrordesc_np(errno));
        k->in_fault = true;
        return 0; /* as if the network had lost it */
    }
    k->in_fault = false;
    s->packets_sent++;
    s->octets_sent += size;
    return 0;
}
