#include "../far_end.h"

#include <arpa/inet.h>
#include <string.h>

#include "check.h"

enum { FRAME = 20000 };

static struct far_end f;
static int64_t now;
static const union address nobody;

static union address at(const char *host, uint16_t port)
{
    union address a;
    uint8_t octets[16];
    int family = strchr(host, ':') ? AF_INET6 : AF_INET;

    CHECK_EQUAL(inet_pton(family, host, octets), 1);
    address_fill(&a, family, octets, port);
    return a;
}

static union address phone, signalling;

static void start(bool latch)
{
    memset(&f, 0, sizeof f);
    now = 1000000;
    phone = at("192.0.2.1", 4000);
    signalling = nobody;
    far_end_set(&f, &phone, &nobody, latch, now);
}

static bool take(const union address *from, uint32_t ssrc, uint16_t sequence, bool authentic, bool continues)
{
    const struct far_end_packet p = {
        .from = from, .ssrc = ssrc, .sequence = sequence, .authentic = authentic, .continues = continues};

    if (far_end_who(&f, from, now) == FAR_END_STRANGER && !authentic)
        return false;
    return far_end_take(&f, &p, now);
}

/* So many packets, one each frame; how many were heard. */
static unsigned speak(const union address *from, uint32_t ssrc, uint16_t sequence, unsigned count)
{
    unsigned heard = 0;

    for (unsigned i = 0; i < count; i++, now += FRAME)
        heard += take(from, ssrc, (uint16_t)(sequence + i), false, false);
    return heard;
}

static bool sends_to(const union address *a)
{
    const union address *target = far_end_target(&f);

    return target && address_equal(target, a);
}

static void what_the_sdp_says_is_heard_at_once_and_nobody_else(void)
{
    const union address stranger = at("198.51.100.9", 4000), beside = at("192.0.2.1", 4002);

    start(false);
    CHECK_EQUAL(speak(&phone, 1, 10, 5), 5);
    CHECK_EQUAL(far_end_who(&f, &phone, now), FAR_END_SOURCE);
    for (uint16_t i = 0; i < 200; i++) { /* both at the same time */
        CHECK_EQUAL(speak(&phone, 1, (uint16_t)(15 + i), 1), 1);
        CHECK(!take(&stranger, 1, (uint16_t)(16 + i), false, true));
        CHECK(!take(&beside, 2, i, false, false));
    }
    CHECK(sends_to(&phone));
}

static void who_sends_from_elsewhere_is_heard_after_four_packets(void)
{
    const union address beside = at("192.0.2.1", 30000), stranger = at("198.51.100.9", 4000);

    start(false);
    CHECK_EQUAL(speak(&beside, 1, 65534, 10), 7);
    CHECK(f.known && address_equal(&f.source, &beside));
    CHECK(sends_to(&phone)); /* without latch */
    CHECK_EQUAL(speak(&stranger, 2, 0, 20), 0);
    start(false);
    CHECK_EQUAL(speak(&stranger, 2, 0, 20), 13);
    CHECK(sends_to(&phone));
}

static void a_spray_is_no_voice(void)
{
    const union address stranger = at("198.51.100.9", 4000), beside = at("192.0.2.1", 30000);

    start(true);
    for (uint16_t i = 0; i < 1000; i++) { /* all at once, in sequence */
        CHECK(!take(&stranger, 1, i, false, false));
        CHECK(!take(&beside, 1, i, false, false));
    }
    now += FRAME;
    for (uint16_t i = 0; i < 1000; i += 2, now += FRAME) /* or one every other */
        CHECK(!take(&stranger, 1, i, false, false));
    for (uint32_t i = 0; i < 1000; i++, now += FRAME) /* or with another SSRC each */
        CHECK(!take(&stranger, i, (uint16_t)i, false, false));
    CHECK(!f.known);
}

