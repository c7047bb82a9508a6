#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scene.h"

/* libFuzzer: one input is a run of datagrams to a wired RTP stream, each with an octet before it that says how long it is
 * and one that says what happens: bit 0 RTCP, bit 1 a frame later, bits 2 and 3 what the header is made of: as it is, or
 * a good one with the input's payload type, payload, and jumps of sequence, stamp and source. Bit 4: from another address;
 * bit 5: protected, with the key of the call if there is one; bit 6: another key is agreed on first, bit 7: another address. */

enum { TO_RTCP = 1, FRAME_LATER = 2, GOOD_HEADER = 4, JUMP = 8, STRANGER = 16, PROTECTED = 32, NEW_KEY = 64, NEW_ADDRESS = 128 };

static int far_end, stranger;
static uint16_t sequence;
static uint32_t stamp;
static struct secure far; /* the far end's SRTP */
static uint8_t key_number, codec_number;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(uint8_t opcode, uint32_t stream, const void *body, size_t size)
{
    const struct message m = {.opcode = opcode, .stream = stream};
    struct cursor c = cursor_over(body, size);

    request_execute(&scene.engine, &m, &c);
}

static int open_far_end(void)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&own, sizeof own))
        abort();
    return fd;
}

/* Both of the call and of its far end; the lower bits of `options` as set_up() has them, the two highest the suite. */
static void put_trust(struct writer *w, uint8_t options)
{
    static const uint8_t suites[] = {0, GM_AES_CM_128_HMAC_SHA1_80, GM_AES_256_CM_HMAC_SHA1_32, GM_AEAD_AES_128_GCM};
    struct secure_key ours = {.suite = suites[options >> 6]}, theirs = ours;
    bool renewed;

    if (ours.suite) {
        memset(ours.octets, key_number, 28);
        memset(theirs.octets, key_number + 1, 28);
    }
    put_u8(w, key_number & 1);
    put_u8(w, ours.suite);
    put_u8(w, theirs.suite);
    put_zeros(w, 17);
    put_bytes(w, ours.octets, sizeof ours.octets);
    put_bytes(w, theirs.octets, sizeof theirs.octets);
    if (secure_set(&far, &scene.engine.secure, &theirs, &ours, scene.engine.now, &renewed))
        abort();
}

static void describe(uint32_t stream, uint8_t options, int where)
{
    struct sockaddr_in own = {0};
    socklen_t length = sizeof own;
    const uint8_t loopback[16] = {127, 0, 0, 1};
    static const uint8_t codecs[] = {GM_CODEC_ULAW, GM_CODEC_ALAW, GM_CODEC_G722, GM_CODEC_OPUS, GM_CODEC_L16};
    const bool events = !(options & 4);
    const uint8_t codec = codecs[codec_number % sizeof codecs];
    uint8_t body[256];
    struct writer w = writer_over(body, sizeof body);

    (void)getsockname(where, (struct sockaddr *)&own, &length);
    put_u8(&w, 4);
    put_u8(&w, codec);
    put_u8(&w, options & 16 ? 97 : codec & 0x7f);
    put_u8(&w, events ? 101 : GM_NO_PAYLOAD_TYPE);
    put_bytes(&w, loopback, sizeof loopback);
    put_le16(&w, ntohs(own.sin_port));
    put_le16(&w, ntohs(own.sin_port));
    put_u8(&w, codec_number / sizeof codecs % 6 * 10 + 10U);
    put_u8(&w, GM_SENDRECV);
    put_u8(&w, options >> 1 & 1);
    put_u8(&w, 0);
    put_u8(&w, GM_NO_PAYLOAD_TYPE);
    put_u8(&w, options & 32 ? 96 : GM_NO_PAYLOAD_TYPE);
    put_le16(&w, 0);
    if (stream == VOICE)
        put_trust(&w, options);
    ask(GM_SET_RTP, stream, body, w.at);
}

