#include "iax_scene.h"

#include <string.h>

/* From one IAX2 call to another of the same wide codec: frames go on as they came. */

enum { OTHER = CALL + 1 };

static uint8_t payload[2 * WIDE_SAMPLES];

/* Two calls that are wired to each other. */
static void begin_two(uint8_t first, uint8_t second, uint8_t flags)
{
    uint8_t to[4] = {OTHER & 0xff, OTHER >> 8};

    iax_begin(2, NULL);
    iax_say(0, &(struct iax_said){.codec = first, .flags = flags});
    iax_say(1, &(struct iax_said){.codec = second, .flags = flags});
    request(GM_CONNECT, CALL, to, sizeof to);
    CHECK_EQUAL(last_error(), 0);
}

static size_t fill(uint8_t codec, uint32_t number)
{
    const size_t size = codec == GM_CODEC_L16 ? sizeof payload : SAMPLES;

    for (size_t i = 0; i < size; i++)
        payload[i] = (uint8_t)(i * 7 + number);
    memcpy(payload, &number, sizeof number);
    return size;
}

static void say_frame(uint8_t codec, uint32_t number)
{
    uint8_t frame[IAX_MINI_HEADER + sizeof payload];
    struct writer w = writer_over(frame, sizeof frame);
    const size_t size = fill(codec, number);

    put_be16(&w, THEIRS);
    put_be16(&w, number * 20 & 0xffff);
    put_bytes(&w, payload, size);
    iax_send(iax.peer, frame, w.at);
}

/* The number of a mini frame of the second call that is one of ours as it was, and its time; false: it is something else. */
static bool passed(const struct came *c, uint8_t codec, uint32_t *number, uint16_t *stamp)
{
    struct cursor p = cursor_over(c->data, c->size);
    const uint8_t *content;
    size_t size;

    if (cursor_be16(&p) != OURS + 1)
        return false;
    *stamp = (uint16_t)cursor_be16(&p);
    size = cursor_left(&p);
    content = cursor_take(&p, size);
    memcpy(number, content, sizeof *number);
    return *number < 10000 && fill(codec, *number) == size && !memcmp(content, payload, size);
}

static void what_comes_goes_on_as_it_is(void)
{
    static const uint8_t codecs[] = {GM_CODEC_G722, GM_CODEC_L16};

    for (unsigned c = 0; c < sizeof codecs; c++) {
        uint32_t number = 0, before = 0;
        uint16_t stamp, former = 0;
        unsigned count = 0;
        int64_t arrived = 0;

        begin_two(codecs[c], codecs[c], 0);
        iax_run(10);
        for (uint32_t i = 1; i <= 200; i++) {
            if (i % 20 != 7)
                say_frame(codecs[c], i);
            if (i == 50)
                iax.count = 0;
            arrived = scene.engine.now;
            iax_run(1);
            if (i > 51 && i % 20 != 7) {
                unsigned last = iax.count;

                while (last && !passed(&iax.came[--last], codecs[c], &number, &stamp))
                    continue;
                CHECK_EQUAL(number, i); /* at once */
                CHECK(iax.came[last].at - arrived <= TICK_US + STEP_US);
            }
        }
        for (unsigned k = 0; k < iax.count; k++) {
            if (!passed(&iax.came[k], codecs[c], &number, &stamp))
                continue;
            CHECK(!count || (uint16_t)(stamp - former) == 20 * (number - before)); /* what is missing is missing there too */
            before = number;
            former = stamp;
            count++;
        }
        CHECK_NEAR(count, 143, 1);
        CHECK_EQUAL(iax_stream(0)->jitter.concealed, 0);
        CHECK_EQUAL(iax_stream(0)->rejected, 0);
        iax_end();
    }
}