static void sprays_from_everywhere_do_not_keep_the_right_host_out(void)
{
    const union address beside = at("192.0.2.1", 30000);
    unsigned heard = 0;

    start(true);
    for (uint16_t i = 0; i < 10; i++, now += FRAME) {
        for (uint16_t k = 0; k < 500; k++) {
            const union address spray = at("198.51.100.9", (uint16_t)(1024 + k));

            CHECK(!take(&spray, k, i, false, false));
        }
        heard += take(&beside, 1, i, false, false);
    }
    CHECK_EQUAL(heard, 7);
    CHECK(sends_to(&beside));
}

static void latching_is_for_good(void)
{
    const union address nat = at("198.51.100.1", 62000), stranger = at("203.0.113.5", 4000);

    start(true);
    CHECK(sends_to(&phone));
    CHECK_EQUAL(speak(&nat, 1, 0, 12), 5);
    CHECK(sends_to(&nat));
    for (uint16_t i = 0; i < 500; i++) {
        CHECK_EQUAL(speak(&nat, 1, (uint16_t)(12 + i), 1), 1);
        CHECK(!take(&stranger, 9, i, false, false));
    }
    now += INT64_C(60) * 1000000; /* even if it is silent: another SSRC, another sequence */
    CHECK_EQUAL(speak(&stranger, 9, 0, 100), 0);
    CHECK(sends_to(&nat));
    far_end_set(&f, &phone, &nobody, true, now); /* the same again changes nothing */
    CHECK(sends_to(&nat));
}

static void the_likelier_one_takes_over(void)
{
    const union address bleed = at("203.0.113.5", 4000), nat = at("198.51.100.1", 62000), beside = at("192.0.2.1", 9);

    start(true);
    signalling = at("198.51.100.1", 5060);
    far_end_set(&f, &phone, &signalling, true, now);
    CHECK_EQUAL(speak(&bleed, 9, 0, 8), 1);
    CHECK(sends_to(&bleed)); /* nobody else was there */
    for (uint16_t i = 0; i < 4; i++) {
        CHECK_EQUAL(speak(&bleed, 9, (uint16_t)(8 + i), 1), 1);
        (void)take(&nat, 1, i, false, false);
    }
    CHECK(sends_to(&nat));
    CHECK_EQUAL(speak(&bleed, 9, 12, 50), 0);
    CHECK_EQUAL(speak(&nat, 1, 4, 1), 1);
    CHECK_EQUAL(speak(&beside, 3, 0, 10), 0); /* not likelier */
    CHECK_EQUAL(speak(&nat, 1, 5, 1), 1);
    CHECK_EQUAL(speak(&phone, 2, 0, 6), 3);
    CHECK(sends_to(&phone));
    CHECK_EQUAL(speak(&nat, 1, 6, 20), 0);
}

static void a_source_whose_nat_forgot_it_goes_on_from_elsewhere(void)
{
    const union address nat = at("198.51.100.1", 62000), moved = at("198.51.100.7", 1025);
    unsigned heard = 0;

    start(true);
    CHECK_EQUAL(speak(&nat, 1, 0, 12), 5);
    for (uint16_t i = 0; i < 50; i++, now += FRAME)
        heard += take(&moved, 1, (uint16_t)(12 + i), false, true);
    CHECK(sends_to(&moved));
    CHECK_EQUAL(heard, 50 - 24 - 7); /* half a second in which the old one might have spoken, then the probation */
}

static void what_is_authentic_is_heard_from_anywhere_and_followed_when_the_other_is_silent(void)
{
    const union address nat = at("198.51.100.1", 62000), moved = at("198.51.100.7", 1025);

    start(true);
    CHECK(take(&nat, 1, 0, true, false));
    CHECK(sends_to(&nat));
    now += FRAME;
    CHECK(take(&moved, 1, 1, true, true)); /* on another way, or a copy that was faster */
    CHECK(sends_to(&nat));
    now += FRAME;
    CHECK(take(&nat, 1, 2, true, true));
    for (uint16_t i = 3; i < 9; i++) {
        now += FRAME;
        CHECK(take(&moved, 1, i, true, true));
    }
    CHECK(sends_to(&moved));
}

