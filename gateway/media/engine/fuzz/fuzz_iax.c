#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scene.h"

/* libFuzzer: one input is a run of datagrams to a socket of IAX2 with two calls on it, one wired to a line, one to the other;
 * each with an octet before it that says how long it is and one that says what happens: bits 0 and 1 what is put before
 * it: nothing, the header of a mini frame, of a trunk frame without and with stamps. Bit 2: a frame later; bit 3: it is
 * encrypted; bit 4: from another address; bit 5: the call is set up anew, by the octets of the input; bit 6: it goes in as
 * the voice of a full frame; bit 7: the line speaks before. */

enum { HEADER = 3, FRAME_LATER = 4, ENCRYPTED = 8, STRANGER = 16, NEW_SETTINGS = 32, FULL_VOICE = 64, LINE_SPEAKS = 128 };
enum { SOCKET = 20, CALL = 21, CALLS = 2, FAR = 5, OWN = 9 };

static int far_end, stranger, line[2];
static uint16_t far_port, port;
static uint32_t stamp;
static struct iax_cipher secret;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(uint8_t opcode, uint32_t stream, const void *body, size_t size)
{
    const struct message m = {.opcode = opcode, .stream = stream};
    struct cursor c = cursor_over(body, size);

    request_execute(&scene.engine, &m, &c);
}

static int open_far_end(uint16_t *at)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof own;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (const struct sockaddr *)&own, sizeof own) || getsockname(fd, (struct sockaddr *)&own, &length))
        abort();
    *at = ntohs(own.sin_port);
    return fd;
}

/* The two octets: codec and direction; flags, keys. */
static void set_call(unsigned call, uint8_t first, uint8_t second)
{
    static const uint8_t codecs[] = {GM_CODEC_ULAW, GM_CODEC_ALAW, GM_CODEC_G722, GM_CODEC_OPUS, GM_CODEC_L16, 77};
    const uint8_t loopback[16] = {127, 0, 0, 1};
    const bool sends = second & 8, receives = second & 16;
    uint8_t body[128], key[IAX_KEY];
    struct writer w = writer_over(body, sizeof body);
    const uint64_t epoch = (uint64_t)scene.engine.now - (second & 32 ? 65000000 : 0);

    memset(key, second >> 6, sizeof key);
    put_u8(&w, 4);
    put_u8(&w, codecs[first % sizeof codecs]);
    put_u8(&w, first >> 6);
    put_u8(&w, second & 7);
    put_bytes(&w, loopback, sizeof loopback);
    put_le16(&w, far_port);
    put_le16(&w, OWN + call);
    put_le16(&w, FAR + call);
    put_le16(&w, first & 32 ? 600 : 0);
    put_le32(&w, (uint32_t)epoch);
    put_le32(&w, (uint32_t)(epoch >> 32));
    put_u8(&w, sends ? IAX_KEY : 0);
    put_u8(&w, receives ? IAX_KEY : 0);
    put_le16(&w, 0);
    put_bytes(&w, key, IAX_KEY);
    put_bytes(&w, key, IAX_KEY);
    ask(GM_SET_IAX, CALL + call, body, w.at);
    if (iax_cipher_set(&secret, key, IAX_KEY, true))
        abort();
}

static void set_up(uint8_t first, uint8_t second)
{
    const uint8_t loopback[16] = {127, 0, 0, 1};
    uint8_t body[256];
    struct writer w = writer_over(body, sizeof body);

    put_le32(&w, 4);
    put_bytes(&w, loopback, sizeof loopback);
    put_zeros(&w, GM_LABEL_BYTES);
    ask(GM_OPEN_IAX_SOCKET, SOCKET, body, w.at);
    port = stream_find(&scene.engine.streams, SOCKET)->rtp.port;
    for (unsigned call = 0; call < CALLS; call++) {
        w = writer_over(body, sizeof body);
        put_le32(&w, SOCKET);
        put_zeros(&w, GM_LABEL_BYTES);
        ask(GM_OPEN_IAX, CALL + call, body, w.at);
        set_call(call, first, second);
    }
    w = writer_over(body, sizeof body);
    put_le32(&w, 0);
    put_zeros(&w, GM_LABEL_BYTES);
    put_bytes(&w, "nobody", 6);
    ask(GM_OPEN_TDM, LINE, body, w.at);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, line))
        abort();
    stream_find(&scene.engine.streams, LINE)->tdm.fd = line[0];
    w = writer_over(body, sizeof body);
    put_le32(&w, first & 16 ? CALL + 1 : LINE);
    ask(GM_CONNECT, CALL, body, w.at);
}

