#include "../rtp.h"

#include <errno.h>
#include <string.h>

#include "check.h"

static struct rtp_source source;

static enum rtp_verdict take(unsigned sequence, uint32_t ssrc)
{
    struct rtp_packet p = {.sequence = (uint16_t)sequence, .ssrc = ssrc};

    return rtp_source_take(&source, &p);
}

static void a_header_goes_and_comes_back(void)
{
    uint8_t data[RTP_HEADER + 3] = {0};
    struct rtp_packet out, in = {.stamp = 0x12345678, .ssrc = 0x9abcdef0, .sequence = 0xfffe, .payload_type = 101,
                                 .marker = true};

    rtp_header(data, &in);
    CHECK_EQUAL(rtp_parse(&out, data, sizeof data), 0);
    CHECK_EQUAL(out.stamp, in.stamp);
    CHECK_EQUAL(out.ssrc, in.ssrc);
    CHECK_EQUAL(out.sequence, in.sequence);
    CHECK_EQUAL(out.payload_type, in.payload_type);
    CHECK(out.marker);
    CHECK_EQUAL(out.size, 3);
}

static void csrc_extension_and_padding_are_stepped_over(void)
{
    const uint8_t data[] = {0xb2, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, /* V=2 P X CC=2 */
                            1, 1, 1, 1, 2, 2, 2, 2, 0xbe, 0xde, 0, 1, 9, 9, 9, 9, 0xaa, 0xbb, 0, 0, 3};
    struct rtp_packet p;

    CHECK_EQUAL(rtp_parse(&p, data, sizeof data), 0);
    CHECK_EQUAL(p.size, 2);
    CHECK_EQUAL(p.payload[0], 0xaa);
}

static void malformed_packets_are_refused(void)
{
    uint8_t data[16] = {0x80};
    struct rtp_packet p;

    for (size_t size = 0; size < RTP_HEADER; size++)
        CHECK_EQUAL(rtp_parse(&p, data, size), EBADMSG);
    data[0] = 0x40; /* version 1 */
    CHECK_EQUAL(rtp_parse(&p, data, sizeof data), EBADMSG);
    data[0] = 0x8f; /* 15 CSRCs that are not there */
    CHECK_EQUAL(rtp_parse(&p, data, sizeof data), EBADMSG);
    data[0] = 0xa0; /* padding of 0, and of more than there is */
    CHECK_EQUAL(rtp_parse(&p, data, sizeof data), EBADMSG);
    data[15] = 5;
    CHECK_EQUAL(rtp_parse(&p, data, sizeof data), EBADMSG);
    data[15] = 4;
    CHECK_EQUAL(rtp_parse(&p, data, sizeof data), 0);
    CHECK_EQUAL(p.size, 0);
    CHECK_EQUAL(rtp_parse(&p, data, RTP_HEADER), EBADMSG);
}

static void random_bytes_stay_inside_the_packet(void)
{
    uint64_t seed = 11;
    uint8_t data[64];
    struct rtp_packet p;

    for (int i = 0; i < 200000; i++) {
        size_t size = check_random(&seed) % sizeof data;

        for (size_t k = 0; k < size; k++)
            data[k] = (uint8_t)check_random(&seed);
        if (i & 1)
            data[0] = (uint8_t)(data[0] & 0x3f) | 0x80;
        if (!rtp_parse(&p, data, size))
            CHECK(p.payload >= data && p.payload + p.size <= data + size);
        (void)rtp_is_rtcp(data, size);
    }
}

