#include "../secure.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <srtp2/srtp.h>
#include <string.h>

#include "../rtp.h"
#include "check.h"

enum { SUITES = 6, PAYLOAD = 160, ROOM = 512, SSRC = 0xcafebabe };

static struct secure_library library;
static int64_t now;

/* Two ends of a call; what `us` sends `them` hears. */
static struct secure us, them;

struct packet {
    _Alignas(8) uint8_t data[ROOM];
    size_t size;
};

static struct secure_key key_of(unsigned suite, uint8_t seed)
{
    static const unsigned lengths[] = {0, 30, 30, 46, 46, 28, 44};
    struct secure_key key = {.suite = (uint8_t)suite};

    for (unsigned i = 0; i < lengths[suite]; i++)
        key.octets[i] = (uint8_t)(seed * 31 + i * 7);
    return key;
}

static bool set(struct secure *x, struct secure_key send, struct secure_key receive)
{
    bool renewed;

    CHECK_EQUAL(secure_set(x, &library, &send, &receive, now, &renewed), 0);
    return renewed;
}

static void begin(unsigned suite)
{
    memset(&us, 0, sizeof us);
    memset(&them, 0, sizeof them);
    now = 1000000;
    CHECK(set(&us, key_of(suite, 1), key_of(suite, 2)));
    CHECK(set(&them, key_of(suite, 2), key_of(suite, 1)));
}

static void end(void)
{
    secure_close(&us);
    secure_close(&them);
}

static struct packet plain(uint32_t ssrc, uint16_t sequence)
{
    const struct rtp_packet header = {.ssrc = ssrc, .sequence = sequence, .stamp = sequence * 160U};
    struct packet p = {.size = RTP_HEADER + PAYLOAD};

    rtp_header(p.data, &header);
    for (unsigned i = 0; i < PAYLOAD; i++)
        p.data[RTP_HEADER + i] = (uint8_t)(sequence + i);
    return p;
}

static struct packet sent_by(struct secure *x, uint32_t ssrc, uint16_t sequence)
{
    struct packet p = plain(ssrc, sequence);

    CHECK_EQUAL(secure_protect(x, p.data, &p.size), 0);
    return p;
}

static struct packet sent(uint16_t sequence)
{
    return sent_by(&us, SSRC, sequence);
}

static int hear(struct secure *x, struct packet p)
{
    int err = secure_unprotect(x, p.data, &p.size, now);

    if (!err) {
        CHECK_EQUAL(p.size, RTP_HEADER + PAYLOAD);
        CHECK_EQUAL(p.data[RTP_HEADER], p.data[3]);
        CHECK_EQUAL(p.data[RTP_HEADER + PAYLOAD - 1], (uint8_t)(p.data[3] + PAYLOAD - 1));
    }
    return err;
}

/* A frame later each; how many were heard. */
static unsigned talk(uint32_t first, unsigned count)
{
    unsigned heard = 0;

    for (uint32_t i = 0; i < count; i++, now += 20000)
        heard += !hear(&them, sent((uint16_t)(first + i)));
    return heard;
}

