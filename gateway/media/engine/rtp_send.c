#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine.h"
#include "law.h"
#include "socket_call.h"

/* The sending half of an RTP stream: audio, RFC 4733 digits or digits as tones, one frame of 20 ms at a time. */

/* A packet with its header before its payload, under a sequence number. */
static void dispatch(struct engine *e, struct stream *s, uint8_t *packet, const struct rtp_packet *header)
{
    struct rtp_part *r = &s->rtp;
    _Alignas(4) uint8_t secured[RTP_HEADER + CODED_PAYLOAD_MAX + SECURE_ROOM];
    size_t size = RTP_HEADER + header->size;

    rtp_header(packet, header);
    if (s->tapped)
        tap_packet(e, s, false, &r->remote, e->now, packet, size);
    if (secure_on(&r->secure)) { /* on a copy: what was sent last is looked at for its level */
        memcpy(secured, packet, size);
        packet = secured;
        if (secure_protect(&r->secure, packet, &size)) {
            s->dropped++;
            return;
        }
    }
    if (call_sendto(r->fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL, &r->remote.any, r->address_size) < 0) {
        s->dropped++;
        if (!s->in_fault && errno != EAGAIN && errno != ECONNREFUSED)
            log_line("stream %u (%s): sending RTP: %s", s->id, s->label, strerrordesc_np(errno));
        s->in_fault = true;
        return;
    }
    s->packets_sent++;
    s->octets_sent += header->size;
    r->sent_since_report = true;
}

static void transmit(struct engine *e, struct stream *s, uint8_t *packet, size_t payload, unsigned payload_type,
                     uint32_t stamp, bool marker)
{
    struct rtp_part *r = &s->rtp;
    struct rtp_packet header = {
        .stamp = stamp, .ssrc = r->ssrc, .size = payload, .payload_type = (uint8_t)payload_type, .marker = marker};

    if (!r->aimed) /* the sequence begins when there is somebody to send to */
        return;
    if (s->kind == GM_KIND_IAX) {
        iax_transmit(e, s, packet + RTP_HEADER, payload, stamp);
        return;
    }
    if (!++r->sequence)
        r->wrapped = true;
    header.sequence = r->sequence;
    dispatch(e, s, packet, &header);
}

void rtp_pass(struct engine *e, struct stream *s, const struct rtp_packet *p, uint16_t sequence, uint32_t stamp, unsigned samples)
{
    struct rtp_part *r = &s->rtp;
    struct rtp_packet header = {.stamp = stamp, .ssrc = r->ssrc, .size = p->size, .sequence = sequence,
                                .payload_type = r->payload_type, .marker = p->marker || r->marker};

    if (!r->aimed)
        return;
    if ((int16_t)(sequence - r->sequence) > 0) {
        if (sequence < r->sequence)
            r->wrapped = true;
        r->sequence = sequence;
        r->stamp = stamp + samples * r->clock;
    }
    memcpy(r->wide->packet + RTP_HEADER, p->payload, p->size);
    dispatch(e, s, r->wide->packet, &header);
    r->marker = false;
}

static void send_digit(struct engine *e, struct stream *s)
{
    struct digit_packet p;
    uint8_t packet[RTP_HEADER + sizeof p.payload];

    digits_packet(&s->digits, s->rtp.stamp, s->rtp.clock, &p);
    memcpy(packet + RTP_HEADER, p.payload, sizeof p.payload);
    transmit(e, s, packet, sizeof p.payload, s->rtp.dtmf_payload_type, p.stamp, p.marker);
    s->rtp.gathered = 0;
}

static void send_audio(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
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
            transmit(e, s, r->packet, r->gathered, r->payload_type, r->stamp + done - r->gathered, r->marker);
            r->marker = false;
            r->gathered = 0;
        }
    }
}

/* The same of linear voice in another codec. */
static void send_voice(struct engine *e, struct stream *s, const int16_t *frame)
{
    struct rtp_part *r = &s->rtp;
    struct wide *w = r->wide;
    unsigned done = 0;

    memcpy(w->sent, frame, sizeof w->sent);
    while (done < SAMPLES) {
        unsigned room = r->packet_samples - r->gathered;
        unsigned part = room < SAMPLES - done ? room : SAMPLES - done;

        encoder_add(&w->encoder, w->packet + RTP_HEADER, r->gathered, frame + (size_t)WIDE * done, part);
        r->gathered += part;
        done += part;
        if (r->gathered == r->packet_samples) {
            size_t size = encoder_finish(&w->encoder, w->packet + RTP_HEADER, r->gathered);
            uint32_t stamp = r->stamp + (done - r->gathered) * r->clock;

            if (size)
                transmit(e, s, w->packet, size, r->payload_type, stamp, r->marker);
            r->marker = false;
            r->gathered = 0;
        }
    }
}

enum outlet { NOTHING, VOICE, EVENTS, TONES };

static enum outlet outlet(const struct stream *s)
{
    const struct rtp_part *r = &s->rtp;

    if (!r->set || !(r->direction & GM_SENDONLY))
        return NOTHING;
    return !digits_busy(&s->digits) ? VOICE : r->dtmf_payload_type != GM_NO_PAYLOAD_TYPE ? EVENTS : TONES;
}

static void send_narrow(struct engine *e, struct stream *s, const int16_t *narrow)
{
    int16_t frame[WIDE_SAMPLES];

    encoder_narrow(&s->rtp.wide->encoder, true);
    wide_widened(s->rtp.wide, frame, narrow);
    send_voice(e, s, frame);
}

/* A frame of digits, which take the place of voice. */
static void send_tones(struct engine *e, struct stream *s)
{
    int16_t linear[SAMPLES];
    uint8_t codes[SAMPLES];

    digits_tones(&s->digits, linear);
    if (s->rtp.digits_told)
        memset(linear, 0, sizeof linear);
    if (s->rtp.wide) {
        send_narrow(e, s, linear);
        return;
    }
    law_encode(s->rtp.law, codes, linear, SAMPLES);
    send_audio(e, s, s->rtp.law, codes);
}

/* What there is instead of voice. */
static void send_other(struct engine *e, struct stream *s, enum outlet outlet)
{
    struct rtp_part *r = &s->rtp;

    if (outlet == TONES) {
        send_tones(e, s);
        return;
    }
    if (outlet == EVENTS) {
        send_digit(e, s);
    } else {
        digits_clear(&s->digits);
        r->marker = true;
        r->gathered = 0;
    }
    if (r->wide)
        encoder_drop(&r->wide->encoder);
}

void rtp_send(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    enum outlet o = outlet(s);

    if (o != VOICE) {
        send_other(e, s, o);
    } else if (!s->rtp.wide) {
        send_audio(e, s, law, frame);
    } else {
        int16_t linear[SAMPLES];

        law_decode(law, linear, frame, SAMPLES);
        send_narrow(e, s, linear);
    }
    s->rtp.stamp += SAMPLES * (uint32_t)s->rtp.clock;
}

void rtp_send_wide(struct engine *e, struct stream *s, const int16_t *frame)
{
    enum outlet o = outlet(s);

    if (o != VOICE) {
        send_other(e, s, o);
    } else {
        encoder_narrow(&s->rtp.wide->encoder, false);
        send_voice(e, s, frame);
    }
    s->rtp.stamp += SAMPLES * (uint32_t)s->rtp.clock;
}
