#include <errno.h>
#include <string.h>

#include "../spectrum.h"
#include "scene.h"

/* Calls between a line and a far end that speaks another codec than G.711, in virtual time. */

enum { TYPE = 96, DTMF = 110, TONE_FRAMES = 60, OTHER = 7 };

static const uint8_t wide_codecs[] = {GM_CODEC_G722, GM_CODEC_OPUS, GM_CODEC_L16};
static struct wides pool; /* of the far end */
static struct wide *far;
static unsigned packet, gathered; /* of what it sends */
static uint8_t payload[CODED_PAYLOAD_MAX];
static double turn; /* of the sine it sends */

static void sine(int16_t *out, size_t count, double rate, double hertz)
{
    const double two_pi = 6.283185307179586;

    for (size_t i = 0; i < count; i++) {
        out[i] = (int16_t)lrint(dbm0_to_peak(-10.0) * sin(turn));
        turn = fmod(turn + two_pi * hertz / rate, two_pi);
    }
}

static void call(uint8_t codec, uint8_t milliseconds)
{
    const struct said said = {.codec = codec, .type = TYPE, .milliseconds = milliseconds, .dtmf = DTMF};

    begin(0);
    say(&said);
    CHECK_EQUAL(last_error(), 0);
    far = wide_new(&pool, codec);
    CHECK(far);
    packet = milliseconds * 8U;
    gathered = 0;
}

static void hang_up(void)
{
    wide_free(&pool, far);
    end();
    CHECK_EQUAL(scene.engine.wides.used, 0);
}

/* 20 ms of a far end's voice; packets are sent as they fill, but for those that get lost. */
static void far_end_says(double hertz, bool lost)
{
    int16_t frame[WIDE_SAMPLES];
    const unsigned clock = codec_find(far->codec)->clock;

    sine(frame, WIDE_SAMPLES, WIDE_RATE, hertz);
    for (unsigned done = 0; done < SAMPLES;) {
        unsigned part = packet - gathered < SAMPLES - done ? packet - gathered : SAMPLES - done;

        encoder_add(&far->encoder, payload, gathered, frame + (size_t)WIDE * done, part);
        gathered += part;
        done += part;
        if (gathered < packet)
            continue;
        gathered = 0;
        if (lost) {
            (void)encoder_finish(&far->encoder, payload, packet);
            scene.sequence++;
        } else {
            send_rtp(TYPE, scene.stamp, payload, encoder_finish(&far->encoder, payload, packet));
        }
        scene.stamp += packet * clock;
    }
}

static void line_says(double hertz)
{
    int16_t frame[SAMPLES];
    uint8_t codes[SAMPLES];

    sine(frame, SAMPLES, SAMPLE_RATE, hertz);
    law_encode(ULAW, codes, frame, SAMPLES);
    send_block(codes);
}

static double line_hears(double *level)
{
    int16_t linear[SPECTRUM_SAMPLES];

    for (unsigned i = 0; i < SPECTRUM_SAMPLES; i++) {
        unsigned before = (SPECTRUM_SAMPLES - 1 - i) / SAMPLES;
        const struct heard *h = &scene.on_line[(scene.line_count - 1 - before) % FRAMES_MAX];

        linear[i] = law_linear(ULAW, h->data[SAMPLES - 1 - (SPECTRUM_SAMPLES - 1 - i) % SAMPLES]);
    }
    *level = level_dbm0(linear, SPECTRUM_SAMPLES);
    return dominant_frequency(linear, SAMPLE_RATE);
}

/* Decodes what came last. */
static double far_end_hears(double *level)
{
    const unsigned clock = codec_find(far->codec)->clock;
    const unsigned count = 320 * 8 / packet; /* 320 ms */
    const struct heard *first = &scene.on_peer[(scene.peer_count - count) % FRAMES_MAX];
    int16_t linear[WIDE_SAMPLES];

    decoder_reset(&far->decoder, far->codec);
    for (unsigned i = 0; i < count; i++) {
        const struct heard *h = &scene.on_peer[(scene.peer_count - count + i) % FRAMES_MAX];
        struct coded_packet p = {.stamp = i * packet, .samples = (uint16_t)packet, .size = (uint16_t)h->size,
                                 .codec = far->codec};

        CHECK_EQUAL(h->type, TYPE);
        CHECK_EQUAL(h->stamp - first->stamp, i * packet * clock);
        CHECK_EQUAL(codec_duration(codec_find(far->codec), h->data, h->size), packet);
        coded_put(&far->decoder.coded, &p, h->data);
    }
    for (uint32_t at = 0; at + SAMPLES <= count * packet; at += SAMPLES)
        CHECK(decoder_read(&far->decoder, linear, at));
    *level = level_dbm0(far->decoder.heard, HEARD_SAMPLES);
    return dominant_frequency(far->decoder.heard, WIDE_RATE);
}

