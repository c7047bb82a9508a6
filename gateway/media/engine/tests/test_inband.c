#include "../inband.h"

#include <string.h>

#include "../digits.h"
#include "check.h"

static struct inband detector;
static char found[256];
static uint32_t lengths[256];
static unsigned count, muted, unmuted, bridged;

static void listen(const int16_t *linear, enum law law, bool sounding)
{
    struct inband_change change;
    uint8_t codes[SAMPLES];

    law_encode(law, codes, linear, SAMPLES);
    inband_frame(&detector, law, codes, bridged, &change);
    if (change.ended && count < sizeof found - 1) {
        lengths[count] = change.samples;
        found[count++] = change.ended;
        found[count] = 0;
    }
    if (sounding && !change.mute)
        unmuted++;
    if (!sounding && change.mute)
        muted++;
}

static void reset(void)
{
    inband_reset(&detector);
    count = muted = unmuted = 0;
    found[0] = 0;
}

/* All digits, each `on` and `off` samples long, low and high group at these levels, from an odd place in the frame on. */
static void dial(enum law law, unsigned on, unsigned off, double low, double high, unsigned shift, int noise, uint64_t seed)
{
    static const double lows[4] = {697, 770, 852, 941}, highs[4] = {1209, 1336, 1477, 1633};
    static int16_t line[80000];
    unsigned at = shift + 800, length;

    memset(line, 0, sizeof line);
    for (unsigned event = 0; event < 16; event++) {
        struct sines s;

        sines_clear(&s);
        sines_add(&s, lows[event / 4], low);
        sines_add(&s, highs[event % 4], high);
        sines_generate(&s, line + at, on);
        at += on + off;
    }
    length = (at + 1600) / SAMPLES * SAMPLES;
    for (unsigned i = 0; noise && i < length; i++)
        line[i] = (int16_t)(line[i] + (int)(check_random(&seed) % (unsigned)(2 * noise + 1)) - noise);
    for (unsigned i = 0; i < length; i += SAMPLES)
        listen(line + i, law, false);
}

static const char all[] = "123A456B789C*0#D";

static void all_digits_are_found_at_any_place_and_level(void)
{
    for (unsigned shift = 0; shift < SAMPLES; shift += 13) {
        for (int level = -30; level <= -3; level += 9) {
            reset();
            dial(shift & 1 ? ALAW : ULAW, 400, 400, level - 2, level, shift, 0, shift);
            CHECK(strcmp(found, all) == 0);
            for (unsigned i = 0; i < count; i++)
                CHECK_NEAR(lengths[i], 400, 240);
        }
    }
}

static void the_shortest_digits_of_q24_are_found(void)
{
    for (unsigned shift = 0; shift < SAMPLES; shift++) {
        reset();
        dial(ULAW, 320, 320, -10.0, -8.0, shift, 0, 1); /* 40 ms on, 40 ms off */
        CHECK(strcmp(found, all) == 0);
    }
}

static void digits_in_noise_and_with_twist_are_found(void)
{
    reset();
    dial(ULAW, 800, 800, -8.0, -14.0, 77, 300, 5);
    CHECK(strcmp(found, all) == 0);
    reset();
    dial(ALAW, 800, 800, -11.0, -8.0, 31, 300, 6);
    CHECK(strcmp(found, all) == 0);
}

static void call_progress_tones_and_noise_are_no_digits(void)
{
    static const double tones[][2] = {{350, 440}, {440, 480}, {480, 620}, {425, 0}, {1004, 0}, {941, 0}, {1209, 0},
                                      {2100, 0}, {950, 1400}, {697, 770}, {1209, 1336}, {400, 1209}, {697, 2700}};
    uint64_t seed = 9;
    int16_t linear[SAMPLES];

    reset();
    for (unsigned i = 0; i < sizeof tones / sizeof *tones; i++) {
        struct sines s;

        sines_clear(&s);
        for (int k = 0; k < 2; k++)
            if (tones[i][k] > 0.0)
                sines_add(&s, tones[i][k], -10.0);
        for (int k = 0; k < 100; k++) {
            sines_generate(&s, linear, SAMPLES);
            listen(linear, ULAW, false);
        }
    }
    for (int k = 0; k < 20000; k++) {
        for (int i = 0; i < SAMPLES; i++)
            linear[i] = (int16_t)((int)(check_random(&seed) % 16000) - 8000);
        listen(linear, ULAW, false);
    }
    CHECK_EQUAL(count, 0);
    CHECK(muted < 5);
}

/* The key 5 twice for 200 ms, 100 ms apart; `gap` samples in the middle of each are another sound, or nothing. */
static void press_interrupted(unsigned gap, double level, unsigned shift)
{
    static int16_t line[16000];
    unsigned at = shift + 800;
    struct sines s;

    memset(line, 0, sizeof line);
    for (unsigned press = 0; press < 2; press++) {
        sines_clear(&s);
        sines_add(&s, 770, -9);
        sines_add(&s, 1336, -7);
        sines_generate(&s, line + at, 1600);
        memset(line + at + 700, 0, gap * sizeof *line);
        sines_clear(&s);
        sines_add(&s, 520, level);
        sines_generate(&s, line + at + 700, gap);
        at += 1600 + 800;
    }
    for (unsigned i = 0; i < at / SAMPLES * SAMPLES + 1600; i += SAMPLES)
        listen(line + i, ULAW, false);
}

