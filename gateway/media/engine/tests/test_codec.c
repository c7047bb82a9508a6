#include "../codec.h"

#include <string.h>

#include "../halfband.h"
#include "../protocol.h"
#include "../rtp.h"
#include "../spectrum.h"
#include "../tone.h"
#include "../wide.h"
#include "check.h"

/* The codecs of one stream by themselves: what is said comes back. */

enum { FRAMES = 100, LONG = 8 * SAMPLES, LONG_WIDE = 8 * WIDE_SAMPLES, SETTLED = 20 * WIDE_SAMPLES,
       SAID = FRAMES * WIDE_SAMPLES, MEASURED = (FRAMES - 24) * WIDE_SAMPLES, COMPARED = 10 * WIDE_SAMPLES };

static const uint8_t wide_codecs[] = {GM_CODEC_G722, GM_CODEC_OPUS, GM_CODEC_L16};
static struct wides pool;

/* A sine at 16 kHz. */
static void sine(int16_t *out, size_t count, double hertz, double dbm0)
{
    static const double two_pi = 6.283185307179586;
    const double peak = dbm0_to_peak(dbm0);

    for (size_t i = 0; i < count; i++)
        out[i] = (int16_t)lrint(peak * sin(two_pi * hertz * (double)i / WIDE_RATE));
}

static double level(const int16_t *frame, size_t count)
{
    return level_dbm0(frame, count);
}

/* Ratio of a signal to what differs, in dB, where `delay` of most fits best. */
static double quality(const int16_t *sent, const int16_t *got, size_t count, int most)
{
    double best = -99.0;

    for (int delay = 0; delay <= most; delay++) {
        double signal = 0.0, noise = 1.0;

        for (size_t i = (size_t)most; i < count; i++) {
            double value = sent[i - (size_t)delay];

            signal += value * value;
            noise += (value - got[i]) * (value - got[i]);
        }
        best = fmax(best, 10.0 * log10(signal / noise));
    }
    return best;
}

static void half_the_rate_and_twice_the_rate_are_flat_and_late_by_two_milliseconds(void)
{
    static const double passed[] = {100, 300, 1000, 2000, 3000, 3400};
    int16_t wide[LONG_WIDE], narrow[LONG], back[LONG_WIDE];

    for (unsigned i = 0; i < sizeof passed / sizeof *passed; i++) {
        struct halver h = {0};
        struct doubler d = {0};

        sine(wide, LONG_WIDE, passed[i], -6.0);
        for (size_t f = 0; f < 8; f++) {
            halver_run(&h, narrow + f * SAMPLES, wide + f * WIDE_SAMPLES);
            doubler_run(&d, back + f * WIDE_SAMPLES, narrow + f * SAMPLES);
        }
        CHECK_NEAR(level(narrow + SAMPLES, LONG - SAMPLES), -6.0, 0.1);
        CHECK(quality(wide, back, LONG_WIDE, 80) > 45.0);
    }
}

static void what_has_no_place_at_half_the_rate_is_gone(void)
{
    static const double stopped[] = {4600, 5000, 6000, 7000, 7900};
    int16_t wide[LONG_WIDE], narrow[LONG];

    for (unsigned i = 0; i < sizeof stopped / sizeof *stopped; i++) {
        struct halver h = {0};

        sine(wide, LONG_WIDE, stopped[i], 0.0);
        for (size_t f = 0; f < 8; f++)
            halver_run(&h, narrow + f * SAMPLES, wide + f * WIDE_SAMPLES);
        CHECK(level(narrow + SAMPLES, LONG - SAMPLES) < -55.0);
    }
}

/* Says `hertz` for FRAMES frames in packets of `milliseconds`, and hears it in frames of 20 ms. */
static void round_trip(uint8_t codec, unsigned milliseconds, double hertz, int16_t *sent, int16_t *got)
{
    struct wide *w = wide_new(&pool, codec);
    const unsigned packet = milliseconds * 8;
    unsigned gathered = 0;
    uint32_t stamp = 1000;
    uint8_t payload[CODED_PAYLOAD_MAX];

    CHECK(w);
    sine(sent, SAID, hertz, -10.0);
    for (size_t done = 0, heard = 0; heard < FRAMES - 4;) {
        unsigned part = packet - gathered < 80 ? packet - gathered : 80;

        if (done < (size_t)FRAMES * SAMPLES) {
            encoder_add(&w->encoder, payload, gathered, sent + WIDE * done, part);
            gathered += part;
            done += part;
        }
        if (gathered == packet) {
            struct coded_packet p = {.stamp = stamp, .samples = (uint16_t)packet, .codec = codec};

            p.size = (uint16_t)encoder_finish(&w->encoder, payload, packet);
            CHECK(p.size);
            CHECK_EQUAL(codec_duration(codec_find(codec), payload, p.size), packet);
            coded_put(&w->decoder.coded, &p, payload);
            stamp += packet;
            gathered = 0;
        }
        while (1000 + (heard + 1) * SAMPLES <= stamp && heard < FRAMES - 4) {
            CHECK(decoder_read(&w->decoder, got + heard * WIDE_SAMPLES, (uint32_t)(1000 + heard * SAMPLES)));
            heard++;
        }
    }
    wide_free(&pool, w);
}

static void each_codec_in_each_packet_time_gives_back_what_is_said(void)
{
    static int16_t sent[SAID], got[SAID];
    static const double least[] = {40.0, 30.0, 80.0}; /* dB; of each codec */

    for (unsigned c = 0; c < sizeof wide_codecs; c++)
        for (unsigned milliseconds = 10; milliseconds <= 60; milliseconds += 10) {
            round_trip(wide_codecs[c], milliseconds, 1004.0, sent, got);
            CHECK_NEAR(level(got + SETTLED, MEASURED), -10.0, 0.3);
            CHECK_NEAR(dominant_frequency(got + SETTLED, WIDE_RATE), 1004.0, 0.5);
            CHECK(quality(sent + SETTLED, got + SETTLED, COMPARED, 200) > least[c]);
        }
}

static void what_only_a_wide_codec_carries_is_carried(void)
{
    static int16_t sent[SAID], got[SAID];

    for (unsigned c = 0; c < sizeof wide_codecs; c++) {
        round_trip(wide_codecs[c], 20, 5600.0, sent, got);
        CHECK_NEAR(level(got + SETTLED, MEASURED), -10.0, 3.0);
        CHECK_NEAR(dominant_frequency(got + SETTLED, WIDE_RATE), 5600.0, 2.0);
    }
}

int main(void)
{
    law_init();
    tone_init();
    halfband_init();
    CHECK_EQUAL(wides_open(&pool, 2), 0);
    RUN(half_the_rate_and_twice_the_rate_are_flat_and_late_by_two_milliseconds);
    RUN(what_has_no_place_at_half_the_rate_is_gone);
    RUN(each_codec_in_each_packet_time_gives_back_what_is_said);
    RUN(what_only_a_wide_codec_carries_is_carried);
    wides_close(&pool);
    return 0;
}
