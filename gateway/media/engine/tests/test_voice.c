#include "../engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"

/* A call through the whole engine in virtual time: its sockets are real, its clock is ours, so that delays and digits can
 * be checked exactly however busy the machine is. */

enum { RTP = 1, TDM = 2, STEP_US = 500, FRAMES_MAX = 4096, IDLE = 0xff };

static char directory[] = "/tmp/gateway-media-XXXXXX";
static char control_path[100], line_path[100];
static struct engine engine;
static int control, peer, line;
static struct sockaddr_in to;
static uint16_t sequence;
static uint32_t stamp;

struct heard {
    int64_t at;
    size_t size;
    uint32_t stamp;
    unsigned type; /* of RTP */
    bool marker;
    uint8_t data[SAMPLES];
};

static struct heard on_peer[FRAMES_MAX], on_line[FRAMES_MAX];
static unsigned peer_count, line_count;
static struct {
    uint32_t stream, value;
    uint8_t event, digit;
} events[64];
static unsigned event_count;

/* When what is in the sockets was sent, in order. */
static struct {
    int64_t at[64];
    unsigned head, count;
} in_rtp, in_tdm;

static int64_t arrival(const struct engine *e, struct msghdr *m)
{
    int64_t at;

    CHECK(m->msg_name ? in_rtp.count : in_tdm.count);
    if (m->msg_name) {
        at = in_rtp.at[in_rtp.head++ % 64];
        in_rtp.count--;
    } else {
        at = in_tdm.at[in_tdm.head++ % 64];
        in_tdm.count--;
    }
    CHECK(at <= e->now);
    return at;
}

static void request(uint8_t opcode, uint32_t stream, const void *body, size_t size)
{
    struct message m = {.opcode = opcode, .stream = stream};
    struct cursor c = cursor_over(body, size);

    request_execute(&engine, &m, &c);
}

static int unix_fd(const char *path, struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

    CHECK(fd >= 0);
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    (void)snprintf(a->sun_path, sizeof a->sun_path, "%s", path);
    return fd;
}

static void read_events(void)
{
    uint8_t packet[GM_PACKET_MAX];
    ssize_t got;

    control_flush(&engine);
    while ((got = recv(control, packet, sizeof packet, MSG_DONTWAIT)) > 0) {
        struct cursor all = cursor_over(packet, (size_t)got);

        while (cursor_left(&all)) {
            uint8_t opcode;
            uint32_t stream, size;
            struct cursor body;

            cursor_take(&all, 3);
            opcode = cursor_u8(&all);
            cursor_le32(&all);
            stream = cursor_le32(&all);
            size = cursor_le32(&all);
            body = cursor_over(cursor_take(&all, size), size);
            CHECK(!all.bad);
            if (opcode & GM_REPLY)
                continue;
            CHECK(event_count < sizeof events / sizeof *events);
            events[event_count].event = opcode;
            events[event_count].stream = stream;
            events[event_count].value = cursor_le32(&body);
            events[event_count++].digit = cursor_u8(&body);
        }
    }
}

static void look_at_far_ends(void)
{
    uint8_t packet[1024];
    struct rtp_packet p;
    ssize_t got;

    while ((got = recv(peer, packet, sizeof packet, MSG_DONTWAIT)) > 0) {
        struct heard *h = &on_peer[peer_count++ % FRAMES_MAX];

        CHECK_EQUAL(rtp_parse(&p, packet, (size_t)got), 0);
        *h = (struct heard){.at = engine.now, .type = p.payload_type, .marker = p.marker, .stamp = p.stamp, .size = p.size};
        memcpy(h->data, p.payload, p.size < SAMPLES ? p.size : SAMPLES);
    }
    while ((got = recv(line, packet, sizeof packet, MSG_DONTWAIT)) > 0) {
        struct heard *h = &on_line[line_count++ % FRAMES_MAX];

        CHECK_EQUAL(got, SAMPLES);
        *h = (struct heard){.at = engine.now, .size = SAMPLES};
        memcpy(h->data, packet, SAMPLES);
    }
}

static void advance(int64_t until)
{
    for (; engine.now < until; engine.now += STEP_US) {
        engine_ticks(&engine);
        look_at_far_ends();
        read_events();
    }
}

