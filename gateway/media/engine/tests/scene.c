#include "scene.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct scene scene;
uint8_t idle[SAMPLES];

static char directory[] = "/tmp/gateway-media-XXXXXX";
static char control_path[100], line_path[100];
static int error;

static void put_on_way(struct on_way *w)
{
    CHECK(w->count < ON_WAY);
    w->at[(w->head + w->count++) % ON_WAY] = scene.engine.now;
}

static int64_t arrival(const struct engine *e, struct msghdr *m)
{
    struct on_way *w = m->msg_name ? &scene.in_rtp : &scene.in_tdm;
    int64_t at;

    CHECK(w->count);
    at = w->at[w->head++ % ON_WAY];
    w->count--;
    CHECK(at <= e->now);
    return at;
}

void request(uint8_t opcode, uint32_t stream, const void *body, size_t size)
{
    struct message m = {.opcode = opcode, .stream = stream};
    struct cursor c = cursor_over(body, size);

    request_execute(&scene.engine, &m, &c);
}

static int unix_fd(const char *path, struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

    CHECK(fd >= 0);
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    (void)snprintf(a->sun_path, sizeof a->sun_path, "%s", path);
    return fd;
}

static void read_message(uint8_t opcode, uint32_t stream, struct cursor *body)
{
    if (opcode & GM_REPLY) {
        error = (int)cursor_le32(body);
        return;
    }
    CHECK(scene.event_count < EVENTS_MAX);
    scene.events[scene.event_count].event = opcode;
    scene.events[scene.event_count].stream = stream;
    scene.events[scene.event_count].value = cursor_le32(body);
    scene.events[scene.event_count++].digit = cursor_u8(body);
}

static void read_events(void)
{
    uint8_t packet[GM_PACKET_MAX];
    ssize_t got;

    control_flush(&scene.engine);
    while ((got = recv(scene.control, packet, sizeof packet, MSG_DONTWAIT)) > 0) {
        struct cursor all = cursor_over(packet, (size_t)got);

        while (cursor_left(&all)) {
            uint8_t opcode;
            uint32_t stream, size;
            struct cursor body;

            cursor_take(&all, 3);
            opcode = cursor_u8(&all);
            cursor_le32(&all);
            stream = cursor_le32(&all);
            size = cursor_le32(&all);
            body = cursor_over(cursor_take(&all, size), size);
            CHECK(!all.bad);
            read_message(opcode, stream, &body);
        }
    }
}

static void look_at_far_ends(void)
{
    _Alignas(8) uint8_t packet[PACKET_ROOM];
    struct rtp_packet p;
    ssize_t got;

    while ((got = recv(scene.peer, packet, sizeof packet, MSG_DONTWAIT)) > 0) {
        struct heard *h = &scene.on_peer[scene.peer_count % FRAMES_MAX];
        size_t size = (size_t)got;

        if (scene.far && secure_unprotect(scene.far, packet, &size, scene.engine.now)) {
            scene.undeciphered++;
            continue;
        }
        scene.peer_count++;
        CHECK_EQUAL(rtp_parse(&p, packet, size), 0);
        *h = (struct heard){.at = scene.engine.now, .type = p.payload_type, .marker = p.marker, .stamp = p.stamp,
                            .ssrc = p.ssrc, .sequence = p.sequence, .size = p.size};
        memcpy(h->data, p.payload, p.size < OCTETS_MAX ? p.size : OCTETS_MAX);
    }
    while ((got = recv(scene.line, packet, sizeof packet, MSG_DONTWAIT)) > 0) {
        struct heard *h = &scene.on_line[scene.line_count++ % FRAMES_MAX];

        CHECK_EQUAL(got, SAMPLES);
        *h = (struct heard){.at = scene.engine.now, .size = SAMPLES};
        memcpy(h->data, packet, SAMPLES);
    }
}

void advance(int64_t until)
{
    for (; scene.engine.now < until; scene.engine.now += STEP_US) {
        engine_ticks(&scene.engine);
        look_at_far_ends();
        read_events();
    }
}

