#include "jitter.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "codec.h"
#include "decoder.h"
#include "jitter_ring.h"
#include "protocol.h"

enum {
    WINDOW = 100,       /* packets: 2 s of 20 ms packets */
    WINDOW_MAX = 1600,  /* 32 s: after trouble the delay shrinks more hesitantly */
    WINDOW_SHORT = 25,  /* at the start, and enough to see that the delay is far too long */
    FAR_TOO_EARLY = 45000,
    GUARD_US = 1000,    /* margin that shrinking leaves */
    AHEAD_MAX = 16000,  /* a stamp further away than 2 s is another sequence */
    MISPLACED_MAX = 3,
    LOSING_FRAMES = 500, /* 10 s */
    OPUS_QUIET = 2,      /* octets: a packet without voice, before a pause (libopus and RFC 6716 3.1 call it DTX) */
    NOISE_LEAST = 127, NOISE_MOST = 30, /* -dBov; nobody's background is louder */
};

static void new_window(struct jitter *j)
{
    if (j->measured)
        j->slack_mean = (int32_t)(j->slack_sum / j->measured);
    j->slack_sum = 0;
    j->measured = 0;
    j->slack[0] = j->slack[1] = INT32_MAX;
}

int jitter_open(struct jitter *j, unsigned delay_max_milliseconds)
{
    memset(j, 0, sizeof *j);
    j->delay_max = delay_max_milliseconds * (SAMPLE_RATE / 1000);
    return conceal_open(&j->conceal);
}

void jitter_close(struct jitter *j)
{
    conceal_close(&j->conceal);
}

static void stop(struct jitter *j)
{
    j->running = false;
    j->merge = false;
    j->borrowed = 0;
    j->window = WINDOW;
    j->measured = 0;
    new_window(j);
    conceal_reset(&j->conceal);
}

void jitter_restart(struct jitter *j, enum law law)
{
    stop(j);
    j->law = law;
    j->passing = false;
    j->played = 0;
    j->noise = 0;
    memset(j->present, 0, sizeof j->present);
    if (j->decoder)
        decoder_reset(j->decoder, j->decoder->codec);
}

void jitter_decode(struct jitter *j, struct decoder *decoder)
{
    j->decoder = decoder;
    jitter_restart(j, j->law);
}

void jitter_reset(struct jitter *j, enum law law)
{
    j->decoder = NULL;
    jitter_restart(j, law);
    j->slack_mean = 0;
    j->late = j->concealed = j->slips = 0;
}

static void start(struct jitter *j, uint32_t stamp)
{
    stop(j);
    memset(j->present, 0, sizeof j->present);
    j->running = true;
    j->misplaced = 0;
    j->window = WINDOW_SHORT;
    j->play = j->newest = stamp;
    j->played = 0;
    if (j->decoder)
        decoder_skip(j->decoder);
}

/* Moves `play` on, forgetting what is skipped. */
static void skip(struct jitter *j, uint32_t samples)
{
    ring_mark(j, j->play, samples < RING ? samples : RING, false);
    j->play += samples;
    j->played = 0;
}

static void measure(struct jitter *j, int32_t ahead, int64_t arrival)
{
    int64_t due = j->next_pull + (int64_t)(ahead / SAMPLES) * FRAME_US;
    int64_t margin = due - arrival;
    int32_t slack = margin > INT_MAX ? INT_MAX : margin < -FRAME_US ? -FRAME_US : (int32_t)margin;

    j->slack_sum += slack;
    j->measured++;
    if (slack < j->slack[0]) {
        j->slack[1] = j->slack[0];
        j->slack[0] = slack;
    } else if (slack < j->slack[1]) {
        j->slack[1] = slack;
    }
}

void jitter_quiet(struct jitter *j, unsigned level)
{
    double decibels = level > NOISE_LEAST ? NOISE_LEAST : level < NOISE_MOST ? NOISE_MOST : level;

    /* 0 dBov has the power of a square wave at the limit; of even distribution the peak is sqrt(3) times as high. */
    j->noise = (int16_t)(1.0 + G711_PEAK * sqrt(3.0) * pow(10.0, decibels / -20.0));
}

