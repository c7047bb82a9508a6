#include "iax_scene.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct iax_scene iax;

enum { NUMBERS_MAX = 2000000 };

static char directory[] = "/tmp/gateway-media-iax-XXXXXX", path[sizeof directory + 8];

static uint32_t epoch_low(int64_t epoch)
{
    return (uint32_t)((uint64_t)epoch & UINT32_MAX);
}

void iax_say(unsigned call, const struct iax_said *said)
{
    static const uint8_t loopback[16] = {127, 0, 0, 1}, none[IAX_KEY];
    const int64_t epoch = said->epoch ? said->epoch : scene.engine.now;
    uint8_t body[128];
    struct writer w = writer_over(body, sizeof body);

    put_u8(&w, 4);
    put_u8(&w, said->codec);
    put_u8(&w, GM_SENDRECV & ~(unsigned)said->direction);
    put_u8(&w, said->flags);
    put_bytes(&w, loopback, sizeof loopback);
    put_le16(&w, said->port ? said->port : iax.peer_port);
    put_le16(&w, said->source ? said->source : OURS + call);
    put_le16(&w, said->far ? said->far : THEIRS + call);
    put_le16(&w, said->most);
    put_le32(&w, epoch_low(epoch));
    put_le32(&w, (uint32_t)((uint64_t)epoch >> 32));
    put_u8(&w, said->send ? IAX_KEY : 0);
    put_u8(&w, said->receive ? IAX_KEY : 0);
    put_le16(&w, 0);
    put_bytes(&w, said->send ? said->send : none, IAX_KEY);
    put_bytes(&w, said->receive ? said->receive : none, IAX_KEY);
    CHECK(!w.full);
    request(GM_SET_IAX, CALL + call, body, w.at);
}

void iax_open_socket(uint32_t stream, uint16_t port)
{
    static const uint8_t loopback[16] = {127, 0, 0, 1};
    uint8_t body[128];
    struct writer w = writer_over(body, sizeof body);

    put_u8(&w, 4);
    put_u8(&w, 0);
    put_le16(&w, port);
    put_bytes(&w, loopback, sizeof loopback);
    put_zeros(&w, GM_LABEL_BYTES);
    request(GM_OPEN_IAX_SOCKET, stream, body, w.at);
}

static void open_call(unsigned call)
{
    uint8_t body[128];
    struct writer w = writer_over(body, sizeof body);

    put_le32(&w, SOCKET);
    put_zeros(&w, GM_LABEL_BYTES);
    request(GM_OPEN_IAX, CALL + call, body, w.at);
    w = writer_over(body, sizeof body);
    put_le32(&w, 0);
    put_zeros(&w, GM_LABEL_BYTES);
    put_bytes(&w, path, strlen(path));
    request(GM_OPEN_TDM, LINE + call, body, w.at);
    w = writer_over(body, sizeof body);
    put_le32(&w, LINE + call);
    request(GM_CONNECT, CALL + call, body, w.at);
}

void iax_begin(unsigned calls, const struct iax_said *said)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);

    if (!iax.came) {
        iax.came = calloc(DATAGRAMS_MAX, sizeof *iax.came);
        CHECK(iax.came && mkdtemp(directory));
        (void)snprintf(path, sizeof path, "%s/line", directory);
        (void)rmdir(directory);
    }
    CHECK_EQUAL(mkdir(directory, 0700), 0);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    CHECK_EQUAL(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQUAL(listen(listener, CALLS_ROOM), 0);
    iax.peer = udp_socket(&iax.peer_port);
    scene.peer = scene.line = NO_FD;
    iax_open_socket(SOCKET, 0);
    scene.to = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    iax.port = stream_find(&scene.engine.streams, SOCKET)->rtp.port;
    scene.to.sin_port = htons(iax.port);
    iax.calls = calls;
    iax.count = 0;
    memset(iax.heard, 0, sizeof iax.heard);
    iax.stamp = 20;
    scene.event_count = 0;
    scene.in_rtp.count = scene.in_tdm.count = 0;
    for (unsigned i = 0; i < calls; i++) {
        open_call(i);
        iax.lines[i] = accept(listener, NULL, NULL);
        CHECK(iax.lines[i] >= 0);
        if (said)
            iax_say(i, said);
    }
    close(listener);
    (void)unlink(path);
    (void)rmdir(directory);
}