void advance_frames(unsigned frames)
{
    advance(scene.engine.now + (int64_t)frames * FRAME_US);
}

int udp_socket(uint16_t *port)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof own;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    if (fd < 0)
        abort();
    CHECK_EQUAL(bind(fd, (struct sockaddr *)&own, sizeof own), 0);
    CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&own, &size), 0);
    *port = ntohs(own.sin_port);
    return fd;
}

void say(const struct said *said)
{
    static const uint8_t loopback[16] = {127, 0, 0, 1}, none[16];
    const bool given = said->address[0];
    uint8_t body[512];
    struct writer w = writer_over(body, sizeof body);

    error = 0;
    put_u8(&w, 4);
    put_u8(&w, said->codec);
    put_u8(&w, said->type);
    put_u8(&w, said->dtmf ? said->dtmf : 101);
    put_bytes(&w, given ? said->address : said->none ? none : loopback, 4);
    put_zeros(&w, 12);
    put_le16(&w, said->port ? said->port : scene.peer_port);
    put_le16(&w, 9);
    put_u8(&w, said->milliseconds ? said->milliseconds : 20);
    put_u8(&w, GM_SENDRECV & ~(unsigned)said->direction);
    put_u8(&w, said->mux);
    put_u8(&w, 0);
    if (scene.receive_dtmf || said->latch || said->send || said->signalling[0]) {
        put_u8(&w, GM_NO_PAYLOAD_TYPE);
        put_u8(&w, scene.receive_dtmf ? scene.receive_dtmf : GM_NO_PAYLOAD_TYPE);
        put_le16(&w, 0);
    }
    if (said->latch || said->send || said->signalling[0]) {
        put_u8(&w, said->latch);
        put_u8(&w, said->send ? said->send->suite : 0);
        put_u8(&w, said->receive ? said->receive->suite : 0);
        put_u8(&w, said->signalling[0] ? 4 : 0);
        put_bytes(&w, said->signalling, 4);
        put_zeros(&w, 12);
        put_bytes(&w, said->send ? said->send->octets : none, said->send ? GM_SRTP_KEY_BYTES : 0);
        put_zeros(&w, said->send ? 0 : GM_SRTP_KEY_BYTES);
        put_bytes(&w, said->receive ? said->receive->octets : none, said->receive ? GM_SRTP_KEY_BYTES : 0);
        put_zeros(&w, said->receive ? 0 : GM_SRTP_KEY_BYTES);
    }
    CHECK(!w.full);
    request(GM_SET_RTP, RTP, body, w.at);
    read_events();
}

int last_error(void)
{
    return error;
}