static uint8_t receive_dtmf; /* 0: as is sent */
static uint32_t speaker = 99;

static void begin(unsigned dtmf_payload_type)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const uint8_t loopback[16] = {127, 0, 0, 1};
    socklen_t size = sizeof own;
    struct sockaddr_un a;
    uint8_t body[256];
    struct writer w = writer_over(body, sizeof body);
    int listener = unix_fd(line_path, &a);

    (void)unlink(line_path);
    CHECK_EQUAL(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQUAL(listen(listener, 1), 0);
    put_le32(&w, 4);
    put_bytes(&w, loopback, sizeof loopback);
    put_zeros(&w, GM_LABEL_BYTES);
    request(GM_OPEN_RTP, RTP, body, w.at);
    w = writer_over(body, sizeof body);
    put_le32(&w, 0);
    put_zeros(&w, GM_LABEL_BYTES);
    put_bytes(&w, line_path, strlen(line_path));
    request(GM_OPEN_TDM, TDM, body, w.at);
    line = accept(listener, NULL, NULL);
    CHECK(line >= 0);
    close(listener);
    peer = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (peer < 0)
        abort();
    CHECK_EQUAL(bind(peer, (struct sockaddr *)&own, sizeof own), 0);
    CHECK_EQUAL(getsockname(peer, (struct sockaddr *)&own, &size), 0);
    w = writer_over(body, sizeof body);
    put_u8(&w, 4);
    put_u8(&w, 0);
    put_u8(&w, 0);
    put_u8(&w, dtmf_payload_type);
    put_bytes(&w, loopback, sizeof loopback);
    put_le16(&w, ntohs(own.sin_port));
    put_le16(&w, 9);
    put_u8(&w, 20);
    put_u8(&w, GM_SENDRECV);
    put_le16(&w, 0);
    if (receive_dtmf) {
        put_u8(&w, GM_NO_PAYLOAD_TYPE);
        put_u8(&w, receive_dtmf);
        put_le16(&w, 0);
    }
    request(GM_SET_RTP, RTP, body, w.at);
    request(GM_CONNECT, RTP, "\2\0\0\0", 4);
    to = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons(stream_find(&engine.streams, RTP)->rtp.port);
    peer_count = line_count = event_count = 0;
    in_rtp.count = in_tdm.count = 0;
}

static void end(void)
{
    request(GM_CLOSE, RTP, NULL, 0);
    request(GM_CLOSE, TDM, NULL, 0);
    CHECK_EQUAL(engine.streams.used, 0);
    close(peer);
    close(line);
    read_events();
}

static void send_rtp(unsigned type, uint32_t at, const uint8_t *data, size_t size)
{
    uint8_t packet[RTP_HEADER + SAMPLES];
    struct rtp_packet p = {.sequence = sequence++, .stamp = at, .ssrc = speaker, .payload_type = (uint8_t)type};

    rtp_header(packet, &p);
    in_rtp.at[(in_rtp.head + in_rtp.count++) % 64] = engine.now;
    CHECK(in_rtp.count < 64);
    memcpy(packet + RTP_HEADER, data, size);
    CHECK(sendto(peer, packet, RTP_HEADER + size, 0, (struct sockaddr *)&to, sizeof to) > 0);
}

static void send_audio(const uint8_t *frame)
{
    send_rtp(0, stamp, frame, SAMPLES);
    stamp += SAMPLES;
}

static void send_block(const uint8_t *frame)
{
    in_tdm.at[(in_tdm.head + in_tdm.count++) % 64] = engine.now;
    CHECK(in_tdm.count < 64);
    CHECK_EQUAL(send(line, frame, SAMPLES, MSG_NOSIGNAL), SAMPLES);
}

static const uint8_t *numbered(uint32_t number)
{
    static uint8_t frame[SAMPLES];

    memset(frame, IDLE, sizeof frame);
    memcpy(frame, &number, sizeof number);
    return frame;
}

static const uint8_t *dtmf(struct sines *s)
{
    static uint8_t frame[SAMPLES];
    int16_t linear[SAMPLES];

    sines_generate(s, linear, SAMPLES);
    law_encode(ULAW, frame, linear, SAMPLES);
    return frame;
}

static uint8_t idle[SAMPLES];

