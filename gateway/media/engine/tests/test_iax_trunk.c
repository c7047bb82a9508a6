#include "iax_scene.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Trunk frames: what is sent of how many calls, when, and what is heard of what comes. */

enum { HEADER = 8, ENTRY = 4, STAMPED = 6, IP_UDP = 28 };

static const struct iax_said trunked = {.flags = GM_IAX_TRUNK, .most = 9000};
static const struct iax_said stamped = {.flags = GM_IAX_TRUNK | GM_IAX_TRUNK_STAMPS};

static uint32_t time_of(const struct came *c)
{
    struct cursor p = cursor_over(c->data, c->size);

    cursor_take(&p, 4);
    return cursor_be32(&p);
}

/* Checks its form; entries of `call` in it (-1: of all). */
static unsigned entries(const struct came *c, int call, bool stamps)
{
    struct cursor p = cursor_over(c->data, c->size);
    unsigned count = 0;

    CHECK_EQUAL(cursor_be32(&p), 0x100U + stamps);
    cursor_be32(&p);
    while (cursor_left(&p)) {
        unsigned size = stamps ? cursor_be16(&p) : 0;
        unsigned number = cursor_be16(&p);

        if (stamps)
            cursor_be16(&p);
        else
            size = cursor_be16(&p);
        CHECK_EQUAL(size, SAMPLES);
        CHECK(cursor_take(&p, size));
        count += call < 0 || number == OURS + (unsigned)call;
    }
    return count;
}

/* kbit/s of IPv4 that a call takes one way, of what came in so many seconds. */
static double rate(unsigned calls, double seconds)
{
    size_t octets = 0;

    for (unsigned i = 0; i < iax.count; i++)
        octets += iax.came[i].size + IP_UDP;
    return (double)octets * 8.0 / 1000.0 / seconds / calls;
}

static void settle(void)
{
    iax_run_lines(160); /* until all have found their ticks */
    iax.count = 0;
}

static void what_a_call_takes(void)
{
    static const struct {
        unsigned calls;
        double most;
    } table[] = {{1, 80.0}, {5, 68.5}, {30, 66.1}};

    for (unsigned i = 0; i < 3; i++) {
        const unsigned calls = table[i].calls;

        iax_begin(calls, &trunked);
        settle();
        iax_run_lines(100);
        CHECK_NEAR(iax.count, 100, 1);
        for (unsigned k = 0; k < iax.count; k++) {
            CHECK_EQUAL(iax.came[k].size, HEADER + calls * (ENTRY + SAMPLES));
            CHECK_EQUAL(entries(&iax.came[k], -1, false), calls);
            CHECK(!k || time_of(&iax.came[k]) - time_of(&iax.came[k - 1]) == 20);
            CHECK(!k || iax.came[k].at - iax.came[k - 1].at == FRAME_US);
        }
        CHECK(rate(calls, 0.02 * iax.count) < table[i].most + 0.05);
        iax_end();
    }
}

static void entries_may_have_their_own_stamps(void)
{
    iax_begin(3, &stamped);
    settle();
    iax_run_lines(20);
    for (unsigned k = 0; k < iax.count; k++) {
        CHECK_EQUAL(iax.came[k].size, HEADER + 3 * (STAMPED + SAMPLES));
        CHECK_EQUAL(entries(&iax.came[k], -1, true), 3);
    }
    iax_end();
}

static void what_the_path_does_not_take_goes_in_several(void)
{
    struct iax_said said = trunked;

    said.most = 1500 - IP_UDP;
    iax_begin(20, &said);
    settle();
    iax_run_lines(20);
    CHECK_NEAR(iax.count, 60, 3);
    for (unsigned k = 0; k < iax.count; k++) {
        CHECK(iax.came[k].size <= said.most);
        CHECK(!k || time_of(&iax.came[k]) - time_of(&iax.came[k - 1]) == (k % 3 ? 0 : 20));
    }
    iax_end();
}