void begin(unsigned dtmf_payload_type)
{
    const uint8_t loopback[16] = {127, 0, 0, 1};
    const struct said said = {.dtmf = (uint8_t)dtmf_payload_type};
    struct sockaddr_un a;
    uint8_t body[256];
    struct writer w = writer_over(body, sizeof body);
    int listener = unix_fd(line_path, &a);

    (void)unlink(line_path);
    CHECK_EQUAL(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQUAL(listen(listener, 1), 0);
    put_le32(&w, 4);
    put_bytes(&w, loopback, sizeof loopback);
    put_zeros(&w, GM_LABEL_BYTES);
    request(GM_OPEN_RTP, RTP, body, w.at);
    w = writer_over(body, sizeof body);
    put_le32(&w, 0);
    put_zeros(&w, GM_LABEL_BYTES);
    put_bytes(&w, line_path, strlen(line_path));
    request(GM_OPEN_TDM, TDM, body, w.at);
    scene.line = accept(listener, NULL, NULL);
    CHECK(scene.line >= 0);
    close(listener);
    scene.peer = udp_socket(&scene.peer_port);
    if (dtmf_payload_type)
        say(&said);
    request(GM_CONNECT, RTP, "\2\0\0\0", 4);
    scene.to = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    scene.to.sin_port = htons(rtp_stream()->rtp.port);
    scene.peer_count = scene.line_count = scene.event_count = scene.undeciphered = 0;
    scene.in_rtp.count = scene.in_tdm.count = 0;
}

void end(void)
{
    request(GM_CLOSE, RTP, NULL, 0);
    request(GM_CLOSE, TDM, NULL, 0);
    CHECK_EQUAL(scene.engine.streams.used, 0);
    close(scene.peer);
    close(scene.line);
    read_events();
    scene.far = NULL;
    scene.speaker = 99;
}

const struct stream *rtp_stream(void)
{
    const struct stream *s = stream_find(&scene.engine.streams, RTP);

    CHECK(s);
    return s;
}

void send_raw(int fd, const uint8_t *packet, size_t size)
{
    put_on_way(&scene.in_rtp);
    CHECK(sendto(fd, packet, size, 0, (struct sockaddr *)&scene.to, sizeof scene.to) > 0);
}

void send_rtp(unsigned type, uint32_t at, const uint8_t *data, size_t size)
{
    _Alignas(4) uint8_t packet[RTP_HEADER + OCTETS_MAX + SECURE_ROOM];
    struct rtp_packet p = {
        .sequence = scene.sequence++, .stamp = at, .ssrc = scene.speaker, .payload_type = (uint8_t)type};

    rtp_header(packet, &p);
    memcpy(packet + RTP_HEADER, data, size);
    size += RTP_HEADER;
    if (scene.far)
        CHECK_EQUAL(secure_protect(scene.far, packet, &size), 0);
    send_raw(scene.peer, packet, size);
}

void send_audio(const uint8_t *frame)
{
    send_rtp(0, scene.stamp, frame, SAMPLES);
    scene.stamp += SAMPLES;
}

void send_block(const uint8_t *frame)
{
    put_on_way(&scene.in_tdm);
    CHECK_EQUAL(send(scene.line, frame, SAMPLES, MSG_NOSIGNAL), SAMPLES);
}

const uint8_t *numbered(uint32_t number)
{
    static uint8_t frame[SAMPLES];

    memset(frame, IDLE, sizeof frame);
    memcpy(frame, &number, sizeof number);
    return frame;
}

const uint8_t *dtmf(struct sines *s)
{
    static uint8_t frame[SAMPLES];
    int16_t linear[SAMPLES];

    sines_generate(s, linear, SAMPLES);
    law_encode(ULAW, frame, linear, SAMPLES);
    return frame;
}

bool quiet(const struct heard *h)
{
    for (size_t i = 0; i < SAMPLES; i++)
        if (h->data[i] != IDLE)
            return false;
    return true;
}

unsigned count_events(uint8_t event, uint32_t stream)
{
    unsigned count = 0;

    for (unsigned i = 0; i < scene.event_count; i++)
        count += scene.events[i].event == event && scene.events[i].stream == stream;
    return count;
}

void scene_open(void)
{
    struct options options = {.control = control_path, .streams = 96, .files = 1, .wide = 2, .port_first = 42000, .port_last = 42999,
                              .silence_milliseconds = 500, .grace_seconds = 1, .delay_milliseconds = 200};
    struct sockaddr_un a;

    CHECK(mkdtemp(directory));
    (void)snprintf(control_path, sizeof control_path, "%s/control", directory);
    (void)snprintf(line_path, sizeof line_path, "%s/line", directory);
    memset(idle, IDLE, sizeof idle);
    CHECK_EQUAL(engine_open(&scene.engine, &options), 0);
    scene.control = unix_fd(control_path, &a);
    CHECK_EQUAL(connect(scene.control, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQUAL(engine_step(&scene.engine, 0), 0);
    scene.engine.control.client = scene.engine.control.waiting[CONTROL_WAITING - 1]; /* as if it had said hello */
    scene.engine.control.waiting[CONTROL_WAITING - 1] = NO_FD;
    scene.engine.running = true;
    scene.engine.origin = scene.engine.now;
    scene.engine.arrival = arrival;
    scene.engine.asking = 1;
    scene.speaker = 99;
}

void scene_close(void)
{
    engine_close(&scene.engine);
    close(scene.control);
    (void)unlink(line_path);
    (void)rmdir(directory);
}
