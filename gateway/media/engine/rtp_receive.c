#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine.h"
#include "law.h"
#include "socket_call.h"

/* The receiving half of an RTP stream: who may speak, what is taken, and how much is read at a time. */

enum {
    DATAGRAM_MAX = 2048,
    PACKETS_AT_ONCE = 64, /* a flood at one port takes no more of a frame's time, and of the engine's patience */
    TRIES_AT_ONCE = 8,    /* packets of strangers that are checked for being authentic, while the source is heard */
    OLD_US = 15000,       /* a packet that waited so long has others behind it */
    BYE_US = 1000000,     /* what comes so long after a BYE was not on its way before it */
    NOISE_UNKNOWN = 65,   /* -dBov */
};

struct datagram {
    _Alignas(8) uint8_t data[DATAGRAM_MAX];
    size_t size;
    union address from;
    int64_t arrival;
};

static void take_event(struct engine *e, struct stream *s, const struct rtp_packet *p)
{
    struct event_change change;

    if (!event_take(&s->rtp.events, p->stamp, p->payload, p->size, e->now, &change))
        s->rejected++;
    else
        rtp_event(e, s, &change);
}

enum content { AUDIO, DIGIT, NOISE, UNKNOWN };

/* What a payload type stands for: first by our description, whose numbers the far end is to use (RFC 3264 6.1). Far ends that
 * use those of theirs are understood too, and so is the other static G.711 type, if its clock is that of what was
 * agreed on: an answerer may switch between what was offered. */
static enum content content_of(const struct rtp_part *r, unsigned type, uint8_t *codec)
{
    *codec = r->wide ? r->wide->codec : (uint8_t)(r->law == ALAW ? GM_CODEC_ALAW : GM_CODEC_ULAW);
    if (type == r->receive_payload_type)
        return AUDIO;
    if (type == r->receive_dtmf_payload_type)
        return DIGIT;
    if (type == RTP_COMFORT_NOISE)
        return NOISE;
    if (r->clock == 1 && (type == GM_CODEC_ULAW || type == GM_CODEC_ALAW)) {
        *codec = (uint8_t)type;
        return AUDIO;
    }
    return type == r->payload_type ? AUDIO : type == r->dtmf_payload_type ? DIGIT : UNKNOWN;
}

/* True if the packet is in the sequence of the source, or begins one. */
static bool in_sequence(struct stream *s, const struct rtp_packet *p)
{
    switch (rtp_source_take(&s->rtp.source, p)) {
    case RTP_STRAY:
        s->rejected++;
        return false;
    case RTP_DUPLICATE:
        return false;
    case RTP_RESTART:
        jitter_restart(&s->jitter, s->rtp.law);
        if (s->rtp.wide && s->rtp.wide->relay.on)
            bridge_partner(s)->rtp.wide->relay.begun = false; /* its numbers have nothing to do with those before */
        s->rtp.rtcp.bye = false;
        return true;
    case RTP_FRESH:
        break;
    }
    return true;
}

static void refuse(struct stream *s, bool stranger)
{
    s->rejected++;
    if (stranger)
        s->rtp.strangers++;
}

static void say_source(const struct stream *s)
{
    const struct far_end *f = &s->rtp.far_end;
    char text[INET6_ADDRSTRLEN] = "?";

    if (address_equal(&f->source, &f->signalled))
        return;
    (void)inet_ntop(f->source.any.sa_family,
                    f->source.any.sa_family == AF_INET ? (const void *)&f->source.v4.sin_addr : &f->source.v6.sin6_addr, text,
                    sizeof text);
    log_line("stream %u (%s): voice comes from %s port %u, not from where the SDP says", s->id, s->label, text,
             address_port(&f->source));
}

