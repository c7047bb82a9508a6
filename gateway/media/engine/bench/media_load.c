/* Standing calls for a running engine: N pairs of a TDM channel and an RTP peer, voice both ways for some seconds; prints
 * the engine's CPU a call, and the time voice takes through it. Every block carries the time it was sent.
 *
 *   media-load CONTROL DIRECTORY CALLS SECONDS [FIRST-RTP-PORT]
 */
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../protocol.h"

enum { REALTIME_PRIORITY = 10, CALLS_MAX = 512, FRAME = 160, FRAME_US = 20000, MEASURES = 1 << 20, STAMP_BYTES = 8, LABEL = GM_LABEL_BYTES };

struct call {
    int rtp, tdm, listener;
    struct sockaddr_in engine;
    uint16_t sequence;
    uint32_t stamp;
    int64_t next[2], next_look;
};

struct delays {
    unsigned count;
    int microseconds[MEASURES];
};

static struct call calls[CALLS_MAX];
static uint8_t tone[FRAME];

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

static void set_up(int control, const char *directory, unsigned index)
{
    struct call *c = &calls[index];
    uint32_t rtp = index * 2 + 1, tdm = index * 2 + 2;
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof local;
    struct sockaddr_un path;
    uint8_t body[GM_BODY_MAX] = {4}, reply[GM_BODY_MAX];
    const uint8_t loopback[4] = {127, 0, 0, 1};
    char name[sizeof path.sun_path];
    const int one = 1;
    size_t length;

    c->rtp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (c->rtp < 0 || bind(c->rtp, (struct sockaddr *)&local, sizeof local) ||
        getsockname(c->rtp, (struct sockaddr *)&local, &size))
        die("RTP socket");
    (void)snprintf(name, sizeof name, "%s/%u", directory, index);
    c->listener = unix_socket(name, &path);
    (void)unlink(name);
    if (bind(c->listener, (struct sockaddr *)&path, sizeof path) || listen(c->listener, 1))
        die(name);

    memcpy(body + 4, loopback, sizeof loopback);
    ask(control, GM_OPEN_RTP, rtp, body, 20 + LABEL, reply);
    c->engine = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->engine.sin_port = htons((uint16_t)(reply[4] | reply[5] << 8));
    memset(body, 0, sizeof body);
    length = strlen(name);
    memcpy(body + 4 + LABEL, name, length);
    ask(control, GM_OPEN_TDM, tdm, body, 4 + LABEL + length, reply);
    c->tdm = accept4(c->listener, NULL, NULL, SOCK_NONBLOCK);
    if (c->tdm < 0)
        die("accept");
    put(body, tdm, 4);
    ask(control, GM_CONNECT, rtp, body, 4, reply);
    memset(body, 0, sizeof body);
    body[0] = 4;
    body[3] = 101;
    memcpy(body + 4, loopback, sizeof loopback);
    put(body + 20, ntohs(local.sin_port), 2);
    put(body + 22, ntohs(local.sin_port) + 1U, 2);
    body[24] = 20;
    body[25] = GM_SENDRECV;
    ask(control, GM_SET_RTP, rtp, body, 28, reply);
    (void)setsockopt(c->rtp, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    (void)setsockopt(c->tdm, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    c->stamp = (uint32_t)index * 12345;
}

static void send_voice(struct call *c, int way, int64_t now)
{
    uint8_t packet[12 + FRAME] = {0x80, 0, (uint8_t)(c->sequence >> 8), (uint8_t)c->sequence};

    memcpy(packet + 12, tone, FRAME);
    put(packet + 12, (uint64_t)now, STAMP_BYTES);
    if (way) {
        (void)send(c->tdm, packet + 12, FRAME, MSG_DONTWAIT | MSG_NOSIGNAL);
    } else {
        for (int i = 0; i < 4; i++)
            packet[4 + i] = (uint8_t)(c->stamp >> (24 - 8 * i));
        packet[11] = 1;
        (void)sendto(c->rtp, packet, sizeof packet, MSG_DONTWAIT, (struct sockaddr *)&c->engine, sizeof c->engine);
        c->sequence++;
        c->stamp += FRAME;
    }
    c->next[way] += FRAME_US;
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

static bool receive_voice(int fd, size_t header, struct delays *d)
{
    uint8_t packet[512];
    uint64_t control[8];
    struct iovec v = {packet, sizeof packet};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t got = recvmsg(fd, &m, MSG_DONTWAIT);
    int64_t sent = 0;

    if (got < 0)
        return false;
    if (got != (ssize_t)(header + FRAME))
        return true;
    for (int i = 0; i < STAMP_BYTES; i++)
        sent |= (int64_t)packet[header + (size_t)i] << (8 * i);
    sent = arrival(&m) - sent;
    if (sent >= 0 && sent < 1000000 && d->count < MEASURES)
        d->microseconds[d->count++] = (int)sent;
    return true;
}

static int by_size(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void print_delays(const char *what, struct delays *d)
{
    double sum = 0;

    for (unsigned i = 0; i < d->count; i++)
        sum += d->microseconds[i];
    qsort(d->microseconds, d->count, sizeof(int), by_size);
    if (d->count) {
        int median = d->microseconds[d->count / 2];
        int high = d->microseconds[d->count * 99ULL / 100];

        (void)printf("%s: %u blocks, delay ms mean %.2f median %.2f 99%% %.2f most %.2f\n", what, d->count,
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

/* Sleeps between looks instead of waiting on the sockets: being woken would be charged to the engine. */
static void run(unsigned count, int64_t until, struct delays *to_rtp, struct delays *to_tdm)
{
    const struct timespec pause = {0, 1000000};
    int64_t now;

    while ((now = now_us()) < until) {
        for (unsigned i = 0; i < count; i++) {
            struct call *c = &calls[i];

            for (int way = 0; way < 2; way++)
                if (c->next[way] <= now)
                    send_voice(c, way, now_us());
            if (c->next_look > now)
                continue;
            c->next_look = now + FRAME_US;
            while (receive_voice(c->rtp, 12, to_rtp))
                ;
            while (receive_voice(c->tdm, 0, to_tdm))
                ;
        }
        (void)nanosleep(&pause, NULL);
    }
}

int main(int argc, char **argv)
{
    static struct delays to_rtp, to_tdm;
    const struct sched_param priority = {.sched_priority = REALTIME_PRIORITY};
    uint8_t body[GM_BODY_MAX] = {0}, reply[GM_BODY_MAX];
    struct sockaddr_un path;
    int control, pid;
    unsigned count;
    double seconds, before, used;

    if (argc < 5) {
        (void)fprintf(stderr, "usage: media-load CONTROL DIRECTORY CALLS SECONDS\n");
        return 2;
    }
    count = (unsigned)strtoul(argv[3], NULL, 10);
    seconds = strtod(argv[4], NULL);
    if (!count || count > CALLS_MAX)
        return 2;
    for (int i = 0; i < FRAME; i++) { /* 1000 Hz by its eight mu-law codes: the digital milliwatt of G.711 */
        static const uint8_t milliwatt[8] = {0x1e, 0x0b, 0x0b, 0x1e, 0x9e, 0x8b, 0x8b, 0x9e};

        tone[i] = milliwatt[i % 8];
    }
    control = unix_socket(argv[1], &path);
    if (connect(control, (struct sockaddr *)&path, sizeof path))
        die(argv[1]);
    put(body + 4, 1500, 4);
    put(body + 8, 1, 4);
    ask(control, GM_HELLO, 0, body, 12, reply);
    pid = reply[16] | reply[17] << 8 | reply[18] << 16 | reply[19] << 24;
    for (unsigned i = 0; i < count; i++)
        set_up(control, argv[2], i);
    (void)sched_setscheduler(0, SCHED_FIFO, &priority); /* if allowed: others on the machine do not disturb the measure */
    for (unsigned i = 0; i < count; i++) {
        calls[i].next[0] = now_us() + (int64_t)(i * 7919U % FRAME_US);
        calls[i].next[1] = now_us() + (int64_t)(i * 6271U % FRAME_US);
    }
    run(count, now_us() + 2000000, &to_rtp, &to_tdm); /* settle */
    to_rtp.count = to_tdm.count = 0;
    before = cpu_of(pid);
    run(count, now_us() + (int64_t)(seconds * 1e6), &to_rtp, &to_tdm);
    used = cpu_of(pid) - before;
    (void)printf("%u calls, %.0f s: engine %.3f %% of a core, %.4f %% a call\n", count, seconds, used / seconds * 100.0,
                 used / seconds * 100.0 / count);
    print_delays("TDM to RTP", &to_rtp);
    print_delays("RTP to TDM", &to_tdm);
    return 0;
}