static bool quiet(const struct heard *h)
{
    for (size_t i = 0; i < SAMPLES; i++)
        if (h->data[i] != IDLE)
            return false;
    return true;
}

static unsigned count_events(uint8_t event, uint32_t stream)
{
    unsigned count = 0;

    for (unsigned i = 0; i < event_count; i++)
        count += events[i].event == event && events[i].stream == stream;
    return count;
}

/* Blocks both ways at every offset to the ticks: when each arrives, and that each does. */
static void voice_takes_a_tick_each_way_at_most(void)
{
    for (int offset = 0; offset < FRAME_US; offset += 1500) {
        static int64_t sent[200];
        int64_t start;
        unsigned to_line = 0, to_peer = 0;

        begin(101);
        start = engine.now + offset;
        for (uint32_t i = 0; i < 200; i++) {
            advance(start + (int64_t)i * FRAME_US);
            sent[i] = engine.now;
            send_audio(numbered(i));
            send_block(numbered(i));
        }
        advance(engine.now + 2L * FRAME_US);
        for (unsigned i = 0; i < line_count; i++) {
            uint32_t number;

            memcpy(&number, on_line[i].data, sizeof number);
            if (number < 200 && number > 60) { /* after a second */
                CHECK(on_line[i].at - sent[number] <= TICK_US + 1000);
                to_line++;
            }
        }
        for (unsigned i = 0; i < peer_count; i++) {
            uint32_t number;

            memcpy(&number, on_peer[i].data, sizeof number);
            if (number < 200 && number > 60) {
                CHECK(on_peer[i].at - sent[number] <= TICK_US + 1000);
                CHECK_EQUAL(on_peer[i].stamp - on_peer[i - 1].stamp, SAMPLES);
                to_peer++;
            }
        }
        CHECK_EQUAL(to_line, 139);
        CHECK_EQUAL(to_peer, 139);
        end();
    }
}

/* A minute with both far ends' clocks 100 ppm off. */
static void wake_ups_of_a_call(unsigned phase)
{
    unsigned wakes = 0;

    engine.next_phase = phase;
    begin(101);
    for (unsigned i = 0; i < 100; i++) {
        for (int64_t end_of_frame = engine.now + FRAME_US; engine.now < end_of_frame;) {
            bool due = engine_next(&engine) <= engine.now + TICK_US - STEP_US;

            wakes += i >= 50 && due;
            advance(engine.now + TICK_US);
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
        start = engine.now + 3000;
        for (uint32_t i = 0; i < count; i++) {
            advance(start + (int64_t)i * (FRAME_US + sign * 2));
            send_audio(numbered(i));
            send_block(numbered(i));
        }
        advance(engine.now + 2L * FRAME_US);
        lines = line_count;
        peers = peer_count;
        CHECK_NEAR(lines, 3000 * (1.0 + sign * 0.0001) + 3, 4); /* TDM out is on our clock */
        CHECK_NEAR(peers, count + 3, 3);                        /* RTP is on the line's */
        CHECK(stream_find(&engine.streams, RTP)->jitter.slips + stream_find(&engine.streams, RTP)->jitter.concealed <= 2);
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
        advance(engine.now + FRAME_US);
        send_block(i >= 20 && i < 26 ? dtmf(&s) : idle);
    }
    for (unsigned i = 0; i < peer_count; i++) {
        if (on_peer[i].type == 101) {
            packets++;
            ends += on_peer[i].data[1] >> 7;
            markers += on_peer[i].marker;
            CHECK_EQUAL(on_peer[i].data[0], 7);
        } else {
            loud += !quiet(&on_peer[i]);
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

        advance(engine.now + FRAME_US);
        if (i < 20 || i > 30)
            send_audio(idle);
        else
            send_rtp(101, stamp, event, sizeof event);
        if (i == 30)
            stamp += 11 * SAMPLES;
    }
    for (unsigned i = 0; i < line_count; i++) {
        if (quiet(&on_line[i]))
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
        advance(engine.now + FRAME_US);
        began = i == 22 ? stamp : began; /* a detector at the far end needs 40 ms */
        send_audio(i >= 20 && i < 30 ? dtmf(&s) : idle);
        if (i >= 22 && i < 33) {
            unsigned duration = (i < 29 ? i - 21 : 8) * SAMPLES;
            const uint8_t event[4] = {5, i >= 30 ? 0x8a : 0x0a, (uint8_t)(duration >> 8), (uint8_t)duration};

            send_rtp(101, began, event, sizeof event);
        }
    }
    for (unsigned i = 1; i < line_count; i++) {
        edges += quiet(&on_line[i - 1]) && !quiet(&on_line[i]);
        loud += !quiet(&on_line[i]);
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
        advance(engine.now + FRAME_US);
        send_block(i >= 20 && i < 26 ? dtmf(&s) : idle);
        send_audio(i >= 30 && i < 36 ? dtmf(&t) : idle);
    }
    for (unsigned i = 0; i < peer_count; i++) {
        CHECK_EQUAL(on_peer[i].type, 0);
        loud += !quiet(&on_peer[i]);
    }
    CHECK_EQUAL(loud, 6);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, TDM), 1);
    CHECK_EQUAL(count_events(GM_EVENT_DIGIT, RTP), 1);
    end();
}