/* True if it is the far end that sent `p`, as far as can be known; now or from now on. */
static bool from_far_end(struct engine *e, struct stream *s, const union address *from, const struct rtp_packet *p)
{
    struct rtp_part *r = &s->rtp;
    const struct far_end_packet packet = {.from = from,
                                          .ssrc = p->ssrc,
                                          .sequence = p->sequence,
                                          .authentic = secure_on(&r->secure),
                                          .continues = rtp_source_continues(&r->source, p)};
    const union address source = r->far_end.source;
    bool known = r->far_end.known;
    bool good = far_end_take(&r->far_end, &packet, e->now);

    if (r->far_end.known && (!known || !address_equal(&source, &r->far_end.source))) {
        rtp_aim(s);
        say_source(s);
    }
    return good;
}

/* Time stamps in samples of SAMPLE_RATE, from a clock that counts faster and wraps at another place. */
static uint32_t sample_time(struct rtp_part *r, uint32_t stamp)
{
    int32_t ahead = (int32_t)(stamp - r->wide->stamp) / r->clock;

    r->wide->stamp += (uint32_t)(ahead * r->clock);
    r->wide->sample += (uint32_t)ahead;
    return r->wide->sample;
}

/* Samples of audio taken. */
static size_t take_voice(struct engine *e, struct stream *s, const struct rtp_packet *p, uint8_t codec, int64_t arrival)
{
    struct rtp_part *r = &s->rtp;
    uint32_t stamp;
    unsigned samples;

    if (!r->wide) {
        rtp_source_time(&r->source, p->stamp, arrival);
        jitter_put(&s->jitter, p->stamp, p->payload, p->size, codec == GM_CODEC_ALAW ? ALAW : ULAW, arrival);
        return p->size;
    }
    samples = codec_duration(codec_find(codec), p->payload, p->size);
    if (!samples) {
        s->rejected++;
        return 0;
    }
    stamp = sample_time(r, p->stamp);
    rtp_source_time(&r->source, stamp, arrival);
    if (r->wide->relay.on) {
        const struct relay_packet packet = {.stamp = stamp, .samples = samples, .codec = codec, .arrival = arrival};

        rtp_relay_take(e, s, bridge_partner(s), p, &packet);
        return samples;
    }
    jitter_put_coded(&s->jitter, stamp, codec, p->payload, p->size, samples, arrival);
    return samples;
}

/* Samples of audio taken. */
static size_t take_rtp(struct engine *e, struct stream *s, struct datagram *d, enum far_end_who who)
{
    struct rtp_part *r = &s->rtp;
    const int64_t arrival = d->arrival;
    struct rtp_packet p;
    uint8_t codec;
    enum content content;
    int err = secure_on(&r->secure) ? secure_unprotect(&r->secure, d->data, &d->size, e->now) : 0;

    if (err == EALREADY && who == FAR_END_SOURCE)
        r->far_end.heard_at = e->now; /* whoever was faster with the same packet does not take its place */
    if (err || rtp_parse(&p, d->data, d->size)) {
        refuse(s, who == FAR_END_STRANGER);
        return 0;
    }
    content = content_of(r, p.payload_type, &codec);
    if (content == UNKNOWN) { /* RFC 3550 5.1: to be ignored; not lost, though, if it is the source's */
        if (who == FAR_END_SOURCE && r->source.known && p.ssrc == r->source.ssrc)
            (void)rtp_source_take(&r->source, &p);
        refuse(s, who == FAR_END_STRANGER);
        return 0;
    }
    if (!from_far_end(e, s, &d->from, &p)) {
        refuse(s, true);
        return 0;
    }
    if (s->tapped)
        tap_packet(e, s, true, &d->from, arrival, d->data, d->size);
    if (p.ssrc == r->ssrc)
        rtp_own_ssrc(e, s, &p);
    if (!in_sequence(s, &p))
        return 0;
    if (r->rtcp.bye && arrival - r->rtcp.bye_at > BYE_US)
        r->rtcp.bye = false; /* who changes a session may say goodbye and go on with the same SSRC */
    s->packets_received++;
    s->octets_received += p.size;
    bridge_heard(e, s);
    if (!(r->direction & GM_RECVONLY))
        return 0;
    if (content == DIGIT) {
        take_event(e, s, &p);
    } else if (content == NOISE) {
        jitter_quiet(&s->jitter, p.size ? p.payload[0] & 0x7f : NOISE_UNKNOWN);
    } else {
        return take_voice(e, s, &p, codec, arrival);
    }
    return 0;
}