static void every_suite_there_and_back(void)
{
    static const size_t tags[] = {0, 10, 4, 10, 4, 16, 16}, rtcp_tags[] = {0, 10, 10, 10, 10, 16, 16};
    static const uint8_t report[] = {0x80, 201, 0, 1, 0xca, 0xfe, 0xba, 0xbe};

    for (unsigned suite = 1; suite <= SUITES; suite++) {
        struct packet p, clear = plain(SSRC, 7);

        begin(suite);
        p = sent(7);
        CHECK_EQUAL(p.size, RTP_HEADER + PAYLOAD + tags[suite]);
        CHECK(!memcmp(p.data, clear.data, RTP_HEADER));
        CHECK(memcmp(p.data + RTP_HEADER, clear.data + RTP_HEADER, PAYLOAD) != 0);
        CHECK_EQUAL(hear(&them, p), 0);
        CHECK_EQUAL(hear(&them, p), EALREADY);
        CHECK_EQUAL(them.replayed, 1);
        CHECK_EQUAL(hear(&us, p), EBADMSG); /* our own, sent back */
        clear = plain(SSRC, 8);
        CHECK_EQUAL(hear(&them, clear), EBADMSG);
        p = (struct packet){.size = sizeof report};
        memcpy(p.data, report, sizeof report);
        CHECK_EQUAL(secure_unprotect_rtcp(&us, p.data, &p.size, now), EBADMSG);
        memcpy(p.data, report, sizeof report);
        CHECK_EQUAL(secure_protect_rtcp(&them, p.data, &p.size), 0);
        CHECK_EQUAL(p.size, sizeof report + 4 + rtcp_tags[suite]);
        clear = p;
        CHECK_EQUAL(secure_unprotect_rtcp(&us, p.data, &p.size, now), 0);
        CHECK_EQUAL(p.size, sizeof report);
        CHECK(!memcmp(p.data, report, sizeof report));
        CHECK_EQUAL(secure_unprotect_rtcp(&us, clear.data, &clear.size, now), EALREADY);
        end();
    }
}

static void known_answer(unsigned suite, const char *key, size_t key_size, const char *answer, size_t size)
{
    static const uint8_t header[] = {0x80, 0x0f, 0x12, 0x34, 0xde, 0xca, 0xfb, 0xad, 0xca, 0xfe, 0xba, 0xbe};
    struct secure_key known = {.suite = (uint8_t)suite};
    struct packet p = {.size = sizeof header + 16};

    memset(&us, 0, sizeof us);
    memcpy(known.octets, key, key_size);
    (void)set(&us, known, known);
    memset(p.data, 0xab, p.size);
    memcpy(p.data, header, sizeof header);
    CHECK_EQUAL(secure_protect(&us, p.data, &p.size), 0);
    CHECK_EQUAL(p.size, sizeof header + size);
    CHECK(!memcmp(p.data + sizeof header, answer, size));
    secure_close(&us);
}

/* The master key is that of RFC 3711 B.3, the packets are those that implementations compare themselves by. */
static void packets_are_those_of_others(void)
{
    known_answer(GM_AES_CM_128_HMAC_SHA1_80,
                 "\xe1\xf9\x7a\x0d\x3e\x01\x8b\xe0\xd6\x4f\xa3\x2c\x06\xde\x41\x39"
                 "\x0e\xc6\x75\xad\x49\x8a\xfe\xeb\xb6\x96\x0b\x3a\xab\xe6",
                 30,
                 "\x4e\x55\xdc\x4c\xe7\x99\x78\xd8\x8c\xa4\xd2\x15\x94\x9d\x24\x02"
                 "\xb7\x8d\x6a\xcc\x99\xea\x17\x9b\x8d\xbb",
                 26);
    known_answer(GM_AEAD_AES_128_GCM,
                 "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
                 "\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab",
                 28,
                 "\xc5\x00\x2e\xde\x04\xcf\xdd\x2e\xb9\x11\x59\xe0\x88\x0a\xa0\x6e"
                 "\xd2\x97\x68\x26\xf7\x96\xb2\x01\xdf\x31\x31\xa1\x27\xe8\xa3\x92",
                 32);
}

