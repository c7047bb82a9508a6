#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"
#include "law.h"

enum {
    PACKET_MS_MAX = PACKET_SAMPLES_MAX / 8,
    ECHO_PACKETS = 250,     /* 5 s; none comes back later */
    CONFLICT_US = 50000000, /* ten RTCP intervals */
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
    s->rtp.dtmf_payload_type = s->rtp.receive_dtmf_payload_type = GM_NO_PAYLOAD_TYPE;
    s->rtp.packet_samples = SAMPLES;
    rtp_source_reset(&s->rtp.source);
    event_reset(&s->rtp.events);
    rtcp_reset(&s->rtp.rtcp, (uint64_t)engine_random(e) << 32 | engine_random(e));
    err = engine_watch(e, s, s->rtp.rtcp_fd);
    bridge_join(e, s);
    return err;
}

static bool payload_types(unsigned audio, unsigned dtmf)
{
    return audio <= 127 && (dtmf <= 127 || dtmf == GM_NO_PAYLOAD_TYPE) && audio != dtmf;
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
    unsigned receive = GM_NO_PAYLOAD_TYPE, receive_dtmf = GM_NO_PAYLOAD_TYPE;

    cursor_u8(c);
    if (cursor_left(c)) { /* a client that knows one number for both ways ends here */
        receive = cursor_u8(c);
        receive_dtmf = cursor_u8(c);
        cursor_take(c, 2);
    }
    if (c->bad)
        return EBADMSG;
    if (receive == GM_NO_PAYLOAD_TYPE)
        receive = payload_type;
    if (receive_dtmf == GM_NO_PAYLOAD_TYPE || dtmf == GM_NO_PAYLOAD_TYPE)
        receive_dtmf = dtmf;
    if (family != r->family)
        return EAFNOSUPPORT;
    if ((codec != GM_CODEC_ALAW && codec != GM_CODEC_ULAW) || !payload_types(payload_type, dtmf) ||
        !payload_types(receive, receive_dtmf) || !milliseconds || milliseconds % 10 || milliseconds > PACKET_MS_MAX ||
        direction > GM_SENDRECV || !port)
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
    r->receive_payload_type = (uint8_t)receive;
    r->receive_dtmf_payload_type = (uint8_t)receive_dtmf;
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

static void send_report(struct engine *e, struct stream *s, bool bye)
{
    struct rtp_part *r = &s->rtp;
    struct rtcp_sender sender = {.ssrc = r->ssrc,
                                 .stamp = r->stamp,
                                 .packets = (uint32_t)(s->packets_sent - r->packets_before),
                                 .octets = (uint32_t)(s->octets_sent - r->octets_before),
                                 .sending = r->sent_since_report || r->sent_before_report};
    const union address *to = r->mux ? &r->remote : &r->remote_rtcp;
    uint8_t packet[RTCP_MAX];
    size_t size = rtcp_build(&r->rtcp, packet, &sender, &r->source, e->now, engine_ntp(e, e->now), bye);

    r->sent_before_report = r->sent_since_report;
    r->sent_since_report = false;
    if (to->v4.sin_port)
        (void)sendto(r->mux ? r->fd : r->rtcp_fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL, &to->any, r->address_size);
}

/* Our own packet that is sent back, as test numbers do, and not of another who has happened on the same SSRC? */
static bool is_echo(const struct rtp_part *r, const struct rtp_packet *p)
{
    return (uint16_t)(r->sequence - p->sequence) < ECHO_PACKETS && r->stamp - p->stamp < ECHO_PACKETS * SAMPLES;
}

/* RFC 3550 8.2: in a collision the old one says goodbye and another is chosen, but once only for one far end, as a loop
 * that counts anew would follow to any other. */
void rtp_own_ssrc(struct engine *e, struct stream *s, const struct rtp_packet *p)
{
    struct rtp_part *r = &s->rtp;
    bool again = e->now < r->conflict_until;

    if (is_echo(r, p))
        return;
    r->conflict_until = e->now + CONFLICT_US;
    if (again)
        return;
    if (s->packets_sent != r->packets_before)
        send_report(e, s, true);
    r->ssrc = engine_random(e);
    r->sequence = (uint16_t)engine_random(e);
    r->marker = true;
    r->packets_before = s->packets_sent;
    r->octets_before = s->octets_sent;
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