static void events_have_a_number_of_their_own_each_way(void)
{
    struct sines s;
    unsigned sent = 0;

    receive_dtmf = 101;
    begin(96);
    receive_dtmf = 0;
    sines_dtmf(&s, 7);
    for (unsigned i = 0; i < 40; i++) {
        const uint8_t event[4] = {i < 30 ? 3 : 4, 0x8a, 3, 0x20};

        advance(engine.now + FRAME_US);
        send_block(i >= 10 && i < 16 ? dtmf(&s) : idle);
        if (i == 20)
            send_rtp(101, stamp, event, sizeof event);
        if (i == 30) /* a far end that uses its own number */
            send_rtp(96, stamp + 9000, event, sizeof event);
    }
    for (unsigned i = 0; i < peer_count; i++) {
        CHECK(on_peer[i].type == 0 || on_peer[i].type == 96);
        sent += on_peer[i].type == 96;
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
        advance(engine.now + FRAME_US);
        send_block(idle);
        if (i < 20)
            send_audio(idle);
        if (i == 20)
            send_rtp(RTP_COMFORT_NOISE, stamp, &level, 1);
    }
    for (unsigned i = 0; i < line_count; i++)
        hiss += !quiet(&on_line[i]);
    CHECK(hiss >= 95);
    CHECK_EQUAL(count_events(GM_EVENT_SILENT, RTP), 0);
    CHECK_EQUAL(stream_find(&engine.streams, RTP)->jitter.concealed, 0);
    end();
}

static void another_with_our_ssrc_makes_us_change_it_but_an_echo_does_not(void)
{
    struct stream *s;
    uint32_t ssrc;

    begin(101);
    s = stream_find(&engine.streams, RTP);
    ssrc = s->rtp.ssrc;
    send_block(idle);
    advance(engine.now + INT64_C(2) * FRAME_US);
    speaker = ssrc;
    sequence = (uint16_t)(s->rtp.sequence - 1);
    send_rtp(0, s->rtp.stamp - SAMPLES, idle, SAMPLES);
    advance(engine.now + INT64_C(2) * FRAME_US);
    CHECK_EQUAL(s->rtp.ssrc, ssrc);
    CHECK_EQUAL(s->packets_received, 1);
    sequence = (uint16_t)(s->rtp.sequence + 1000);
    send_rtp(0, s->rtp.stamp + 5000000, idle, SAMPLES);
    advance(engine.now + INT64_C(2) * FRAME_US);
    CHECK(s->rtp.ssrc != ssrc);
    ssrc = speaker = s->rtp.ssrc; /* one that follows sends our packets back, counted anew */
    for (int i = 0; i < 20; i++) {
        sequence = (uint16_t)(s->rtp.sequence + 1000 + i);
        send_rtp(0, s->rtp.stamp + 5000000, idle, SAMPLES);
        advance(engine.now + INT64_C(2) * FRAME_US);
    }
    CHECK_EQUAL(s->rtp.ssrc, ssrc);
    speaker = 99;
    end();
}

