#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"

enum {
    PACKET_MS_MAX = PACKET_SAMPLES_MAX / 8,
    ECHO_PACKETS = 250,     /* 5 s; none comes back later */
    CONFLICT_US = 50000000, /* ten RTCP intervals */
};

/* RFC 4568 6.4: who begins in the lower half has no wrap near that loss could hide. */
static void begin_source(struct engine *e, struct stream *s)
{
    struct rtp_part *r = &s->rtp;

    r->ssrc = engine_random(e);
    r->sequence = engine_random(e) & 0x7fff;
    r->marker = true;
    r->wrapped = r->secured = false;
    r->packets_before = s->packets_sent;
    r->octets_before = s->octets_sent;
}

int rtp_open(struct engine *e, struct stream *s, int family, const uint8_t *address)
{
    int err;

    s->rtp.family = family;
    err = rtp_bind_pair(e, s, address);
    if (err)
        return err;
    s->rtp.stamp = engine_random(e);
    begin_source(e, s);
    s->rtp.dtmf_payload_type = s->rtp.receive_dtmf_payload_type = GM_NO_PAYLOAD_TYPE;
    s->rtp.packet_samples = SAMPLES;
    s->rtp.clock = 1;
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

void rtp_aim(struct stream *s)
{
    struct rtp_part *r = &s->rtp;
    const struct far_end *f = &r->far_end;
    const union address *to = far_end_target(f);

    r->aimed = to;
    if (to)
        r->remote = *to;
    if (r->rtcp_latched)
        return;
    r->remote_rtcp = r->signalled_rtcp;
    if (f->latch && f->known && !address_equal(&f->source, &f->signalled) && address_port(&r->signalled_rtcp)) {
        r->remote_rtcp = f->source; /* a guess until some RTCP comes */
        address_set_port(&r->remote_rtcp, (uint16_t)(address_port(&f->source) + 1));
    }
}

void rtp_aim_rtcp(struct stream *s, const union address *from)
{
    struct rtp_part *r = &s->rtp;

    if (!r->far_end.latch || !r->far_end.known || r->rtcp_latched)
        return;
    r->remote_rtcp = *from;
    r->rtcp_latched = true;
}

/* What GM_SET_RTP says about who may speak, and how it is known that it is them. */
struct trust {
    struct secure_key send, receive;
    union address signalling;
    bool latch;
};

static void take_key(struct secure_key *key, unsigned suite, struct cursor *c)
{
    key->suite = (uint8_t)suite;
    cursor_copy(c, key->octets, sizeof key->octets);
}

static int take_trust(struct trust *t, struct cursor *c)
{
    unsigned latch, send, receive, family;
    const uint8_t *signalling;

    if (c->bad)
        return EBADMSG;
    if (!cursor_left(c)) /* a client that knows neither SRTP nor latching */
        return 0;
    latch = cursor_u8(c);
    send = cursor_u8(c);
    receive = cursor_u8(c);
    family = cursor_u8(c);
    signalling = cursor_take(c, 16);
    take_key(&t->send, send, c);
    take_key(&t->receive, receive, c);
    if (cursor_left(c)) {
        t->receive.mki_size = cursor_u8(c);
        cursor_copy(c, t->receive.mki, sizeof t->receive.mki);
    }
    if (c->bad)
        return EBADMSG;
    if (latch > GM_LATCH_ONCE || !send != !receive)
        return EINVAL;
    t->latch = latch == GM_LATCH_ONCE;
    if (family)
        address_fill(&t->signalling, family == 6 ? AF_INET6 : AF_INET, signalling, 0);
    return 0;
}

/* RFC 3711 3.3.1 says that a new key goes on with the roll-over counter, RFC 4568 7.1.4 in some cases that it begins with 0,
 * and far ends do either. Both come to the same while it is 0 and no wrap is near; else we go on as another source. So no
 * SSRC is ever used with two contexts, either, and no key stream twice (RFC 3711 9.1), even if a key comes back. */
static int set_keys(struct engine *e, struct stream *s, const struct trust *t)
{
    struct rtp_part *r = &s->rtp;
    bool renewed;
    int err = secure_set(&r->secure, &e->secure, &t->send, &t->receive, e->now, &renewed);

    if (err)
        return err;
    if (renewed && (r->secured || r->wrapped || r->sequence >= 0x8000))
        begin_source(e, s);
    if (renewed)
        r->secured = true;
    return 0;
}

static void set_far_end(struct engine *e, struct stream *s, const union address *rtp, const union address *rtcp,
                        const struct trust *t)
{
    struct rtp_part *r = &s->rtp;

    far_end_set(&r->far_end, rtp, &t->signalling, t->latch, e->now);
    r->signalled_rtcp = *rtcp;
    if (!t->latch || !r->far_end.known)
        r->rtcp_latched = false;
    rtp_aim(s);
}

static bool packet_times(unsigned milliseconds)
{
    return milliseconds && milliseconds % 10 == 0 && milliseconds <= PACKET_MS_MAX;
}

static void set_codec(struct engine *e, struct stream *s, const struct codec *codec, struct wide *wide)
{
    struct rtp_part *r = &s->rtp;

    if (!voice_codec_set(e, s, codec, wide))
        return;
    if (codec->clock != r->clock && s->packets_sent != r->packets_before) { /* RFC 7160 4.1: another clock, another SSRC */
        secure_forget(&r->secure, r->ssrc);
        begin_source(e, s);
        r->secured = secure_on(&r->secure);
    }
    r->clock = codec->clock;
    r->rtcp.clock = codec->clock;
}

int rtp_set(struct engine *e, struct stream *s, struct cursor *c)
{
    struct rtp_part *r = &s->rtp;
    int family = cursor_u8(c) == 6 ? AF_INET6 : AF_INET;
    const struct codec *codec = codec_find(cursor_u8(c));
    unsigned payload_type = cursor_u8(c);
    unsigned dtmf = cursor_u8(c);
    const uint8_t *address = cursor_take(c, 16);
    uint16_t port = cursor_le16(c);
    uint16_t rtcp_port = cursor_le16(c);
    unsigned milliseconds = cursor_u8(c);
    unsigned direction = cursor_u8(c);
    bool mux = cursor_u8(c);
    bool digits_told = cursor_u8(c);
    unsigned receive = GM_NO_PAYLOAD_TYPE, receive_dtmf = GM_NO_PAYLOAD_TYPE;
    union address remote, remote_rtcp;
    struct trust trust = {0};
    struct wide *wide = NULL;
    int err;

    if (cursor_left(c)) { /* a client that knows one number for both ways ends here */
        receive = cursor_u8(c);
        receive_dtmf = cursor_u8(c);
        cursor_take(c, 2);
    }
    err = take_trust(&trust, c);
    if (err)
        goto out;
    if (receive == GM_NO_PAYLOAD_TYPE)
        receive = payload_type;
    if (receive_dtmf == GM_NO_PAYLOAD_TYPE || dtmf == GM_NO_PAYLOAD_TYPE)
        receive_dtmf = dtmf;
    err = family == r->family ? EINVAL : EAFNOSUPPORT;
    if (err == EAFNOSUPPORT || !codec || !payload_types(payload_type, dtmf) || !payload_types(receive, receive_dtmf) ||
        !packet_times(milliseconds) || direction > GM_SENDRECV || !port)
        goto out;
    err = voice_codec_prepare(e, s, codec, &wide);
    if (err)
        goto out;
    err = set_keys(e, s, &trust);
    if (err) {
        if (wide)
            wide_free(&e->wides, wide);
        goto out;
    }
    set_codec(e, s, codec, wide);
    if ((dtmf == GM_NO_PAYLOAD_TYPE) != (r->dtmf_payload_type == GM_NO_PAYLOAD_TYPE) || digits_told != r->digits_told)
        digits_clear(&s->digits);
    if (!r->set) {
        r->next_report = e->now + rtcp_interval(engine_random(e), true);
        s->expected_from = e->now;
    }
    if (direction & GM_RECVONLY && !(r->direction & GM_RECVONLY))
        s->expected_from = e->now;
    address_fill(&remote, family, address, port);
    address_fill(&remote_rtcp, family, address, rtcp_port);
    set_far_end(e, s, &remote, &remote_rtcp, &trust);
    r->address_size = family == AF_INET ? sizeof r->remote.v4 : sizeof r->remote.v6;
    r->payload_type = (uint8_t)payload_type;
    r->dtmf_payload_type = (uint8_t)dtmf;
    r->receive_payload_type = (uint8_t)receive;
    r->receive_dtmf_payload_type = (uint8_t)receive_dtmf;
    r->direction = (uint8_t)direction;
    r->mux = mux;
    r->digits_told = digits_told;
    r->packet_samples = milliseconds * 8;
    r->gathered = 0;
    r->set = true;
    s->in_fault = false;
out:
    explicit_bzero(&trust, sizeof trust);
    return err;
}

bool rtp_takes_digits(const struct stream *s)
{
    return s->rtp.set && s->rtp.direction & GM_SENDONLY &&
           (s->rtp.dtmf_payload_type != GM_NO_PAYLOAD_TYPE || s->rtp.digits_told);
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
    _Alignas(4) uint8_t packet[RTCP_MAX + SECURE_ROOM];
    size_t size = rtcp_build(&r->rtcp, packet, &sender, &r->source, e->now, engine_ntp(e, e->now), bye);

    r->sent_before_report = r->sent_since_report;
    r->sent_since_report = false;
    if (secure_on(&r->secure) && secure_protect_rtcp(&r->secure, packet, &size))
        return;
    if (address_usable(to) && (r->aimed || !r->mux))
        (void)sendto(r->mux ? r->fd : r->rtcp_fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL, &to->any, r->address_size);
}

/* Our own packet that is sent back, as test numbers do, and not of another who has happened on the same SSRC? */
static bool is_echo(const struct rtp_part *r, const struct rtp_packet *p)
{
    return (uint16_t)(r->sequence - p->sequence) < ECHO_PACKETS && r->stamp - p->stamp < ECHO_PACKETS * SAMPLES * (uint32_t)r->clock;
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
    secure_forget(&r->secure, r->ssrc);
    begin_source(e, s);
    r->secured = secure_on(&r->secure);
}

void rtp_event(struct engine *e, struct stream *s, struct event_change *change)
{
    change->ended_samples /= s->rtp.clock;
    change->finished_samples /= s->rtp.clock;
    bridge_event(e, s, change);
}

/* How much of what we send gets lost, as the far end's reports say: Opus repeats for it. */
static void mind_loss(struct stream *s)
{
    if (s->rtp.wide)
        encoder_loss(&s->rtp.wide->encoder, (s->rtp.rtcp.remote_fraction * 100U + 255) / 256);
}

void rtp_upkeep(struct engine *e, struct stream *s)
{
    struct event_change change;

    if (event_expire(&s->rtp.events, e->now, &change))
        rtp_event(e, s, &change);
    if (secure_on(&s->rtp.secure))
        secure_upkeep(&s->rtp.secure, e->now);
    if (s->rtp.set && e->now >= s->rtp.next_report) {
        send_report(e, s, false);
        mind_loss(s);
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
    voice_codec_end(e, s);
    secure_close(&s->rtp.secure);
}