/* Of every length up to many blocks, against libcrypto's own counter mode and HMAC with the session keys of RFC 3711 B.3. */
static void long_packets_are_what_libcrypto_makes_of_them(void)
{
    enum { LONGEST = 700, TAG = 10 };
    static const char master[] = "\xe1\xf9\x7a\x0d\x3e\x01\x8b\xe0\xd6\x4f\xa3\x2c\x06\xde\x41\x39"
                                 "\x0e\xc6\x75\xad\x49\x8a\xfe\xeb\xb6\x96\x0b\x3a\xab\xe6";
    static const uint8_t key[] = {0xc6, 0x1e, 0x7a, 0x93, 0x74, 0x4f, 0x39, 0xee, 0x10, 0x73, 0x4a, 0xfe, 0x3f, 0xf7, 0xa0, 0x87};
    static const uint8_t salt[16] = {0x30, 0xcb, 0xbc, 0x08, 0x86, 0x3d, 0x8c, 0x85, 0xd4, 0x9d, 0xb3, 0x4a, 0x9a, 0xe1};
    static const char mac_key[] = "\xce\xbe\x32\x1f\x6f\xf7\x71\x6b\x6f\xd4\xab\x49\xaf\x25\x6a\x15\x6d\x38\xba\xa4";
    struct secure_key known = {.suite = GM_AES_CM_128_HMAC_SHA1_80};

    memset(&us, 0, sizeof us);
    memcpy(known.octets, master, sizeof master - 1);
    (void)set(&us, known, known);
    for (unsigned length = 0; length <= LONGEST; length++) {
        const struct rtp_packet header = {.ssrc = SSRC, .sequence = (uint16_t)(length + 1)};
        _Alignas(4) uint8_t packet[RTP_HEADER + LONGEST + SECURE_ROOM];
        uint8_t right[RTP_HEADER + LONGEST + 4] = {0}, iv[16], digest[20];
        EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
        size_t size = RTP_HEADER + length;
        int done;

        rtp_header(right, &header);
        for (unsigned i = 0; i < length; i++)
            right[RTP_HEADER + i] = (uint8_t)(i * 7);
        memcpy(packet, right, size);
        memcpy(iv, salt, sizeof iv);
        for (unsigned i = 0; i < 4; i++)
            iv[4 + i] ^= right[8 + i]; /* the SSRC */
        iv[12] ^= right[2]; /* the packet's index, of which only the sequence number is not 0 */
        iv[13] ^= right[3];
        CHECK(EVP_EncryptInit_ex(c, EVP_aes_128_ctr(), NULL, key, iv));
        CHECK(EVP_EncryptUpdate(c, right + RTP_HEADER, &done, right + RTP_HEADER, (int)length));
        EVP_CIPHER_CTX_free(c);
        CHECK(HMAC(EVP_sha1(), mac_key, sizeof mac_key - 1, right, size + 4, digest, NULL)); /* with the roll-over counter, 0 */
        CHECK_EQUAL(secure_protect(&us, packet, &size), 0);
        CHECK_EQUAL(size, RTP_HEADER + length + TAG);
        CHECK(!memcmp(packet, right, RTP_HEADER + length));
        CHECK(!memcmp(packet + RTP_HEADER + length, digest, TAG));
    }
    secure_close(&us);
}

static void what_is_not_authentic_does_not_count_and_does_no_harm(void)
{
    uint64_t seed = 11;

    for (unsigned suite = 1; suite <= SUITES; suite++) {
        begin(suite);
        CHECK_EQUAL(talk(100, 5), 5);
        for (unsigned size = 0; size <= 300; size++) {
            struct packet p = {.size = size};

            for (unsigned i = 0; i < size; i++)
                p.data[i] = (uint8_t)check_random(&seed);
            if (size % 3) { /* most look like what they are not */
                struct packet good = sent((uint16_t)(200 + size));

                memcpy(p.data, good.data, size < 12 ? size : 12);
            }
            CHECK_EQUAL(secure_unprotect(&them, p.data, &p.size, now), EBADMSG);
            p.size = size;
            CHECK_EQUAL(secure_unprotect_rtcp(&them, p.data, &p.size, now), EBADMSG);
        }
        for (unsigned i = 0; i < PAYLOAD + RTP_HEADER; i++) { /* a bit changed anywhere */
            struct packet p = sent((uint16_t)(2000 + i));

            p.data[i] ^= 0x10;
            CHECK(hear(&them, p) != 0);
        }
        CHECK_EQUAL(hear(&them, sent(3000)), 0);
        CHECK_EQUAL(them.unauthenticated + them.replayed, 2 * 301 + RTP_HEADER + PAYLOAD);
        end();
    }
}

