#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "law.h"

enum {
    DATAGRAM_MAX = 2048,
    PACKET_MS_MAX = PACKET_SAMPLES_MAX / 8,
    PACKETS_AT_ONCE = 64, /* a flood at one port takes no more of a frame's time */
    OLD_US = 15000,
};

int rtp_open(struct engine *e, struct stream *s, int family, const uint8_t *address)
{
    int err;

    s->rtp.family = family;
    err = rtp_bind_pair(e, s, address);
    if (err)
        return err;
    s->rtp.ssrc = engine_random(e);
    s->rtp.stamp = engine_random(e);
    s->rtp.sequence = (uint16_t)engine_random(e);
    s->rtp.marker = true;
    s->rtp.dtmf_payload_type = GM_NO_PAYLOAD_TYPE;
    s->rtp.packet_samples = SAMPLES;
    rtp_source_reset(&s->rtp.source);
    event_reset(&s->rtp.events);
    rtcp_reset(&s->rtp.rtcp, (uint64_t)engine_random(e) << 32 | engine_random(e));
    err = engine_watch(e, s, s->rtp.rtcp_fd);
    bridge_join(e, s);
    return err;
}

int rtp_set(struct engine *e, struct stream *s, struct cursor *c)
{
    struct rtp_part *r = &s->rtp;
    int family = cursor_u8(c) == 6 ? AF_INET6 : AF_INET;
    unsigned codec = cursor_u8(c);
    unsigned payload_type = cursor_u8(c);
    unsigned dtmf = cursor_u8(c);
    const uint8_t *address = cursor_take(c, 16);
    uint16_t port = cursor_le16(c);
    uint16_t rtcp_port = cursor_le16(c);
    unsigned milliseconds = cursor_u8(c);
    unsigned direction = cursor_u8(c);
    bool mux = cursor_u8(c);
    enum law law = codec == GM_CODEC_ALAW ? ALAW : ULAW;

    if (c->bad)
        return EBADMSG;
    if (family != r->family)
        return EAFNOSUPPORT;
    if ((codec != GM_CODEC_ALAW && codec != GM_CODEC_ULAW) || payload_type > 127 ||
        (dtmf > 127 && dtmf != GM_NO_PAYLOAD_TYPE) || dtmf == payload_type || !milliseconds || milliseconds % 10 ||
        milliseconds > PACKET_MS_MAX || direction > GM_SENDRECV || !port)
        return EINVAL;
    if (!r->set || law != r->law)
        jitter_restart(&s->jitter, law);
    if ((dtmf == GM_NO_PAYLOAD_TYPE) != (r->dtmf_payload_type == GM_NO_PAYLOAD_TYPE))
        digits_clear(&s->digits);
    if (!r->set) {
        r->next_report = e->now + rtcp_interval(engine_random(e), true);
        s->expected_from = e->now;
    }
    if (direction & GM_RECVONLY && !(r->direction & GM_RECVONLY))
        s->expected_from = e->now;
    address_fill(&r->remote, family, address, port);
    address_fill(&r->remote_rtcp, family, address, rtcp_port);
    r->address_size = family == AF_INET ? sizeof r->remote.v4 : sizeof r->remote.v6;
    r->law = law;
    r->payload_type = (uint8_t)payload_type;
    r->dtmf_payload_type = (uint8_t)dtmf;
    r->direction = (uint8_t)direction;
    r->mux = mux;
    r->packet_samples = milliseconds * 8;
    r->gathered = 0;
    r->set = true;
    s->in_fault = false;
    return 0;
}

bool rtp_sends_events(const struct stream *s)
{
    return s->rtp.set && s->rtp.direction & GM_SENDONLY && s->rtp.dtmf_payload_type != GM_NO_PAYLOAD_TYPE;
}

/* -- sending -- */

static void transmit(struct stream *s, uint8_t *packet, size_t payload, unsigned payload_type, uint32_t stamp, bool marker)
{
    struct rtp_part *r = &s->rtp;
    struct rtp_packet header = {
        .stamp = stamp, .ssrc = r->ssrc, .sequence = r->sequence++, .payload_type = (uint8_t)payload_type, .marker = marker};

    rtp_header(packet, &header);
    if (sendto(r->fd, packet, RTP_HEADER + payload, MSG_DONTWAIT | MSG_NOSIGNAL, &r->remote.any, r->address_size) < 0) {
        s->dropped++;
        if (!s->in_fault && errno != EAGAIN && errno != ECONNREFUSED)
            log_line("stream %u (%s): sending RTP: %s", s->id, s->label, strerrordesc_np(errno));
        s->in_fault = true;
        return;
    }
    s->packets_sent++;
    s->octets_sent += payload;
    r->sent_since_report = true;
}

static void send_digit(struct stream *s)
{
    struct digit_packet p;
    uint8_t packet[RTP_HEADER + sizeof p.payload];

    digits_packet(&s->digits, s->rtp.stamp, &p);
    memcpy(packet + RTP_HEADER, p.payload, sizeof p.payload);
    transmit(s, packet, sizeof p.payload, s->rtp.dtmf_payload_type, p.stamp, p.marker);
    s->rtp.gathered = 0;
}

