#include "iax_scene.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* IAX2 voice in mini frames through the whole engine: who is heard, time stamps, losses, full frames, floods. */

static const struct iax_said usual = {0};

static unsigned stamp_of(const struct came *c)
{
    struct cursor p = cursor_over(c->data, c->size);

    cursor_take(&p, 2);
    return cursor_be16(&p);
}

static unsigned call_of(const struct came *c)
{
    struct cursor p = cursor_over(c->data, c->size);

    return cursor_be16(&p);
}

static void talk(unsigned frames)
{
    for (unsigned i = 0; i < frames; i++) {
        iax_send_mini(THEIRS, iax.stamp, numbered(iax.stamp / 20));
        iax.stamp += 20;
        iax_run(1);
    }
}

static void voice_goes_both_ways(void)
{
    uint32_t last = 0;

    iax_begin(1, &usual);
    for (unsigned i = 0; i < 100; i++) {
        iax_send_mini(THEIRS, iax.stamp, numbered(iax.stamp / 20));
        iax.stamp += 20;
        iax_run_lines(1);
    }
    CHECK(iax_numbered(0, &last) >= 97);
    CHECK(last >= 98);
    CHECK(iax.count >= 98);
    for (unsigned i = 0; i < iax.count; i++) {
        CHECK_EQUAL(iax.came[i].size, IAX_MINI_HEADER + SAMPLES);
        CHECK_EQUAL(call_of(&iax.came[i]), OURS);
        CHECK(!i || (uint16_t)(stamp_of(&iax.came[i]) - stamp_of(&iax.came[i - 1])) == 20);
    }
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 1);
    CHECK_EQUAL(count_events(GM_EVENT_FIRST, CALL), 1);
    CHECK_EQUAL(iax_stream(0)->iax.lost, 0);
    iax_end();
}

/* The upper half of the stamp and the codec are told in full frames, by way of signalling. */
static void a_full_frame_comes_first_and_at_each_wrap(void)
{
    const int64_t before = 65400;
    uint32_t first = 0, second = 0;

    iax_begin(1, &(struct iax_said){.epoch = scene.engine.now - before * 1000});
    iax_run_lines(30);
    for (unsigned i = 0; i < scene.event_count; i++)
        if (scene.events[i].event == GM_EVENT_IAX_VOICE)
            *(first ? &second : &first) = scene.events[i].value;
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 2);
    CHECK(first >= before && first < before + 60);
    CHECK(second >= 65536 && second < 65556);
    CHECK_EQUAL((second - first) % 20, 0);
    for (unsigned i = 0; i < iax.count; i++)
        CHECK(stamp_of(&iax.came[i]) != (uint16_t)second);
    iax_end();
}

static void another_codec_is_told_in_a_full_frame(void)
{
    const int64_t epoch = scene.engine.now;

    iax_begin(1, &(struct iax_said){.epoch = epoch});
    iax_run_lines(10);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 1);
    iax_say(0, &(struct iax_said){.epoch = epoch});
    iax_run_lines(5);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 1);
    iax_say(0, &(struct iax_said){.epoch = epoch, .codec = GM_CODEC_ALAW});
    iax_run_lines(5);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 2);
    CHECK_EQUAL(scene.events[scene.event_count - 1].digit, GM_CODEC_ALAW);
    iax_end();
}

/* After a transfer there is another one, who knows nothing of the call; another port is the same one behind a NAT. */
static void another_far_end_is_told_the_codec_too(void)
{
    const int64_t epoch = scene.engine.now;
    uint16_t port;
    int other = udp_socket(&port);
    uint32_t last = 0;

    iax_begin(1, &(struct iax_said){.epoch = epoch});
    talk(20);
    iax_say(0, &(struct iax_said){.epoch = epoch, .port = port});
    iax_run_lines(5);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 1);
    iax_say(0, &(struct iax_said){.epoch = epoch, .far = 77});
    iax_run_lines(5);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 2);
    (void)iax_numbered(0, &last);
    talk(5); /* of the one before */
    CHECK_EQUAL(iax_numbered(0, &last), 0);
    for (unsigned i = 0; i < 20; i++) {
        iax_send_mini(77, 30000 + i * 20, numbered(1000 + i));
        iax_run(1);
    }
    CHECK(iax_numbered(0, &last) >= 17);
    CHECK_EQUAL(iax_stream(0)->iax.lost, 0);
    close(other);
    iax_end();
}