static void another_description_begins_anew_but_is_not_deaf_meanwhile(void)
{
    const union address other = at("192.0.2.77", 6000), nat = at("198.51.100.1", 62000), next = at("198.51.100.2", 62000);

    start(true);
    CHECK_EQUAL(speak(&nat, 1, 0, 12), 5);
    far_end_set(&f, &other, &nobody, true, now);
    CHECK(sends_to(&other));
    CHECK_EQUAL(speak(&nat, 1, 12, 5), 5); /* on its way, or still there */
    CHECK(sends_to(&other));
    CHECK_EQUAL(speak(&next, 2, 0, 8), 1);
    CHECK(sends_to(&next));
    CHECK_EQUAL(speak(&nat, 1, 17, 5), 0);
    far_end_set(&f, &phone, &nobody, true, now);
    CHECK_EQUAL(speak(&next, 2, 8, 120), 120); /* nobody else came: it is the one still */
    CHECK(sends_to(&next));
}

static void hold_with_no_address_keeps_who_was_learned(void)
{
    const union address none = at("0.0.0.0", 4000), nat = at("198.51.100.1", 62000);

    start(false);
    CHECK_EQUAL(speak(&phone, 1, 0, 2), 2);
    far_end_set(&f, &none, &nobody, false, now);
    CHECK(!far_end_target(&f));
    CHECK_EQUAL(speak(&phone, 1, 2, 2), 2);
    far_end_set(&f, &phone, &nobody, false, now);
    CHECK(sends_to(&phone));
    memset(&f, 0, sizeof f); /* a phone that does not know where it is */
    far_end_set(&f, &none, &nobody, true, now);
    CHECK(!far_end_target(&f));
    CHECK_EQUAL(speak(&nat, 1, 0, 12), 5);
    CHECK(sends_to(&nat));
}

static void addresses_that_no_voice_goes_to(void)
{
    const char *bad[] = {"0.0.0.0", "0.1.2.3", "224.0.0.1", "239.255.255.255", "255.255.255.255", "::", "ff02::1"};
    const char *good[] = {"192.0.2.1", "10.0.0.1", "127.0.0.1", "::1", "2001:db8::1"};
    union address a;

    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        a = at(bad[i], 4000);
        CHECK(!address_usable(&a));
    }
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        a = at(good[i], 4000);
        CHECK(address_usable(&a));
        address_set_port(&a, 0);
        CHECK(!address_usable(&a));
    }
}

static void families_and_ports_are_told_apart(void)
{
    union address a = at("192.0.2.1", 4000), b = at("192.0.2.1", 4001), c = at("2001:db8::1", 4000), d = at("2001:db8::2", 4000);

    CHECK(address_same_host(&a, &b) && !address_equal(&a, &b) && address_equal(&a, &a));
    CHECK(!address_same_host(&a, &c) && !address_same_host(&c, &d) && address_equal(&c, &c));
    CHECK_EQUAL(address_port(&b), 4001);
}

int main(void)
{
    RUN(what_the_sdp_says_is_heard_at_once_and_nobody_else);
    RUN(who_sends_from_elsewhere_is_heard_after_four_packets);
    RUN(a_spray_is_no_voice);
    RUN(sprays_from_everywhere_do_not_keep_the_right_host_out);
    RUN(latching_is_for_good);
    RUN(the_likelier_one_takes_over);
    RUN(a_source_whose_nat_forgot_it_goes_on_from_elsewhere);
    RUN(what_is_authentic_is_heard_from_anywhere_and_followed_when_the_other_is_silent);
    RUN(another_description_begins_anew_but_is_not_deaf_meanwhile);
    RUN(hold_with_no_address_keeps_who_was_learned);
    RUN(addresses_that_no_voice_goes_to);
    RUN(families_and_ports_are_told_apart);
    return 0;
}
