/* Standing calls for a running engine: N pairs of streams with their far ends here, voice both ways for some seconds; prints
 * the engine's CPU a call, and the time voice takes through it. Every block carries the time it was sent.
 *
 *   media-load CONTROL DIRECTORY CALLS SECONDS [NEAR [FAR]]
 *
 * NEAR and FAR are what the two ends of each call speak: tdm, rtp, srtp (AES_CM_128_HMAC_SHA1_80), gcm (AEAD_AES_128_GCM), all
 * of them G.711; g722, opus, l16; iax, iax-trunk, iax-aes: mini frames, trunk frames, encrypted mini frames of IAX2, all calls
 * over one socket. tdm and rtp if they are not said. What is transcoded bears no time, so of these there are no delays.
 */
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <opus/opus.h>
#include <sched.h>
#include <spandsp.h>
#include <srtp2/srtp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../protocol.h"
#include "iax_ends.h"

enum {
    REALTIME_PRIORITY = 10,
    CALLS_MAX = 512,
    FRAME = 160,
    FRAME_US = 20000,
    MEASURES = 1 << 20,
    STAMP_BYTES = 8,
    HEADER = 12,
    LABEL = GM_LABEL_BYTES,
    OURS = 3, /* what the bytes of a key are */
    THEIRS = 5,
    SPOKEN = 100, /* frames, said again and again */
    OCTETS_MAX = 4 * FRAME,
    WIDE_FRAME = 2 * FRAME,
    WIDE_RATE = 16000,
};

struct end {
    int fd;
    bool tdm;
    unsigned suite; /* 0: none */
    unsigned codec; /* GM_CODEC_*; 0: G.711 */
    enum iax_kind iax;
    unsigned index; /* of the call */
    const struct spoken *spoken;
    unsigned said;
    srtp_t out, in;
    struct sockaddr_in engine;
    uint16_t sequence;
    uint32_t stamp;
    int64_t next;
};

struct call {
    struct end ends[2];
    int64_t next_look;
};

struct delays {
    unsigned count;
    int microseconds[MEASURES];
};

static struct call calls[CALLS_MAX];
static uint8_t tone[FRAME];

/* Two seconds in the codec of either end. */
static struct spoken {
    uint8_t octets[SPOKEN][OCTETS_MAX];
    int size[SPOKEN];
} spoken[2];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t); /* as the kernel's time stamps */
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static size_t put(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
    return size;
}

/* Sends one request and waits for its reply, whose body goes to `reply`. */
static void ask(int control, unsigned opcode, uint32_t stream, const uint8_t *body, size_t size, uint8_t *reply)
{
    static uint32_t request;
    uint8_t packet[GM_PACKET_MAX];
    uint8_t *p = packet;

    p += put(p, GM_MAGIC, 2);
    p += put(p, GM_VERSION, 1);
    p += put(p, opcode, 1);
    p += put(p, ++request, 4);
    p += put(p, stream, 4);
    p += put(p, size, 4);
    memcpy(p, body, size);
    if (send(control, packet, (size_t)(p - packet) + size, 0) < 0)
        die("control send");
    for (;;) {
        ssize_t got = recv(control, packet, sizeof packet, 0);

        if (got <= 0)
            die("control receive");
        for (ssize_t at = 0; at + GM_HEADER_BYTES <= got;) {
            uint32_t length = packet[at + 12] | (uint32_t)packet[at + 13] << 8;

            if (packet[at + 3] == (opcode | GM_REPLY)) {
                if (packet[at + GM_HEADER_BYTES]) {
                    (void)fprintf(stderr, "opcode %u: %.*s\n", opcode, (int)length - 4, packet + at + GM_HEADER_BYTES + 4);
                    exit(1);
                }
                memcpy(reply, packet + at + GM_HEADER_BYTES, length);
                return;
            }
            at += GM_HEADER_BYTES + (ssize_t)length;
        }
    }
}

static int unix_socket(const char *path, struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    (void)snprintf(a->sun_path, sizeof a->sun_path, "%s", path);
    if (fd < 0)
        die("socket");
    return fd;
}

