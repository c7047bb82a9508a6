#include "../rtcp.h"

#include <errno.h>
#include <string.h>

#include "check.h"

static const struct rtcp_sender talking = {.ssrc = 1, .stamp = 1000, .packets = 50, .octets = 8000, .sending = true};

static struct rtp_source heard(void)
{
    struct rtp_source s;
    struct rtp_packet p = {.sequence = 7, .ssrc = 2};

    rtp_source_reset(&s);
    (void)rtp_source_take(&s, &p);
    p.sequence = 9; /* one lost */
    (void)rtp_source_take(&s, &p);
    return s;
}

/* `ssrc` of the two, 1 and 2, is ours. */
static int take(struct rtcp *r, const uint8_t *data, size_t size, uint32_t ssrc, int64_t at, uint64_t ntp)
{
    struct rtcp_arrival arrival = {.ssrc = ssrc, .source = 3 - ssrc, .at = at, .ntp = ntp};

    return rtcp_receive(r, data, size, &arrival);
}

static void a_sender_report_has_the_layout_of_rfc3550(void)
{
    struct rtp_source s = heard();
    struct rtcp r;
    uint8_t data[RTCP_MAX];
    size_t size;

    rtcp_reset(&r, 0x0123456789abcdef);
    size = rtcp_build(&r, data, &talking, &s, 0, rtcp_ntp(1, 500000000), false);
    CHECK_EQUAL(size, 28 + 24 + 4 + 4 + 2 + 16 + 2);
    CHECK_EQUAL(data[0], 0x81);
    CHECK_EQUAL(data[1], 200);
    CHECK_EQUAL(data[3], 12);
    CHECK_EQUAL(data[11], 0x81); /* 2208988801 = 0x83aa7e81 */
    CHECK_EQUAL(data[12], 0x80); /* half a second */
    CHECK_EQUAL(data[28 + 3], 2);
    CHECK_EQUAL(data[28 + 4], 256 / 3);
    CHECK_EQUAL(data[28 + 7], 1);
    CHECK_EQUAL(data[28 + 11], 9);
    CHECK_EQUAL(data[53], 202);
    CHECK(memcmp(data + 62, "0123456789abcdef", 16) == 0);
    CHECK_EQUAL(size % 4, 0);
}

static void one_who_only_listens_sends_a_receiver_report(void)
{
    struct rtp_source s = heard();
    struct rtcp_sender quiet = {.ssrc = 1};
    struct rtcp r;
    uint8_t data[RTCP_MAX];

    rtcp_reset(&r, 1);
    CHECK_EQUAL(rtcp_build(&r, data, &quiet, &s, 0, 0, false), 8 + 24 + 28);
    CHECK_EQUAL(data[1], 201);
    rtp_source_reset(&s);
    CHECK_EQUAL(rtcp_build(&r, data, &quiet, &s, 0, 0, true), 8 + 28 + 8);
    CHECK_EQUAL(data[0], 0x80);
    CHECK_EQUAL(data[37], 203);
}

static void two_ends_measure_their_round_trip_and_loss(void)
{
    struct rtp_source s = heard(), none;
    struct rtcp_sender other = {.ssrc = 2, .sending = true};
    struct rtcp a, b;
    uint8_t data[RTCP_MAX];
    int64_t t = 5000000;
    size_t size;

    rtp_source_reset(&none);
    rtcp_reset(&a, 1);
    rtcp_reset(&b, 2);
    /* a -> b takes 30 ms, b holds it for 1 s, b -> a takes 50 ms */
    size = rtcp_build(&a, data, &talking, &none, t, rtcp_ntp(5, 0), false);
    CHECK_EQUAL(take(&b, data, size, 2, t + 30000, rtcp_ntp(9, 0)), 0);
    CHECK(b.have_sr);
    s.ssrc = 1;
    s.jitter = 3.0;
    size = rtcp_build(&b, data, &other, &s, t + 1030000, rtcp_ntp(10, 0), true);
    CHECK_EQUAL(take(&a, data, size, 1, t + 1080000, rtcp_ntp(6, 80000000)), 0);
    CHECK_NEAR(a.round_trip, 80.0, 0.1);
    CHECK_EQUAL(a.remote_lost, 1);
    CHECK_NEAR(a.remote_jitter, 3.0, 0.01);
    CHECK(a.bye);
}

static void reports_about_others_change_nothing(void)
{
    struct rtp_source s = heard();
    struct rtcp_sender other = {.ssrc = 2};
    struct rtcp a, b;
    uint8_t data[RTCP_MAX];
    size_t size;

    rtcp_reset(&a, 1);
    rtcp_reset(&b, 2);
    s.ssrc = 77;
    size = rtcp_build(&b, data, &other, &s, 0, 0, false);
    CHECK_EQUAL(take(&a, data, size, 1, 0, 0), 0);
    CHECK_EQUAL(a.remote_lost, 0);
    CHECK_NEAR(a.round_trip, -1.0, 0.0);
}

static void lengths_that_lie_are_refused(void)
{
    uint8_t data[] = {0x81, 200, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0};
    struct rtcp r;

    rtcp_reset(&r, 1);
    CHECK_EQUAL(take(&r, data, sizeof data, 1, 0, 0), EBADMSG); /* longer than the packet */
    data[3] = 2;
    CHECK_EQUAL(take(&r, data, sizeof data, 1, 0, 0), EBADMSG); /* shorter than an SR */
    data[1] = 201;
    CHECK_EQUAL(take(&r, data, sizeof data, 1, 0, 0), EBADMSG); /* a report block that is not there */
    data[0] = 0x41;
    CHECK_EQUAL(take(&r, data, sizeof data, 1, 0, 0), EBADMSG);
    CHECK_EQUAL(take(&r, data, 3, 1, 0, 0), EBADMSG);
}

