#include "scene.h"

#include <string.h>

/* A call through the whole engine: delays, digits, silence, clocks that drift. */

/* Blocks both ways at every offset to the ticks and to each other: when each arrives, and that each does. */
static void voice_takes_so_long_at_most(int64_t most, int64_t apart)
{
    for (int offset = 0; offset < FRAME_US; offset += 1500) {
        static int64_t sent[300], said[300];
        int64_t start;
        unsigned to_line = 0, to_peer = 0;

        begin(101);
        start = scene.engine.now + offset;
        for (uint32_t i = 0; i < 300; i++) {
            advance(start + (int64_t)i * FRAME_US);
            sent[i] = scene.engine.now;
            send_audio(numbered(i));
            advance(start + (int64_t)i * FRAME_US + apart);
            said[i] = scene.engine.now;
            send_block(numbered(i));
        }
        advance(scene.engine.now + 2L * FRAME_US);
        for (unsigned i = 0; i < scene.line_count; i++) {
            uint32_t number;

            memcpy(&number, scene.on_line[i].data, sizeof number);
            if (number < 300 && number > 160) { /* once all have found their ticks */
                CHECK(scene.on_line[i].at - sent[number] <= most);
                to_line++;
            }
        }
        for (unsigned i = 0; i < scene.peer_count; i++) {
            uint32_t number;

            memcpy(&number, scene.on_peer[i].data, sizeof number);
            if (number < 300 && number > 160) {
                CHECK(scene.on_peer[i].at - said[number] <= most);
                CHECK_EQUAL(scene.on_peer[i].stamp - scene.on_peer[i - 1].stamp, SAMPLES);
                to_peer++;
            }
        }
        CHECK_EQUAL(to_line, 139);
        CHECK_EQUAL(to_peer, 139);
        end();
    }
}

static void voice_takes_a_tick_each_way_at_most(void)
{
    for (int64_t apart = 0; apart < FRAME_US; apart += 3500)
        voice_takes_so_long_at_most(TICK_US + 1000, apart);
}

/* A minute with both far ends' clocks 100 ppm off. */
static void wake_ups_of_a_call(unsigned phase)
{
    unsigned wakes = 0;

    scene.engine.next_phase = phase;
    begin(101);
    for (unsigned i = 0; i < 100; i++) {
        for (int64_t end_of_frame = scene.engine.now + FRAME_US; scene.engine.now < end_of_frame;) {
            bool due = engine_next(&scene.engine) <= scene.engine.now + TICK_US - STEP_US;

            wakes += i >= 50 && due;
            advance(scene.engine.now + TICK_US);
        }
        send_audio(idle);
        send_block(idle);
    }
    CHECK(wakes >= 50);
    CHECK(wakes <= 55);
    end();
}

static void what_comes_at_once_wakes_the_engine_once(void)
{
    for (unsigned phase = 0; phase < PHASES; phase++)
        wake_ups_of_a_call(phase);
}

static void drifting_far_ends_lose_nothing_but_a_frame(void)
{
    for (int sign = -1; sign <= 1; sign += 2) {
        int64_t start;
        unsigned count = 3000, lines, peers;

        begin(101);
        start = scene.engine.now + 3000;
        for (uint32_t i = 0; i < count; i++) {
            advance(start + (int64_t)i * (FRAME_US + sign * 2));
            send_audio(numbered(i));
            send_block(numbered(i));
        }
        advance(scene.engine.now + 2L * FRAME_US);
        lines = scene.line_count;
        peers = scene.peer_count;
        CHECK_NEAR(lines, 3000 * (1.0 + sign * 0.0001) + 3, 4); /* TDM out is on our clock */
        CHECK_NEAR(peers, count + 3, 3);                        /* RTP is on the line's */
        CHECK(stream_find(&scene.engine.streams, RTP)->jitter.slips + stream_find(&scene.engine.streams, RTP)->jitter.concealed <= 2);
        end();
    }
}