static void open_tdm(int control, uint32_t stream, struct end *end, const char *directory)
{
    uint8_t body[GM_BODY_MAX] = {0}, reply[GM_BODY_MAX];
    struct sockaddr_un path;
    char name[sizeof path.sun_path];
    size_t length;
    int listener;

    (void)snprintf(name, sizeof name, "%s/%u", directory, stream);
    listener = unix_socket(name, &path);
    (void)unlink(name);
    if (bind(listener, (struct sockaddr *)&path, sizeof path) || listen(listener, 1))
        die(name);
    length = strlen(name);
    memcpy(body + 4 + LABEL, name, length);
    ask(control, GM_OPEN_TDM, stream, body, 4 + LABEL + length, reply);
    end->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (end->fd < 0)
        die("accept");
    close(listener);
    (void)unlink(name);
}

static srtp_t session(unsigned suite, srtp_ssrc_type_t type, uint8_t octet)
{
    uint8_t key[GM_SRTP_KEY_BYTES];
    srtp_policy_t policy = {.ssrc = {type, 0}, .key = key, .window_size = 128};
    srtp_t made;

    memset(key, octet, sizeof key);
    if (suite == GM_AEAD_AES_128_GCM)
        srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp);
    else
        srtp_crypto_policy_set_rtp_default(&policy.rtp);
    policy.rtcp = policy.rtp;
    if (srtp_create(&made, &policy)) {
        (void)fprintf(stderr, "this libsrtp2 has no such suite\n");
        exit(1);
    }
    return made;
}

static void open_rtp(int control, uint32_t stream, struct end *end)
{
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof local;
    uint8_t body[GM_BODY_MAX] = {4}, reply[GM_BODY_MAX];
    const uint8_t loopback[4] = {127, 0, 0, 1};

    end->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (end->fd < 0 || bind(end->fd, (struct sockaddr *)&local, sizeof local) ||
        getsockname(end->fd, (struct sockaddr *)&local, &size))
        die("RTP socket");
    memcpy(body + 4, loopback, sizeof loopback);
    ask(control, GM_OPEN_RTP, stream, body, 20 + LABEL, reply);
    end->engine = local;
    end->engine.sin_port = htons((uint16_t)(reply[4] | reply[5] << 8));
    memset(body, 0, sizeof body);
    body[0] = 4;
    body[1] = (uint8_t)end->codec;
    body[2] = end->codec ? 96 : 0;
    body[3] = 101;
    memcpy(body + 4, loopback, sizeof loopback);
    put(body + 20, ntohs(local.sin_port), 2);
    put(body + 22, ntohs(local.sin_port) + 1U, 2);
    body[24] = 20;
    body[25] = GM_SENDRECV;
    body[28] = body[29] = GM_NO_PAYLOAD_TYPE;
    if (end->suite) {
        const size_t key = end->suite == GM_AEAD_AES_128_GCM ? 28 : 30;

        body[33] = body[34] = (uint8_t)end->suite;
        memset(body + 52, OURS, key);
        memset(body + 52 + GM_SRTP_KEY_BYTES, THEIRS, key);
        end->in = session(end->suite, ssrc_any_inbound, OURS);
        end->out = session(end->suite, ssrc_any_outbound, THEIRS);
    }
    ask(control, GM_SET_RTP, stream, body, 52 + 2 * GM_SRTP_KEY_BYTES, reply);
}

static void open_iax_socket(int control)
{
    const uint8_t loopback[4] = {127, 0, 0, 1};
    uint8_t body[GM_BODY_MAX] = {4}, reply[GM_BODY_MAX];

    (void)iax_listen();
    memcpy(body + 4, loopback, sizeof loopback);
    ask(control, GM_OPEN_IAX_SOCKET, IAX_SOCKET, body, 20 + LABEL, reply);
    iax_aim((uint16_t)(reply[4] | reply[5] << 8));
}