/* A call, as `options` say: with another RTP stream or a line, numbers of the payload types, RTCP on the same port, RFC 4733
 * or not, SRTP; the octet behind them: codec and packet time. */
static void set_up(uint8_t options)
{
    const uint8_t loopback[16] = {127, 0, 0, 1};
    uint8_t body[256], open[20 + GM_LABEL_BYTES];
    struct writer w = writer_over(body, sizeof body);

    put_le32(&w, 4);
    put_bytes(&w, loopback, sizeof loopback);
    put_zeros(&w, GM_LABEL_BYTES);
    memcpy(open, body, sizeof open);
    ask(GM_OPEN_RTP, VOICE, body, w.at);
    w = writer_over(body, sizeof body);
    put_u8(&w, options >> 3 & 1);
    put_u8(&w, 1);
    put_zeros(&w, 2 + GM_LABEL_BYTES);
    put_bytes(&w, "line", 4);
    ask(GM_OPEN_TDM, LINE, body, w.at);
    ask(GM_OPEN_RTP, OTHER, open, sizeof open);
    describe(VOICE, options, far_end);
    if (options & 1)
        codec_number += options >> 1 & 3; /* the other has the same now and then */
    describe(OTHER, options, stranger);
    ask(GM_CONNECT, VOICE, options & 1 ? "\3\0\0\0" : "\1\0\0\0", 4);
}

static void send_one(uint16_t port, uint8_t what, const uint8_t *data, size_t size)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    _Alignas(4) uint8_t packet[RTP_HEADER + UINT8_MAX + SECURE_ROOM];
    size_t at = 0;

    if (what & GOOD_HEADER && size) {
        struct rtp_packet p = {.sequence = sequence++, .stamp = stamp, .ssrc = 7, .payload_type = data[0] & 0x7f};

        if (what & JUMP && size > 3) {
            p.sequence = sequence = (uint16_t)(sequence + data[1]);
            stamp += (uint32_t)data[2] << 8;
            p.ssrc += data[3] & 1;
        }
        rtp_header(packet, &p);
        at = RTP_HEADER;
        stamp += SAMPLES;
        data++;
        size--;
    }
    memcpy(packet + at, data, size);
    size += at;
    if (what & PROTECTED && secure_on(&far)) {
        if (what & TO_RTCP)
            (void)secure_protect_rtcp(&far, packet, &size);
        else
            (void)secure_protect(&far, packet, &size);
    }
    (void)sendto(what & STRANGER ? stranger : far_end, packet, size, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_over(data, size);
    const struct stream *s;
    uint8_t drop[64], options = cursor_u8(&c);

    codec_number = cursor_u8(&c);
    if (scene_open()) {
        far_end = open_far_end();
        stranger = open_far_end();
    }
    key_number = 0;
    set_up(options);
    s = stream_find(&scene.engine.streams, VOICE);
    if (!s)
        abort();
    while (cursor_left(&c) > 2) {
        uint8_t length = cursor_u8(&c);
        uint8_t what = cursor_u8(&c);
        size_t left = cursor_left(&c);
        size_t part = length < left ? length : left;

        if (what & NEW_KEY)
            key_number++;
        if ((what & (NEW_KEY | NEW_ADDRESS)) == (NEW_KEY | NEW_ADDRESS))
            codec_number++;
        if (what & (NEW_KEY | NEW_ADDRESS))
            describe(VOICE, options, what & NEW_ADDRESS ? stranger : far_end);
        send_one((uint16_t)(s->rtp.port + (what & TO_RTCP)), what, cursor_take(&c, part), part);
        if (what & FRAME_LATER)
            scene_run(1);
    }
    scene_run(3);
    ask(GM_STATISTICS, VOICE, NULL, 0);
    scene_clear();
    secure_close(&far);
    while (recv(far_end, drop, sizeof drop, MSG_DONTWAIT) >= 0 || recv(stranger, drop, sizeof drop, MSG_DONTWAIT) >= 0)
        ;
    return 0;
}