static void a_digit_on_the_line_is_one_event_and_leaves_no_tone(void)
{
    struct sines s;
    unsigned packets = 0, ends = 0, markers = 0, loud = 0;

    begin(101);
    sines_dtmf(&s, 7);
    for (int i = 0; i < 60; i++) {
        advance(scene.engine.now + FRAME_US);
        send_block(i >= 20 && i < 26 ? dtmf(&s) : idle);
    }
    for (unsigned i = 0; i < scene.peer_count; i++) {
        if (scene.on_peer[i].type == 101) {
            packets++;
            ends += scene.on_peer[i].data[1] >> 7;
            markers += scene.on_peer[i].marker;
            CHECK_EQUAL(scene.on_peer[i].data[0], 7);
        } else {
            loud += !quiet(&scene.on_peer[i]);
        }
    }
    CHECK_EQUAL(markers, 1);
    CHECK_EQUAL(ends, 3);
    CHECK(packets >= 7 && packets <= 10);
    CHECK_EQUAL(loud, 0);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, TDM), 1);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), 0);
    end();
}

static void an_event_is_one_tone_of_its_length(void)
{
    unsigned first = 0, last = 0, loud = 0;

    begin(101);
    for (unsigned i = 0; i < 60; i++) {
        const uint8_t event[4] = {9, i >= 28 ? 0x8a : 0x0a, (uint8_t)((i >= 28 ? 9 : i - 19) * SAMPLES >> 8),
                                  (uint8_t)((i >= 28 ? 9 : i - 19) * SAMPLES)};

        advance(scene.engine.now + FRAME_US);
        if (i < 20 || i > 30)
            send_audio(idle);
        else
            send_rtp(101, scene.stamp, event, sizeof event);
        if (i == 30)
            scene.stamp += 11 * SAMPLES;
    }
    for (unsigned i = 0; i < scene.line_count; i++) {
        if (quiet(&scene.on_line[i]))
            continue;
        first = first ? first : i;
        last = i;
        loud++;
    }
    CHECK_EQUAL(last - first + 1, loud); /* in one piece */
    CHECK(loud >= 9 && loud <= 10);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), 1);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, TDM), 0);
    end();
}

static void a_digit_sent_as_audio_and_as_event_at_once_is_one_tone(void)
{
    struct sines s;
    unsigned edges = 0, loud = 0;
    uint32_t began = 0;

    begin(101);
    sines_dtmf(&s, 5);
    for (unsigned i = 0; i < 60; i++) {
        advance(scene.engine.now + FRAME_US);
        began = i == 22 ? scene.stamp : began; /* a detector at the far end needs 40 ms */
        send_audio(i >= 20 && i < 30 ? dtmf(&s) : idle);
        if (i >= 22 && i < 33) {
            unsigned duration = (i < 29 ? i - 21 : 8) * SAMPLES;
            const uint8_t event[4] = {5, i >= 30 ? 0x8a : 0x0a, (uint8_t)(duration >> 8), (uint8_t)duration};

            send_rtp(101, began, event, sizeof event);
        }
    }
    for (unsigned i = 1; i < scene.line_count; i++) {
        edges += quiet(&scene.on_line[i - 1]) && !quiet(&scene.on_line[i]);
        loud += !quiet(&scene.on_line[i]);
    }
    CHECK_EQUAL(edges, 1);
    CHECK(loud >= 9 && loud <= 12);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), 1);
    end();
}

static void without_rfc4733_digits_stay_audio_and_are_reported_once_each_way(void)
{
    struct sines s, t;
    unsigned loud = 0;

    begin(GM_NO_PAYLOAD_TYPE);
    sines_dtmf(&s, 1);
    sines_dtmf(&t, 2);
    for (int i = 0; i < 60; i++) {
        advance(scene.engine.now + FRAME_US);
        send_block(i >= 20 && i < 26 ? dtmf(&s) : idle);
        send_audio(i >= 30 && i < 36 ? dtmf(&t) : idle);
    }
    for (unsigned i = 0; i < scene.peer_count; i++) {
        CHECK_EQUAL(scene.on_peer[i].type, 0);
        loud += !quiet(&scene.on_peer[i]);
    }
    CHECK_EQUAL(loud, 6);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, TDM), 1);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), 1);
    end();
}

