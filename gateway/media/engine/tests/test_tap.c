#include "scene.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* Copies of a stream's packets for captures: all of them, in clear, while they are wanted and read. */

static void tap(bool on)
{
    const uint8_t body[4] = {on};

    request(GM_TAP, RTP, body, sizeof body);
}

static void talk(unsigned frames)
{
    for (uint32_t i = 0; i < frames; i++) {
        send_audio(numbered(i + 1));
        send_block(numbered(i + 1));
        advance_frames(1);
    }
}

static unsigned copies(bool inward)
{
    unsigned count = 0;

    for (unsigned i = 0; i < scene.event_count; i++) {
        const uint32_t value = scene.events[i].value;

        if (scene.events[i].event != GM_EVENT_TAP)
            continue;
        CHECK_EQUAL(value & 0xff, 4);
        CHECK_EQUAL(value >> 16, rtp_stream()->rtp.port);
        count += (value >> 8 & 1) == inward;
    }
    return count;
}

static void what_goes_both_ways_is_copied_while_it_is_wanted(void)
{
    unsigned sent;

    begin(101);
    talk(10);
    CHECK_EQUAL(count_events(GM_EVENT_TAP, RTP), 0);
    tap(true);
    sent = scene.peer_count;
    talk(20);
    CHECK_EQUAL(copies(true), 20);
    CHECK_EQUAL(copies(false), scene.peer_count - sent);
    CHECK(copies(false) >= 19);
    tap(true);
    CHECK_EQUAL(scene.engine.taps.count, 1);
    tap(false);
    scene.event_count = 0;
    talk(10);
    CHECK_EQUAL(count_events(GM_EVENT_TAP, RTP), 0);
    end();
}

static void a_stream_that_is_closed_leaves_its_place(void)
{
    begin(101);
    tap(true);
    CHECK_EQUAL(scene.engine.taps.count, 1);
    end();
    CHECK_EQUAL(scene.engine.taps.count, 0);
}

static void strangers_packets_are_not_copied(void)
{
    const uint8_t packet[RTP_HEADER + SAMPLES] = {0x80};
    uint16_t port;
    int stranger = udp_socket(&port);

    begin(101);
    talk(10);
    tap(true);
    send_raw(stranger, packet, sizeof packet);
    advance_frames(2);
    CHECK_EQUAL(copies(true), 0);
    end();
    close(stranger);
}

static void there_are_bounds(void)
{
    const struct stream *s;
    const uint8_t packet[RTP_HEADER + SAMPLES] = {0x80};

    begin(101);
    request(GM_TAP, TDM, "\1\0\0\0", 4);
    advance_frames(1);
    CHECK_EQUAL(last_error(), EINVAL);
    scene.engine.taps.count = GM_TAPS_MAX;
    tap(true);
    advance_frames(1);
    CHECK_EQUAL(last_error(), ENOBUFS);
    scene.engine.taps.count = 0;
    request(GM_TAP, RTP, NULL, 0);
    advance_frames(1);
    CHECK_EQUAL(last_error(), EBADMSG);
    tap(true);
    s = rtp_stream();
    /* A client that reads nothing keeps its connection, and what is more important finds room. */
    for (unsigned i = 0; i < 1000; i++)
        tap_packet(&scene.engine, s, true, &s->rtp.remote, 0, packet, sizeof packet);
    CHECK(scene.engine.taps.left_out > 100 && scene.engine.taps.left_out < 900);
    CHECK(scene.engine.control.client >= 0);
    tap(false);
    CHECK_EQUAL(scene.engine.taps.left_out, 0);
    end();
}

static void a_packet_that_is_too_long_is_left_out(void)
{
    static const uint8_t packet[GM_BODY_MAX];

    begin(101);
    tap(true);
    tap_packet(&scene.engine, rtp_stream(), true, &rtp_stream()->rtp.remote, 0, packet, GM_BODY_MAX - GM_TAP_HEADER + 1);
    CHECK_EQUAL(scene.engine.taps.left_out, 1);
    tap_packet(&scene.engine, rtp_stream(), true, &rtp_stream()->rtp.remote, 0, packet, GM_BODY_MAX - GM_TAP_HEADER);
    CHECK_EQUAL(scene.engine.taps.left_out, 1);
    advance_frames(1);
    CHECK_EQUAL(copies(true), 1);
    end();
}

/* The last one: nobody is there any more after it. */
static void a_client_that_is_gone_gets_no_copies_when_it_is_back(void)
{
    begin(101);
    tap(true);
    CHECK(rtp_stream()->tapped);
    control_drop(&scene.engine, "as the test has it");
    CHECK(!rtp_stream()->tapped);
    CHECK_EQUAL(scene.engine.taps.count, 0);
    end();
}

int main(void)
{
    scene_open();
    RUN(what_goes_both_ways_is_copied_while_it_is_wanted);
    RUN(a_stream_that_is_closed_leaves_its_place);
    RUN(strangers_packets_are_not_copied);
    RUN(there_are_bounds);
    RUN(a_packet_that_is_too_long_is_left_out);
    RUN(a_client_that_is_gone_gets_no_copies_when_it_is_back);
    scene_close();
    return 0;
}
