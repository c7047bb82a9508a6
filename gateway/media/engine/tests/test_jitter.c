#include "../jitter.h"

#include <string.h>

#include "check.h"

/* A sender, a network and a hearer in virtual time. The sender's packets carry a 500 Hz sine, so that what is heard can be
 * measured; the hearer asks at ticks of 5 ms as the engine does. */

enum { PACKETS_MAX = 40000, QUEUE = 64 };

struct trace {
    double drift;         /* sender's clock against ours, 1e-6 */
    int64_t base;         /* network delay, us */
    int64_t spread;       /* uniform jitter on top, us */
    unsigned loss;        /* 1/1000 */
    unsigned burst_every; /* packets; 0: none */
    int64_t burst;        /* all packets of this time come together, us */
    unsigned duplicate;   /* 1/1000 */
    unsigned packet;      /* samples */
    int64_t begin;        /* when the sender starts, us */
    unsigned spurt;       /* packets between two pauses; 0: no pause */
    unsigned pause;       /* samples for which nothing is sent */
};

struct outcome {
    unsigned frames, silent, waited;
    double delay_mean; /* ms, from arrival to playing, over the last quarter */
    double delay_least;
    uint32_t late, concealed, slips;
};

struct packet {
    int64_t arrival;
    uint32_t stamp;
    bool lost, twice;
};

static struct packet packets[PACKETS_MAX];

static void make(const struct trace *t, unsigned count, uint64_t seed)
{
    double spacing = t->packet * 125.0 * (1.0 - t->drift * 1e-6);
    int64_t held_until = 0;

    for (unsigned i = 0; i < count; i++) {
        struct packet *p = &packets[i];
        double sent = (double)t->begin + (i + 1) * spacing;

        unsigned paused = t->spurt ? i / t->spurt * t->pause : 0;

        sent += paused * 125.0;
        p->stamp = 0xfffff000U + i * t->packet + paused;
        p->arrival = (int64_t)sent + t->base + (t->spread ? check_random(&seed) % (uint32_t)t->spread : 0);
        if (t->burst_every && i % t->burst_every == t->burst_every - 1)
            held_until = p->arrival + t->burst;
        if (p->arrival < held_until)
            p->arrival = held_until;
        p->lost = check_random(&seed) % 1000 < t->loss;
        p->twice = check_random(&seed) % 1000 < t->duplicate;
    }
}

static void fill(uint8_t *payload, uint32_t stamp, unsigned count)
{
    int16_t linear[480];

    for (unsigned i = 0; i < count; i++)
        linear[i] = (int16_t)(10000.0 * sin((double)(stamp + i) * 2.0 * 3.14159265358979 / 16.0));
    law_encode(ULAW, payload, linear, count);
}

static struct outcome hear(const struct trace *t, unsigned count, int64_t length, uint64_t seed)
{
    static struct jitter j;
    struct outcome o = {.delay_least = 1e9};
    unsigned phase = 0, next = 0, measured = 0;
    int64_t frame = 0;
    bool waiting = false;
    double sum = 0.0;

    make(t, count, seed);
    CHECK_EQUAL(jitter_open(&j, 200), 0);
    jitter_reset(&j, ULAW);
    for (int64_t tick = 0; tick * TICK_US < length; tick++) {
        int64_t now = tick * TICK_US;
        unsigned at = (unsigned)(tick % PHASES);
        uint8_t out[SAMPLES], payload[480];
        enum jitter_result result;

        if (tick / PHASES != frame) {
            frame = tick / PHASES;
            waiting = true;
        }
        for (; next < count && packets[next].arrival <= now; next++) {
            if (packets[next].lost)
                continue;
            fill(payload, packets[next].stamp, t->packet);
            for (int i = 0; i <= packets[next].twice; i++)
                jitter_put(&j, packets[next].stamp, payload, t->packet, ULAW, packets[next].arrival);
        }
        if (!waiting || at < phase)
            continue;
        phase = at;
        result = jitter_pull(&j, out, &phase, at == PHASES - 1);
        if (result == JITTER_WAIT) {
            CHECK(at != PHASES - 1);
            o.waited++;
            continue;
        }
        waiting = false;
        j.next_pull = (tick / PHASES + 1) * FRAME_US + (int64_t)phase * TICK_US;
        o.frames++;
        o.silent += result == JITTER_SILENCE;
        if (now > length * 3 / 4 && result == JITTER_FRAME && !j.conceal.active) {
            /* The last sample played and when it had been sampled: the sender's stamp as its clock. */
            double sampled = (double)t->begin + (double)(j.play - packets[0].stamp) * 125.0 * (1.0 - t->drift * 1e-6);
            double delay = ((double)now - sampled - (double)t->base) / 1000.0;

            sum += delay;
            measured++;
            o.delay_least = fmin(o.delay_least, delay);
        }
    }
    o.delay_mean = measured ? sum / measured : 0.0;
    o.late = j.late;
    o.concealed = j.concealed;
    o.slips = j.slips;
    jitter_close(&j);
    return o;
}