static void send_audio(struct stream *s, enum law law, const uint8_t *frame)
{
    struct rtp_part *r = &s->rtp;
    unsigned done = 0;

    while (done < SAMPLES) {
        unsigned room = r->packet_samples - r->gathered;
        unsigned part = room < SAMPLES - done ? room : SAMPLES - done;
        uint8_t *to = r->packet + RTP_HEADER + r->gathered;

        law_convert(r->law, to, law, frame + done, part);
        r->gathered += part;
        done += part;
        if (r->gathered == r->packet_samples) {
            transmit(s, r->packet, r->gathered, r->payload_type, r->stamp + done - r->gathered, r->marker);
            r->marker = false;
            r->gathered = 0;
        }
    }
}

void rtp_send(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    struct rtp_part *r = &s->rtp;

    (void)e;
    if (!r->set || !(r->direction & GM_SENDONLY)) {
        digits_clear(&s->digits);
        r->marker = true;
        r->gathered = 0;
    } else if (!digits_busy(&s->digits)) {
        send_audio(s, law, frame);
    } else if (r->dtmf_payload_type != GM_NO_PAYLOAD_TYPE) {
        send_digit(s);
    } else {
        int16_t linear[SAMPLES];
        uint8_t codes[SAMPLES];

        digits_tones(&s->digits, linear);
        law_encode(r->law, codes, linear, SAMPLES);
        send_audio(s, r->law, codes);
    }
    r->stamp += SAMPLES;
}

static void send_report(struct engine *e, struct stream *s, bool bye)
{
    struct rtp_part *r = &s->rtp;
    struct rtcp_sender sender = {.ssrc = r->ssrc,
                                 .stamp = r->stamp,
                                 .packets = (uint32_t)s->packets_sent,
                                 .octets = (uint32_t)s->octets_sent,
                                 .sending = r->sent_since_report || r->sent_before_report};
    const union address *to = r->mux ? &r->remote : &r->remote_rtcp;
    uint8_t packet[RTCP_MAX];
    size_t size = rtcp_build(&r->rtcp, packet, &sender, &r->source, e->now, engine_ntp(e), bye);

    r->sent_before_report = r->sent_since_report;
    r->sent_since_report = false;
    if (to->v4.sin_port)
        (void)sendto(r->mux ? r->fd : r->rtcp_fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL, &to->any, r->address_size);
}

/* -- receiving -- */

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

/* Samples of audio taken. */
static size_t take_rtp(struct engine *e, struct stream *s, const uint8_t *data, size_t size, int64_t arrival)
{
    struct rtp_part *r = &s->rtp;
    struct rtp_packet p;
    enum law law;
    bool audio;

    if (rtp_parse(&p, data, size)) {
        s->rejected++;
        return 0;
    }
    /* The other static G.711 type is taken too: an answerer may switch between what was offered. */
    audio = p.payload_type == r->payload_type || p.payload_type == GM_CODEC_ULAW || p.payload_type == GM_CODEC_ALAW;
    if (!audio && p.payload_type != r->dtmf_payload_type && p.payload_type != RTP_COMFORT_NOISE) {
        s->rejected++;
        return 0;
    }
    switch (rtp_source_take(&r->source, &p)) {
    case RTP_STRAY:
        s->rejected++;
        return 0;
    case RTP_DUPLICATE:
        return 0;
    case RTP_RESTART:
        jitter_restart(&s->jitter, r->law);
        break;
    case RTP_FRESH:
        break;
    }
    s->packets_received++;
    s->octets_received += p.size;
    bridge_heard(e, s);
    if (!(r->direction & GM_RECVONLY))
        return 0;
    if (p.payload_type == r->dtmf_payload_type) {
        take_event(e, s, &p);
    } else if (audio) {
        law = p.payload_type == r->payload_type ? r->law : p.payload_type == GM_CODEC_ALAW ? ALAW : ULAW;
        rtp_source_time(&r->source, p.stamp, arrival);
        jitter_put(&s->jitter, p.stamp, p.payload, p.size, law, arrival);
        return p.size;
    }
    return 0;
}

static void take_rtcp(struct engine *e, struct stream *s, const uint8_t *data, size_t size, const union address *from)
{
    if (!s->rtp.set || !address_same_host(from, &s->rtp.remote_rtcp) ||
        rtcp_receive(&s->rtp.rtcp, data, size, s->rtp.ssrc, e->now, engine_ntp(e)))
        s->rejected++;
}

struct datagram {
    uint8_t data[DATAGRAM_MAX];
    size_t size;
    union address from;
    int64_t arrival;
};

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
            take_rtcp(e, s, d.data, d.size, &d.from);
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
        take_rtcp(e, s, d.data, d.size, &d.from);
}

void rtp_upkeep(struct engine *e, struct stream *s)
{
    struct event_change change;

    if (event_expire(&s->rtp.events, e->now, &change))
        bridge_event(e, s, &change);
    if (s->rtp.set && e->now >= s->rtp.next_report) {
        send_report(e, s, false);
        s->rtp.next_report = e->now + rtcp_interval(engine_random(e), false);
    }
}

void rtp_close(struct engine *e, struct stream *s)
{
    if (s->rtp.set && s->packets_sent)
        send_report(e, s, true);
    if (s->rtp.fd >= 0)
        close(s->rtp.fd);
    if (s->rtp.rtcp_fd >= 0)
        close(s->rtp.rtcp_fd);
    s->rtp.fd = s->rtp.rtcp_fd = NO_FD;
}
