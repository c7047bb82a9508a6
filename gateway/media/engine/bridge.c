#include <string.h>

#include "engine.h"
#include "law.h"

/* After comfort noise nothing but RTCP need come (RFC 3389 5.1): three of its intervals. */
enum { SILENT_BY_DESIGN_US = 15000000 };

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

/* Who hears `s`, and whom it hears. */
static struct stream *partner(struct stream *s)
{
    return s->peer && s->peer->kind == GM_KIND_ECHO ? s : s->peer;
}

static bool hears(const struct stream *hearer)
{
    return hearer && (hearer->kind == GM_KIND_RTP || hearer->kind == GM_KIND_TDM || hearer->kind == GM_KIND_RECORDER);
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
    if (s->kind == GM_KIND_RTP && !(s->rtp.set && s->rtp.direction & GM_RECVONLY))
        return;
    s->silent = true;
    control_event_silent(e, s->id, (uint32_t)((e->now - since) / 1000));
}

/* -- digits -- */

void bridge_event(struct engine *e, struct stream *s, const struct event_change *change)
{
    struct stream *hearer = partner(s);
    struct digits *d = hearer && (hearer->kind == GM_KIND_RTP || hearer->kind == GM_KIND_TDM) ? &hearer->digits : NULL;

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

bool bridge_inband(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    struct inband_change change;
    struct stream *hearer = partner(s);
    bool packets = hearer && hearer->kind == GM_KIND_RTP && rtp_sends_events(hearer);

    inband_frame(&s->inband, law, frame, &change);
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

static void give(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    if (s->kind == GM_KIND_RTP)
        rtp_send(e, s, law, frame);
    else if (s->kind == GM_KIND_TDM)
        tdm_send(e, s, law, frame);
    else
        record(e, s, law, frame);
}

void bridge_push(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    struct stream *hearer = partner(s);

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

/* A frame for hearer `s` from what it is wired to; false: not yet. */
static bool pull(struct engine *e, struct stream *s, unsigned *phase, enum law *law, uint8_t *frame)
{
    struct stream *source = partner(s);
    int16_t linear[SAMPLES];
    int64_t frame_start = e->origin + e->tick / PHASES * FRAME_US;

    *law = stream_law(s);
    if (source && source->kind == GM_KIND_RTP && source->rtp.set) {
        enum jitter_result result;

        rtp_receive(e, source);
        result = jitter_pull(&source->jitter, frame, phase, *phase == PHASES - 1);
        if (result == JITTER_WAIT)
            return false;
        source->jitter.next_pull = frame_start + FRAME_US + (int64_t)*phase * TICK_US;
        *law = source->rtp.law;
        if (result == JITTER_FRAME && source->rtp.dtmf_payload_type == GM_NO_PAYLOAD_TYPE &&
            bridge_inband(e, source, *law, frame))
            memset(frame, law_idle(*law), SAMPLES);
        return true;
    }
    if (source && (source->kind == GM_KIND_TONE || source->kind == GM_KIND_PROMPT)) {
        if (source->kind == GM_KIND_TONE)
            play_tone(e, source, linear);
        else
            play_prompt(e, source, linear);
        law_encode(*law, frame, linear, SAMPLES);
        return true;
    }
    memset(frame, law_idle(*law), SAMPLES);
    return true;
}

static bool serve(struct engine *e, struct stream *s, unsigned *phase)
{
    uint8_t frame[SAMPLES];
    enum law law;

    if (s->fed) {
        s->fed--;
        *phase = partner(s)->reading.phase; /* one wake-up for both */
    } else {
        if (!pull(e, s, phase, &law, frame))
            return false;
        give(e, s, law, frame);
    }
    if (s->kind == GM_KIND_RTP) {
        if (!hears(partner(s))) {
            rtp_receive(e, s);
            jitter_drain(&s->jitter);
        }
        rtp_upkeep(e, s);
    } else if (s->kind == GM_KIND_TDM) {
        tdm_upkeep(e, s);
    }
    if (s->kind != GM_KIND_RECORDER)
        watch_silence(e, s);
    return true;
}

void bridge_tick(struct engine *e)
{
    schedule_run(&e->reading, e->tick, tdm_receive, e);
    schedule_run(&e->hearing, e->tick, serve, e);
}