static void pauses_that_are_no_whole_frames_leave_no_delay(void)
{
    for (unsigned pause = 1200; pause < 1600; pause += 8) {
        struct trace t = {.packet = 160, .base = 3000, .spurt = 7, .pause = pause};
        struct outcome o = hear(&t, 350, 15000000, 1);

        CHECK_EQUAL(o.late, 0);
        CHECK(o.delay_mean <= 30.0);
        CHECK(o.concealed <= 50 * (pause / SAMPLES + 2));
    }
}

static void clean_stream_is_played_within_a_tick_of_its_arrival(void)
{
    for (int64_t begin = 0; begin < 40000; begin += 1700) {
        struct trace t = {.packet = 160, .begin = begin, .base = 3000};
        struct outcome o = hear(&t, 1000, 20000000, 1);

        CHECK_EQUAL(o.late, 0);
        CHECK(o.concealed <= 1);
        CHECK(o.delay_mean >= 0.0);
        CHECK(o.delay_mean <= 6.1);
        CHECK(o.frames >= 999);
    }
}

static void small_network_jitter_costs_its_own_size(void)
{
    for (uint64_t seed = 1; seed < 20; seed++) {
        struct trace t = {.packet = 160, .begin = (int64_t)seed * 977, .spread = 3000};
        struct outcome o = hear(&t, 3000, 60000000, seed);

        CHECK(o.delay_mean <= 10.0);
        CHECK(o.concealed <= 6);
        CHECK(o.late <= 3);
    }
}

static void wide_jitter_is_absorbed(void)
{
    for (uint64_t seed = 1; seed < 10; seed++) {
        struct trace t = {.packet = 160, .begin = (int64_t)seed * 977, .spread = 60000};
        struct outcome o = hear(&t, 3000, 60000000, seed);

        CHECK(o.delay_mean <= 75.0);
        CHECK(o.late <= 60);
        CHECK(o.concealed <= 90);
    }
}

static void drift_is_followed(void)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        struct trace t = {.packet = 160, .drift = sign * 100.0, .begin = 2000};
        struct outcome o = hear(&t, 36000, 600000000, 7); /* 10 minutes: 60 ms of drift */

        CHECK(o.delay_mean <= 9.0);
        CHECK_EQUAL(o.late, 0);
        CHECK(o.slips + o.concealed >= 2);
        CHECK(o.slips + o.concealed <= 12);
        CHECK(o.silent <= 4);
    }
}

static void lost_packets_are_concealed_and_cost_no_delay(void)
{
    struct trace t = {.packet = 160, .loss = 50, .begin = 1000};
    struct outcome o = hear(&t, 3000, 60000000, 3);

    CHECK(o.concealed > 100);
    CHECK(o.concealed < 200);
    CHECK(o.delay_mean <= 12.0);
    CHECK_EQUAL(o.late, 0);
}

static void a_stalled_network_delays_and_recovers(void)
{
    struct trace t = {.packet = 160, .burst_every = 1500, .burst = 150000, .begin = 1000};
    struct outcome o = hear(&t, 3000, 60000000, 3);

    CHECK(o.concealed < 25);
    CHECK(o.delay_mean <= 60.0);
}

static void other_packet_times_work(void)
{
    static const unsigned sizes[] = {80, 240, 320, 480, 164};

    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct trace t = {.packet = sizes[i], .begin = 1000, .duplicate = 10};
        struct outcome o = hear(&t, 60000000 / (sizes[i] * 125), 60000000, 3);

        CHECK(o.concealed <= 4);
        CHECK(o.delay_mean <= sizes[i] / 8.0 + 25.0);
    }
}

static void silence_suppression_adds_no_delay(void)
{
    static struct jitter j;
    uint8_t payload[SAMPLES], out[SAMPLES];
    uint32_t stamp = 5;
    unsigned phase = 0;

    fill(payload, 0, SAMPLES);
    CHECK_EQUAL(jitter_open(&j, 200), 0);
    jitter_reset(&j, ULAW);
    for (int spurt = 0; spurt < 50; spurt++) {
        for (int i = 0; i < 20; i++, stamp += SAMPLES) {
            jitter_put(&j, stamp, payload, SAMPLES, ULAW, 0);
            CHECK_EQUAL(jitter_pull(&j, out, &phase, true), JITTER_FRAME);
            CHECK(memcmp(out, payload, SAMPLES) == 0 || i == 0);
        }
        for (int i = 0; i < 30; i++, stamp += SAMPLES)
            (void)jitter_pull(&j, out, &phase, true);
        CHECK(!j.running);
        CHECK_EQUAL(out[0], law_idle(ULAW));
    }
    jitter_close(&j);
}

static void stamps_that_jump_back_are_followed_at_the_third_packet(void)
{
    static struct jitter j;
    uint8_t payload[SAMPLES], out[SAMPLES];
    uint32_t stamp = 100000;
    unsigned phase = 0, heard = 0;

    CHECK_EQUAL(jitter_open(&j, 200), 0);
    jitter_reset(&j, ULAW);
    for (int i = 0; i < 40; i++, stamp += SAMPLES) {
        if (i == 20)
            stamp -= 8000;
        fill(payload, (uint32_t)i, SAMPLES);
        jitter_put(&j, stamp, payload, SAMPLES, ULAW, 0);
        (void)jitter_pull(&j, out, &phase, true);
        heard += memcmp(out, payload, SAMPLES) == 0;
    }
    CHECK(heard >= 37);
    jitter_close(&j);
}