/* 16 bits of a stamp wrap every 65.5 s, and the full frame that says so may be late, or not sent at all. */
static void stamps_that_wrap_lose_nothing(void)
{
    uint32_t last = 0;
    unsigned count = 0;

    iax_begin(1, &(struct iax_said){.epoch = scene.engine.now - 65000000});
    iax.stamp = 65000;
    for (unsigned i = 0; i < 100; i++) {
        talk(1);
        count += iax_numbered(0, &last);
    }
    CHECK(count >= 97);
    CHECK_EQUAL(iax_stream(0)->iax.lost, 0);
    CHECK_EQUAL(iax_stream(0)->rejected, 0);
    iax_end();
}

/* It says where the minis belong, which may have been faster than it. */
static void a_full_frame_that_is_late_takes_its_place(void)
{
    uint32_t last = 0;

    iax_begin(1, &usual);
    talk(20);
    iax_say_voice(0, iax.stamp - 40, numbered(iax.stamp / 20 - 2));
    talk(20);
    CHECK(iax_numbered(0, &last) >= 37);
    CHECK_EQUAL(iax_stream(0)->rtp.source.duplicated, 1);
    CHECK_EQUAL(iax_stream(0)->iax.lost, 0);
    iax_end();
}

static void losses_are_counted_and_pauses_are_none(void)
{
    iax_begin(1, &usual);
    talk(20);
    iax.stamp += 60;
    iax_run(3);
    talk(20);
    CHECK_EQUAL(iax_stream(0)->iax.lost, 3);
    iax.stamp += 20 * 200;
    iax_run(200);
    talk(20);
    CHECK_EQUAL(iax_stream(0)->iax.lost, 3);
    iax_send_mini(THEIRS, iax.stamp + 20, idle);
    iax_run(1);
    CHECK_EQUAL(iax_stream(0)->iax.lost, 4);
    iax_send_mini(THEIRS, iax.stamp, idle);
    iax_send_mini(THEIRS, iax.stamp, idle);
    iax_run(1);
    CHECK_EQUAL(iax_stream(0)->iax.lost, 3);
    CHECK_EQUAL(iax_stream(0)->rtp.source.reordered, 1);
    CHECK_EQUAL(iax_stream(0)->rtp.source.duplicated, 1);
    iax_end();
}

/* A sender that reads its clock for each frame. */
static void stamps_that_are_a_little_off_tear_nothing(void)
{
    static const int off[] = {0, 3, -2, 5, -4, 1};
    uint32_t concealed;

    iax_begin(1, &usual);
    talk(20);
    concealed = iax_stream(0)->jitter.concealed;
    for (unsigned i = 0; i < 200; i++) {
        iax_send_mini(THEIRS, iax.stamp + (uint32_t)off[i % 6], numbered(iax.stamp / 20));
        iax.stamp += 20;
        iax_run(1);
    }
    CHECK_EQUAL(iax_stream(0)->jitter.concealed, concealed);
    iax_end();
}

static void what_is_of_no_call_is_dropped_without_a_word(void)
{
    uint16_t port;
    int stranger = udp_socket(&port);
    uint8_t mini[IAX_MINI_HEADER + SAMPLES] = {THEIRS >> 8, THEIRS & 0xff, 0, 40};
    uint32_t last = 0;

    iax_begin(1, &usual);
    for (unsigned i = 0; i < 10; i++) {
        iax_send_mini(THEIRS + 1, 20 * i, numbered(77));
        iax_send(stranger, mini, sizeof mini);
        iax_send(stranger, mini, i % 3 + 1);
        iax_run(1);
    }
    CHECK_EQUAL(iax_numbered(0, &last), 0);
    CHECK_EQUAL(iax_socket()->owner->rtp.strangers, 20);
    CHECK_EQUAL(iax_stream(0)->packets_received, 0);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_FRAME, SOCKET), 0);
    CHECK(recv(stranger, mini, sizeof mini, MSG_DONTWAIT) < 0);
    close(stranger);
    iax_end();
}