static void sequences_wrap_with_loss_and_disorder_around_it(void)
{
    for (uint16_t lost = 0; lost < 60; lost += 6) {
        struct packet late;

        begin(GM_AES_CM_128_HMAC_SHA1_80);
        CHECK_EQUAL(talk(65500, 6), 6);
        late = sent(65520);
        for (uint16_t i = 0; i < lost; i++)
            (void)sent((uint16_t)(65521 + i));
        CHECK_EQUAL(hear(&them, sent((uint16_t)(65521 + lost))), 0);
        CHECK_EQUAL(hear(&them, late), 0);
        CHECK_EQUAL(talk(65522U + lost, 50), 50);
        end();
    }
}

static void calls_of_a_day(void)
{
    begin(GM_AEAD_AES_256_GCM);
    for (uint32_t i = 65530; i < 65536 * 65; i += 997) {
        CHECK_EQUAL(hear(&them, sent((uint16_t)i)), 0);
        now += INT64_C(997) * 20000;
    }
    end();
}

/* Begins with a wrap already behind or just ahead of it, and what comes first is lost. */
static void who_joins_late_finds_the_roll_over_counter(void)
{
    for (unsigned wraps = 0; wraps < 8; wraps++)
        for (unsigned suite = 1; suite <= SUITES; suite += 4) {
            unsigned lost = 0;

            begin(suite);
            for (uint32_t i = 65000; i < 65536 * wraps + 65000; i += 5000)
                (void)sent((uint16_t)i);
            for (uint32_t i = 65536 * wraps + 3; lost < 100 && hear(&them, sent((uint16_t)i)); i++, lost++)
                now += 20000;
            CHECK(lost <= (wraps < 2 ? 0U : wraps * 6));
            CHECK_EQUAL(talk(65536 * wraps + 3 + lost + 1, 50), 50);
            for (uint32_t i = 65536 * wraps + 1000; i < 65536 * (wraps + 2); i += 5000)
                CHECK_EQUAL(hear(&them, sent((uint16_t)i)), 0);
            end();
        }
}

static void a_way_that_was_cut_for_longer_than_half_a_turn_is_found_again(void)
{
    for (uint32_t gone = 30000; gone < 250000; gone += 20011) {
        unsigned lost = 0;

        begin(GM_AES_CM_128_HMAC_SHA1_32);
        CHECK_EQUAL(talk(20000, 10), 10);
        for (uint32_t i = 0; i < gone; i += 1000)
            (void)sent((uint16_t)(20010 + i));
        now += (int64_t)gone * 20000;
        while (lost < 100 && hear(&them, sent((uint16_t)(20010 + gone + lost++))))
            now += 20000;
        CHECK(lost < 30);
        CHECK_EQUAL(talk(20010 + gone + lost, 50), 50);
        end();
    }
}

static void the_same_key_keeps_its_context(void)
{
    struct packet p;

    begin(GM_AES_CM_128_HMAC_SHA1_80);
    CHECK_EQUAL(talk(65530, 20), 20);
    p = sent(14);
    CHECK_EQUAL(hear(&them, p), 0);
    CHECK(!set(&us, us.send.key, us.receive.key));
    CHECK(!set(&them, them.send.key, them.receive.key));
    CHECK_EQUAL(hear(&them, p), EALREADY);
    CHECK_EQUAL(talk(15, 20), 20);
    end();
}

