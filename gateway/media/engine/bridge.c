#include <string.h>

#include "engine.h"
#include "law.h"
#include "wide.h"

/* After comfort noise nothing but RTCP need come (RFC 3389 5.1): three of its intervals. */
enum { SILENT_BY_DESIGN_US = 15000000 };

/* So that no key is doubled by what Opus leaves of its tones. */
enum { BRIDGED_FRAMES = 3 };

/* A digit goes on so long while its packets are kept somewhere: a far end that is busy, or Wi-Fi (own). Longer, and the
 * pause between two presses of one key might be lost unseen. */
enum { SKIPPED_FRAMES = 3 };

/* Two ways that voice goes. A TDM stream has a clock of its own: what it receives is pushed at once to who hears it. All
 * else is pulled: a hearer with a cadence (RTP, TDM, recorder) asks its source for a frame once in each 20 ms, at the
 * tick of its phase, and again at the next tick if its source is a jitter buffer that has nothing yet. */

void bridge_join(struct engine *e, struct stream *s)
{
    schedule_add(&e->hearing, &s->hearing, s, e->next_phase++);
}

void bridge_leave(struct engine *e, struct stream *s)
{
    bridge_disconnect(e, s);
    schedule_remove(&e->hearing, &s->hearing);
    schedule_remove(&e->reading, &s->reading);
}

static void unwire(struct engine *e, struct stream *s)
{
    if (!s)
        return;
    if (s->digits.count && s->digits.queue[(s->digits.head + s->digits.count - 1) % GM_DIGITS_MAX].live)
        digits_end(&s->digits, 0); /* who sent it is gone */
    rtp_relay_stop(s);
    s->peer = NULL;
    s->fed = 0;
    s->silent = false;
    s->expected_from = e->now;
}

void bridge_disconnect(struct engine *e, struct stream *s)
{
    unwire(e, s->peer);
    unwire(e, s);
}

void bridge_connect(struct engine *e, struct stream *first, struct stream *second)
{
    if (first->peer == second)
        return;
    bridge_disconnect(e, first);
    bridge_disconnect(e, second);
    first->peer = second;
    second->peer = first;
}

struct stream *bridge_partner(struct stream *s)
{
    return s->peer && s->peer->kind == GM_KIND_ECHO ? s : s->peer;
}

static bool hears(const struct stream *hearer)
{
    return hearer && (stream_packets(hearer) || hearer->kind == GM_KIND_TDM || hearer->kind == GM_KIND_RECORDER);
}

void bridge_heard(struct engine *e, struct stream *s)
{
    s->heard_at = e->now;
    if (!s->first) {
        s->first = true;
        control_event(e, GM_EVENT_FIRST, s->id);
    }
    if (s->silent) {
        s->silent = false;
        control_event(e, GM_EVENT_HEARD, s->id);
    }
}

static void watch_silence(struct engine *e, struct stream *s)
{
    int64_t since = s->heard_at > s->expected_from ? s->heard_at : s->expected_from;
    int64_t limit = (int64_t)e->options.silence_milliseconds * 1000;

    if (s->jitter.noise && limit && limit < SILENT_BY_DESIGN_US)
        limit = SILENT_BY_DESIGN_US;
    if (s->silent || !s->peer || !limit || e->now - since < limit)
        return;
    if (stream_packets(s) && !(s->rtp.set && s->rtp.direction & GM_RECVONLY))
        return;
    s->silent = true;
    control_event_silent(e, s->id, (uint32_t)((e->now - since) / 1000));
}

/* -- digits -- */

void bridge_event(struct engine *e, struct stream *s, const struct event_change *change)
{
    struct stream *hearer = bridge_partner(s);
    struct digits *d = hearer && (stream_packets(hearer) || hearer->kind == GM_KIND_TDM) ? &hearer->digits : NULL;

    if (change->ended) {
        if (d)
            digits_end(d, change->ended_samples);
        control_event_digit(e, s->id, dtmf_digit(change->ended_event), change->ended_samples / 8);
    }
    if (change->began && d)
        digits_begin(d, change->began_event);
    if (change->finished) {
        if (d)
            digits_end(d, change->finished_samples);
        control_event_digit(e, s->id, dtmf_digit(change->began_event), change->finished_samples / 8);
    }
}