static void direction_says_who_speaks(void)
{
    uint32_t last = 0;

    iax_begin(1, &(struct iax_said){.direction = GM_RECVONLY});
    talk(20);
    CHECK_EQUAL(iax_numbered(0, &last), 0);
    CHECK(iax.count > 15);
    iax.count = 0;
    iax_say(0, &(struct iax_said){.direction = GM_SENDONLY});
    iax_run(2);
    iax.count = 0;
    talk(20);
    CHECK(iax_numbered(0, &last) >= 15);
    CHECK_EQUAL(iax.count, 0);
    iax_end();
}

/* A line that is 5 % fast or slow: stamps follow it, until they would be too far from the clock. */
static void stamps_follow_the_line_and_then_the_clock(void)
{
    for (int step = 19; step <= 21; step += 2) {
        const int64_t epoch = scene.engine.now;
        int64_t at = scene.engine.now;
        unsigned jumps = 0;

        iax_begin(1, &(struct iax_said){.epoch = epoch});
        for (uint32_t i = 0; i < 1500; i++) {
            iax_send_block(0, numbered(i));
            at += step * INT64_C(1000);
            while (scene.engine.now < at) {
                advance(scene.engine.now + STEP_US);
                scene.event_count = 0;
            }
        }
        iax_run(1);
        for (unsigned i = 1; i < iax.count; i++) {
            const uint16_t ahead = (uint16_t)(stamp_of(&iax.came[i]) - stamp_of(&iax.came[i - 1]));
            const int64_t clock = (iax.came[i].at - epoch) / 1000;

            CHECK_EQUAL(ahead % 20, 0);
            jumps += ahead != 20;
            (void)clock;
        }
        CHECK(jumps <= 10);
        CHECK_NEAR(iax_stream(0)->iax.stamp, (double)(scene.engine.now - epoch) / 1000.0, 220);
        iax_end();
    }
}

static void digits_of_the_line_are_told_and_silent(void)
{
    struct sines s;
    unsigned loud = 0;

    iax_begin(1, &usual);
    iax_run_lines(10);
    sines_dtmf(&s, 5);
    iax.count = 0;
    for (unsigned i = 0; i < 10; i++) {
        iax_send_block(0, dtmf(&s));
        iax_run(1);
    }
    iax_run_lines(10);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, LINE), 1);
    for (unsigned i = 0; i < 12; i++)
        for (unsigned k = IAX_MINI_HEADER; k < iax.came[i].size; k++)
            loud += iax.came[i].data[k] != IDLE && iax.came[i].data[k] != 0x7f;
    CHECK(loud < 2 * SAMPLES); /* its first moment, until it is known to be one */
    iax_end();
}

/* -- full frames -- */

static void full_frames_are_signallings(void)
{
    uint8_t frame[64] = {0x80, 9, 0, 7}, late[GM_IAX_FRAME_MAX + 1] = {0x80};

    iax_begin(1, &usual);
    iax_send(iax.peer, frame, sizeof frame);
    iax_send(iax.peer, frame, IAX_FULL_HEADER - 1);
    iax_send(iax.peer, late, sizeof late);
    iax_run(1);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_FRAME, SOCKET), 1);
    for (unsigned i = 0; i < scene.event_count; i++)
        if (scene.events[i].event == GM_EVENT_IAX_FRAME)
            CHECK_EQUAL(scene.events[i].value, (uint32_t)iax.peer_port << 16 | 4);
    CHECK_EQUAL(iax_socket()->owner->rejected, 2);
    iax_end();
}