/* A stamp older than any packet can be that was on its way so long: the sender counts anew, if it goes on so. */
static bool counts_anew(struct jitter *j, int32_t ahead)
{
    if (ahead >= -(int32_t)(j->delay_max + SAMPLES)) {
        j->misplaced = 0;
        return false;
    }
    return ++j->misplaced >= MISPLACED_MAX;
}

/* Whether `*count` samples that begin at `*stamp` are of use; if so, without those that are not, marked as there. */
static bool admit(struct jitter *j, uint32_t *stamp, size_t *count, int64_t arrival)
{
    int32_t ahead = (int32_t)(*stamp - j->play);
    uint32_t held;

    if (!*count || *count > RING / 2)
        return false;
    j->noise = 0;
    if (!j->running || ahead > AHEAD_MAX || ahead < -AHEAD_MAX || counts_anew(j, ahead)) {
        start(j, *stamp);
        ahead = 0;
    }
    if (ahead + (int32_t)*count <= 0) {
        j->late++;
        return false;
    }
    measure(j, ahead, arrival);
    if (ahead < 0) {
        *count -= (size_t)-ahead;
        *stamp = j->play;
        ahead = 0;
    }
    held = (uint32_t)ahead + (uint32_t)*count;
    if (held > j->delay_max + 2 * SAMPLES) {
        skip(j, held - j->delay_max - SAMPLES);
        j->slips++;
        if ((int32_t)(*stamp - j->play) < 0)
            start(j, *stamp);
    }
    ring_mark(j, *stamp, (uint32_t)*count, true);
    if ((int32_t)(*stamp + (uint32_t)*count - j->newest) > 0)
        j->newest = *stamp + (uint32_t)*count;
    return true;
}

bool jitter_put(struct jitter *j, uint32_t stamp, const uint8_t *payload, size_t count, enum law from, int64_t arrival)
{
    const uint32_t first = stamp;

    if (!admit(j, &stamp, &count, arrival))
        return false;
    ring_put(j, stamp, payload + (stamp - first), count, from);
    return true;
}

bool jitter_put_coded(struct jitter *j, uint32_t stamp, uint8_t codec, const uint8_t *payload, size_t size, size_t count,
                      int64_t arrival)
{
    const struct coded_packet packet = {.stamp = stamp, .samples = (uint16_t)count, .size = (uint16_t)size, .codec = codec};

    if (!size || size > CODED_ROOM / 2 || count > CODED_SAMPLES_MAX || !admit(j, &stamp, &count, arrival))
        return false;
    coded_put(&j->decoder->coded, &packet, payload);
    if (codec == GM_CODEC_OPUS && size <= OPUS_QUIET)
        j->noise = 1; /* nothing more need come for a while */
    return true;
}

/* At the end of a window: may the delay shrink? */
static void adapt(struct jitter *j, unsigned *phase)
{
    int32_t spare = j->slack[1] - GUARD_US - (j->decoder && j->decoder->losing ? FRAME_US : 0);
    unsigned steps;

    if (j->measured < j->window && !(j->measured >= WINDOW_SHORT && spare >= FAR_TOO_EARLY))
        return;
    steps = spare <= 0 ? 0 : (unsigned)spare / TICK_US;
    if (!steps) {
        j->window = j->window > WINDOW * 2 ? j->window / 2 : WINDOW;
    } else if (steps >= PHASES) {
        j->merge = true;
    } else if (*phase >= steps) {
        *phase -= steps;
    } else {
        *phase += PHASES - steps;
        j->merge = true;
    }
    new_window(j);
}

static uint32_t gap_at_play(const struct jitter *j)
{
    uint32_t gap = 0;

    while ((int32_t)(j->newest - (j->play + gap)) > 0 && !ring_has(j, j->play + gap))
        gap++;
    return gap;
}

static void fill(struct jitter *j, int16_t *out, unsigned count)
{
    uint8_t codes[HISTORY];
    int16_t history[HISTORY];

    if (!j->conceal.active) {
        jitter_history(j, codes, HISTORY);
        law_decode(j->law, history, codes, HISTORY);
    }
    conceal_fill(&j->conceal, out, count, history);
}

