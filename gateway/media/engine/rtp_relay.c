#include "engine.h"

/* Two RTP streams, or two of IAX2, of one codec: packets go on as they come, with our numbers, without being decoded or kept.
 * What is missing is missing in the numbers too, so the far end sees a loss as one, and makes the best of it as if we were not
 * there. */

enum {
    QUIET_FRAMES = 50,  /* nothing for a second: silence is sent, as to any stream that hears nothing */
    SETTLED_US = 1000,
};

/* Whoever has digits in the voice has them found there, which needs it decoded; and comfort noise is for who agreed on it.
 * Longer packets than were agreed on are not passed on; shorter ones are, everybody takes them. */
static bool relays(const struct stream *source, const struct stream *hearer)
{
    const struct rtp_part *from = &source->rtp, *to = &hearer->rtp;
    const bool told = source->kind == GM_KIND_IAX || from->dtmf_payload_type != GM_NO_PAYLOAD_TYPE;

    return source->kind == hearer->kind && from->wide && to->wide && from->wide->codec == to->wide->codec && to->set && told &&
           (source->kind != GM_KIND_IAX || source->iax.codec == from->wide->codec) && !source->jitter.noise &&
           from->wide->relay.longest <= to->packet_samples;
}

bool rtp_relays(struct stream *source, const struct stream *hearer)
{
    const int16_t noise = source->jitter.noise;
    bool on = relays(source, hearer);

    if (source->rtp.wide && on != source->rtp.wide->relay.on) {
        jitter_restart(&source->jitter, source->jitter.law);
        source->jitter.noise = noise;
        source->rtp.wide->relay.on = on;
    }
    return on;
}

void rtp_relay_stop(struct stream *s)
{
    struct wide *w = s->rtp.wide;

    if (!w)
        return;
    if (w->relay.on)
        jitter_restart(&s->jitter, s->jitter.law);
    w->relay = (struct relay){0};
}

/* Counts it, and keeps it for who asks how it sounds; false: it does not go on. */
static bool note(struct stream *source, struct stream *hearer, const uint8_t *payload, size_t size,
                 const struct relay_packet *packet)
{
    struct rtp_part *from = &source->rtp, *to = &hearer->rtp;
    struct relay *in = &from->wide->relay;
    const struct coded_packet kept = {
        .stamp = packet->stamp, .samples = (uint16_t)packet->samples, .size = (uint16_t)size, .codec = from->wide->codec};

    in->count++;
    in->arrival = packet->arrival;
    in->longest = packet->samples > in->longest ? packet->samples : in->longest;
    if (size > CODED_PAYLOAD_MAX || packet->codec != from->wide->codec) {
        source->rejected++;
        return false;
    }
    coded_put(&from->wide->decoder.coded, &kept, payload);
    from->wide->decoder.newest = packet->stamp + packet->samples;
    if (digits_busy(&hearer->digits) || !(to->direction & GM_SENDONLY)) {
        to->wide->relay.begun = false;
        return false;
    }
    return true;
}

/* In IAX2 a frame has no number, but its time. */
void iax_relay_take(struct engine *e, struct stream *source, struct stream *hearer, const uint8_t *payload, size_t size,
                    const struct relay_packet *packet)
{
    struct rtp_part *to = &hearer->rtp;
    struct relay *out = &to->wide->relay;
    uint32_t stamp;

    if (!note(source, hearer, payload, size, packet) || !to->aimed)
        return;
    if (!out->begun) {
        out->begun = true;
        out->stamp = to->stamp - packet->stamp;
    }
    stamp = packet->stamp + out->stamp;
    if ((int32_t)(stamp + packet->samples - to->stamp) > 0)
        to->stamp = stamp + packet->samples;
    iax_transmit(e, hearer, payload, size, stamp);
}

void rtp_relay_take(struct engine *e, struct stream *source, struct stream *hearer, const struct rtp_packet *p,
                    const struct relay_packet *packet)
{
    struct rtp_part *to = &hearer->rtp;
    struct relay *out = &to->wide->relay;

    if (!note(source, hearer, p->payload, p->size, packet))
        return;
    if (!out->begun || out->ssrc != p->ssrc) {
        out->begun = true;
        out->ssrc = p->ssrc;
        out->sequence = (uint16_t)(to->sequence + 1 - p->sequence);
        out->stamp = to->stamp - p->stamp;
        to->marker = true;
    }
    rtp_pass(e, hearer, p, (uint16_t)(p->sequence + out->sequence), p->stamp + out->stamp, packet->samples);
}

enum relay_result rtp_relay(struct engine *e, struct stream *source, struct stream *hearer, unsigned *phase)
{
    struct relay *in = &source->rtp.wide->relay, *out = &hearer->rtp.wide->relay;
    const bool last = *phase == PHASES - 1;
    const uint32_t before = source->kind == GM_KIND_IAX ? out->seen : in->count;

    if (source->kind == GM_KIND_RTP) /* IAX2 has been read, for all calls of a socket at once */
        rtp_receive(e, source);
    out->seen = in->count;
    if (digits_busy(&hearer->digits))
        return RELAY_SILENCE;
    if (in->count != before) {
        out->quiet = 0;
        if (e->now - in->arrival > TICK_US + SETTLED_US && e->now - in->arrival < FRAME_US) {
            if (*phase == 0)
                hearer->hearing.frame--; /* the next one comes in this frame yet */
            *phase = (*phase + PHASES - 1) % PHASES;
        }
        return RELAY_DONE;
    }
    if (!last)
        return RELAY_WAIT;
    *phase = 0;
    if (out->quiet < QUIET_FRAMES) {
        out->quiet++;
        return RELAY_DONE;
    }
    out->begun = false;
    return RELAY_SILENCE;
}