static void loss_is_counted_across_the_wrap(void)
{
    rtp_source_reset(&source);
    CHECK_EQUAL(take(65534, 1), RTP_RESTART);
    CHECK_EQUAL(take(65535, 1), RTP_FRESH);
    CHECK_EQUAL(take(2, 1), RTP_FRESH); /* 0 and 1 are missing */
    CHECK_EQUAL(rtp_source_lost(&source), 2);
    CHECK_EQUAL(rtp_source_extended(&source), 0x10002);
    CHECK_EQUAL(rtp_source_fraction(&source), 256 * 2 / 5);
    CHECK_EQUAL(take(1, 1), RTP_FRESH); /* late, but it came */
    CHECK_EQUAL(source.reordered, 1);
    CHECK_EQUAL(rtp_source_lost(&source), 1);
    CHECK_EQUAL(take(1, 1), RTP_DUPLICATE);
    CHECK_EQUAL(take(2, 1), RTP_DUPLICATE);
    CHECK_EQUAL(source.duplicated, 2);
    CHECK_EQUAL(rtp_source_lost(&source), 1);
}

static void a_sequence_that_restarts_is_followed_at_its_second_packet(void)
{
    rtp_source_reset(&source);
    for (unsigned i = 0; i < 10; i++)
        take(100 + i, 1);
    take(120, 1); /* ten lost */
    CHECK_EQUAL(take(40000, 1), RTP_STRAY);
    CHECK_EQUAL(take(121, 1), RTP_FRESH); /* it was a stray one */
    CHECK_EQUAL(take(50000, 1), RTP_STRAY);
    CHECK_EQUAL(take(50001, 1), RTP_RESTART);
    CHECK_EQUAL(take(50002, 1), RTP_FRESH);
    CHECK_EQUAL(rtp_source_lost(&source), 10);
}

static void another_ssrc_takes_over_at_its_second_packet(void)
{
    rtp_source_reset(&source);
    take(10, 1);
    CHECK_EQUAL(take(500, 2), RTP_STRAY);
    CHECK_EQUAL(take(11, 1), RTP_FRESH);
    CHECK_EQUAL(take(501, 2), RTP_STRAY); /* the first source spoke in between */
    CHECK_EQUAL(take(502, 2), RTP_RESTART);
    CHECK_EQUAL(source.ssrc, 2);
    CHECK_EQUAL(rtp_source_lost(&source), 0);
}

static void jitter_follows_appendix_a8(void)
{
    rtp_source_reset(&source);
    for (unsigned i = 0; i < 1000; i++) /* every second packet is 8 ms late */
        rtp_source_time(&source, 0xffffff00U + i * 160, (int64_t)i * 20000 + (i & 1 ? 8000 : 0));
    CHECK_NEAR(source.jitter, 8.0, 0.1);
    CHECK_NEAR(source.jitter_maximum, 8.0, 0.1);
    rtp_source_time(&source, 5, 20020000); /* a time stamp that jumps is no jitter */
    CHECK_NEAR(source.jitter, 8.0, 0.1);
}

static void random_sequences_keep_the_counters_sane(void)
{
    uint64_t seed = 5;

    rtp_source_reset(&source);
    for (uint32_t i = 0; i < 300000; i++) {
        uint32_t r = check_random(&seed);

        (void)take(r & 0x10000 ? r : source.highest + (r & 7), r >> 17 & 0x3f ? 1 : 2);
        if (r >> 28 == 3)
            (void)rtp_source_fraction(&source);
        rtp_source_time(&source, check_random(&seed), (int64_t)check_random(&seed) * 100);
        CHECK(source.received <= i + 1);
        CHECK(source.jitter >= 0.0 && source.jitter <= 2000.0);
    }
}

int main(void)
{
    RUN(a_header_goes_and_comes_back);
    RUN(csrc_extension_and_padding_are_stepped_over);
    RUN(malformed_packets_are_refused);
    RUN(random_bytes_stay_inside_the_packet);
    RUN(loss_is_counted_across_the_wrap);
    RUN(a_sequence_that_restarts_is_followed_at_its_second_packet);
    RUN(another_ssrc_takes_over_at_its_second_packet);
    RUN(jitter_follows_appendix_a8);
    RUN(random_sequences_keep_the_counters_sane);
    return 0;
}
