#include <math.h>

#include "engine.h"
#include "mos.h"
#include "spectrum.h"

enum {
    LEVEL_SAMPLES = SPECTRUM_SAMPLES,
    STALE_US = 500000, /* what is older says nothing about now */
};

static double received_level(const struct engine *e, const struct stream *s, double *hertz)
{
    uint8_t codes[LEVEL_SAMPLES];
    size_t real = jitter_history(&s->jitter, codes, LEVEL_SAMPLES);

    *hertz = 0.0;
    if (!real || e->now - s->heard_at > STALE_US)
        return SILENT_DBM0;
    if (real == LEVEL_SAMPLES)
        *hertz = dominant_frequency(s->jitter.law, codes);
    return level_dbm0(s->jitter.law, codes + (LEVEL_SAMPLES - real), real);
}

static double sent_level(const struct stream *s)
{
    const uint8_t *codes = stream_sent(s);

    return codes ? level_dbm0(stream_law(s), codes, SAMPLES) : SILENT_DBM0;
}

/* Round trips are not always known; then only what we add counts. */
static double mos_of(const struct stream *s, uint32_t lost)
{
    double expected = (double)s->packets_received + lost;
    double packet = s->rtp.packet_samples / 8.0;
    double trip = s->rtp.rtcp.round_trip > 0.0 ? s->rtp.rtcp.round_trip : 0.0;

    if (s->kind != GM_KIND_RTP || expected <= 0.0)
        return 0.0;
    return mos_of_rating(
        mos_rating(trip / 2.0 + packet + jitter_delay(&s->jitter), (lost + (double)s->jitter.late) / expected));
}

void statistics_put(const struct engine *e, const struct stream *s, struct writer *w)
{
    const struct rtp_source *source = &s->rtp.source;
    bool rtp = s->kind == GM_KIND_RTP;
    uint32_t lost = rtp ? rtp_source_lost(source) : 0;
    double hertz = 0.0;
    double level = s->kind == GM_KIND_RTP || s->kind == GM_KIND_TDM ? received_level(e, s, &hertz) : SILENT_DBM0;

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
    put_f32(w, rtp ? jitter_delay(&s->jitter) : 0.0);
    put_le32(w, s->rtp.rtcp.remote_lost);
    put_f32(w, s->rtp.rtcp.remote_jitter);
    put_le32(w, s->jitter.slips + s->dropped);
    put_f32(w, level);
    put_f32(w, sent_level(s));
    put_f32(w, hertz);
    put_f32(w, mos_of(s, lost));
}