static bool speech_codec(const struct stream *s)
{
    return s->kind == GM_KIND_RTP && s->rtp.wide && s->rtp.wide->codec == GM_CODEC_OPUS;
}

/* True if this frame stands for packets that are not here, within a digit: it tells nothing of when that ends. */
static bool made_up(struct stream *s)
{
    const uint8_t concealed = (uint8_t)s->jitter.concealed;
    const bool news = s->kind == GM_KIND_RTP && s->inband.concealed != concealed;

    s->inband.concealed = concealed;
    if (!news)
        s->inband.skipped = 0;
    else if (s->inband.digit && s->inband.skipped < SKIPPED_FRAMES)
        s->inband.skipped++;
    else
        return false;
    return news;
}

bool bridge_inband(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    struct inband_change change;
    struct stream *hearer = bridge_partner(s);
    bool packets = hearer && stream_packets(hearer) && rtp_takes_digits(hearer);

    if (made_up(s))
        return packets;
    inband_frame(&s->inband, law, frame, speech_codec(s) ? BRIDGED_FRAMES : 0, &change);
    if (change.ended) {
        if (packets)
            digits_end(&hearer->digits, change.samples);
        control_event_digit(e, s->id, change.ended, change.samples / 8);
    }
    if (change.began && packets)
        digits_begin(&hearer->digits, (unsigned)dtmf_event(change.began));
    return packets && change.mute;
}

/* -- frames -- */

static void record(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    int16_t linear[SAMPLES];

    (void)e;
    if (!s->file.file || !s->file.opened)
        return;
    law_decode(law, linear, frame, SAMPLES);
    s->packets_received++;
    if (!disk_give(s->file.file, linear, SAMPLES))
        s->dropped++;
}

/* A frame on its way to a hearer: linear at 16 kHz if it came so and goes on so, else G.711. */
struct voice {
    bool none; /* all is sent already */
    bool wide;
    enum law law;
    uint8_t codes[SAMPLES];
    int16_t linear[WIDE_SAMPLES];
};

static void give(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    if (stream_packets(s))
        rtp_send(e, s, law, frame);
    else if (s->kind == GM_KIND_TDM)
        tdm_send(e, s, law, frame);
    else
        record(e, s, law, frame);
}

void bridge_push(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    struct stream *hearer = bridge_partner(s);

    if (!hears(hearer))
        return;
    hearer->fed = FED_FRAMES;
    give(e, hearer, law, frame);
}

static void play_prompt(struct engine *e, struct stream *s, int16_t *linear)
{
    size_t got = 0;

    if (s->file.opened && !s->file.ended) {
        int state = atomic_load(&s->file.file->state);

        got = disk_take(s->file.file, linear, SAMPLES);
        if (got < SAMPLES && state == DISK_ENDED) {
            s->file.ended = true;
            control_event(e, GM_EVENT_ENDED, s->id);
        } else if (got < SAMPLES) {
            s->dropped++;
        }
    }
    memset(linear + got, 0, (SAMPLES - got) * sizeof *linear);
}

static void play_tone(struct engine *e, struct stream *s, int16_t *linear)
{
    tone_frame(&s->tone, linear);
    if (s->tone.ended && !s->tone_told) {
        s->tone_told = true;
        control_event(e, GM_EVENT_ENDED, s->id);
    }
}

/* What a jitter buffer gave, in the form that hearer `s` takes. */
static void take_received(struct engine *e, const struct stream *s, struct stream *source, bool audio, struct voice *v)
{
    /* In IAX2 digits are told in frames of their own (RFC 5456 8.2), never as sound. */
    const bool detect = audio && source->kind == GM_KIND_RTP && source->rtp.dtmf_payload_type == GM_NO_PAYLOAD_TYPE;

    v->law = source->rtp.law;
    if (source->rtp.wide && (detect || !s->rtp.wide)) {
        v->law = ULAW;
        wide_narrowed(source->rtp.wide, v->codes, v->linear);
    }
    v->wide = source->rtp.wide && s->rtp.wide;
    if (detect && bridge_inband(e, source, v->law, v->codes)) {
        memset(v->codes, law_idle(v->law), SAMPLES);
        v->wide = false;
    }
}