static void a_tone_goes_both_ways_in_each_codec_and_packet_time(void)
{
    for (unsigned c = 0; c < sizeof wide_codecs; c++)
        for (uint8_t milliseconds = 10; milliseconds <= 60; milliseconds += 10) {
            double level;

            call(wide_codecs[c], milliseconds);
            for (int i = 0; i < TONE_FRAMES; i++) {
                far_end_says(1004.0, false);
                advance_frames(1);
            }
            CHECK_NEAR(line_hears(&level), 1004.0, 1.0);
            CHECK_NEAR(level, -10.0, 0.5);
            turn = 0.0;
            for (int i = 0; i < TONE_FRAMES; i++) {
                line_says(440.0);
                advance_frames(1);
            }
            CHECK_NEAR(far_end_hears(&level), 440.0, 1.0);
            CHECK_NEAR(level, -10.0, 0.7);
            CHECK_EQUAL(rtp_stream()->rejected, 0);
            hang_up();
        }
}

static void what_is_lost_is_made_up_and_the_tone_goes_on(void)
{
    for (unsigned c = 0; c < sizeof wide_codecs; c++) {
        unsigned quiet_frames = 0;
        double level;

        call(wide_codecs[c], 20);
        for (int i = 0; i < 400; i++) {
            far_end_says(1004.0, i > 50 && i % 10 == 0);
            advance_frames(1);
            quiet_frames += i > 20 && quiet(&scene.on_line[(scene.line_count - 1) % FRAMES_MAX]);
        }
        CHECK_NEAR(line_hears(&level), 1004.0, 2.0);
        CHECK_NEAR(level, -10.0, 1.0);
        CHECK_EQUAL(quiet_frames, 0);
        CHECK_NEAR(rtp_stream()->jitter.concealed, 35, 3);
        CHECK_NEAR(rtp_source_lost(&rtp_stream()->rtp.source), 34, 1);
        CHECK(jitter_delay(&rtp_stream()->jitter) < 60.0);
        hang_up();
    }
}

static void opus_is_made_of_the_packet_behind_once_something_was_lost(void)
{
    call(GM_CODEC_OPUS, 20);
    encoder_loss(&far->encoder, 20);
    for (int i = 0; i < 400; i++) {
        far_end_says(300.0 + 2 * i, i > 50 && i % 10 == 0);
        advance_frames(1);
    }
    CHECK(rtp_stream()->rtp.wide->decoder.recovered > 15);
    CHECK(jitter_delay(&rtp_stream()->jitter) < 60.0);
    hang_up();
}

static void digits_go_both_ways_in_the_clock_of_the_codec(void)
{
    for (unsigned c = 0; c < sizeof wide_codecs; c++) {
        const unsigned clock = codec_find(wide_codecs[c])->clock;
        unsigned loud = 0;
        uint32_t longest = 0;

        call(wide_codecs[c], 20);
        for (unsigned i = 1; i <= 5; i++) { /* 100 ms of a "7" */
            const uint32_t duration = i * SAMPLES * clock;
            const uint8_t event[4] = {7, (uint8_t)((i == 5 ? 0x80 : 0) | 10), (uint8_t)(duration >> 8), (uint8_t)duration};

            send_rtp(DTMF, scene.stamp, event, sizeof event);
            advance_frames(1);
        }
        advance_frames(10);
        CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), 1);
        CHECK_EQUAL(scene.events[scene.event_count - 1].value, 100);
        CHECK_EQUAL(scene.events[scene.event_count - 1].digit, '7');
        for (unsigned i = 0; i < scene.line_count; i++)
            loud += !quiet(&scene.on_line[i]);
        CHECK_NEAR(loud, 5, 1);
        scene.peer_count = 0;
        request(GM_SEND_DIGITS, RTP, "\310\0\0\0" "5", 5); /* 200 ms */
        advance_frames(30);
        for (unsigned i = 0; i < scene.peer_count; i++)
            if (scene.on_peer[i].type == DTMF) {
                CHECK_EQUAL(scene.on_peer[i].data[0], 5);
                longest = scene.on_peer[i].data[2] * 256U + scene.on_peer[i].data[3];
            }
        CHECK_EQUAL(longest, 1600 * clock);
        hang_up();
    }
}