static int bound_at(uint32_t host)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    CHECK_EQUAL(bind(fd, (struct sockaddr *)&own, sizeof own), 0);
    return fd;
}

/* 10,000 a second from elsewhere: what is awaited comes, voice is in time, signalling is not drowned. */
static void a_flood_of_strangers_delays_nobody(void)
{
    int stranger = bound_at(INADDR_LOOPBACK + 1);
    uint8_t frame[64] = {0x80, 9, 0, 0}, mine[IAX_FULL_HEADER] = {0x80, 10, 0, 7};
    uint32_t last = 0;
    unsigned known = 0, strangers = 0, heard = 0;

    iax_begin(1, &usual);
    talk(50);
    (void)iax_numbered(0, &last);
    for (unsigned i = 0; i < 100; i++) {
        scene.event_count = 0;
        for (unsigned k = 0; k < 200; k++)
            iax_send(stranger, frame, sizeof frame);
        iax_send(iax.peer, mine, sizeof mine);
        talk(1);
        heard += iax_numbered(0, &last);
        for (unsigned k = 0; k < scene.event_count; k++) {
            bool ours = scene.events[k].event == GM_EVENT_IAX_FRAME && scene.events[k].value >> 16 == iax.peer_port;

            known += ours;
            strangers += !ours;
        }
    }
    CHECK_EQUAL(known, 100);
    CHECK_EQUAL(heard, 100);
    CHECK(strangers >= 1900 && strangers <= 2100);
    CHECK(iax_socket()->owner->rtp.strangers > 15000);
    close(stranger);
    iax_end();
}

static void whom_we_ask_is_awaited(void)
{
    const union address to = {.v4 = {.sin_family = AF_INET, .sin_port = htons(4569), .sin_addr.s_addr = htonl(0x7f000009)}};
    uint8_t body[20 + IAX_FULL_HEADER] = {4, 0, 0xd9, 0x11, 127, 0, 0, 9};

    iax_begin(0, NULL);
    body[20] = 0x80;
    body[21] = 5;
    body[23] = 6; /* of a call of theirs: an answer, to whom it may be */
    request(GM_SEND_IAX, SOCKET, body, sizeof body);
    CHECK(!iax_knows(&scene.engine, &to));
    body[23] = 0;
    request(GM_SEND_IAX, SOCKET, body, sizeof body);
    CHECK(iax_knows(&scene.engine, &to));
    CHECK_EQUAL(iax_socket()->owner->packets_sent, 2);
    scene.engine.now += INT64_C(200000000);
    CHECK(!iax_knows(&scene.engine, &to));
    scene.engine.tick = (scene.engine.now - scene.engine.origin) / TICK_US;
    iax_end();
}

/* -- the socket -- */

/* As with a kernel that cannot tell full frames from voice. */
static void one_socket_does_for_both(void)
{
    uint8_t frame[64] = {0x80, 9, 0, 7};
    struct iax_socket *k;
    uint32_t last = 0;

    iax_begin(1, &usual);
    k = iax_socket();
    CHECK(k->full >= 0);
    close(k->full);
    k->full = NO_FD;
    k->waking = false; /* there are calls */
    talk(20);
    iax_send(iax.peer, frame, sizeof frame);
    talk(20);
    CHECK(iax_numbered(0, &last) >= 37);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_FRAME, SOCKET), 1);
    request(GM_CLOSE, CALL, NULL, 0);
    CHECK(k->waking);
    iax_send(iax.peer, frame, sizeof frame);
    iax_run(1);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_FRAME, SOCKET), 2);
    iax_end();
}

