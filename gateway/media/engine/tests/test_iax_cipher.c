#include "iax_scene.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Encrypted mini frames: those of chan_iax2, ours, keys that change, and voice that comes in clear. */

enum { SECRET_SIZE = IAX_CLEAR + 30 + 2 + SAMPLES };

static const uint8_t key[IAX_KEY] = {1, 2, 3, 4}, other[IAX_KEY] = {5, 6, 7, 8};
static struct iax_cipher theirs;

/* Of a call between two Asterisks whose key was made of a challenge and a secret. */
static const uint8_t asterisk_key[] = {0x39, 0xc2, 0xad, 0xf8, 0xad, 0xfb, 0x7c, 0xbd,
                                       0x82, 0xf2, 0xba, 0x9e, 0x4f, 0xb6, 0x62, 0x6a};
static const uint8_t asterisk_mini[] = {
    0x1f, 0x12, 0xdc, 0x20, 0xa1, 0x82, 0x4f, 0x02, 0x55, 0xd6, 0x3a, 0x04, 0x09, 0x0a, 0x4d, 0x1e, 0xe8, 0x6b, 0x80,
    0x8a, 0xeb, 0x47, 0x9c, 0x08, 0x39, 0x63, 0x3d, 0x03, 0x9a, 0x29, 0xa6, 0xc2, 0xcf, 0x11, 0x8f, 0xf4, 0x46, 0x25,
    0xed, 0xfc, 0x62, 0x1b, 0x5d, 0xed, 0x04, 0x04, 0x3e, 0xbf, 0x03, 0x1b, 0x14, 0x69, 0x75, 0x3a, 0x93, 0x4d, 0x52,
    0x7f, 0xa6, 0x35, 0x46, 0x80, 0x6c, 0x14, 0xba, 0x8d, 0x65, 0xda, 0xfc, 0x56, 0x6c, 0x26, 0x45, 0xc1, 0x4f, 0x2e,
    0xe2, 0x33, 0xc4, 0xd0, 0x00, 0xdb, 0xc4, 0xd4, 0x6e, 0x3b, 0x7b, 0xca, 0x4c, 0x3a, 0xca, 0x60, 0x58, 0xa8, 0x6a,
    0xe3, 0xe3, 0xc1, 0x08, 0x7f, 0xdc, 0xb1, 0x40, 0x5f, 0x0d, 0x19, 0x46, 0x28, 0x44, 0x1a, 0xd4, 0xae, 0x0a, 0xa1,
    0x96, 0xbf, 0xe2, 0x46, 0x0d, 0x6c, 0x2c, 0xbd, 0xd2, 0x56, 0x70, 0x85, 0xef, 0x68, 0x40, 0x02, 0xd3, 0x7b, 0xc4,
    0xf4, 0x5d, 0xed, 0x14, 0x79, 0x64, 0x2c, 0x98, 0x9d, 0xca, 0x26, 0x9e, 0x64, 0xcf, 0x23, 0x64, 0xb9, 0xdd, 0x0c,
    0x6e, 0x86, 0x85, 0x94, 0xc6, 0x82, 0x71, 0xf2, 0xde, 0xc5, 0x0f, 0x10, 0x4a, 0x7d, 0xa8, 0x42, 0x5f, 0x3c, 0xe0,
    0x80, 0x88, 0x2a, 0x28, 0x3f, 0xbf, 0xff, 0x63, 0x28, 0xcf, 0x7f, 0xcb, 0xef, 0x1d, 0x5f, 0xc8, 0x5f, 0x6a, 0xfc,
    0x38, 0xb8, 0x7f, 0x77};

static void a_frame_of_chan_iax2_is_read(void)
{
    static const uint8_t begin[] = {0x1f, 0x12, 580 >> 8, 580 & 0xff, 0x99, 0x8a, 0x8c, 0xa7, 0x19, 0x09, 0x0c, 0x28};
    struct iax_cipher c = {0};
    uint8_t clear[sizeof asterisk_mini];

    CHECK_EQUAL(iax_cipher_set(&c, asterisk_key, sizeof asterisk_key, false), 0);
    CHECK_EQUAL(iax_decrypt(&c, clear, asterisk_mini, sizeof asterisk_mini), IAX_MINI_HEADER + SAMPLES);
    CHECK(!memcmp(clear, begin, sizeof begin));
    iax_cipher_close(&c);
}