static void another_key_takes_over_and_the_former_one_ends_soon(void)
{
    struct packet on_way, late, very_late;

    begin(GM_AES_CM_128_HMAC_SHA1_80);
    CHECK_EQUAL(talk(100, 10), 10);
    on_way = sent(110);
    late = sent(111);
    very_late = sent(112);
    CHECK(!set(&them, them.send.key, key_of(GM_AEAD_AES_128_GCM, 9)));
    CHECK_EQUAL(hear(&them, on_way), 0);
    CHECK_EQUAL(hear(&them, on_way), EALREADY);
    CHECK(set(&us, key_of(GM_AEAD_AES_128_GCM, 9), us.receive.key));
    CHECK_EQUAL(hear(&them, sent(113)), 0);
    CHECK_EQUAL(hear(&them, late), 0);
    now += SECURE_REORDER_US;
    secure_upkeep(&them, now);
    CHECK_EQUAL(hear(&them, very_late), EBADMSG);
    CHECK(!them.former.session);
    CHECK_EQUAL(talk(114, 10), 10);
    /* One that the far end never uses: it goes on with the former for a while, and comes back to it. */
    (void)set(&them, them.send.key, key_of(GM_AEAD_AES_128_GCM, 7));
    CHECK_EQUAL(talk(124, 100), 100);
    (void)set(&them, them.send.key, key_of(GM_AEAD_AES_128_GCM, 9));
    CHECK_EQUAL(hear(&them, sent(224)), 0);
    now += SECURE_OVERLAP_US;
    secure_upkeep(&them, now);
    CHECK(!them.former.session);
    CHECK_EQUAL(talk(225, 10), 10);
    end();
}

/* RFC 3711 3.3.1: it goes on. RFC 4568 7.1.4 and most far ends: from 0. Both near a wrap, as well. */
static void roll_over_counters_after_a_new_key_may_go_on_or_begin_anew(void)
{
    for (unsigned wraps = 0; wraps < 4; wraps++)
        for (int keeps = 0; keeps < 2; keeps++)
            for (uint32_t at = 0; at < 65536; at += 65533 / 3) {
                uint32_t sequence = 65536 * wraps + at;
                struct secure_key key = key_of(GM_AES_256_CM_HMAC_SHA1_80, 9);
                bool renewed;

                begin(GM_AES_CM_128_HMAC_SHA1_80);
                for (uint32_t i = 0; i < sequence; i += 10000)
                    CHECK_EQUAL(hear(&them, sent((uint16_t)i)), 0);
                CHECK_EQUAL(hear(&them, sent((uint16_t)sequence)), 0);
                CHECK_EQUAL(secure_set(&them, &library, &them.send.key, &key, now, &renewed), 0);
                CHECK_EQUAL(secure_set(&us, &library, &key, &us.receive.key, now, &renewed), 0);
                if (keeps) { /* as srtp_update() of libsrtp does */
                    srtp_policy_t policy = {.ssrc = {ssrc_specific, SSRC}, .key = key.octets, .window_size = 128};

                    srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80(&policy.rtp);
                    policy.rtcp = policy.rtp;
                    CHECK_EQUAL(srtp_add_stream(us.send.session, &policy), 0);
                    CHECK_EQUAL(srtp_set_stream_roc(us.send.session, SSRC, (sequence + 3) / 65536), 0);
                    (void)sent((uint16_t)(sequence + 3)); /* both of these are lost */
                    CHECK_EQUAL(srtp_set_stream_roc(us.send.session, SSRC, 0), 0);
                } else {
                    (void)sent((uint16_t)(sequence + 1));
                }
                CHECK_EQUAL(talk(sequence + 4, 100), 100);
                end();
            }
}

static void a_key_is_for_so_many_sources_and_no_more(void)
{
    struct packet first;

    begin(GM_AES_CM_128_HMAC_SHA1_80);
    first = sent_by(&us, 1000, 4);
    CHECK_EQUAL(hear(&them, first), 0);
    for (uint32_t i = 0; i < SECURE_SSRCS; i++)
        CHECK_EQUAL(hear(&them, sent_by(&us, 1000 + i, 5)), 0);
    CHECK_EQUAL(hear(&them, sent_by(&us, 999, 5)), EBADMSG);
    for (uint32_t i = 0; i < SECURE_SSRCS; i++)
        CHECK_EQUAL(hear(&them, sent_by(&us, 1000 + i, 6)), 0);
    CHECK_EQUAL(hear(&them, first), EALREADY);
    end();
}