/* chan_iax2 reads no more than 4096 octets. */
static void what_the_far_end_does_not_read_goes_in_several(void)
{
    iax_begin(30, &(struct iax_said){.flags = GM_IAX_TRUNK});
    settle();
    iax_run_lines(20);
    CHECK_NEAR(iax.count, 40, 2);
    for (unsigned k = 0; k < iax.count; k++)
        CHECK(iax.came[k].size <= 4096);
    iax_end();
}

/* Blocks of each line at a time of its own: each is on its way after a frame at most, and after a tick if all come at once. */
static void nobody_waits_for_longer_than_a_frame(void)
{
    for (int64_t apart = 0; apart <= 7000; apart += 3500) {
        int64_t longest = 0;
        static int64_t sent[4][300];

        iax_begin(4, &trunked);
        for (uint32_t i = 0; i < 300; i++) {
            const int64_t start = scene.engine.now;

            for (unsigned call = 0; call < 4; call++) {
                while (scene.engine.now < start + call * apart % FRAME_US)
                    advance(scene.engine.now + STEP_US);
                sent[call][i] = scene.engine.now;
                iax_send_block(call, numbered(i));
            }
            while (scene.engine.now < start + FRAME_US) {
                advance(scene.engine.now + STEP_US);
                iax_run(0);
            }
        }
        iax_run(1);
        for (unsigned k = 200; k < iax.count; k++) {
            struct cursor p = cursor_over(iax.came[k].data, iax.came[k].size);

            cursor_take(&p, HEADER);
            while (cursor_left(&p)) {
                unsigned call = cursor_be16(&p) - OURS;
                uint32_t number;

                cursor_be16(&p);
                memcpy(&number, cursor_take(&p, SAMPLES), sizeof number);
                CHECK(call < 4 && number < 300);
                if (iax.came[k].at - sent[call][number] > longest)
                    longest = iax.came[k].at - sent[call][number];
            }
        }
        CHECK(longest <= FRAME_US + TICK_US);
        CHECK(apart || longest <= TICK_US + STEP_US);
        iax_end();
    }
}

static void calls_join_and_leave(void)
{
    iax_begin(5, &trunked);
    settle();
    iax_run_lines(5);
    for (unsigned k = 1; k < iax.count; k++)
        CHECK_EQUAL(entries(&iax.came[k], 2, false), 1);
    iax_say(2, &(struct iax_said){0}); /* in mini frames from now on */
    iax.count = 0;
    iax_run_lines(10);
    for (unsigned k = 2; k < iax.count; k++)
        CHECK(iax.came[k].data[1] == OURS + 2 || entries(&iax.came[k], -1, false) == 4);
    iax_say(2, &trunked);
    iax_run_lines(3);
    iax.count = 0;
    iax_run_lines(10);
    for (unsigned k = 1; k < iax.count; k++)
        CHECK_EQUAL(entries(&iax.came[k], -1, false), 5);
    request(GM_CLOSE, CALL + 4, NULL, 0);
    iax_run_lines(1);
    iax.count = 0;
    iax_run_lines(10);
    for (unsigned k = 0; k < iax.count; k++)
        CHECK_EQUAL(entries(&iax.came[k], -1, false), 4);
    iax_end();
}

static void a_trunk_that_begins_counts_from_zero(void)
{
    iax_begin(1, &trunked);
    iax_run_lines(3);
    CHECK(iax.count);
    CHECK(time_of(&iax.came[0]) <= 40); /* the first voice goes in a full frame */
    iax_end();
}

/* -- what comes -- */

static uint8_t frame[6000];
static struct writer w;

static void trunk(bool stamps, uint32_t stamp)
{
    w = writer_over(frame, sizeof frame);
    put_be16(&w, 0);
    put_u8(&w, 1);
    put_u8(&w, stamps);
    put_be32(&w, stamp);
}