static void each_frame_comes_back_and_none_looks_like_another(void)
{
    struct iax_cipher to = {0}, from = {0};
    uint8_t frame[400], secret[400 + IAX_CIPHER_ROOM], before[400 + IAX_CIPHER_ROOM] = {0}, back[sizeof secret];

    CHECK_EQUAL(iax_cipher_set(&to, key, sizeof key, true), 0);
    CHECK_EQUAL(iax_cipher_set(&from, key, sizeof key, false), 0);
    memset(frame, 7, sizeof frame);
    for (size_t size = IAX_MINI_HEADER + 1; size < sizeof frame; size++) {
        size_t made = iax_encrypt(&to, secret, frame, size);

        CHECK(made >= size + IAX_BLOCK && made < size + IAX_CIPHER_ROOM);
        CHECK_EQUAL((made - IAX_CLEAR) % IAX_BLOCK, 0);
        CHECK(!memcmp(secret, frame, IAX_CLEAR));
        CHECK(memcmp(secret + IAX_CLEAR, before + IAX_CLEAR, IAX_BLOCK));
        memcpy(before, secret, made);
        CHECK_EQUAL(iax_decrypt(&from, back, secret, made), size);
        CHECK(!memcmp(back, frame, size));
        CHECK_EQUAL(iax_decrypt(&from, back, secret, made - 1), 0);
    }
    CHECK_EQUAL(iax_cipher_set(&to, key, 7, true), EINVAL);
    iax_cipher_close(&to);
    iax_cipher_close(&from);
}

static void send_secret(const uint8_t *with, const uint8_t *frame)
{
    uint8_t clear[IAX_MINI_HEADER + SAMPLES], secret[sizeof clear + IAX_CIPHER_ROOM];
    struct writer w = writer_over(clear, sizeof clear);

    if (!iax_cipher_is(&theirs, with, IAX_KEY))
        CHECK_EQUAL(iax_cipher_set(&theirs, with, IAX_KEY, true), 0);
    put_be16(&w, THEIRS);
    put_be16(&w, iax.stamp & 0xffff);
    put_bytes(&w, frame, SAMPLES);
    iax_send(iax.peer, secret, iax_encrypt(&theirs, secret, clear, sizeof clear));
    iax.stamp += 20;
}

static void talk(const uint8_t *with, unsigned frames)
{
    for (unsigned i = 0; i < frames; i++) {
        if (with)
            send_secret(with, numbered(iax.stamp / 20));
        else
            iax_send_mini(THEIRS, iax.stamp, numbered(iax.stamp / 20));
        iax.stamp += with ? 0 : 20;
        iax_run(1);
    }
}

static void voice_goes_both_ways(void)
{
    struct iax_cipher from = {0};
    uint8_t back[SECRET_SIZE];
    uint32_t last = 0, number;

    /* Trunk frames cannot be encrypted, so none is sent, whatever is said of them. */
    iax_begin(1, &(struct iax_said){.flags = GM_IAX_ENCRYPTED | GM_IAX_TRUNK, .send = key, .receive = other});
    CHECK_EQUAL(iax_cipher_set(&from, key, sizeof key, false), 0);
    for (unsigned i = 0; i < 60; i++) {
        send_secret(other, numbered(iax.stamp / 20));
        iax_run_lines(1);
    }
    CHECK(iax_numbered(0, &last) >= 57);
    CHECK(iax.count > 55);
    for (unsigned i = 0; i < iax.count; i++) {
        CHECK_EQUAL(iax.came[i].size, SECRET_SIZE);
        CHECK_EQUAL(iax_decrypt(&from, back, iax.came[i].data, iax.came[i].size), IAX_MINI_HEADER + SAMPLES);
        CHECK_EQUAL(back[1], OURS);
        memcpy(&number, back + IAX_MINI_HEADER, sizeof number);
        CHECK(number != UINT32_MAX || i < 3);
    }
    CHECK_EQUAL(iax_stream(0)->rejected, 0);
    iax_cipher_close(&from);
    iax_end();
}