static void an_interrupted_digit_is_one_where_the_codec_interrupts_them(void)
{
    for (unsigned gap = 160; gap <= 400; gap += 40) {
        for (unsigned shift = 0; shift < SAMPLES; shift += 11) {
            reset();
            bridged = 0;
            press_interrupted(gap, -12, shift);
            CHECK(strcmp(found, "5555") == 0 || gap < 320);
            reset();
            bridged = 3;
            press_interrupted(gap, -12, shift);
            CHECK(strcmp(found, "55") == 0);
            CHECK_NEAR(lengths[0], 1600, 240);
            CHECK_NEAR(lengths[1], 1600, 240);
            bridged = 0;
        }
    }
}

static void keys_with_a_pause_between_them_stay_apart_where_interruptions_are_bridged(void)
{
    bridged = 3;
    for (unsigned shift = 0; shift < SAMPLES; shift += 7) {
        reset();
        dial(ULAW, 400, 400, -9, -7, shift, 0, shift);
        CHECK(strcmp(found, all) == 0);
        for (unsigned i = 0; i < count; i++)
            CHECK_NEAR(lengths[i], 400, 240);
        for (unsigned gap = 320; gap <= 480; gap += 80) { /* Q.24 table 1: 40 ms and more */
            reset();
            press_interrupted(gap, -60, shift);
            CHECK(strcmp(found, "5555") == 0);
        }
    }
    bridged = 0;
}

static void a_digit_is_muted_from_its_second_frame_on(void)
{
    struct sines s;
    int16_t linear[SAMPLES];

    reset();
    sines_dtmf(&s, 5);
    for (int i = 0; i < 10; i++) {
        sines_generate(&s, linear, SAMPLES);
        listen(linear, ULAW, true);
    }
    CHECK(unmuted <= 1);
    memset(linear, 0, sizeof linear);
    for (int i = 0; i < 10; i++)
        listen(linear, ULAW, false);
    CHECK(strcmp(found, "5") == 0);
    CHECK(muted <= 2);
}

/* What digits.c makes as tones is found again. */
static void generated_digits_are_found(void)
{
    static struct digits d;
    int16_t linear[SAMPLES];

    reset();
    digits_clear(&d);
    for (unsigned event = 0; event < 16; event++)
        CHECK(digits_add(&d, event, 0)); /* the shortest we send */
    while (digits_busy(&d)) {
        digits_tones(&d, linear);
        listen(linear, ALAW, false);
    }
    memset(linear, 0, sizeof linear);
    for (int i = 0; i < 5; i++)
        listen(linear, ALAW, false);
    CHECK(strcmp(found, "0123456789*#ABCD") == 0);
}

static void the_digit_queue_has_a_limit_and_a_live_digit_an_end(void)
{
    static struct digits d;
    int16_t linear[SAMPLES];
    unsigned frames = 0;

    digits_clear(&d);
    for (int i = 0; i < GM_DIGITS_MAX; i++)
        CHECK(digits_add(&d, 1, 400));
    CHECK(!digits_add(&d, 1, 400));
    CHECK(!digits_begin(&d, 1));
    digits_clear(&d);
    CHECK(digits_begin(&d, 1));
    for (int i = 0; i < 10; i++)
        digits_tones(&d, linear);
    CHECK(linear[80] != 0 || linear[81] != 0);
    digits_end(&d, 900); /* shorter than it has sounded: it ends now */
    for (; digits_busy(&d); frames++)
        digits_tones(&d, linear);
    CHECK(frames <= 4);
    CHECK(digits_begin(&d, 1));
    for (frames = 0; digits_busy(&d); frames++)
        digits_tones(&d, linear);
    CHECK(frames <= DIGIT_MOST / SAMPLES + 4); /* nobody ended it */
}

int main(void)
{
    law_init();
    tone_init();
    inband_init();
    CHECK_EQUAL(inband_open(&detector), 0);
    RUN(all_digits_are_found_at_any_place_and_level);
    RUN(the_shortest_digits_of_q24_are_found);
    RUN(digits_in_noise_and_with_twist_are_found);
    RUN(call_progress_tones_and_noise_are_no_digits);
    RUN(an_interrupted_digit_is_one_where_the_codec_interrupts_them);
    RUN(keys_with_a_pause_between_them_stay_apart_where_interruptions_are_bridged);
    RUN(a_digit_is_muted_from_its_second_frame_on);
    RUN(generated_digits_are_found);
    RUN(the_digit_queue_has_a_limit_and_a_live_digit_an_end);
    inband_close(&detector);
    return 0;
}