/* See serve_function. */
static bool pass_on(struct engine *e, struct stream *s, struct stream *source, unsigned *phase, struct voice *v)
{
    enum relay_result result = rtp_relay(e, source, s, phase);

    v->none = result == RELAY_DONE;
    v->wide = true;
    memset(v->linear, 0, sizeof v->linear);
    return result != RELAY_WAIT;
}

/* A frame for hearer `s` from what it is wired to; false: not yet. */
static bool pull(struct engine *e, struct stream *s, unsigned *phase, struct voice *v)
{
    struct stream *source = bridge_partner(s);
    int64_t frame_start = e->origin + e->tick / PHASES * FRAME_US;

    v->law = stream_law(s);
    v->wide = v->none = false;
    if (source && stream_packets(source) && source->rtp.set) {
        enum jitter_result result;

        if (source->rtp.wide && rtp_relays(source, s))
            return pass_on(e, s, source, phase, v);
        if (source->kind == GM_KIND_RTP) /* IAX2 has been read, for all calls of a socket at once */
            rtp_receive(e, source);
        result = jitter_pull(&source->jitter, source->rtp.wide ? (void *)v->linear : v->codes, phase, *phase == PHASES - 1);
        if (result == JITTER_WAIT)
            return false;
        source->jitter.next_pull = frame_start + FRAME_US + (int64_t)*phase * TICK_US;
        take_received(e, s, source, result == JITTER_FRAME, v);
        return true;
    }
    if (e->beat.on)
        *phase = e->beat.tick;
    if (source && (source->kind == GM_KIND_TONE || source->kind == GM_KIND_PROMPT)) {
        int16_t linear[SAMPLES];

        if (source->kind == GM_KIND_TONE)
            play_tone(e, source, linear);
        else
            play_prompt(e, source, linear);
        law_encode(v->law, v->codes, linear, SAMPLES);
        return true;
    }
    memset(v->codes, law_idle(v->law), SAMPLES);
    return true;
}

static bool serve(struct engine *e, struct stream *s, unsigned *phase)
{
    struct voice v;

    if (s->fed) {
        s->fed--;
        *phase = bridge_partner(s)->reading.phase; /* one wake-up for both */
    } else {
        if (!pull(e, s, phase, &v))
            return false;
        if (v.none)
            ;
        else if (v.wide)
            rtp_send_wide(e, s, v.linear);
        else
            give(e, s, v.law, v.codes);
    }
    if (stream_packets(s)) {
        if (!hears(bridge_partner(s))) {
            if (s->kind == GM_KIND_RTP)
                rtp_receive(e, s);
            jitter_drain(&s->jitter);
        }
        if (s->kind == GM_KIND_RTP)
            rtp_upkeep(e, s);
    } else if (s->kind == GM_KIND_TDM) {
        tdm_upkeep(e, s);
    }
    if (s->kind != GM_KIND_RECORDER)
        watch_silence(e, s);
    return true;
}

/* Who is due at the same tick has their turn with it: the line's socket, here and in the kernel, is in the cache now. */
static bool read_line(struct engine *e, struct stream *s, unsigned *phase)
{
    if (!tdm_receive(e, s, phase))
        return false;
    schedule_run_one(&e->hearing, &s->hearing, e->tick, serve, e);
    if (s->peer)
        schedule_run_one(&e->hearing, &s->peer->hearing, e->tick, serve, e);
    return true;
}

void bridge_tick(struct engine *e)
{
    schedule_run_waiting(&e->hearing, e->tick, serve, e);
    schedule_run_waiting(&e->reading, e->tick, read_line, e);
    schedule_run(&e->reading, e->tick, read_line, e);
    schedule_run(&e->hearing, e->tick, serve, e);
}