static void frames_out_of_turn_keep_their_time(void)
{
    uint32_t number, before = 0;
    uint16_t stamp, former = 0;
    unsigned turns = 0;

    begin_two(GM_CODEC_G722, GM_CODEC_G722, 0);
    for (uint32_t i = 1; i <= 100; i++) {
        say_frame(GM_CODEC_G722, i % 10 == 4 ? i + 1 : i % 10 == 5 ? i - 1 : i);
        if (i == 30)
            iax.count = 0;
        iax_run(1);
    }
    for (unsigned k = 0; k < iax.count; k++) {
        if (!passed(&iax.came[k], GM_CODEC_G722, &number, &stamp))
            continue;
        CHECK(!before || (uint16_t)(stamp - former) == (uint16_t)(20 * (number - before)));
        turns += number < before;
        before = number;
        former = stamp;
    }
    CHECK_EQUAL(turns, 7);
    iax_end();
}

static void another_codec_there_is_coded_anew_and_back(void)
{
    uint32_t number;
    uint16_t stamp;
    unsigned count[3] = {0};

    begin_two(GM_CODEC_G722, GM_CODEC_G722, 0);
    for (uint32_t i = 1; i <= 300; i++) {
        say_frame(GM_CODEC_G722, i);
        if (i % 100 == 1 && i > 1) /* with a frame on its way */
            iax_say(1, &(struct iax_said){.codec = i == 101 ? GM_CODEC_ULAW : GM_CODEC_G722});
        iax.count = 0;
        iax_run(1);
        for (unsigned k = 0; k < iax.count; k++)
            count[(i - 1) / 100] += passed(&iax.came[k], GM_CODEC_G722, &number, &stamp);
    }
    CHECK(count[0] >= 95);
    CHECK_EQUAL(count[1], 0);
    CHECK(count[2] >= 95);
    iax_end();
}

static void a_digit_takes_the_place_of_voice_and_time_goes_on(void)
{
    uint32_t number;
    uint16_t stamp, former = 0;
    unsigned count = 0, others = 0;

    begin_two(GM_CODEC_G722, GM_CODEC_G722, 0);
    for (uint32_t i = 1; i <= 150; i++) {
        if (i == 80)
            request(GM_SEND_DIGITS, OTHER, "\310\0\0\0" "5", 5);
        say_frame(GM_CODEC_G722, i);
        if (i == 50)
            iax.count = 0;
        iax_run(1);
    }
    for (unsigned k = 0; k < iax.count; k++) {
        struct cursor p = cursor_over(iax.came[k].data, iax.came[k].size);

        if (cursor_be16(&p) != OURS + 1)
            continue;
        if (passed(&iax.came[k], GM_CODEC_G722, &number, &stamp))
            count++;
        else
            others++;
        stamp = (uint16_t)cursor_be16(&p);
        CHECK(!former || (stamp > former && stamp - former <= 60));
        former = stamp;
    }
    CHECK(count >= 85);
    CHECK_NEAR(others, 12, 3);
    iax_end();
}

static void who_falls_silent_is_silence_and_comes_back(void)
{
    uint32_t number;
    uint16_t stamp;
    unsigned silence = 0, count = 0;

    begin_two(GM_CODEC_G722, GM_CODEC_G722, GM_IAX_TRUNK);
    iax_say(1, &(struct iax_said){.codec = GM_CODEC_G722});
    for (uint32_t i = 1; i <= 50; i++) {
        say_frame(GM_CODEC_G722, i);
        iax_run(1);
    }
    iax.count = 0;
    iax_run(150);
    for (unsigned k = 0; k < iax.count; k++)
        silence += iax.came[k].data[1] == OURS + 1;
    CHECK_NEAR(silence, 100, 3); /* a second later */
    iax.count = 0;
    for (uint32_t i = 201; i <= 250; i++) {
        say_frame(GM_CODEC_G722, i);
        iax_run(1);
    }
    for (unsigned k = 0; k < iax.count; k++)
        count += passed(&iax.came[k], GM_CODEC_G722, &number, &stamp);
    CHECK(count >= 48);
    iax_end();
}

int main(void)
{
    scene_open();
    RUN(what_comes_goes_on_as_it_is);
    RUN(frames_out_of_turn_keep_their_time);
    RUN(another_codec_there_is_coded_anew_and_back);
    RUN(a_digit_takes_the_place_of_voice_and_time_goes_on);
    RUN(who_falls_silent_is_silence_and_comes_back);
    scene_close();
    return 0;
}
