#include <string.h>
#include <sys/socket.h>

#include "scene.h"

/* libFuzzer: one input is one packet of the control connection, carried out by the whole engine, which then runs for
 * some frames with whatever streams that made. An odd first octet: the rest is a packet as it is. An even one: the rest is
 * opcode, stream, length and body of one message after the other, to which the headers are made. */

enum { STREAMS = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keeps what an input can do on this machine within the scene's directory and loopback. */
static void confine(uint8_t opcode, uint8_t *body, size_t size)
{
    static const uint8_t loopback[16] = {127, 0, 0, 1}, loopback6[16] = {[15] = 1};

    if ((opcode == GM_OPEN_RTP || opcode == GM_SET_RTP) && size >= 20)
        memcpy(body + 4, body[0] == 6 ? loopback6 : loopback, sizeof loopback);
    if (opcode >= GM_OPEN_TDM && opcode <= GM_OPEN_RECORDER)
        for (size_t i = 0; i < size; i++)
            body[i] = body[i] == '/' ? '_' : body[i];
}

static void confine_all(uint8_t *packet, size_t size)
{
    for (size_t at = 0; at + GM_HEADER_BYTES <= size;) {
        const uint8_t *h = packet + at;
        uint32_t length = h[12] | (uint32_t)h[13] << 8 | (uint32_t)h[14] << 16 | (uint32_t)h[15] << 24;

        at += GM_HEADER_BYTES;
        if (length > size - at)
            return;
        confine(h[3], packet + at, length);
        at += length;
    }
}

static size_t frame(uint8_t *packet, size_t room, struct cursor *c)
{
    struct writer w = writer_over(packet, room);

    while (cursor_left(c) > 3) {
        unsigned opcode = cursor_u8(c), stream = cursor_u8(c) % STREAMS;
        size_t length = cursor_u8(c), left = cursor_left(c);

        length = length < left ? length : left;
        put_le16(&w, GM_MAGIC);
        put_u8(&w, GM_VERSION);
        put_u8(&w, opcode);
        put_le32(&w, 1);
        put_le32(&w, stream);
        put_le32(&w, (uint32_t)length);
        put_bytes(&w, cursor_take(c, length), length);
    }
    return w.full ? 0 : w.at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t packet[GM_PACKET_MAX];
    struct cursor c = cursor_over(data, size);

    (void)scene_open();
    if (cursor_u8(&c) & 1) {
        size = cursor_left(&c) < sizeof packet ? cursor_left(&c) : sizeof packet;
        cursor_copy(&c, packet, size);
    } else {
        size = frame(packet, sizeof packet, &c);
    }
    confine_all(packet, size);
    if (size && send(scene.control, packet, size, MSG_NOSIGNAL) == (ssize_t)size)
        (void)engine_step(&scene.engine, 0);
    scene_run(3);
    scene_clear();
    return 0;
}