static void what_cannot_be_is_refused_and_changes_nothing(void)
{
    struct secure_key none = {0}, unknown = {.suite = SUITES + 1}, good = key_of(1, 5);
    struct secure_library poor = {.suites = 1U << GM_AES_CM_128_HMAC_SHA1_80};
    struct secure_key gcm = key_of(GM_AEAD_AES_128_GCM, 5), long_mki = good;
    bool renewed;

    long_mki.mki_size = GM_SRTP_MKI_BYTES + 1;

    begin(GM_AES_CM_128_HMAC_SHA1_80);
    CHECK_EQUAL(talk(10, 3), 3);
    CHECK_EQUAL(secure_set(&us, &library, &none, &good, now, &renewed), EINVAL);
    CHECK_EQUAL(secure_set(&us, &library, &good, &none, now, &renewed), EINVAL);
    CHECK_EQUAL(secure_set(&us, &library, &unknown, &good, now, &renewed), EINVAL);
    CHECK_EQUAL(secure_set(&us, &library, &good, &unknown, now, &renewed), EINVAL);
    CHECK_EQUAL(secure_set(&us, &library, &good, &long_mki, now, &renewed), EINVAL);
    CHECK_EQUAL(secure_set(&us, &poor, &gcm, &good, now, &renewed), ENOTSUP);
    CHECK(!renewed);
    CHECK_EQUAL(talk(13, 3), 3);
    CHECK_EQUAL(secure_set(&us, &library, &none, &none, now, &renewed), 0);
    CHECK(!secure_on(&us));
    end();
}

/* A far end whose packets have an MKI, as libsrtp writes it. */
static srtp_t other_with_mki(struct secure_key *key)
{
    srtp_master_key_t master = {.key = key->octets, .mki_id = key->mki, .mki_size = key->mki_size};
    srtp_master_key_t *masters[] = {&master};
    srtp_policy_t policy = {.ssrc = {.type = ssrc_any_outbound}, .keys = masters, .num_master_keys = 1, .window_size = 128};
    srtp_t session = NULL;

    switch (key->suite) {
    case GM_AES_CM_128_HMAC_SHA1_80:
        srtp_crypto_policy_set_rtp_default(&policy.rtp);
        break;
    case GM_AES_CM_128_HMAC_SHA1_32:
        srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32(&policy.rtp);
        break;
    default:
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy.rtp);
    }
    if (key->suite == GM_AEAD_AES_256_GCM)
        srtp_crypto_policy_set_aes_gcm_256_16_auth(&policy.rtcp);
    else
        srtp_crypto_policy_set_rtcp_default(&policy.rtcp);
    CHECK_EQUAL(srtp_create(&session, &policy), srtp_err_status_ok);
    return session;
}

static struct packet other_sent(srtp_t other, uint16_t sequence)
{
    struct packet p = plain(SSRC, sequence);
    int length = (int)p.size;

    CHECK_EQUAL(srtp_protect_mki(other, p.data, &length, 1, 0), srtp_err_status_ok);
    p.size = (size_t)length;
    return p;
}