static void open_iax(int control, uint32_t stream, const struct end *end)
{
    const bool secret = end->iax == IAX_SECRET;
    uint8_t body[GM_BODY_MAX] = {4}, reply[GM_BODY_MAX];
    const uint8_t loopback[4] = {127, 0, 0, 1};
    struct timespec t;

    if (!end->index)
        open_iax_socket(control);
    put(body, IAX_SOCKET, 4);
    ask(control, GM_OPEN_IAX, stream, body, 4 + LABEL, reply);
    memset(body, 0, sizeof body);
    body[0] = 4;
    body[2] = GM_SENDRECV;
    body[3] = (uint8_t)(end->iax == IAX_TRUNK ? GM_IAX_TRUNK : secret ? GM_IAX_ENCRYPTED : 0);
    memcpy(body + 4, loopback, sizeof loopback);
    put(body + 20, iax_listen(), 2);
    put(body + 22, IAX_OUR_CALL + end->index, 2);
    put(body + 24, IAX_THEIR_CALL + end->index, 2);
    put(body + 26, UINT16_MAX, 2);
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    put(body + 28, (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000, 8);
    body[36] = body[37] = secret ? IAX_KEY_OCTETS : 0;
    memset(body + 40, IAX_KEY_OCTET, 2UL * IAX_KEY_OCTETS);
    ask(control, GM_SET_IAX, stream, body, 40 + 2 * IAX_KEY_OCTETS, reply);
}

static void set_up(int control, const char *directory, unsigned index)
{
    const int one = 1;
    uint8_t body[4], reply[GM_BODY_MAX];

    for (uint32_t i = 0; i < 2; i++) {
        struct end *end = &calls[index].ends[i];

        end->index = index;
        if (end->iax)
            open_iax(control, index * 2 + i + 1, end);
        else if (end->tdm)
            open_tdm(control, index * 2 + i + 1, end, directory);
        else
            open_rtp(control, index * 2 + i + 1, end);
        if (!end->iax)
            (void)setsockopt(end->fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
        end->stamp = end->iax ? 0 : index * 12345;
    }
    put(body, index * 2 + 2, 4);
    ask(control, GM_CONNECT, index * 2 + 1, body, 4, reply);
}

static void send_voice(struct end *end, int64_t now)
{
    _Alignas(4) uint8_t packet[HEADER + OCTETS_MAX + SRTP_MAX_TRAILER_LEN] = {0x80, end->codec ? 96 : 0, (uint8_t)(end->sequence >> 8),
                                                                            (uint8_t)end->sequence};
    const unsigned clock = end->codec == GM_CODEC_OPUS ? 6 : end->codec == GM_CODEC_L16 ? 2 : 1;
    int size = HEADER + FRAME;

    if (end->codec) {
        size = HEADER + end->spoken->size[end->said];
        memcpy(packet + HEADER, end->spoken->octets[end->said], (size_t)size - HEADER);
        end->said = (end->said + 1) % SPOKEN;
    } else {
        memcpy(packet + HEADER, tone, FRAME);
        put(packet + HEADER, (uint64_t)now, STAMP_BYTES);
    }
    end->next += FRAME_US;
    if (end->tdm) {
        (void)send(end->fd, packet + HEADER, FRAME, MSG_DONTWAIT | MSG_NOSIGNAL);
        return;
    }
    if (end->iax) {
        iax_speak(end->iax, end->index, end->stamp, packet + HEADER);
        end->stamp += FRAME_US / 1000;
        return;
    }
    for (int i = 0; i < 4; i++)
        packet[4 + i] = (uint8_t)(end->stamp >> (24 - 8 * i));
    packet[11] = 1;
    end->sequence++;
    end->stamp += FRAME * clock;
    if (end->out)
        (void)srtp_protect(end->out, packet, &size);
    (void)sendto(end->fd, packet, (size_t)size, MSG_DONTWAIT, (struct sockaddr *)&end->engine, sizeof end->engine);
}

/* The kernel says when a block came, so that a busy machine does not count against the engine. */
static int64_t arrival(struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        struct timespec t;

        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            memcpy(&t, CMSG_DATA(c), sizeof t);
            return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
        }
    }
    return now_us();
}

static void note_delay(const uint8_t *voice, int64_t at, struct delays *d)
{
    int64_t sent = 0;

    for (int i = 0; i < STAMP_BYTES; i++)
        sent |= (int64_t)voice[i] << (8 * i);
    sent = at - sent;
    if (sent >= 0 && sent < 1000000 && d->count < MEASURES)
        d->microseconds[d->count++] = (int)sent;
}

static struct delays *iax_delays;

static void hear_iax(const uint8_t *voice, int64_t at)
{
    note_delay(voice, at, iax_delays);
}

static bool receive_voice(const struct end *end, struct delays *d)
{
    _Alignas(4) uint8_t packet[2048];
    uint64_t control[8];
    struct iovec v = {packet, sizeof packet};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(end->fd, &m, MSG_DONTWAIT);
    int size = (int)got, header = end->tdm ? 0 : HEADER;

    if (got < 0)
        return false;
    if (end->in && srtp_unprotect(end->in, packet, &size))
        return true;
    if (size != header + FRAME || end->codec)
        return true;
    note_delay(packet + header, arrival(&m), d);
    return true;
}