static void a_source_that_goes_on_after_its_goodbye_is_reported_again(void)
{
    const struct stream *s;
    uint8_t rtcp[] = {0x80, 201, 0, 1, 0, 0, 0, 99, 0x81, 203, 0, 1, 0, 0, 0, 99};
    struct rtcp_arrival arrival = {.source = 99};

    begin(101);
    s = stream_find(&engine.streams, RTP);
    send_audio(idle);
    advance(engine.now + INT64_C(2) * FRAME_US);
    arrival.at = engine.now;
    CHECK_EQUAL(rtcp_receive(&stream_find(&engine.streams, RTP)->rtp.rtcp, rtcp, sizeof rtcp, &arrival), 0);
    send_audio(idle); /* was on its way */
    advance(engine.now + INT64_C(2) * FRAME_US);
    CHECK(s->rtp.rtcp.bye);
    advance(engine.now + INT64_C(60) * FRAME_US);
    send_audio(idle);
    advance(engine.now + INT64_C(2) * FRAME_US);
    CHECK(!s->rtp.rtcp.bye);
    CHECK_EQUAL(s->packets_received, 3);
    end();
}

static void silence_is_told_after_its_time_and_once(void)
{
    int64_t last = 0;

    begin(101);
    for (int i = 0; i < 150; i++) {
        advance(engine.now + FRAME_US);
        send_block(idle);
        if (i < 50 || i >= 120) {
            send_audio(idle);
            last = i == 49 ? engine.now : last;
        }
        if (i < 119 && engine.now < last + 500000)
            CHECK_EQUAL(count_events(GM_EVENT_SILENT, RTP), 0);
        if (i < 119 && last && engine.now > last + 545000)
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
    before = line_count;
    for (int i = 0; i < 500; i++) {
        advance(engine.now + FRAME_US);
        if (check_random(&seed) % 3) { /* bursts, gaps, restarts */
            for (unsigned k = check_random(&seed) % 4; k > 0; k--)
                send_audio(numbered((uint32_t)i));
            if (check_random(&seed) % 20 == 0)
                stamp += check_random(&seed);
        }
    }
    CHECK_NEAR(line_count - before, 500, 1);
    for (unsigned i = before + 1; i < line_count; i++)
        CHECK(on_line[i].at - on_line[i - 1].at <= FRAME_US + (PHASES - 1) * TICK_US);
    end();
}

int main(void)
{
    struct options options = {.control = control_path, .streams = 4, .files = 1, .port_first = 42000, .port_last = 42999,
                              .silence_milliseconds = 500, .grace_seconds = 1, .delay_milliseconds = 200};
    struct sockaddr_un a;

    CHECK(mkdtemp(directory));
    (void)snprintf(control_path, sizeof control_path, "%s/control", directory);
    (void)snprintf(line_path, sizeof line_path, "%s/line", directory);
    memset(idle, IDLE, sizeof idle);
    CHECK_EQUAL(engine_open(&engine, &options), 0);
    control = unix_fd(control_path, &a);
    CHECK_EQUAL(connect(control, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQUAL(engine_step(&engine, 0), 0);
    engine.control.client = engine.control.waiting[CONTROL_WAITING - 1]; /* as if it had said hello */
    engine.control.waiting[CONTROL_WAITING - 1] = NO_FD;
    engine.running = true;
    engine.origin = engine.now;
    engine.arrival = arrival;
    RUN(voice_takes_a_tick_each_way_at_most);
    RUN(what_comes_at_once_wakes_the_engine_once);
    RUN(drifting_far_ends_lose_nothing_but_a_frame);
    RUN(a_digit_on_the_line_is_one_event_and_leaves_no_tone);
    RUN(an_event_is_one_tone_of_its_length);
    RUN(a_digit_sent_as_audio_and_as_event_at_once_is_one_tone);
    RUN(without_rfc4733_digits_stay_audio_and_are_reported_once_each_way);
    RUN(events_have_a_number_of_their_own_each_way);
    RUN(comfort_noise_is_no_silence);
    RUN(another_with_our_ssrc_makes_us_change_it_but_an_echo_does_not);
    RUN(a_source_that_goes_on_after_its_goodbye_is_reported_again);
    RUN(silence_is_told_after_its_time_and_once);
    RUN(the_line_gets_fifty_blocks_a_second_come_what_may);
    engine_close(&engine);
    close(control);
    (void)unlink(line_path);
    (void)rmdir(directory);
    return 0;
}