static void without_rfc4733_digits_are_tones_in_each_codec_and_found_in_it(void)
{
    for (unsigned c = 0; c < sizeof wide_codecs; c++) {
        const struct said said = {.codec = wide_codecs[c], .type = TYPE, .dtmf = GM_NO_PAYLOAD_TYPE};
        double level;

        call(wide_codecs[c], 20);
        say(&said);
        request(GM_SEND_DIGITS, RTP, "\350\3\0\0" "5", 5); /* a second */
        advance_frames(40);
        CHECK_NEAR(far_end_hears(&level), 0.0, 0.0); /* two tones: neither dominates */
        CHECK_NEAR(level, -4.9, 1.5);
        for (unsigned i = 0, first = scene.peer_count - 30; i < 30; i++) { /* what it sent comes back */
            const struct heard *h = &scene.on_peer[(first + i) % FRAMES_MAX];

            send_rtp(TYPE, scene.stamp, h->data, h->size);
            scene.stamp += SAMPLES * codec_find(far->codec)->clock;
            advance_frames(1);
        }
        advance_frames(20);
        CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), 1);
        CHECK_EQUAL(scene.events[scene.event_count - 1].digit, '5');
        hang_up();
    }
}

static void a_key_whose_tones_a_speech_codec_interrupts_is_one_key(void)
{
    for (unsigned c = 0; c < sizeof wide_codecs; c++) {
        const struct said said = {.codec = wide_codecs[c], .type = TYPE, .dtmf = GM_NO_PAYLOAD_TYPE};
        double low = 0, high = 0, other = 0;

        call(wide_codecs[c], 20);
        say(&said);
        for (unsigned i = 0; i < 30; i++, scene.stamp += packet * codec_find(far->codec)->clock) {
            const bool key = i >= 5 && i < 20, gone = i >= 12 && i < 14;
            int16_t frame[WIDE_SAMPLES];

            for (unsigned k = 0; k < WIDE_SAMPLES; k++) {
                low += 6.283185307179586 * 770 / WIDE_RATE;
                high += 6.283185307179586 * 1336 / WIDE_RATE;
                other += 6.283185307179586 * 520 / WIDE_RATE;
                frame[k] = (int16_t)lrint(!key ? 0 : gone ? 6000 * sin(other) : 4000 * (sin(low) + sin(high)));
            }
            encoder_add(&far->encoder, payload, 0, frame, packet);
            send_rtp(TYPE, scene.stamp, payload, encoder_finish(&far->encoder, payload, packet));
            advance_frames(1);
        }
        advance_frames(20);
        CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), wide_codecs[c] == GM_CODEC_OPUS ? 1 : 2);
        hang_up();
    }
}

static void any_octets_as_payload_end_nothing(void)
{
    uint64_t seed = 11;

    for (unsigned c = 0; c < sizeof wide_codecs; c++) {
        double level;

        call(wide_codecs[c], 20);
        for (unsigned i = 0; i < 3000; i++) {
            uint8_t octets[OCTETS_MAX];
            size_t size = 1 + check_random(&seed) % (i % 2 ? 100 : OCTETS_MAX);

            for (size_t k = 0; k < size; k++)
                octets[k] = (uint8_t)check_random(&seed);
            send_rtp(i % 7 ? TYPE : i % 3 * 8, scene.stamp, octets, size);
            scene.stamp += check_random(&seed) % 2000;
            advance(scene.engine.now + 7000);
        }
        for (int i = 0; i < 200; i++) {
            far_end_says(1004.0, false);
            advance_frames(1);
        }
        CHECK_NEAR(line_hears(&level), 1004.0, 2.0);
        CHECK_NEAR(level, -10.0, 1.0);
        hang_up();
    }
}