/* A frame with holes whose later packets are here: the holes are losses. */
static void patch(struct jitter *j, void *frame)
{
    int16_t linear[SAMPLES];

    j->concealed++;
    if (j->decoder) {
        (void)decoder_read(j->decoder, frame, j->play);
        j->decoder->losing = LOSING_FRAMES;
        return;
    }
    for (unsigned i = 0; i < SAMPLES;) {
        bool there = ring_has(j, j->play + i);
        unsigned run = 1;

        while (i + run < SAMPLES && ring_has(j, j->play + i + run) == there)
            run++;
        if (there) {
            uint8_t codes[SAMPLES];

            ring_get(j, codes, j->play + i, run);
            law_decode(j->law, linear + i, codes, run);
            conceal_blend(&j->conceal, linear + i, run);
        } else {
            fill(j, linear + i, run);
        }
        i += run;
    }
    law_encode(j->law, frame, linear, SAMPLES);
    ring_put(j, j->play, frame, SAMPLES, j->law);
}

static void whole(struct jitter *j, void *frame)
{
    if (j->decoder) {
        (void)decoder_read(j->decoder, frame, j->play);
        return;
    }
    ring_get(j, frame, j->play, SAMPLES);
    if (j->conceal.active) {
        int16_t linear[SAMPLES];

        law_decode(j->law, linear, frame, SAMPLES);
        conceal_blend(&j->conceal, linear, SAMPLES);
        law_encode(j->law, frame, linear, SAMPLES);
    }
}

static void advance(struct jitter *j)
{
    ring_mark(j, j->play, SAMPLES, false);
    j->play += SAMPLES;
    j->played = j->played + SAMPLES > RING ? RING : j->played + SAMPLES;
}

static void merge_wide(struct jitter *j, int16_t *frame)
{
    int16_t second[WIDE_SAMPLES];

    (void)decoder_read(j->decoder, frame, j->play);
    advance(j);
    (void)decoder_read(j->decoder, second, j->play);
    for (int i = 0; i < WIDE_SAMPLES; i++)
        frame[i] = (int16_t)((frame[i] * (WIDE_SAMPLES - i) + second[i] * i) / WIDE_SAMPLES);
}

static void merge_two(struct jitter *j, void *frame)
{
    uint8_t codes[SAMPLES];
    int16_t first[SAMPLES], second[SAMPLES];

    j->merge = false;
    j->slips++;
    if (j->decoder) {
        merge_wide(j, frame);
        return;
    }
    whole(j, codes);
    law_decode(j->law, first, codes, SAMPLES);
    advance(j);
    whole(j, codes);
    law_decode(j->law, second, codes, SAMPLES);
    conceal_merge(first, first, second);
    law_encode(j->law, frame, first, SAMPLES);
}

static void idle(const struct jitter *j, void *frame)
{
    if (j->decoder)
        memset(frame, 0, WIDE_SAMPLES * sizeof(int16_t));
    else
        memset(frame, law_idle(j->law), SAMPLES);
}

static enum jitter_result hiss(struct jitter *j, void *frame)
{
    int16_t linear[WIDE_SAMPLES];
    uint32_t random = j->play + 1;

    if (j->decoder && j->decoder->codec == GM_CODEC_OPUS && j->noise == 1) { /* it knows what the noise is like */
        unsigned real;

        decoder_conceal(j->decoder, frame, j->play, &real);
        j->play += real;
        return JITTER_FRAME;
    }
    for (int i = 0; i < (j->decoder ? WIDE_SAMPLES : SAMPLES); i++) {
        random = random * UINT32_C(1664525) + UINT32_C(1013904223);
        linear[i] = (int16_t)((int32_t)(random >> 16) % (2 * j->noise + 1) - j->noise);
    }
    j->play = random; /* while nothing runs it means nothing else */
    if (j->decoder)
        memcpy(frame, linear, sizeof linear);
    else
        law_encode(j->law, frame, linear, SAMPLES);
    return JITTER_FRAME;
}

/* What is left of the last packet, less than a frame: kept back it would hide how long the pause behind it is. */
static unsigned play_rest(struct jitter *j, int16_t *out)
{
    uint8_t codes[SAMPLES];
    unsigned count = 0;

    while (count < SAMPLES && ring_has(j, j->play + count))
        count++;
    if (!count)
        return 0;
    ring_get(j, codes, j->play, count);
    law_decode(j->law, out, codes, count);
    conceal_blend(&j->conceal, out, count);
    ring_mark(j, j->play, count, false);
    j->play += count;
    j->played = j->played + count > RING ? RING : j->played + count;
    return count;
}

