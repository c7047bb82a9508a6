#include <string.h>
#include <sys/socket.h>

#include "engine.h"
#include "law.h"

/* The receiving half of an RTP stream: who may speak, what is taken, and how much is read at a time. */

enum {
    DATAGRAM_MAX = 2048,
    PACKETS_AT_ONCE = 64, /* a flood at one port takes no more of a frame's time */
    OLD_US = 15000,       /* a packet that waited so long has others behind it */
    BYE_US = 1000000,     /* what comes so long after a BYE was not on its way before it */
    NOISE_UNKNOWN = 65,   /* -dBov */
};

struct datagram {
    uint8_t data[DATAGRAM_MAX];
    size_t size;
    union address from;
    int64_t arrival;
};

/* Only the signalled address may speak (RFC 4961 symmetric RTP). A far end behind NAT is learned here once: the first
 * valid packet of another address would be latched onto, when the stream is set up to allow it (comedia). */
static bool expected_source(const struct stream *s, const union address *from)
{
    return s->rtp.set && address_equal(from, &s->rtp.remote);
}

static void take_event(struct engine *e, struct stream *s, const struct rtp_packet *p)
{
    struct event_change change;

    if (!event_take(&s->rtp.events, p->stamp, p->payload, p->size, e->now, &change))
        s->rejected++;
    else
        bridge_event(e, s, &change);
}

enum content { AUDIO, DIGIT, NOISE, UNKNOWN };

/* What a payload type stands for: first by our description, whose numbers the far end is to use (RFC 3264 6.1). Far ends that
 * use those of theirs are understood too, and so is the other static G.711 type: an answerer may switch between what
 * was offered. */
static enum content content_of(const struct rtp_part *r, unsigned type, enum law *law)
{
    *law = r->law;
    if (type == r->receive_payload_type)
        return AUDIO;
    if (type == r->receive_dtmf_payload_type)
        return DIGIT;
    if (type == RTP_COMFORT_NOISE)
        return NOISE;
    if (type == GM_CODEC_ULAW || type == GM_CODEC_ALAW) {
        *law = type == GM_CODEC_ALAW ? ALAW : ULAW;
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
        s->rtp.rtcp.bye = false;
        return true;
    case RTP_FRESH:
        break;
    }
    return true;
}

/* Samples of audio taken. */
static size_t take_rtp(struct engine *e, struct stream *s, const uint8_t *data, size_t size, int64_t arrival)
{
    struct rtp_part *r = &s->rtp;
    struct rtp_packet p;
    enum law law;
    enum content content;

    if (rtp_parse(&p, data, size)) {
        s->rejected++;
        return 0;
    }
    content = content_of(r, p.payload_type, &law);
    if (content == UNKNOWN) { /* RFC 3550 5.1: to be ignored; not lost, though, if it is the source's */
        if (r->source.known && p.ssrc == r->source.ssrc)
            (void)rtp_source_take(&r->source, &p);
        s->rejected++;
        return 0;
    }
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
        rtp_source_time(&r->source, p.stamp, arrival);
        jitter_put(&s->jitter, p.stamp, p.payload, p.size, law, arrival);
        return p.size;
    }
    return 0;
}

static void take_rtcp(struct engine *e, struct stream *s, const struct datagram *d)
{
    struct rtcp_arrival arrival = {
        .ssrc = s->rtp.ssrc, .source = s->rtp.source.ssrc, .at = d->arrival, .ntp = engine_ntp(e, d->arrival)};

    if (!s->rtp.set || !address_same_host(&d->from, &s->rtp.remote_rtcp) ||
        rtcp_receive(&s->rtp.rtcp, d->data, d->size, &arrival))
        s->rejected++;
    else if (s->jitter.noise)
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
    ssize_t got = recvmsg(fd, &m, MSG_DONTWAIT);

    if (got < 0)
        return false;
    d->size = m.msg_flags & MSG_TRUNC ? 0 : (size_t)got; /* too long to be ours: dropped as malformed */
    d->arrival = e->arrival(e, &m);
    return true;
}

/* Reads without asking epoll first: at its hearer's tick there is nearly always exactly one packet. On after that only
 * while packets are old, or do not fill a frame. */
void rtp_receive(struct engine *e, struct stream *s)
{
    struct datagram d;
    size_t samples = 0;

    for (int i = 0; i < PACKETS_AT_ONCE && receive_datagram(e, s->rtp.fd, &d); i++) {
        if (s->rtp.mux && rtp_is_rtcp(d.data, d.size))
            take_rtcp(e, s, &d);
        else if (expected_source(s, &d.from))
            samples += take_rtp(e, s, d.data, d.size, d.arrival);
        else
            s->rejected++;
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