static void a_codec_may_change_in_the_middle_and_its_clock_takes_another_source(void)
{
    static const uint8_t order[] = {GM_CODEC_ULAW, GM_CODEC_G722, GM_CODEC_OPUS, GM_CODEC_L16, GM_CODEC_ALAW};
    uint32_t ssrc = 0;

    begin(0);
    for (unsigned i = 0; i < sizeof order; i++) {
        const struct said said = {.codec = order[i], .type = TYPE};
        const struct codec *codec = codec_find(order[i]);

        say(&said);
        CHECK_EQUAL(last_error(), 0);
        advance_frames(20);
        CHECK_EQUAL(codec_duration(codec, scene.on_peer[scene.peer_count - 1].data, scene.on_peer[scene.peer_count - 1].size),
                    SAMPLES);
        if (i && codec->clock != codec_find(order[i - 1])->clock)
            CHECK(rtp_stream()->rtp.ssrc != ssrc);
        else if (i)
            CHECK_EQUAL(rtp_stream()->rtp.ssrc, ssrc);
        ssrc = rtp_stream()->rtp.ssrc;
        CHECK_EQUAL(scene.engine.wides.used, i > 0 && i < 4);
    }
    end();
}

/* The far end hears itself. */
static void call_echo(uint8_t codec)
{
    const uint8_t label[GM_LABEL_BYTES] = {0};

    call(codec, 20);
    request(GM_OPEN_ECHO, OTHER, label, sizeof label);
    request(GM_CONNECT, RTP, "\7\0\0\0", 4);
    CHECK_EQUAL(last_error(), 0);
    scene.peer_count = 0;
}

static void between_two_of_one_codec_packets_are_passed_on_as_they_are(void)
{
    for (unsigned c = 0; c < sizeof wide_codecs; c++) {
        const unsigned clock = codec_find(wide_codecs[c])->clock;
        uint8_t sent[FRAMES_MAX / 16][OTHER];
        unsigned matched = 0;

        call_echo(wide_codecs[c]);
        for (unsigned i = 0; i < 200; i++) {
            far_end_says(1004.0, i % 10 == 5);
            memcpy(sent[i], payload, sizeof sent[i]);
            advance_frames(1);
        }
        CHECK_EQUAL(scene.peer_count, 180);
        for (unsigned i = 1, k = 1; k < scene.peer_count; i++) {
            const struct heard *h = &scene.on_peer[k], *before = &scene.on_peer[k - 1];

            if (i % 10 == 5)
                continue;
            matched += !memcmp(h->data, sent[i], sizeof sent[i]);
            CHECK_EQUAL((h->stamp - before->stamp) / clock, (i % 10 == 6 ? 2 : 1) * SAMPLES);
            CHECK_EQUAL((uint16_t)(h->sequence - before->sequence), i % 10 == 6 ? 2 : 1);
            CHECK_EQUAL(h->marker, 0);
            k++;
        }
        CHECK_EQUAL(matched, 179);
        CHECK(scene.on_peer[0].marker);
        request(GM_CLOSE, OTHER, NULL, 0);
        hang_up();
    }
}

static void a_digit_in_passing_takes_the_place_of_voice_and_time_goes_on(void)
{
    unsigned events = 0;

    call_echo(GM_CODEC_OPUS);
    for (unsigned i = 0; i < 100; i++) {
        if (i == 50)
            request(GM_SEND_DIGITS, RTP, "\310\0\0\0" "5", 5);
        far_end_says(1004.0, false);
        advance_frames(1);
    }
    for (unsigned i = 1; i < scene.peer_count; i++) {
        const struct heard *h = &scene.on_peer[i], *before = &scene.on_peer[i - 1];

        events += h->type == DTMF;
        CHECK_EQUAL((uint16_t)(h->sequence - before->sequence), 1);
        if (h->type == TYPE)
            CHECK(h->stamp - scene.on_peer[0].stamp <= i * SAMPLES * 6);
    }
    CHECK_NEAR(events, 12, 1);
    CHECK_NEAR(scene.peer_count, 100, 2);
    CHECK_EQUAL(scene.on_peer[scene.peer_count - 1].type, TYPE);
    request(GM_CLOSE, OTHER, NULL, 0);
    hang_up();
}