/* Of a host that the far end is known to be at. Its port is not told apart: it is not always signalled. */
static bool from_its_host(const struct rtp_part *r, const union address *from)
{
    return address_same_host(from, &r->remote_rtcp) || address_same_host(from, &r->signalled_rtcp) ||
           (r->far_end.known && address_same_host(from, &r->far_end.source));
}

static uint32_t reporter(const struct datagram *d)
{
    struct cursor c = cursor_over(d->data, d->size);

    cursor_be32(&c);
    return cursor_be32(&c);
}

static void take_rtcp(struct engine *e, struct stream *s, struct datagram *d)
{
    struct rtp_part *r = &s->rtp;
    struct rtcp_arrival arrival = {
        .ssrc = s->rtp.ssrc, .source = s->rtp.source.ssrc, .at = d->arrival, .ntp = engine_ntp(e, d->arrival)};

    if (!r->set || !(secure_on(&r->secure) || from_its_host(r, &d->from))) {
        refuse(s, true);
        return;
    }
    if ((secure_on(&r->secure) && secure_unprotect_rtcp(&r->secure, d->data, &d->size, e->now)) ||
        rtcp_receive(&r->rtcp, d->data, d->size, &arrival)) {
        refuse(s, false);
        return;
    }
    if (!r->mux && r->source.known && reporter(d) == r->source.ssrc) /* whom we hear, not its neighbour */
        rtp_aim_rtcp(s, &d->from);
    if (s->jitter.noise)
        s->heard_at = e->now; /* silent by design, but there */
}

/* False: there is none (or an ICMP error of an earlier packet was all). */
static bool receive_datagram(const struct engine *e, int fd, struct datagram *d)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec v = {.iov_base = d->data, .iov_len = sizeof d->data};
    struct msghdr m = {.msg_name = &d->from,
                       .msg_namelen = sizeof d->from,
                       .msg_iov = &v,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    ssize_t got = call_recvmsg(fd, &m, MSG_DONTWAIT);

    if (got < 0)
        return false;
    d->size = m.msg_flags & MSG_TRUNC ? 0 : (size_t)got; /* too long to be ours: dropped as malformed */
    d->arrival = e->arrival(e, &m);
    return true;
}

/* Whether a packet of a stranger is worth a look: if it is authentic, it is none. */
static bool worth_trying(const struct engine *e, const struct stream *s, unsigned tried)
{
    const struct rtp_part *r = &s->rtp;
    bool quiet = e->now - r->far_end.heard_at >= FAR_END_QUIET_SECURE_US;

    return r->set && secure_on(&r->secure) && (quiet || tried < TRIES_AT_ONCE);
}

/* Reads without asking epoll first: at its hearer's tick there is nearly always exactly one packet. On after that only
 * while packets are old, or do not fill a frame; strangers' packets are read beside, or the far end's would drown in them. */
void rtp_receive(struct engine *e, struct stream *s)
{
    struct datagram d;
    size_t samples = 0;
    unsigned share = 0, tried = 0;

    while (share < PACKETS_AT_ONCE && receive_datagram(e, s->rtp.fd, &d)) {
        enum far_end_who who = far_end_who(&s->rtp.far_end, &d.from, e->now);

        if (who != FAR_END_STRANGER || !e->patience)
            share++;
        else
            e->patience--;
        if (who == FAR_END_STRANGER && !worth_trying(e, s, tried++)) {
            refuse(s, true);
            continue;
        }
        if (s->rtp.mux && rtp_is_rtcp(d.data, d.size))
            take_rtcp(e, s, &d);
        else
            samples += take_rtp(e, s, &d, who);
        if (samples >= SAMPLES && e->now - d.arrival < OLD_US)
            break;
    }
}

void rtp_receive_rtcp(struct engine *e, struct stream *s)
{
    struct datagram d;

    if (receive_datagram(e, s->rtp.rtcp_fd, &d))
        take_rtcp(e, s, &d);
}