static void put_header(struct writer *w, uint8_t kind, size_t size)
{
    if (kind == 1) {
        put_be16(w, FAR);
        put_be16(w, stamp & 0xffff);
    } else if (kind) {
        put_be16(w, 0);
        put_u8(w, 1);
        put_u8(w, kind - 2U);
        put_be32(w, stamp);
        if (kind == 3)
            put_be16(w, (unsigned)size / 2);
        put_be16(w, FAR);
        put_be16(w, kind == 3 ? stamp & 0xffff : (unsigned)size / 2);
    }
}

static void send_one(uint8_t what, const uint8_t *data, size_t size)
{
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    uint8_t packet[16 + UINT8_MAX], ciphered[sizeof packet + IAX_CIPHER_ROOM];
    struct writer w = writer_over(packet, sizeof packet);
    const uint8_t *out = packet;
    const struct iax_socket *k = stream_find(&scene.engine.streams, SOCKET)->iax.socket;

    put_header(&w, what & HEADER, size);
    put_bytes(&w, data, size);
    size = w.at;
    if (what & ENCRYPTED && size > IAX_CLEAR) {
        size = iax_encrypt(&secret, ciphered, packet, size);
        out = ciphered;
    }
    (void)sendto(what & STRANGER ? stranger : far_end, out, size, MSG_DONTWAIT, (const struct sockaddr *)&to, sizeof to);
    stamp += IAX_FRAME_MS;
    if (k->waking)
        iax_readable(&scene.engine, (uint32_t)(k - scene.engine.iax.sockets));
}

static void say_voice(uint8_t codec, const uint8_t *data, size_t size)
{
    uint8_t body[8 + UINT8_MAX];
    struct writer w = writer_over(body, sizeof body);

    put_le32(&w, stamp);
    put_u8(&w, codec & 9U);
    put_zeros(&w, 3);
    put_bytes(&w, data, size);
    ask(GM_IAX_VOICE, CALL, body, w.at);
}

static void take(const uint8_t *data, size_t size, uint8_t what)
{
    static const uint8_t voice[SAMPLES];

    if (what & NEW_SETTINGS && size > 1)
        set_call(size & 1, data[0], data[1]);
    if (what & LINE_SPEAKS)
        (void)send(line[1], voice, sizeof voice, MSG_DONTWAIT);
    if (what & FULL_VOICE)
        say_voice(what, data, size);
    else
        send_one(what, data, size);
    if (what & FRAME_LATER)
        scene_run(1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_over(data, size);
    uint8_t drop[4096], first = cursor_u8(&c), second = cursor_u8(&c);
    uint16_t other;

    if (scene_open()) {
        far_end = open_far_end(&far_port);
        stranger = open_far_end(&other);
    }
    stamp = 20;
    set_up(first, second);
    while (cursor_left(&c) > 2) {
        uint8_t length = cursor_u8(&c);
        uint8_t what = cursor_u8(&c);
        size_t left = cursor_left(&c);
        size_t part = length < left ? length : left;

        take(cursor_take(&c, part), part, what);
    }
    scene_run(3);
    ask(GM_STATISTICS, CALL, NULL, 0);
    ask(GM_STATISTICS, SOCKET, NULL, 0);
    scene_clear();
    close(line[1]);
    while (recv(far_end, drop, sizeof drop, MSG_DONTWAIT) >= 0 || recv(stranger, drop, sizeof drop, MSG_DONTWAIT) >= 0)
        ;
    return 0;
}
