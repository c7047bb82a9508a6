#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scene.h"

/* libFuzzer: one input is a run of datagrams to a wired RTP stream, each with an octet before it that says how long it is
 * and one that says what happens: bit 0 RTCP, bit 1 a frame later, bits 2 and 3 what the header is made of: as it is, or
 * a good one with the input's payload type, payload, and jumps of sequence, stamp and source. */

enum { TO_RTCP = 1, FRAME_LATER = 2, GOOD_HEADER = 4, JUMP = 8 };

static int far_end;
static uint16_t sequence;
static uint32_t stamp;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(uint8_t opcode, uint32_t stream, const void *body, size_t size)
{
    const struct message m = {.opcode = opcode, .stream = stream};
    struct cursor c = cursor_over(body, size);

    request_execute(&scene.engine, &m, &c);
}

static void open_far_end(void)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    far_end = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (far_end < 0 || bind(far_end, (const struct sockaddr *)&own, sizeof own))
        abort();
}

/* A call, as `options` say: codec, numbers of the payload types, RTCP on the same port, RFC 4733 or not. */
static void set_up(uint8_t options)
{
    struct sockaddr_in own = {0};
    socklen_t length = sizeof own;
    const uint8_t loopback[16] = {127, 0, 0, 1};
    const bool alaw = options & 1, events = !(options & 4);
    uint8_t body[256];
    struct writer w = writer_over(body, sizeof body);

    (void)getsockname(far_end, (struct sockaddr *)&own, &length);
    put_le32(&w, 4);
    put_bytes(&w, loopback, sizeof loopback);
    put_zeros(&w, GM_LABEL_BYTES);
    ask(GM_OPEN_RTP, VOICE, body, w.at);
    w = writer_over(body, sizeof body);
    put_u8(&w, options >> 3 & 1);
    put_u8(&w, 1);
    put_zeros(&w, 2 + GM_LABEL_BYTES);
    put_bytes(&w, "line", 4);
    ask(GM_OPEN_TDM, LINE, body, w.at);
    w = writer_over(body, sizeof body);
    put_u8(&w, 4);
    put_u8(&w, alaw ? GM_CODEC_ALAW : GM_CODEC_ULAW);
    put_u8(&w, options & 16 ? 97 : alaw ? 8 : 0);
    put_u8(&w, events ? 101 : GM_NO_PAYLOAD_TYPE);
    put_bytes(&w, loopback, sizeof loopback);
    put_le16(&w, ntohs(own.sin_port));
    put_le16(&w, ntohs(own.sin_port));
    put_u8(&w, 20);
    put_u8(&w, GM_SENDRECV);
    put_u8(&w, options >> 1 & 1);
    put_u8(&w, 0);
    put_u8(&w, GM_NO_PAYLOAD_TYPE);
    put_u8(&w, options & 32 ? 96 : GM_NO_PAYLOAD_TYPE);
    put_le16(&w, 0);
    ask(GM_SET_RTP, VOICE, body, w.at);
    ask(GM_CONNECT, VOICE, "\1\0\0\0", 4);
}

static void send_one(uint16_t port, uint8_t what, const uint8_t *data, size_t size)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    uint8_t packet[RTP_HEADER + UINT8_MAX];
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
    }
    memcpy(packet + at, data, size);
    (void)sendto(far_end, packet, at + size, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof to);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_over(data, size);
    const struct stream *s;
    uint8_t drop[64];

    if (scene_open())
        open_far_end();
    set_up(cursor_u8(&c));
    s = stream_find(&scene.engine.streams, VOICE);
    if (!s)
        abort();
    while (cursor_left(&c) > 2) {
        uint8_t length = cursor_u8(&c);
        uint8_t what = cursor_u8(&c);
        size_t left = cursor_left(&c);
        size_t part = length < left ? length : left;

        send_one((uint16_t)(s->rtp.port + (what & TO_RTCP)), what, cursor_take(&c, part), part);
        if (what & FRAME_LATER)
            scene_run(1);
    }
    scene_run(3);
    ask(GM_STATISTICS, VOICE, NULL, 0);
    scene_clear();
    while (recv(far_end, drop, sizeof drop, MSG_DONTWAIT) >= 0)
        ;
    return 0;
}