static void a_client_that_comes_back_has_the_socket(void)
{
    int fd;

    iax_begin(1, &usual);
    fd = iax_socket()->fd;
    iax_open_socket(SOCKET + 1, iax.port);
    CHECK(!stream_find(&scene.engine.streams, SOCKET + 1)); /* it is in use */
    for (unsigned i = 0; i < scene.engine.streams.count; i++)
        scene.engine.streams.all[i].adopted = false;
    iax_open_socket(SOCKET + 1, iax.port);
    CHECK(!stream_find(&scene.engine.streams, SOCKET));
    CHECK_EQUAL(stream_find(&scene.engine.streams, SOCKET + 1)->iax.socket->fd, fd);
    CHECK_EQUAL(stream_find(&scene.engine.streams, SOCKET + 1)->rtp.port, iax.port);
    talk(5); /* its calls go on */
    CHECK(iax_stream(0)->packets_received == 5);
    request(GM_CLOSE, SOCKET + 1, NULL, 0);
    CHECK(!iax_stream(0)->iax.socket);
    iax_run_lines(5); /* into nothing */
    iax_say(0, &usual);
    iax_end();
}

/* Full frames go by way of signalling: what it did not get any more is told to the next client. */
static void a_new_client_tells_the_far_end_anew(void)
{
    const int64_t before = 65400;
    uint32_t said = 0;

    iax_begin(1, &(struct iax_said){.epoch = scene.engine.now - before * 1000});
    iax_run_lines(3);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 1);
    for (unsigned i = 0; i < scene.engine.streams.count; i++)
        scene.engine.streams.all[i].adopted = false;
    iax.count = 0;
    iax_run_lines(20); /* over the wrap */
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 1);
    CHECK(iax.count >= 19);
    request(GM_ADOPT, SOCKET, NULL, 0);
    request(GM_ADOPT, CALL, NULL, 0);
    iax_run_lines(400); /* not at once: who begins has other things to do */
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 1);
    iax_run_lines(110);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 2);
    for (unsigned i = 0; i < scene.event_count; i++)
        if (scene.events[i].event == GM_EVENT_IAX_VOICE)
            said = scene.events[i].value;
    CHECK(said >= 65536);
    request(GM_ADOPT, CALL, NULL, 0); /* who was told of it may be gone before it was sent */
    iax_run_lines(510);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 3);
    iax_end();
}

static void a_socket_without_calls_needs_no_ticks(void)
{
    uint8_t frame[64] = {0x80, 9};

    iax_begin(0, NULL);
    CHECK(iax_socket()->waking);
    CHECK_EQUAL(engine_step(&scene.engine, 0), 0);
    CHECK(!scene.engine.running);
    scene.event_count = 0;
    iax_send(iax.peer, frame, sizeof frame);
    scene.in_rtp.at[scene.in_rtp.head % ON_WAY] = 0;
    CHECK_EQUAL(engine_step(&scene.engine, 100), 0);
    advance(scene.engine.now + STEP_US);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_FRAME, SOCKET), 1);
    scene.engine.running = true;
    scene.engine.origin = scene.engine.now - scene.engine.tick * TICK_US;
    iax_end();
}

int main(void)
{
    scene_open();
    RUN(voice_goes_both_ways);
    RUN(a_full_frame_comes_first_and_at_each_wrap);
    RUN(another_codec_is_told_in_a_full_frame);
    RUN(another_far_end_is_told_the_codec_too);
    RUN(stamps_that_wrap_lose_nothing);
    RUN(a_full_frame_that_is_late_takes_its_place);
    RUN(losses_are_counted_and_pauses_are_none);
    RUN(stamps_that_are_a_little_off_tear_nothing);
    RUN(what_is_of_no_call_is_dropped_without_a_word);
    RUN(direction_says_who_speaks);
    RUN(stamps_follow_the_line_and_then_the_clock);
    RUN(digits_of_the_line_are_told_and_silent);
    RUN(full_frames_are_signallings);
    RUN(a_flood_of_strangers_delays_nobody);
    RUN(whom_we_ask_is_awaited);
    RUN(one_socket_does_for_both);
    RUN(a_client_that_comes_back_has_the_socket);
    RUN(a_new_client_tells_the_far_end_anew);
    RUN(a_socket_without_calls_needs_no_ticks);
    scene_close();
    return 0;
}