static void a_new_key_loses_nothing_that_was_on_its_way(void)
{
    const struct iax_said before = {.flags = GM_IAX_ENCRYPTED, .send = key, .receive = key};
    const struct iax_said after = {.flags = GM_IAX_ENCRYPTED, .send = other, .receive = other, .epoch = 1};
    uint32_t last = 0;

    iax_begin(1, &before);
    talk(key, 20);
    iax_say(0, &after);
    talk(key, 10);
    talk(other, 20);
    CHECK(iax_numbered(0, &last) >= 47);
    iax_run(300); /* 6 s */
    iax.stamp += 6000;
    talk(other, 10);
    CHECK(iax_numbered(0, &last) >= 7);
    CHECK_EQUAL(iax_stream(0)->rejected, 0);
    talk(key, 30); /* not any more; a stamp that happens on a time near is another matter */
    CHECK(iax_stream(0)->rejected >= 25);
    CHECK(iax_numbered(0, &last) <= 1);
    iax_end();
}

/* RTKEY for call number `ours`, encrypted `with` a key, says another. */
static void send_key(const uint8_t *with, unsigned ours, const uint8_t *fresh, size_t size)
{
    uint8_t clear[64], secret[sizeof clear + IAX_CIPHER_ROOM] = {0x80 | THEIRS >> 8, THEIRS & 0xff};
    struct writer w = writer_over(clear, sizeof clear);

    CHECK_EQUAL(iax_cipher_set(&theirs, with, IAX_KEY, true), 0);
    put_be16(&w, ours);
    put_be32(&w, iax.stamp);
    put_be16(&w, 0x0305);
    put_u8(&w, 6);
    put_u8(&w, 0x27);
    put_u8(&w, 0x0f);
    put_u8(&w, (uint8_t)size);
    put_bytes(&w, fresh, size);
    iax_send(iax.peer, secret, 2 + iax_encrypt(&theirs, secret + 2, clear, w.at));
    CHECK_EQUAL(iax_cipher_set(&theirs, with, IAX_KEY, true), 0);
}

static void nobody_is_there(void)
{
    scene.engine.control.graceful = true;
    scene.engine.control.grace_end = scene.engine.now + 60000000;
    for (unsigned i = 0; i < scene.engine.streams.count; i++)
        scene.engine.streams.all[i].adopted = false;
}

/* Each key is told under the one before it. */
static void new_keys_are_heeded_while_nobody_is_there(void)
{
    static const uint8_t third[IAX_KEY] = {9, 9, 9};
    uint32_t last = 0;

    iax_begin(1, &(struct iax_said){.flags = GM_IAX_ENCRYPTED, .send = key, .receive = key});
    talk(key, 20);
    send_key(key, OURS, other, IAX_KEY); /* for signalling to see to */
    iax_run(1);
    CHECK(iax_cipher_is(&iax_stream(0)->iax.receive, key, IAX_KEY));
    nobody_is_there();
    (void)iax_numbered(0, &last);
    send_key(key, 0x8000 | OURS, other, IAX_KEY); /* once more */
    talk(other, 20);
    send_key(other, OURS, third, IAX_KEY);
    talk(third, 20);
    CHECK(iax_numbered(0, &last) >= 38);
    CHECK_EQUAL(iax_stream(0)->rejected, 0);
    CHECK(iax_cipher_is(&iax_stream(0)->iax.send, key, IAX_KEY));
    send_key(key, OURS, other, IAX_KEY); /* an old one of somebody else's */
    send_key(third, OURS + 1, other, IAX_KEY);
    send_key(third, OURS, other, IAX_KEY - 1);
    iax_run(1);
    CHECK(iax_cipher_is(&iax_stream(0)->iax.receive, third, IAX_KEY));
    /* Who comes knows it not yet, and is told of it by the far end. */
    request(GM_ADOPT, CALL, NULL, 0);
    send_key(third, OURS, other, IAX_KEY);
    iax_run(1);
    CHECK(iax_cipher_is(&iax_stream(0)->iax.receive, third, IAX_KEY));
    iax_say(0, &(struct iax_said){.flags = GM_IAX_ENCRYPTED, .send = key, .receive = other, .epoch = 1});
    talk(third, 20);
    iax_say(0, &(struct iax_said){.flags = GM_IAX_ENCRYPTED, .send = key, .receive = third, .epoch = 1});
    talk(third, 20);
    CHECK(iax_numbered(0, &last) >= 38);
    iax_end();
}

/* What another key makes of a frame is no voice, and does not move the call's time. */
static void frames_of_another_key_are_not_heard(void)
{
    uint32_t last = 0;

    iax_begin(1, &(struct iax_said){.flags = GM_IAX_ENCRYPTED, .send = key, .receive = key});
    talk(key, 20);
    (void)iax_numbered(0, &last);
    talk(other, 200);
    CHECK(iax_stream(0)->rtp.secure.unauthenticated >= 180);
    CHECK_EQUAL(iax_numbered(0, &last), 0);
    talk(key, 20);
    CHECK(iax_numbered(0, &last) >= 17);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_CLEAR, CALL), 0);
    iax_end();
}

