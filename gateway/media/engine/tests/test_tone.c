#include "../tone.h"

#include <string.h>

#include "../spectrum.h"
#include "check.h"

static void render(struct tone *t, uint8_t *codes, unsigned frames)
{
    int16_t linear[SAMPLES];

    for (unsigned i = 0; i < frames; i++) {
        tone_frame(t, linear);
        law_encode(ULAW, codes + (size_t)i * SAMPLES, linear, SAMPLES);
    }
}

static double hertz_of(enum law law, const uint8_t *codes)
{
    int16_t linear[SPECTRUM_SAMPLES];

    law_decode(law, linear, codes, SPECTRUM_SAMPLES);
    return dominant_frequency(linear, SAMPLE_RATE);
}

static double level_of(const uint8_t *codes)
{
    int16_t linear[SPECTRUM_SAMPLES];

    law_decode(ULAW, linear, codes, SPECTRUM_SAMPLES);
    return level_dbm0(linear, SPECTRUM_SAMPLES);
}

static void frequencies_are_measured_to_half_a_hertz(void)
{
    static const uint16_t hertz[] = {204, 300, 350, 440, 480, 620, 800, 1000, 1004, 1007, 1500, 2100, 2713, 3400, 3700};
    uint8_t codes[7 * SAMPLES];

    for (unsigned i = 0; i < sizeof hertz / sizeof *hertz; i++) {
        for (int level = -3000; level <= 0; level += 1000) {
            struct tone t = {.steps = {{{hertz[i]}, 0, (int16_t)level}}, .count = 1};

            tone_start(&t);
            render(&t, codes, 7);
            CHECK_NEAR(hertz_of(ULAW, codes), hertz[i], 0.5);
            CHECK_NEAR(level_of(codes), level / 100.0, 0.3);
        }
    }
}

static void two_tones_noise_and_silence_have_no_dominant_frequency(void)
{
    struct tone t = {.steps = {{{350, 440}, 0, -1300}}, .count = 1};
    uint8_t codes[7 * SAMPLES];
    uint64_t seed = 4;

    tone_start(&t);
    render(&t, codes, 7);
    CHECK_NEAR(hertz_of(ULAW, codes), 0.0, 0.0);
    CHECK_NEAR(level_of(codes), -10.0, 0.5);
    memset(codes, law_idle(ULAW), sizeof codes);
    CHECK_NEAR(hertz_of(ULAW, codes), 0.0, 0.0);
    CHECK_NEAR(level_of(codes), SILENT_DBM0, 0.0);
    for (unsigned i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)check_random(&seed);
    CHECK_NEAR(hertz_of(ALAW, codes), 0.0, 0.0);
}

static void a_cadence_is_exact_to_the_sample_and_repeats(void)
{
    struct tone t = {.steps = {{{440}, 33, -1000}, {{0}, 47, 0}}, .count = 2, .repeat_from = 0};
    int16_t linear[SAMPLES];
    unsigned loud = 0;

    tone_start(&t);
    for (int i = 0; i < 400; i++) { /* 8 s: a hundred periods of 80 ms */
        tone_frame(&t, linear);
        for (int k = 0; k < SAMPLES; k++)
            loud += linear[k] != 0;
    }
    CHECK(!t.ended);
    CHECK(loud > 100 * 33 * 8 * 95 / 100 && loud <= 100 * 33 * 8);
}

static void a_tone_without_repeat_ends(void)
{
    struct tone t = {.steps = {{{950}, 30, -1000}, {{1400}, 30, -1000}, {{1800}, 35, -1000}}, .count = 3,
                     .repeat_from = GM_NO_REPEAT};
    int16_t linear[SAMPLES];

    tone_start(&t);
    for (int i = 0; i < 4; i++) {
        CHECK(!t.ended);
        tone_frame(&t, linear);
    }
    tone_frame(&t, linear);
    CHECK(t.ended);
    CHECK_EQUAL(linear[SAMPLES - 1], 0);
}

static void repeating_from_a_later_step_plays_the_first_once(void)
{
    struct tone t = {.steps = {{{1000}, 20, -1000}, {{0}, 20, 0}}, .count = 2, .repeat_from = 1};
    int16_t linear[SAMPLES];

    tone_start(&t);
    tone_frame(&t, linear);
    CHECK(linear[5] != 0);
    for (int i = 0; i < 10; i++) {
        tone_frame(&t, linear);
        CHECK_EQUAL(linear[5], 0);
    }
    CHECK(!t.ended);
}

static void loud_sums_are_clipped_not_wrapped(void)
{
    struct tone t = {.steps = {{{400, 401, 402, 403}, 0, 317}}, .count = 1};
    int16_t linear[SAMPLES], before = 0;

    tone_start(&t);
    for (int i = 0; i < 50; i++) {
        tone_frame(&t, linear);
        for (int k = 0; k < SAMPLES; k++) {
            CHECK(!(before > 32000 && linear[k] < -32000));
            before = linear[k];
        }
    }
}

static void digits_and_events_map_both_ways(void)
{
    for (unsigned i = 0; i < 16; i++)
        CHECK_EQUAL(dtmf_event(dtmf_digit(i)), i);
    CHECK_EQUAL(dtmf_event('b'), 13);
    CHECK_EQUAL(dtmf_event('*'), 10);
    CHECK_EQUAL(dtmf_event('E'), -1);
    CHECK_EQUAL(dtmf_event('\0'), -1);
}

int main(void)
{
    law_init();
    tone_init();
    RUN(frequencies_are_measured_to_half_a_hertz);
    RUN(two_tones_noise_and_silence_have_no_dominant_frequency);
    RUN(a_cadence_is_exact_to_the_sample_and_repeats);
    RUN(a_tone_without_repeat_ends);
    RUN(repeating_from_a_later_step_plays_the_first_once);
    RUN(loud_sums_are_clipped_not_wrapped);
    RUN(digits_and_events_map_both_ways);
    return 0;
}