static void entry(unsigned call, bool stamps, uint32_t stamp, uint32_t number)
{
    if (stamps)
        put_be16(&w, SAMPLES);
    put_be16(&w, THEIRS + call);
    put_be16(&w, stamps ? stamp & 0xffff : SAMPLES);
    put_bytes(&w, numbered(number), SAMPLES);
}

static void calls_are_heard(bool stamps)
{
    iax_begin(5, &trunked);
    for (uint32_t i = 1; i <= 100; i++) {
        trunk(stamps, 40000 + i * 20);
        for (unsigned call = 0; call < 5; call++)
            entry(call, stamps, 65000 + i * 20 + call, i);
        iax_send(iax.peer, frame, w.at);
        iax_run(1);
    }
    for (unsigned call = 0; call < 5; call++) {
        uint32_t last = 0;

        CHECK(iax_numbered(call, &last) >= 97);
        CHECK_EQUAL(iax_stream(call)->iax.lost, 0);
        CHECK_EQUAL(iax_stream(call)->rejected, 0);
        CHECK_EQUAL(iax_stream(call)->packets_received, 100);
    }
    iax_end();
}

static void calls_are_heard_without_stamps(void)
{
    calls_are_heard(false);
}

static void calls_are_heard_with_stamps(void)
{
    calls_are_heard(true);
}

/* What is before the bad part is good. */
static void a_malformed_end_spoils_nothing_before_it(void)
{
    uint32_t last = 0;

    iax_begin(2, &trunked);
    for (uint32_t i = 1; i <= 50; i++) {
        trunk(false, i * 20);
        entry(0, false, 0, i);
        entry(7, false, 0, 1); /* of no call */
        entry(1, false, 0, i);
        entry(0, false, 0, 1000);
        iax_send(iax.peer, frame, w.at - 1 - i);
        iax_run(1);
    }
    CHECK(iax_numbered(0, &last) >= 47);
    CHECK(last <= 50);
    CHECK(iax_numbered(1, &last) >= 47);
    CHECK_EQUAL(iax_socket()->owner->rejected, 100);
    CHECK_EQUAL(iax_socket()->owner->rtp.strangers, 50);
    iax_end();
}

static void other_meta_frames_are_dropped(void)
{
    static const uint8_t bad[][12] = {
        {0, 0, 1, 0, 0, 0, 0}, {0, 0, 1, 2, 0, 0, 0, 20}, {0, 0, 2, 0, 0, 0, 0, 20}, {0, 0, 0x81, 1, 0, 0, 0, 20}};

    iax_begin(1, &trunked);
    for (unsigned i = 0; i < 4; i++)
        iax_send(iax.peer, bad[i], i ? 12 : 7);
    iax_run(1);
    CHECK_EQUAL(iax_socket()->owner->rejected, 4);
    CHECK_EQUAL(iax_stream(0)->packets_received, 0);
    iax_end();
}

/* chan_iax2 gathers by its clock: a call may be missing in one frame and twice in the next. Nothing is lost by that. */
static void voice_that_slips_to_the_next_frame_is_in_order(void)
{
    uint32_t last = 0, number = 0;
    unsigned before = 0;

    iax_begin(1, &trunked);
    for (uint32_t i = 0; i < 400; i++) {
        const bool slips = i % 50 == 20;

        trunk(false, i * 20);
        if (!slips) {
            if (i && (i - 1) % 50 == 20)
                entry(0, false, 0, ++number);
            entry(0, false, 0, ++number);
        }
        iax_send(iax.peer, frame, w.at);
        iax_run(1);
        if (i == 100)
            before = iax_stream(0)->jitter.concealed;
    }
    CHECK(iax_numbered(0, &last) >= number - 12); /* some are cross-faded into one */
    CHECK(iax_stream(0)->jitter.concealed - before <= 6);
    CHECK(iax_stream(0)->iax.lost <= 2);
    iax_end();
}