/* A sender whose clock jumps is heard again. */
static void a_sender_that_counts_anew_is_followed(void)
{
    uint32_t last = 0;

    iax_begin(1, &(struct iax_said){.flags = GM_IAX_ENCRYPTED, .send = key, .receive = key});
    talk(key, 20);
    iax.stamp += 20000;
    (void)iax_numbered(0, &last);
    talk(key, 30);
    CHECK(iax_numbered(0, &last) >= 20);
    iax_end();
}

static void clear_voice_is_told_once_and_not_heard(void)
{
    const struct iax_said said = {.flags = GM_IAX_ENCRYPTED, .send = key, .receive = key};
    uint32_t last = 0;

    iax_begin(1, &said);
    talk(key, 10);
    (void)iax_numbered(0, &last);
    for (unsigned i = 0; i < 30; i++) { /* somebody else's, now and then */
        iax_send_mini(THEIRS, iax.stamp, numbered(1000000));
        talk(key, 1);
    }
    CHECK_EQUAL(count_events(GM_EVENT_IAX_CLEAR, CALL), 0);
    CHECK(iax_numbered(0, &last) >= 28 && last < 1000000);
    talk(NULL, 20);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_CLEAR, CALL), 1);
    CHECK_EQUAL(iax_numbered(0, &last), 0);
    iax_say(0, &said);
    talk(NULL, 20);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_CLEAR, CALL), 2);
    iax_end();
}

static void clear_trunk_voice_is_told_and_not_heard(void)
{
    uint8_t trunk[8 + 4 + SAMPLES] = {0, 0, 1, 0, 0, 0, 0, 0, THEIRS >> 8, THEIRS & 0xff, 0, SAMPLES};
    uint32_t last = 0;

    for (int keys = 0; keys < 2; keys++) {
        const uint8_t *with = keys ? key : NULL;

        iax_begin(1, &(struct iax_said){.flags = GM_IAX_ENCRYPTED, .send = with, .receive = with});
        for (uint8_t i = 0; i < 20; i++) {
            trunk[7] = (uint8_t)(i * 10);
            memcpy(trunk + 12, numbered(i + 1U), SAMPLES);
            iax_send(iax.peer, trunk, sizeof trunk);
            iax_run(1);
        }
        CHECK_EQUAL(count_events(GM_EVENT_IAX_CLEAR, CALL), 1);
        CHECK_EQUAL(iax_numbered(0, &last), 0);
        CHECK_EQUAL(iax_stream(0)->packets_received, 0);
        iax_end();
    }
}

/* A stranger who can spoof an address, but knows no call number, writes each of them several times into trunk frames. */
static void many_clear_entries_at_once_end_no_call(void)
{
    enum { ENTRIES = 20, ENTRY = 4 };
    uint8_t trunk[8 + ENTRIES * ENTRY] = {0, 0, 1};

    for (unsigned i = 0; i < ENTRIES; i++) {
        trunk[8 + i * ENTRY] = THEIRS >> 8;
        trunk[8 + i * ENTRY + 1] = THEIRS & 0xff;
    }
    iax_begin(1, &(struct iax_said){.flags = GM_IAX_ENCRYPTED, .send = key, .receive = key});
    talk(key, 10);
    for (unsigned i = 0; i < 30; i++) {
        iax_send(iax.peer, trunk, sizeof trunk);
        talk(key, 1);
    }
    CHECK_EQUAL(count_events(GM_EVENT_IAX_CLEAR, CALL), 0);
    iax_end();
}

int main(void)
{
    scene_open();
    RUN(a_frame_of_chan_iax2_is_read);
    RUN(each_frame_comes_back_and_none_looks_like_another);
    RUN(voice_goes_both_ways);
    RUN(a_new_key_loses_nothing_that_was_on_its_way);
    RUN(new_keys_are_heeded_while_nobody_is_there);
    RUN(frames_of_another_key_are_not_heard);
    RUN(a_sender_that_counts_anew_is_followed);
    RUN(clear_voice_is_told_once_and_not_heard);
    RUN(clear_trunk_voice_is_told_and_not_heard);
    RUN(many_clear_entries_at_once_end_no_call);
    iax_cipher_close(&theirs);
    scene_close();
    return 0;
}