/* One digit of 200 ms as audio, of which from packet 3 on `missed` are lost, or come with the next one. */
static unsigned presses_heard(unsigned event, int missed, bool late)
{
    struct sines s;
    unsigned presses;

    begin(GM_NO_PAYLOAD_TYPE);
    sines_dtmf(&s, event);
    for (int i = 0; i < 60; i++) {
        const uint8_t *frame = i >= 20 && i < 30 ? dtmf(&s) : idle;
        int behind = i - 23;

        advance(scene.engine.now + FRAME_US);
        if (late && behind >= 0 && behind < missed)
            continue;
        for (; late && behind == missed && missed; missed--)
            send_audio(dtmf(&s));
        if (behind >= 0 && behind < missed) {
            scene.stamp += SAMPLES;
            scene.sequence++;
        } else {
            send_audio(frame);
        }
    }
    presses = count_events(GM_EVENT_DIGIT, RTP);
    end();
    return presses;
}

static void a_tone_whose_packets_are_kept_or_lost_is_one_press(void)
{
    for (unsigned event = 0; event < 16; event++)
        for (int missed = 1; missed < 4; missed++)
            for (int late = 0; late < 2; late++)
                CHECK_EQUAL(presses_heard(event, missed, late), 1);
}

static void events_have_a_number_of_their_own_each_way(void)
{
    struct sines s;
    unsigned sent = 0;

    scene.receive_dtmf = 101;
    begin(96);
    scene.receive_dtmf = 0;
    sines_dtmf(&s, 7);
    for (unsigned i = 0; i < 40; i++) {
        const uint8_t event[4] = {i < 30 ? 3 : 4, 0x8a, 3, 0x20};

        advance(scene.engine.now + FRAME_US);
        send_block(i >= 10 && i < 16 ? dtmf(&s) : idle);
        if (i == 20)
            send_rtp(101, scene.stamp, event, sizeof event);
        if (i == 30) /* a far end that uses its own number */
            send_rtp(96, scene.stamp + 9000, event, sizeof event);
    }
    for (unsigned i = 0; i < scene.peer_count; i++) {
        CHECK(scene.on_peer[i].type == 0 || scene.on_peer[i].type == 96);
        sent += scene.on_peer[i].type == 96;
    }
    CHECK(sent >= 7);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), 2);
    end();
}

static void comfort_noise_is_no_silence(void)
{
    const uint8_t level = 40;
    unsigned hiss = 0;

    begin(101);
    for (unsigned i = 0; i < 120; i++) {
        advance(scene.engine.now + FRAME_US);
        send_block(idle);
        if (i < 20)
            send_audio(idle);
        if (i == 20)
            send_rtp(RTP_COMFORT_NOISE, scene.stamp, &level, 1);
    }
    for (unsigned i = 0; i < scene.line_count; i++)
        hiss += !quiet(&scene.on_line[i]);
    CHECK(hiss >= 95);
    CHECK_EQUAL(count_events(GM_EVENT_SILENT, RTP), 0);
    CHECK_EQUAL(stream_find(&scene.engine.streams, RTP)->jitter.concealed, 0);
    end();
}

static void another_with_our_ssrc_makes_us_change_it_but_an_echo_does_not(void)
{
    struct stream *s;
    uint32_t ssrc;

    begin(101);
    s = stream_find(&scene.engine.streams, RTP);
    ssrc = s->rtp.ssrc;
    send_block(idle);
    advance(scene.engine.now + INT64_C(2) * FRAME_US);
    scene.speaker = ssrc;
    scene.sequence = (uint16_t)(s->rtp.sequence - 1);
    send_rtp(0, s->rtp.stamp - SAMPLES, idle, SAMPLES);
    advance(scene.engine.now + INT64_C(2) * FRAME_US);
    CHECK_EQUAL(s->rtp.ssrc, ssrc);
    CHECK_EQUAL(s->packets_received, 1);
    scene.sequence = (uint16_t)(s->rtp.sequence + 1000);
    send_rtp(0, s->rtp.stamp + 5000000, idle, SAMPLES);
    advance(scene.engine.now + INT64_C(2) * FRAME_US);
    CHECK(s->rtp.ssrc != ssrc);
    ssrc = scene.speaker = s->rtp.ssrc; /* one that follows sends our packets back, counted anew */
    for (int i = 0; i < 20; i++) {
        scene.sequence = (uint16_t)(s->rtp.sequence + 1000 + i);
        send_rtp(0, s->rtp.stamp + 5000000, idle, SAMPLES);
        advance(scene.engine.now + INT64_C(2) * FRAME_US);
    }
    CHECK_EQUAL(s->rtp.ssrc, ssrc);
    end();
}

