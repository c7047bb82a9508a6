#include "iax_scene.h"

#include <string.h>

/* Copies of the voice of IAX2 for captures, whatever it comes and goes in; what they are like is tested from outside. */

enum { FRAMES = 20 };

static const uint8_t key[IAX_KEY] = {7};

static void tap(bool on)
{
    const uint8_t body[4] = {on};

    request(GM_TAP, CALL, body, sizeof body);
}

static unsigned copies(bool inward)
{
    unsigned count = 0;

    for (unsigned i = 0; i < scene.event_count; i++) {
        if (scene.events[i].event != GM_EVENT_TAP)
            continue;
        CHECK_EQUAL(scene.events[i].stream, CALL);
        CHECK_EQUAL(scene.events[i].value & 0xff, 4);
        CHECK_EQUAL(scene.events[i].value >> 16, iax.port);
        count += (scene.events[i].value >> 8 & 1) == inward;
    }
    return count;
}

static void talk(bool secret)
{
    struct iax_cipher cipher = {0};

    if (secret)
        CHECK_EQUAL(iax_cipher_set(&cipher, key, IAX_KEY, true), 0);
    for (uint32_t i = 0; i < FRAMES; i++, iax.stamp += 20) {
        uint8_t frame[IAX_MINI_HEADER + SAMPLES], packet[sizeof frame + IAX_CIPHER_ROOM];
        struct writer w = writer_over(frame, sizeof frame);

        put_be16(&w, THEIRS);
        put_be16(&w, iax.stamp & 0xffff);
        put_bytes(&w, numbered(i + 1), SAMPLES);
        if (secret)
            iax_send(iax.peer, packet, iax_encrypt(&cipher, packet, frame, w.at));
        else
            iax_send(iax.peer, frame, w.at);
        iax_run_lines(1);
    }
    iax_cipher_close(&cipher);
}

static void what_goes_both_ways_is_copied_while_it_is_wanted(void)
{
    static const struct iax_said ways[] = {
        {0}, {.flags = GM_IAX_TRUNK}, {.flags = GM_IAX_TRUNK | GM_IAX_TRUNK_STAMPS}, {.send = key, .receive = key}};

    for (unsigned i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        iax_begin(2, &ways[i]);
        talk(ways[i].send);
        CHECK_EQUAL(count_events(GM_EVENT_TAP, CALL), 0);
        tap(true);
        scene.event_count = 0;
        talk(ways[i].send);
        CHECK_EQUAL(copies(true), FRAMES);
        CHECK_NEAR(copies(false), FRAMES, 1);
        iax_say_voice(0, iax.stamp, numbered(1)); /* of which signalling has told */
        CHECK_EQUAL(copies(true), FRAMES);
        tap(false);
        scene.event_count = 0;
        talk(ways[i].send);
        CHECK_EQUAL(count_events(GM_EVENT_TAP, CALL), 0);
        tap(true);
        iax_end();
        CHECK_EQUAL(scene.engine.taps.count, 0);
    }
}

/* What cannot be heard is nobody's. */
static void what_is_refused_is_not_copied(void)
{
    iax_begin(1, &(struct iax_said){.flags = GM_IAX_ENCRYPTED, .send = key, .receive = key});
    tap(true);
    scene.event_count = 0;
    talk(false);
    CHECK_EQUAL(copies(true), 0);
    iax_end();
}

static void a_client_that_does_not_read_misses_them(void)
{
    static const uint8_t payload[CODED_PAYLOAD_MAX];

    iax_begin(1, &(struct iax_said){0});
    tap(true);
    for (unsigned i = 0; i < 1000; i++)
        tap_mini(&scene.engine, iax_stream(0), true, GM_COPIED_MINI, 0, 0, payload, SAMPLES);
    CHECK(scene.engine.taps.left_out > 100 && scene.engine.taps.left_out < 900);
    iax_run(1);
    tap(false);
    CHECK_EQUAL(scene.engine.taps.left_out, 0);
    iax_end();
}

int main(void)
{
    scene_open();
    RUN(what_goes_both_ways_is_copied_while_it_is_wanted);
    RUN(what_is_refused_is_not_copied);
    RUN(a_client_that_does_not_read_misses_them);
    scene_close();
    return 0;
}