static void packets_with_an_mki_are_heard_and_with_another_one_are_not(void)
{
    static const struct {
        uint8_t suite, size;
    } cases[] = {{GM_AES_CM_128_HMAC_SHA1_80, 1}, {GM_AES_CM_128_HMAC_SHA1_80, 4},
                 {GM_AES_CM_128_HMAC_SHA1_32, 4}, {GM_AES_CM_128_HMAC_SHA1_32, GM_SRTP_MKI_BYTES},
                 {GM_AEAD_AES_256_GCM, 1},        {GM_AEAD_AES_256_GCM, GM_SRTP_MKI_BYTES}};
    static const uint8_t report[] = {0x80, 201, 0, 1, 0xca, 0xfe, 0xba, 0xbe};

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const uint8_t suite = cases[i].suite;
        struct secure_key theirs = key_of(suite, 1);
        struct packet p;
        srtp_t other;
        int length = sizeof report;

        begin(suite);
        theirs.mki_size = cases[i].size;
        theirs.mki[theirs.mki_size - 1] = 7;
        other = other_with_mki(&theirs);
        CHECK_EQUAL(hear(&them, other_sent(other, 10)), EBADMSG); /* not agreed on */
        CHECK(!set(&them, key_of(suite, 2), theirs));
        p = other_sent(other, 11);
        CHECK_EQUAL(hear(&them, p), 0);
        CHECK_EQUAL(hear(&them, p), EALREADY);
        CHECK_EQUAL(hear(&them, sent(12)), EBADMSG); /* without any */
        for (uint32_t s = 0xfff0; s < 0x10010; s++, now += 20000)
            CHECK_EQUAL(hear(&them, other_sent(other, (uint16_t)s)), 0);
        p = (struct packet){.size = sizeof report};
        memcpy(p.data, report, sizeof report);
        CHECK_EQUAL(srtp_protect_rtcp_mki(other, p.data, &length, 1, 0), srtp_err_status_ok);
        p.size = (size_t)length;
        CHECK_EQUAL(secure_unprotect_rtcp(&them, p.data, &p.size, now), 0);
        CHECK_EQUAL(p.size, sizeof report);
        CHECK(!memcmp(p.data, report, sizeof report));
        p = other_sent(other, 0x20);
        for (size_t size = 0; size < p.size; size++) {
            struct packet cut = p;

            cut.size = size;
            CHECK_EQUAL(hear(&them, cut), EBADMSG);
            cut.size = size;
            CHECK_EQUAL(secure_unprotect_rtcp(&them, cut.data, &cut.size, now), EBADMSG);
        }
        CHECK_EQUAL(hear(&them, p), 0);
        theirs.mki[0] ^= 0x40;
        CHECK(!set(&them, key_of(suite, 2), theirs));
        now += SECURE_LOST_US;
        CHECK_EQUAL(hear(&them, other_sent(other, 0x21)), EBADMSG);
        theirs.mki[0] ^= 0x40;
        /* A new key, and what was on its way with the former one and its MKI. */
        CHECK(!set(&them, key_of(suite, 2), key_of(suite, 9)));
        CHECK_EQUAL(hear(&them, other_sent(other, 0x22)), EBADMSG);
        CHECK(!set(&them, key_of(suite, 2), theirs));
        CHECK(!set(&them, key_of(suite, 2), key_of(suite, 9)));
        CHECK_EQUAL(hear(&them, other_sent(other, 0x23)), 0);
        CHECK_EQUAL(srtp_dealloc(other), srtp_err_status_ok);
        end();
    }
}

static bool wiped(const struct secure_context *c)
{
    for (unsigned i = 0; i < GM_SRTP_KEY_BYTES; i++)
        if (c->key.octets[i])
            return false;
    return !c->session && !c->key.suite && !c->count;
}

static void keys_are_wiped(void)
{
    begin(GM_AES_CM_128_HMAC_SHA1_80);
    (void)set(&us, key_of(1, 5), key_of(1, 6));
    CHECK(us.former.session && !wiped(&us.former));
    secure_close(&us);
    CHECK(wiped(&us.send) && wiped(&us.receive) && wiped(&us.former));
    end();
}

int main(void)
{
    CHECK_EQUAL(secure_library_open(&library), 0);
    CHECK_EQUAL(library.suites, 0x7e);
    RUN(every_suite_there_and_back);
    RUN(packets_are_those_of_others);
    RUN(long_packets_are_what_libcrypto_makes_of_them);
    RUN(what_is_not_authentic_does_not_count_and_does_no_harm);
    RUN(sequences_wrap_with_loss_and_disorder_around_it);
    RUN(calls_of_a_day);
    RUN(who_joins_late_finds_the_roll_over_counter);
    RUN(a_way_that_was_cut_for_longer_than_half_a_turn_is_found_again);
    RUN(the_same_key_keeps_its_context);
    RUN(another_key_takes_over_and_the_former_one_ends_soon);
    RUN(roll_over_counters_after_a_new_key_may_go_on_or_begin_anew);
    RUN(a_key_is_for_so_many_sources_and_no_more);
    RUN(what_cannot_be_is_refused_and_changes_nothing);
    RUN(packets_with_an_mki_are_heard_and_with_another_one_are_not);
    RUN(keys_are_wiped);
    secure_library_close(&library);
    return 0;
}