void iax_end(void)
{
    for (unsigned i = 0; i < iax.calls; i++) {
        request(GM_CLOSE, CALL + i, NULL, 0);
        request(GM_CLOSE, LINE + i, NULL, 0);
        close(iax.lines[i]);
    }
    request(GM_CLOSE, SOCKET, NULL, 0);
    CHECK_EQUAL(scene.engine.streams.used, 0);
    CHECK(!scene.engine.iax.trunks);
    close(iax.peer);
}

static void look_at_line(unsigned call)
{
    uint8_t block[SAMPLES];

    while (recv(iax.lines[call], block, sizeof block, MSG_DONTWAIT) == SAMPLES) {
        uint32_t number;
        unsigned octets = 0;

        memcpy(&number, block, sizeof number);
        for (unsigned i = sizeof number; i < SAMPLES; i++)
            octets += block[i] == IDLE;
        if (octets != SAMPLES - sizeof number || number > NUMBERS_MAX || number <= iax.heard[call].last)
            continue; /* silence, or made up of what came before */
        iax.heard[call].last = number;
        iax.heard[call].count++;
    }
}

/* What would wake the engine if it waited. */
static void wake(void)
{
    const struct stream *s = stream_find(&scene.engine.streams, SOCKET);

    if (s && s->iax.socket->waking)
        iax_readable(&scene.engine, (uint32_t)(s->iax.socket - scene.engine.iax.sockets));
}

static void look(void)
{
    ssize_t got;
    struct came *c = &iax.came[iax.count];

    while ((got = recv(iax.peer, c->data, sizeof c->data, MSG_DONTWAIT)) > 0) {
        c->at = scene.engine.now;
        c->size = (size_t)got;
        CHECK(++iax.count < DATAGRAMS_MAX);
        c = &iax.came[iax.count];
    }
    for (unsigned i = 0; i < iax.calls; i++)
        look_at_line(i);
}

void iax_step(void)
{
    wake();
    advance(scene.engine.now + STEP_US);
    look();
}

void iax_run(unsigned frames)
{
    for (unsigned i = 0; i < frames * (FRAME_US / STEP_US); i++)
        iax_step();
}

void iax_run_lines(unsigned frames)
{
    static uint32_t number;

    for (unsigned i = 0; i < frames; i++) {
        number++;
        for (unsigned call = 0; call < iax.calls; call++)
            iax_send_block(call, numbered(number));
        iax_run(1);
    }
}

void iax_send(int fd, const void *data, size_t size)
{
    send_raw(fd, data, size);
}

void iax_send_mini(unsigned far, uint32_t stamp, const uint8_t *frame)
{
    uint8_t packet[IAX_MINI_HEADER + SAMPLES];
    struct writer w = writer_over(packet, sizeof packet);

    put_be16(&w, far);
    put_be16(&w, stamp & 0xffff);
    put_bytes(&w, frame, SAMPLES);
    iax_send(iax.peer, packet, w.at);
}

void iax_send_block(unsigned call, const uint8_t *frame)
{
    scene.line = iax.lines[call];
    send_block(frame);
    scene.line = NO_FD;
}

void iax_say_voice(unsigned call, uint32_t stamp, const uint8_t *frame)
{
    uint8_t body[8 + SAMPLES];
    struct writer w = writer_over(body, sizeof body);

    put_le32(&w, stamp);
    put_u8(&w, GM_CODEC_ULAW);
    put_zeros(&w, 3);
    put_bytes(&w, frame, SAMPLES);
    request(GM_IAX_VOICE, CALL + call, body, w.at);
}

unsigned iax_numbered(unsigned call, uint32_t *last)
{
    unsigned count = iax.heard[call].count;

    if (count)
        *last = iax.heard[call].last;
    iax.heard[call].count = 0;
    return count;
}

const struct stream *iax_stream(unsigned call)
{
    const struct stream *s = stream_find(&scene.engine.streams, CALL + call);

    CHECK(s);
    return s;
}

struct iax_socket *iax_socket(void)
{
    return stream_find(&scene.engine.streams, SOCKET)->iax.socket;
}