static void who_is_passed_on_is_measured_all_the_same_and_silence_keeps_the_way_open(void)
{
    for (unsigned c = 0; c < sizeof wide_codecs; c++) {
        uint8_t body[GM_STATISTICS_BYTES];
        struct writer w = writer_over(body, sizeof body);
        struct cursor at = cursor_over(body, sizeof body);
        float level, hertz;

        call_echo(wide_codecs[c]);
        for (unsigned i = 0; i < 50; i++) {
            far_end_says(1004.0, false);
            advance_frames(1);
        }
        statistics_put(&scene.engine, rtp_stream(), &w);
        CHECK_EQUAL(w.at, sizeof body);
        cursor_take(&at, 4 * 8 + 6 * 4 + 4 * 4 + 3 * 4);
        memcpy(&level, cursor_take(&at, 4), sizeof level);
        cursor_take(&at, 4);
        memcpy(&hertz, cursor_take(&at, 4), sizeof hertz);
        CHECK_NEAR(level, -10.0, 0.5);
        CHECK_NEAR(hertz, 1004.0, 1.0);
        CHECK_EQUAL(rtp_stream()->jitter.concealed, 0);
        scene.peer_count = 0;
        advance_frames(150);
        CHECK_NEAR(scene.peer_count, 100, 3);
        request(GM_CLOSE, OTHER, NULL, 0);
        hang_up();
    }
}

static void a_stream_too_many_is_refused_and_keeps_its_codec(void)
{
    const struct said wide = {.codec = GM_CODEC_G722, .type = 9}, narrow = {.codec = GM_CODEC_ULAW};
    struct wide *taken[2];

    begin(0);
    say(&narrow);
    for (int i = 0; i < 2; i++)
        taken[i] = wide_new(&scene.engine.wides, GM_CODEC_OPUS);
    say(&wide);
    CHECK_EQUAL(last_error(), ENOBUFS);
    CHECK(!rtp_stream()->rtp.wide);
    wide_free(&scene.engine.wides, taken[0]);
    say(&wide);
    CHECK_EQUAL(last_error(), 0);
    wide_free(&scene.engine.wides, taken[1]);
    end();
}

static void comfort_noise_is_heard_and_pauses_of_opus_are_no_silence(void)
{
    for (unsigned c = 0; c < sizeof wide_codecs; c++) {
        static const uint8_t pause[1] = {0x48}; /* SILK, wideband, 20 ms, nothing in it */
        static const uint8_t noise[1] = {40};
        const bool opus = wide_codecs[c] == GM_CODEC_OPUS;
        double level;

        call(wide_codecs[c], 20);
        for (int i = 0; i < 50; i++) {
            far_end_says(1004.0, false);
            advance_frames(1);
        }
        send_rtp(opus ? TYPE : RTP_COMFORT_NOISE, scene.stamp, opus ? pause : noise, 1);
        advance_frames(50);
        (void)line_hears(&level);
        if (!opus)
            CHECK_NEAR(level, -37.0, 3.0);
        CHECK_EQUAL(count_events(GM_EVENT_SILENT, RTP), 0);
        scene.stamp += 50 * SAMPLES * codec_find(far->codec)->clock;
        for (int i = 0; i < 50; i++) {
            far_end_says(1004.0, false);
            advance_frames(1);
        }
        CHECK_NEAR(line_hears(&level), 1004.0, 1.0);
        CHECK_EQUAL(rtp_source_lost(&rtp_stream()->rtp.source), 0);
        hang_up();
    }
}

int main(void)
{
    scene_open();
    CHECK_EQUAL(wides_open(&pool, 1), 0);
    RUN(a_tone_goes_both_ways_in_each_codec_and_packet_time);
    RUN(what_is_lost_is_made_up_and_the_tone_goes_on);
    RUN(opus_is_made_of_the_packet_behind_once_something_was_lost);
    RUN(digits_go_both_ways_in_the_clock_of_the_codec);
    RUN(without_rfc4733_digits_are_tones_in_each_codec_and_found_in_it);
    RUN(a_key_whose_tones_a_speech_codec_interrupts_is_one_key);
    RUN(comfort_noise_is_heard_and_pauses_of_opus_are_no_silence);
    RUN(any_octets_as_payload_end_nothing);
    RUN(a_codec_may_change_in_the_middle_and_its_clock_takes_another_source);
    RUN(between_two_of_one_codec_packets_are_passed_on_as_they_are);
    RUN(a_digit_in_passing_takes_the_place_of_voice_and_time_goes_on);
    RUN(who_is_passed_on_is_measured_all_the_same_and_silence_keeps_the_way_open);
    RUN(a_stream_too_many_is_refused_and_keeps_its_codec);
    wides_close(&pool);
    scene_close();
    return 0;
}
