#include <math.h>

#include "engine.h"
#include "law.h"
#include "mos.h"
#include "spectrum.h"

enum {
    LEVEL_SAMPLES = SPECTRUM_SAMPLES,
    STALE_US = 500000, /* what is older says nothing about now */
};

static double received_wide(struct wide *w, double *hertz)
{
    const struct decoder *d = &w->decoder;

    if (w->relay.on)
        decoder_look(&w->decoder);
    *hertz = dominant_frequency(d->heard, WIDE_RATE);
    return level_dbm0(d->heard, HEARD_SAMPLES);
}

static double received_level(const struct engine *e, const struct stream *s, double *hertz)
{
    uint8_t codes[LEVEL_SAMPLES];
    int16_t linear[LEVEL_SAMPLES];
    size_t real = jitter_history(&s->jitter, codes, LEVEL_SAMPLES);

    *hertz = 0.0;
    if (e->now - s->heard_at > STALE_US)
        return SILENT_DBM0;
    if (s->rtp.wide)
        return received_wide(s->rtp.wide, hertz);
    law_decode(s->jitter.law, linear, codes, LEVEL_SAMPLES);
    if (real == LEVEL_SAMPLES)
        *hertz = dominant_frequency(linear, SAMPLE_RATE);
    return real ? level_dbm0(linear + (LEVEL_SAMPLES - real), real) : SILENT_DBM0;
}

static double sent_level(const struct engine *e, const struct stream *s)
{
    const uint8_t *codes = stream_sent(s);
    int16_t linear[SAMPLES];

    if (s->rtp.wide && s->peer && s->peer->rtp.wide && s->peer->rtp.wide->relay.on) {
        double hertz;

        return received_level(e, s->peer, &hertz);
    }
    if (s->rtp.wide && s->octets_sent)
        return level_dbm0(s->rtp.wide->sent, WIDE_SAMPLES);
    if (!codes)
        return SILENT_DBM0;
    law_decode(stream_law(s), linear, codes, SAMPLES);
    return level_dbm0(linear, SAMPLES);
}

static void put_source(const struct far_end *f, struct writer *w)
{
    const union address *a = &f->source;
    bool v4 = a->any.sa_family == AF_INET;

    put_u8(w, !f->known ? 0 : v4 ? 4 : 6);
    put_u8(w, f->known && f->latch);
    put_le16(w, f->known ? address_port(a) : 0);
    if (!f->known) {
        put_zeros(w, 16);
    } else if (v4) {
        put_bytes(w, &a->v4.sin_addr, 4);
        put_zeros(w, 12);
    } else {
        put_bytes(w, &a->v6.sin6_addr, 16);
    }
}

/* Round trips are not always known; then only what we add counts. */
static double mos_of(const struct stream *s, uint32_t lost)
{
    double expected = (double)s->packets_received + lost;
    double packet = s->rtp.packet_samples / 8.0;
    double trip = s->rtp.rtcp.round_trip > 0.0 ? s->rtp.rtcp.round_trip : 0.0;

    if (!stream_packets(s) || expected <= 0.0)
        return 0.0;
    return mos_of_rating(
        mos_rating(trip / 2.0 + packet + jitter_delay(&s->jitter), (lost + (double)s->jitter.late) / expected));
}

void statistics_put(const struct engine *e, const struct stream *s, struct writer *w)
{
    const struct rtp_source *source = &s->rtp.source;
    bool rtp = s->kind == GM_KIND_RTP;
    uint32_t lost = rtp ? rtp_source_lost(source) : s->iax.lost;
    double hertz = 0.0;
    double level = stream_packets(s) || s->kind == GM_KIND_TDM ? received_level(e, s, &hertz) : SILENT_DBM0;

    put_le64(w, s->packets_sent);
    put_le64(w, s->octets_sent);
    put_le64(w, s->packets_received);
    put_le64(w, s->octets_received);
    put_le32(w, lost);
    put_le32(w, s->jitter.late);
    put_le32(w, source->duplicated);
    put_le32(w, source->reordered);
    put_le32(w, s->rejected);
    put_le32(w, s->jitter.concealed);
    put_f32(w, source->jitter);
    put_f32(w, source->jitter_maximum);
    put_f32(w, rtp ? s->rtp.rtcp.round_trip : -1.0);
    put_f32(w, stream_packets(s) ? jitter_delay(&s->jitter) : 0.0);
    put_le32(w, s->rtp.rtcp.remote_lost);
    put_f32(w, s->rtp.rtcp.remote_jitter);
    put_le32(w, s->jitter.slips + s->dropped);
    put_f32(w, level);
    put_f32(w, sent_level(e, s));
    put_f32(w, hertz);
    put_f32(w, mos_of(s, lost));
    put_le32(w, s->rtp.secure.unauthenticated);
    put_le32(w, s->rtp.secure.replayed);
    put_le32(w, s->rtp.strangers);
    if (s->kind == GM_KIND_IAX && s->packets_received)
        iax_address_put(w, &s->rtp.remote);
    else
        put_source(&s->rtp.far_end, w);
}