/* Nothing came in this whole frame: play something, and play the missing packet one frame later if it comes. */
static enum jitter_result starve(struct jitter *j, void *frame, unsigned *phase)
{
    int16_t linear[SAMPLES];
    unsigned real = 0;

    *phase = 0;
    if (j->noise) {
        stop(j);
        return hiss(j, frame);
    }
    j->borrowed += SAMPLES;
    j->merge = false;
    if (j->borrowed > j->delay_max) {
        stop(j);
        idle(j, frame);
        return JITTER_SILENCE;
    }
    if (j->decoder) {
        decoder_conceal(j->decoder, frame, j->play, &real); /* what is left of a packet is played first */
        skip(j, real);
        j->borrowed -= real;
    } else {
        real = play_rest(j, linear);
        fill(j, linear + real, SAMPLES - real);
        law_encode(j->law, frame, linear, SAMPLES);
        j->borrowed -= real;
    }
    j->concealed++;
    new_window(j);
    if (j->borrowed + real == SAMPLES) /* once an episode */
        j->window = j->window * 2 > WINDOW_MAX ? WINDOW_MAX : j->window * 2;
    return JITTER_FRAME;
}

/* Is what is missing in the packet behind it? Then the concealed frame has not stood for it but made room: from now on that
 * packet is here in time. */
static bool saved(const struct jitter *j, uint32_t gap)
{
    return j->decoder && decoder_recovers(j->decoder, j->play + gap, gap);
}

enum jitter_result jitter_pull(struct jitter *j, void *frame, unsigned *phase, bool last)
{
    bool complete;

    if (!j->running) {
        if (last)
            *phase = 0;
        if (last && j->noise)
            return hiss(j, frame);
        idle(j, frame);
        return last ? JITTER_SILENCE : JITTER_WAIT;
    }
    complete = ring_has_frame(j, j->play);
    if (!complete && j->borrowed) {
        uint32_t gap = gap_at_play(j);
        uint32_t stood_for = gap < j->borrowed ? gap : j->borrowed;

        if (gap && j->play + gap != j->newest && !saved(j, gap)) {
            skip(j, stood_for);
            j->borrowed -= stood_for;
            complete = ring_has_frame(j, j->play);
        }
    }
    if (complete) {
        if (j->merge && ring_has_frame(j, j->play + SAMPLES)) {
            merge_two(j, frame);
        } else if (j->merge && !last) {
            return JITTER_WAIT;
        } else {
            if (j->merge)
                *phase = 0;
            j->merge = false;
            whole(j, frame);
        }
    } else if ((int32_t)(j->newest - (j->play + SAMPLES)) > 0) {
        patch(j, frame);
    } else {
        return last ? starve(j, frame, phase) : JITTER_WAIT;
    }
    j->borrowed = 0;
    if (j->decoder && j->decoder->losing)
        j->decoder->losing--;
    advance(j);
    adapt(j, phase);
    return JITTER_FRAME;
}

void jitter_drain(struct jitter *j)
{
    if (!j->running)
        return;
    if ((int32_t)(j->newest - (j->play + SAMPLES)) >= 0)
        advance(j);
    else
        stop(j);
}

void jitter_pass(struct jitter *j, const uint8_t *frame)
{
    uint32_t at = j->play % PAST;
    uint32_t first = SAMPLES < PAST - at ? SAMPLES : PAST - at;

    memcpy(j->ring + at, frame, first);
    memcpy(j->ring, frame + first, SAMPLES - first);
    j->play += SAMPLES;
    j->played = j->played + SAMPLES > PAST ? PAST : j->played + SAMPLES;
    j->passing = true;
}

size_t jitter_history(const struct jitter *j, uint8_t *to, size_t count)
{
    size_t real = j->played < count ? j->played : count;

    memset(to, law_idle(j->law), count - real);
    to += count - real;
    if (!j->passing)
        ring_get(j, to, j->play - (uint32_t)real, real);
    for (uint32_t i = 0; j->passing && i < real; i++)
        to[i] = j->ring[(j->play - (uint32_t)real + i) % PAST];
    return real;
}

double jitter_delay(const struct jitter *j)
{
    int64_t mean = j->measured ? j->slack_sum / j->measured : j->slack_mean;

    return j->running && mean > 0 ? (double)mean / 1000.0 : 0.0;
}
