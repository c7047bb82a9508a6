#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "engine.h"
#include "law.h"

/* The sending half of an RTP stream: audio, RFC 4733 digits or digits as tones, one frame of 20 ms at a time. */

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