static void a_source_that_goes_on_after_its_goodbye_is_reported_again(void)
{
    const struct stream *s;
    uint8_t rtcp[] = {0x80, 201, 0, 1, 0, 0, 0, 99, 0x81, 203, 0, 1, 0, 0, 0, 99};
    struct rtcp_arrival arrival = {.source = 99};

    begin(101);
    s = stream_find(&scene.engine.streams, RTP);
    send_audio(idle);
    advance(scene.engine.now + INT64_C(2) * FRAME_US);
    arrival.at = scene.engine.now;
    CHECK_EQUAL(rtcp_receive(&stream_find(&scene.engine.streams, RTP)->rtp.rtcp, rtcp, sizeof rtcp, &arrival), 0);
    send_audio(idle); /* was on its way */
    advance(scene.engine.now + INT64_C(2) * FRAME_US);
    CHECK(s->rtp.rtcp.bye);
    advance(scene.engine.now + INT64_C(60) * FRAME_US);
    send_audio(idle);
    advance(scene.engine.now + INT64_C(2) * FRAME_US);
    CHECK(!s->rtp.rtcp.bye);
    CHECK_EQUAL(s->packets_received, 3);
    end();
}

static void silence_is_told_after_its_time_and_once(void)
{
    int64_t last = 0;

    begin(101);
    for (int i = 0; i < 150; i++) {
        advance(scene.engine.now + FRAME_US);
        send_block(idle);
        if (i < 50 || i >= 120) {
            send_audio(idle);
            last = i == 49 ? scene.engine.now : last;
        }
        if (i < 119 && scene.engine.now < last + 500000)
            CHECK_EQUAL(count_events(GM_EVENT_SILENT, RTP), 0);
        if (i < 119 && last && scene.engine.now > last + 545000)
            CHECK_EQUAL(count_events(GM_EVENT_SILENT, RTP), 1);
    }
    CHECK_EQUAL(count_events(GM_EVENT_SILENT, RTP), 1);
    CHECK_EQUAL(count_events(GM_EVENT_HEARD, RTP), 1);
    CHECK_EQUAL(count_events(GM_EVENT_SILENT, TDM), 0);
    end();
}

static void the_line_gets_fifty_blocks_a_second_come_what_may(void)
{
    uint64_t seed = 5;
    unsigned before;

    begin(101);
    before = scene.line_count;
    for (int i = 0; i < 500; i++) {
        advance(scene.engine.now + FRAME_US);
        if (check_random(&seed) % 3) { /* bursts, gaps, restarts */
            for (unsigned k = check_random(&seed) % 4; k > 0; k--)
                send_audio(numbered((uint32_t)i));
            if (check_random(&seed) % 20 == 0)
                scene.stamp += check_random(&seed);
        }
    }
    CHECK_NEAR(scene.line_count - before, 500, 1);
    for (unsigned i = before + 1; i < scene.line_count; i++)
        CHECK(scene.on_line[i].at - scene.on_line[i - 1].at <= FRAME_US + (PHASES - 1) * TICK_US);
    end();
}

int main(void)
{
    scene_open();
    RUN(voice_takes_a_tick_each_way_at_most);
    RUN(what_comes_at_once_wakes_the_engine_once);
    RUN(drifting_far_ends_lose_nothing_but_a_frame);
    RUN(a_digit_on_the_line_is_one_event_and_leaves_no_tone);
    RUN(an_event_is_one_tone_of_its_length);
    RUN(a_digit_sent_as_audio_and_as_event_at_once_is_one_tone);
    RUN(without_rfc4733_digits_stay_audio_and_are_reported_once_each_way);
    RUN(a_tone_whose_packets_are_kept_or_lost_is_one_press);
    RUN(events_have_a_number_of_their_own_each_way);
    RUN(comfort_noise_is_no_silence);
    RUN(another_with_our_ssrc_makes_us_change_it_but_an_echo_does_not);
    RUN(a_source_that_goes_on_after_its_goodbye_is_reported_again);
    RUN(silence_is_told_after_its_time_and_once);
    RUN(the_line_gets_fifty_blocks_a_second_come_what_may);
    scene_close();
    return 0;
}