static void a_lost_trunk_frame_is_a_gap(void)
{
    iax_begin(1, &trunked);
    for (uint32_t i = 0; i < 200; i++) {
        trunk(false, i * 20);
        entry(0, false, 0, i + 1);
        if (i % 40 != 39)
            iax_send(iax.peer, frame, w.at);
        iax_run(1);
    }
    CHECK_EQUAL(iax_stream(0)->iax.lost, 4);
    CHECK(iax_stream(0)->jitter.concealed <= 8);
    iax_end();
}

/* chan_iax2 with more calls than go into one frame: it counts 20 ms for each, until it is 160 ms ahead of its clock. */
static void stamps_that_run_ahead_are_not_believed(void)
{
    enum { FRAMES = 400, SETTLED = 50, AHEAD_MS = 160 };
    uint32_t last = 0, stamp = 0;
    unsigned concealed = 0, lost = 0;

    iax_begin(1, &trunked);
    for (uint32_t i = 1; i <= FRAMES; i++) {
        trunk(false, stamp);
        entry(0, false, 0, i);
        iax_send(iax.peer, frame, w.at);
        iax_run(1);
        stamp = stamp + 80 > i * 20 + AHEAD_MS ? i * 20 : stamp + 80;
        if (i == SETTLED) {
            concealed = iax_stream(0)->jitter.concealed;
            lost = iax_stream(0)->iax.lost;
        }
    }
    CHECK(iax_numbered(0, &last) >= FRAMES - SETTLED / 2);
    CHECK(iax_stream(0)->jitter.concealed - concealed <= 2);
    CHECK_EQUAL(iax_stream(0)->iax.lost, lost);
    iax_end();
}

/* As long as they are not believed, what is lost is missed by its time. */
static void what_is_lost_of_such_a_trunk_is_a_gap(void)
{
    enum { FRAMES = 400, SETTLED = 50 };
    unsigned lost = 0;

    iax_begin(1, &trunked);
    for (uint32_t i = 1; i <= FRAMES; i++) {
        trunk(false, i * 20 + i % 4 * 40);
        entry(0, false, 0, i);
        if (i <= SETTLED || i % 50)
            iax_send(iax.peer, frame, w.at);
        iax_run(1);
        if (i == SETTLED)
            lost = iax_stream(0)->iax.lost;
    }
    CHECK_NEAR(iax_stream(0)->iax.lost - lost, (FRAMES - SETTLED) / 50.0, 1);
    iax_end();
}

/* Of an address without calls not an entry is looked at. */
static void strangers_trunks_are_dropped(void)
{
    uint16_t port;
    int stranger = udp_socket(&port);

    iax_begin(1, &trunked);
    trunk(false, 20);
    entry(0, false, 0, 1);
    iax_send(stranger, frame, w.at);
    iax_run(1);
    CHECK_EQUAL(iax_stream(0)->packets_received, 0);
    CHECK_EQUAL(iax_socket()->owner->rtp.strangers, 1);
    close(stranger);
    iax_end();
}

int main(void)
{
    scene_open();
    RUN(what_a_call_takes);
    RUN(entries_may_have_their_own_stamps);
    RUN(what_the_path_does_not_take_goes_in_several);
    RUN(what_the_far_end_does_not_read_goes_in_several);
    RUN(nobody_waits_for_longer_than_a_frame);
    RUN(calls_join_and_leave);
    RUN(a_trunk_that_begins_counts_from_zero);
    RUN(calls_are_heard_without_stamps);
    RUN(calls_are_heard_with_stamps);
    RUN(a_malformed_end_spoils_nothing_before_it);
    RUN(other_meta_frames_are_dropped);
    RUN(voice_that_slips_to_the_next_frame_is_in_order);
    RUN(a_lost_trunk_frame_is_a_gap);
    RUN(stamps_that_run_ahead_are_not_believed);
    RUN(what_is_lost_of_such_a_trunk_is_a_gap);
    RUN(strangers_trunks_are_dropped);
    scene_close();
    return 0;
}