static int by_size(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void print_delays(const char *from, const char *to, struct delays *d)
{
    double sum = 0;

    for (unsigned i = 0; i < d->count; i++)
        sum += d->microseconds[i];
    qsort(d->microseconds, d->count, sizeof(int), by_size);
    if (d->count) {
        int median = d->microseconds[d->count / 2];
        int high = d->microseconds[d->count * 99ULL / 100];

        (void)printf("%s to %s: %u blocks, delay ms mean %.2f median %.2f 99%% %.2f most %.2f\n", from, to, d->count,
                     sum / d->count / 1000.0, median / 1000.0, high / 1000.0, d->microseconds[d->count - 1] / 1000.0);
    }
}

static double cpu_of(int pid)
{
    struct timespec t;
    clockid_t id;

    if (clock_getcpuclockid(pid, &id) || clock_gettime(id, &t))
        die("CPU clock of the engine");
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What a call has to say and to hear at this moment. */
static void look_at(struct call *c, int64_t now, struct delays delays[2])
{
    for (int way = 0; way < 2; way++) {
        if (c->ends[way].next > now)
            continue;
        send_voice(&c->ends[way], now_us());
    }
    if (c->next_look > now)
        return;
    c->next_look = now + FRAME_US;
    for (int way = 0; way < 2; way++) {
        struct end *end = &c->ends[way];

        iax_delays = &delays[way];
        if (end->iax && !end->index)
            iax_take(end->iax, arrival, hear_iax);
        while (!end->iax && receive_voice(end, &delays[way]))
            ;
    }
}

/* Sleeps between looks instead of waiting on the sockets: being woken would be charged to the engine. */
static void run(unsigned count, int64_t until, struct delays delays[2])
{
    const struct timespec pause = {0, 1000000};
    int64_t now;

    while ((now = now_us()) < until) {
        for (unsigned i = 0; i < count; i++)
            look_at(&calls[i], now, delays);
        iax_ship();
        (void)nanosleep(&pause, NULL);
    }
}

/* Something like speech: a voice whose pitch and loudness go up and down, four syllables a second. */
static void speak(int16_t *out, unsigned count)
{
    const double two_pi = 6.283185307179586;
    double turn = 0.0;

    for (unsigned i = 0; i < count; i++) {
        double seconds = (double)i / WIDE_RATE;
        double value = 0.0;

        turn += (120.0 + 30.0 * sin(two_pi * 0.7 * seconds)) / WIDE_RATE;
        for (int k = 1; k < 40; k++)
            value += sin(two_pi * k * turn) / (k < 5 ? 1.0 : k);
        out[i] = (int16_t)lrint(2500.0 * value * (0.1 + fabs(sin(two_pi * 2.0 * seconds))));
    }
}

static void say_in(unsigned codec, struct spoken *to)
{
    static int16_t voice[SPOKEN * WIDE_FRAME];
    g722_encode_state_t *g722 = g722_encode_init(NULL, 64000, 0);
    int err;
    OpusEncoder *opus = opus_encoder_create(WIDE_RATE, 1, OPUS_APPLICATION_VOIP, &err);

    if (!g722 || !opus)
        die("codecs");
    (void)opus_encoder_ctl(opus, OPUS_SET_BITRATE(24000));
    speak(voice, SPOKEN * WIDE_FRAME);
    for (int i = 0; i < SPOKEN; i++) {
        const int16_t *frame = voice + (size_t)i * WIDE_FRAME;

        if (codec == GM_CODEC_G722) {
            to->size[i] = g722_encode(g722, to->octets[i], frame, WIDE_FRAME);
        } else if (codec == GM_CODEC_OPUS) {
            to->size[i] = opus_encode(opus, frame, WIDE_FRAME, to->octets[i], OCTETS_MAX);
        } else {
            to->size[i] = OCTETS_MAX;
            for (size_t k = 0; k < WIDE_FRAME; k++) {
                to->octets[i][2 * k] = (uint8_t)((uint16_t)frame[k] >> 8);
                to->octets[i][2 * k + 1] = (uint8_t)frame[k];
            }
        }
    }
    opus_encoder_destroy(opus);
    (void)g722_encode_free(g722);
}

static void take_kind(const char *word, struct end *end)
{
    const enum iax_kind *iax = iax_kind_of(word);

    end->iax = iax ? *iax : IAX_NONE;
    end->tdm = !strcmp(word, "tdm");
    end->codec = !strcmp(word, "g722")   ? GM_CODEC_G722
                 : !strcmp(word, "opus") ? GM_CODEC_OPUS
                 : !strcmp(word, "l16")  ? GM_CODEC_L16
                                         : 0;
    end->suite = !strcmp(word, "srtp") ? GM_AES_CM_128_HMAC_SHA1_80 : !strcmp(word, "gcm") ? GM_AEAD_AES_128_GCM : 0;
    if (!iax && !end->tdm && !end->suite && !end->codec && strcmp(word, "rtp") != 0) {
        (void)fprintf(stderr, "media-load: \"%s\", expected tdm, rtp, srtp, gcm, g722, opus, l16 or iax[-trunk|-aes]\n", word);
        exit(2);
    }
}

/* Connects; `*pid` is the engine's. */
static int say_hello(const char *path, int *pid)
{
    uint8_t body[12] = {0}, reply[GM_BODY_MAX];
    struct sockaddr_un a;
    int control = unix_socket(path, &a);

    if (connect(control, (struct sockaddr *)&a, sizeof a))
        die(path);
    put(body + 4, 1500, 4);
    put(body + 8, 1, 4);
    ask(control, GM_HELLO, 0, body, sizeof body, reply);
    for (int i = 0; i < FRAME; i++) { /* 1000 Hz by its eight mu-law codes: the digital milliwatt of G.711 */
        static const uint8_t milliwatt[8] = {0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e};

        tone[i] = milliwatt[i % 8];
    }
    *pid = reply[16] | reply[17] << 8 | reply[18] << 16 | reply[19] << 24;
    return control;
}

int main(int argc, char **argv)
{
    static struct delays delays[2];
    const struct sched_param priority = {.sched_priority = REALTIME_PRIORITY};
    const char *words[2] = {"tdm", "rtp"};
    int control, pid;
    unsigned count;
    int64_t start;
    double seconds, before, used;

    if (argc < 5 || argc > 7) {
        (void)fprintf(stderr, "usage: media-load CONTROL DIRECTORY CALLS SECONDS [NEAR [FAR]]\n");
        return 2;
    }
    count = (unsigned)strtoul(argv[3], NULL, 10);
    seconds = strtod(argv[4], NULL);
    if (!count || count > CALLS_MAX || srtp_init())
        return 2;
    for (int i = 5; i < argc; i++)
        words[i - 5] = argv[i];
    for (unsigned i = 0; i < count; i++) {
        for (int k = 0; k < 2; k++) {
            take_kind(words[k], &calls[i].ends[k]);
            calls[i].ends[k].spoken = &spoken[k];
        }
    }
    for (int k = 0; k < 2; k++)
        say_in(calls[0].ends[k].codec, &spoken[k]);
    control = say_hello(argv[1], &pid);
    for (unsigned i = 0; i < count; i++)
        set_up(control, argv[2], i);
    (void)sched_setscheduler(0, SCHED_FIFO, &priority); /* if allowed: others on the machine do not disturb the measure */
    start = now_us();
    for (unsigned i = 0; i < count; i++) {
        /* Those of a trunk come at once, in one frame, and their lines speak at once, as the channels of a span do. */
        const bool trunk = calls[i].ends[0].iax == IAX_TRUNK || calls[i].ends[1].iax == IAX_TRUNK;

        calls[i].ends[0].next = start + (trunk ? 0 : (int64_t)(i * 7919U % FRAME_US));
        calls[i].ends[1].next = start + (trunk ? FRAME_US / 3 : (int64_t)(i * 6271U % FRAME_US));
    }
    run(count, now_us() + 2000000, delays); /* settle */
    delays[0].count = delays[1].count = 0;
    before = cpu_of(pid);
    run(count, now_us() + (int64_t)(seconds * 1e6), delays);
    used = cpu_of(pid) - before;
    (void)printf("%u calls, %.0f s: engine %.3f %% of a core, %.4f %% a call\n", count, seconds, used / seconds * 100.0,
                 used / seconds * 100.0 / count);
    print_delays(words[1], words[0], &delays[0]);
    print_delays(words[0], words[1], &delays[1]);
    return 0;
}