static void a_compound_packet_begins_with_a_report_and_only_its_end_is_padded(void)
{
    uint8_t bye[] = {0x81, 203, 0, 1, 0, 0, 0, 2};
    uint8_t two[] = {0x80, 201, 0, 1, 0, 0, 0, 2, 0x81, 203, 0, 1, 0, 0, 0, 2};
    struct rtcp r;

    rtcp_reset(&r, 1);
    CHECK_EQUAL(take(&r, bye, sizeof bye, 1, 0, 0), EBADMSG);
    CHECK(!r.bye);
    CHECK_EQUAL(take(&r, two, 0, 1, 0, 0), EBADMSG);
    two[0] = 0xa0;
    CHECK_EQUAL(take(&r, two, sizeof two, 1, 0, 0), EBADMSG);
    two[0] = 0x80;
    two[15] = 7; /* somebody else */
    CHECK_EQUAL(take(&r, two, sizeof two, 1, 0, 0), 0);
    CHECK(!r.bye);
    two[15] = 2;
    CHECK_EQUAL(take(&r, two, sizeof two, 1, 0, 0), 0);
    CHECK(r.bye);
}

static void who_said_goodbye_is_reported_no_more(void)
{
    struct rtp_source s = heard();
    struct rtcp r;
    uint8_t data[RTCP_MAX];

    rtcp_reset(&r, 1);
    r.bye = true;
    (void)rtcp_build(&r, data, &talking, &s, 0, 0, false);
    CHECK_EQUAL(data[0], 0x80);
}

static void a_report_is_about_one_source_only(void)
{
    struct rtp_source s = heard(); /* one packet lost */
    struct rtcp_sender other = {.ssrc = 2, .sending = true};
    struct rtp_source none;
    struct rtcp a, b;
    struct rtp_packet p = {.sequence = 100, .ssrc = 5};
    uint8_t data[RTCP_MAX];
    size_t size;

    rtp_source_reset(&none);
    rtcp_reset(&a, 1);
    rtcp_reset(&b, 2);
    size = rtcp_build(&b, data, &other, &none, 0, rtcp_ntp(5, 0), false);
    CHECK_EQUAL(take(&a, data, size, 1, 0, 0), 0);
    (void)rtcp_build(&a, data, &talking, &s, 0, 0, false);
    CHECK_EQUAL(data[28 + 7], 1);
    CHECK(data[28 + 17] || data[28 + 18]); /* LSR */
    (void)rtp_source_take(&s, &p);
    p.sequence++;
    CHECK_EQUAL(rtp_source_take(&s, &p), RTP_RESTART);
    (void)rtcp_build(&a, data, &talking, &s, 0, 0, false);
    CHECK_EQUAL(data[28 + 3], 5);
    CHECK_EQUAL(data[28 + 7], 0);
    CHECK(!data[28 + 16] && !data[28 + 17] && !data[28 + 18] && !data[28 + 19]);
    CHECK_EQUAL(rtp_source_lost(&s), 1); /* of the call */
}

static void random_and_mutated_reports_break_nothing(void)
{
    struct rtp_source s = heard();
    struct rtcp r;
    uint64_t seed = 3;

    rtcp_reset(&r, 1);
    for (int i = 0; i < 200000; i++) {
        uint8_t built[RTCP_MAX];
        size_t size = check_random(&seed) % RTCP_MAX;
        uint8_t *data;

        if (i & 1) {
            size = rtcp_build(&r, built, &talking, &s, i, check_random(&seed), i & 2);
            for (unsigned k = check_random(&seed) % 4; k > 0; k--)
                built[check_random(&seed) % size] = (uint8_t)check_random(&seed);
            size -= check_random(&seed) % 3;
        } else {
            for (size_t k = 0; k < size; k++)
                built[k] = (uint8_t)check_random(&seed);
        }
        data = malloc(size ? size : 1); /* exactly as long as the packet: reading on is seen */
        CHECK(data);
        memcpy(data, built, size);
        (void)take(&r, data, size, 1, i, check_random(&seed));
        free(data);
        CHECK(r.round_trip >= -1.0 && r.round_trip < 10001.0);
    }
}

static void intervals_are_randomised_around_five_seconds(void)
{
    CHECK_NEAR(rtcp_interval(0, false), 2.5e6 / 1.21828, 10.0);
    CHECK_NEAR(rtcp_interval(UINT32_MAX, false), 7.5e6 / 1.21828, 10.0);
    CHECK_NEAR(rtcp_interval(UINT32_MAX, true), 3.75e6 / 1.21828, 10.0);
}

int main(void)
{
    RUN(a_sender_report_has_the_layout_of_rfc3550);
    RUN(one_who_only_listens_sends_a_receiver_report);
    RUN(two_ends_measure_their_round_trip_and_loss);
    RUN(reports_about_others_change_nothing);
    RUN(lengths_that_lie_are_refused);
    RUN(a_compound_packet_begins_with_a_report_and_only_its_end_is_padded);
    RUN(who_said_goodbye_is_reported_no_more);
    RUN(a_report_is_about_one_source_only);
    RUN(random_and_mutated_reports_break_nothing);
    RUN(intervals_are_randomised_around_five_seconds);
    return 0;
}
