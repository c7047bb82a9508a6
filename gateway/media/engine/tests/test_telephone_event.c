#include "../telephone_event.h"

#include <string.h>

#include "../digits.h"
#include "check.h"

static struct event_receiver receiver;
static struct event_change change;
static unsigned began, ended;
static uint32_t length;

static void reset(void)
{
    event_reset(&receiver);
    began = ended = 0;
    length = 0;
}

static void count(void)
{
    began += change.began;
    ended += change.ended + change.finished;
    if (change.ended)
        length = change.ended_samples;
    if (change.finished)
        length = change.finished_samples;
}

static void take(uint32_t stamp, unsigned event, bool end, unsigned duration, int64_t now)
{
    uint8_t payload[4] = {(uint8_t)event, (uint8_t)(end ? 0x8a : 0x0a), (uint8_t)(duration >> 8), (uint8_t)duration};

    CHECK(event_take(&receiver, stamp, payload, sizeof payload, now, &change));
    count();
}

static void a_digit_is_reported_once_however_often_its_end_comes(void)
{
    reset();
    for (unsigned i = 1; i <= 5; i++)
        take(1000, 7, false, i * 160, (int64_t)i * 20000);
    for (int i = 0; i < 3; i++)
        take(1000, 7, true, 960, 120000);
    CHECK_EQUAL(began, 1);
    CHECK_EQUAL(ended, 1);
    CHECK_EQUAL(length, 960);
}

static void a_digit_of_which_only_an_end_packet_comes_is_reported(void)
{
    reset();
    take(1000, 3, true, 800, 0);
    take(1000, 3, true, 800, 0);
    take(1000, 3, false, 640, 0); /* late */
    CHECK_EQUAL(began, 1);
    CHECK_EQUAL(ended, 1);
    CHECK_EQUAL(length, 800);
}

static void a_lost_end_is_made_up_by_the_next_digit_or_by_time(void)
{
    reset();
    take(1000, 3, false, 160, 0);
    take(1000, 3, false, 320, 20000);
    take(3000, 3, false, 160, 90000); /* the same key again */
    CHECK_EQUAL(began, 2);
    CHECK_EQUAL(ended, 1);
    CHECK_EQUAL(length, 320);
    CHECK(!event_expire(&receiver, 200000, &change));
    CHECK(event_expire(&receiver, 240000, &change));
    count();
    CHECK_EQUAL(ended, 2);
    CHECK_EQUAL(length, 160);
    take(3000, 3, true, 480, 260000); /* its end came after all */
    CHECK_EQUAL(began, 2);
    CHECK_EQUAL(ended, 2);
}

static void packets_out_of_order_do_not_repeat_a_digit(void)
{
    reset();
    take(1000, 1, false, 160, 0);
    take(3000, 2, false, 160, 0);
    take(1000, 1, true, 320, 0);
    take(3000, 2, true, 320, 0);
    CHECK_EQUAL(began, 2);
    CHECK_EQUAL(ended, 2);
}

static void a_long_event_goes_on_over_its_segments(void)
{
    reset();
    take(1000, 5, false, 65440, 0);
    take(1000 + 0xffff, 5, false, 65, 20000);
    take(1000 + 0xffff, 5, true, 1000, 40000);
    CHECK_EQUAL(began, 1);
    CHECK_EQUAL(ended, 1);
    CHECK_EQUAL(length, 0xffff + 1000);
}

static void flash_and_other_events_are_no_digits(void)
{
    reset();
    take(1000, 16, true, 800, 0);
    take(2000, 255, false, 800, 0);
    CHECK_EQUAL(began, 0);
    CHECK_EQUAL(ended, 0);
    CHECK(!event_take(&receiver, 1, (const uint8_t *)"\1\2", 2, 0, &change));
}

/* What digits.c sends, through a network that loses: each digit arrives once. */
static void sent_digits_arrive_once_with_their_length_despite_loss(void)
{
    uint64_t seed = 8;

    for (int round = 0; round < 2000; round++) {
        static struct digits d;
        struct digit_packet p;
        uint32_t stamp = check_random(&seed);
        unsigned samples = 400 + check_random(&seed) % 2000, markers = 0, packets = 0, ends = 0;

        reset();
        digits_clear(&d);
        CHECK(digits_add(&d, 9, samples));
        for (int64_t now = 0; digits_busy(&d); now += 20000, stamp += SAMPLES) {
            uint16_t duration;

            digits_packet(&d, stamp, 1, &p);
            markers += p.marker;
            packets++;
            ends += p.payload[1] >> 7;
            duration = (uint16_t)(p.payload[2] << 8 | p.payload[3]);
            CHECK(p.payload[1] >> 7 || duration == packets * SAMPLES);
            if (check_random(&seed) % 100 < 20 && !(ends == 3))
                continue; /* lost */
            CHECK(event_take(&receiver, p.stamp, p.payload, 4, now, &change));
            count();
        }
        CHECK_EQUAL(markers, 1);
        CHECK_EQUAL(ends, 3);
        CHECK_EQUAL(began, 1);
        CHECK_EQUAL(ended, 1);
        CHECK(length >= samples && length < samples + SAMPLES);
    }
}

static void a_digit_of_twenty_seconds_is_sent_in_segments(void)
{
    static struct digits d;
    struct digit_packet p;
    uint32_t stamp = 0xffff0000U;

    reset();
    digits_clear(&d);
    CHECK(digits_begin(&d, 4));
    for (int i = 0; i < 1000; i++, stamp += SAMPLES) {
        digits_packet(&d, stamp, 1, &p);
        CHECK(event_take(&receiver, p.stamp, p.payload, 4, 0, &change));
        count();
    }
    digits_end(&d, 160000);
    while (digits_busy(&d)) {
        digits_packet(&d, stamp, 1, &p);
        CHECK(event_take(&receiver, p.stamp, p.payload, 4, 0, &change));
        count();
    }
    CHECK_EQUAL(began, 1);
    CHECK_EQUAL(ended, 1);
    CHECK_NEAR(length, 160000, 170);
}

static void random_payloads_never_end_what_did_not_begin(void)
{
    uint64_t seed = 21;
    unsigned all_began = 0, all_ended = 0;

    reset();
    for (int i = 0; i < 200000; i++) {
        uint32_t r = check_random(&seed);
        uint8_t payload[8];

        for (unsigned k = 0; k < sizeof payload; k++)
            payload[k] = (uint8_t)check_random(&seed);
        payload[0] %= 20;
        (void)event_take(&receiver, r & 1 ? receiver.stamp + (r >> 8 & 0xffff) : check_random(&seed), payload, r >> 1 & 7,
                         (int64_t)i * 1000, &change);
        all_began += change.began;
        all_ended += (unsigned)change.ended + change.finished;
        (void)event_expire(&receiver, (int64_t)i * 1000 + (r >> 16), &change);
        all_ended += change.ended;
        CHECK(all_ended <= all_began && all_began - all_ended <= 1);
    }
}

int main(void)
{
    RUN(a_digit_is_reported_once_however_often_its_end_comes);
    RUN(a_digit_of_which_only_an_end_packet_comes_is_reported);
    RUN(a_lost_end_is_made_up_by_the_next_digit_or_by_time);
    RUN(packets_out_of_order_do_not_repeat_a_digit);
    RUN(a_long_event_goes_on_over_its_segments);
    RUN(flash_and_other_events_are_no_digits);
    RUN(sent_digits_arrive_once_with_their_length_despite_loss);
    RUN(a_digit_of_twenty_seconds_is_sent_in_segments);
    RUN(random_payloads_never_end_what_did_not_begin);
    return 0;
}