static double power(const uint8_t *codes)
{
    double sum = 0.0;

    for (int i = 0; i < SAMPLES; i++)
        sum += (double)law_linear(ALAW, codes[i]) * law_linear(ALAW, codes[i]);
    return power_to_dbm0(sum, SAMPLES);
}

static void comfort_noise_is_heard_at_its_level_until_voice_comes(void)
{
    static struct jitter j;
    uint8_t payload[SAMPLES], out[SAMPLES], before[SAMPLES] = {0};
    unsigned phase = 0;

    fill(payload, 0, SAMPLES);
    CHECK_EQUAL(jitter_open(&j, 200), 0);
    jitter_reset(&j, ALAW);
    jitter_put(&j, 1000, payload, SAMPLES, ALAW, 0);
    jitter_quiet(&j, 50);
    CHECK_EQUAL(jitter_pull(&j, out, &phase, true), JITTER_FRAME);
    CHECK(memcmp(out, payload, SAMPLES) == 0); /* what came before is still played */
    for (int i = 0; i < 100; i++) {
        CHECK_EQUAL(jitter_pull(&j, out, &phase, false), JITTER_WAIT);
        CHECK_EQUAL(jitter_pull(&j, out, &phase, true), JITTER_FRAME);
        CHECK_NEAR(power(out), -50.0 + 6.18, 1.5);
        CHECK(memcmp(out, before, SAMPLES) != 0);
        memcpy(before, out, SAMPLES);
    }
    CHECK_EQUAL(j.concealed, 0);
    jitter_put(&j, 50000, payload, SAMPLES, ALAW, 0);
    CHECK_EQUAL(jitter_pull(&j, out, &phase, true), JITTER_FRAME);
    CHECK(memcmp(out, payload, SAMPLES) == 0);
    jitter_quiet(&j, 0); /* no background is as loud as that */
    (void)jitter_pull(&j, out, &phase, true);
    CHECK(power(out) < -20.0);
    jitter_close(&j);
}

static void small_holes_are_filled_and_nothing_behind_them(void)
{
    int16_t history[HISTORY], out[SAMPLES];
    struct conceal c;

    for (int i = 0; i < HISTORY; i++)
        history[i] = (int16_t)(10000.0 * sin(i * 2.0 * 3.14159265358979 / 110.0));
    CHECK_EQUAL(conceal_open(&c), 0);
    for (unsigned count = 1; count < SAMPLES; count++) {
        conceal_reset(&c);
        for (int i = 0; i < SAMPLES; i++)
            out[i] = 1234;
        conceal_fill(&c, out, count, history);
        for (unsigned i = count; i < SAMPLES; i++)
            CHECK_EQUAL(out[i], 1234);
    }
    conceal_close(&c);
}

static void hostile_stamps_break_nothing(void)
{
    static struct jitter j;
    uint64_t seed = 99;
    uint8_t payload[2048] = {0}, out[SAMPLES];
    unsigned phase = 0;

    CHECK_EQUAL(jitter_open(&j, 200), 0);
    jitter_reset(&j, ALAW);
    for (int i = 0; i < 200000; i++) {
        uint32_t r = check_random(&seed);
        uint32_t stamp = r % 3 ? j.play + (check_random(&seed) % 8000) - 2000 : check_random(&seed);
        size_t count = r >> 8 & 7 ? (r >> 12) % 481 : (r >> 12) % 2049;

        jitter_put(&j, stamp, payload, count, r >> 30 & 1 ? ULAW : ALAW, (int64_t)i * 1000);
        j.next_pull = (int64_t)(r & 0xffff) * 1000;
        if (r >> 28 & 1)
            (void)jitter_pull(&j, out, &phase, r >> 27 & 1);
        else if (r >> 27 & 1)
            jitter_drain(&j);
        CHECK(phase < PHASES);
        CHECK((int32_t)(j.newest - j.play) <= RING);
        (void)jitter_history(&j, payload, 1024);
    }
    jitter_close(&j);
}

int main(void)
{
    law_init();
    RUN(clean_stream_is_played_within_a_tick_of_its_arrival);
    RUN(small_network_jitter_costs_its_own_size);
    RUN(wide_jitter_is_absorbed);
    RUN(drift_is_followed);
    RUN(lost_packets_are_concealed_and_cost_no_delay);
    RUN(a_stalled_network_delays_and_recovers);
    RUN(other_packet_times_work);
    RUN(silence_suppression_adds_no_delay);
    RUN(pauses_that_are_no_whole_frames_leave_no_delay);
    RUN(stamps_that_jump_back_are_followed_at_the_third_packet);
    RUN(comfort_noise_is_heard_at_its_level_until_voice_comes);
    RUN(small_holes_are_filled_and_nothing_behind_them);
    RUN(hostile_stamps_break_nothing);
    return 0;
}
