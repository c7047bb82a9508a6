#include "../engine.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

/* The whole engine in this process, under the sanitizers: hostile control messages, RTP, RTCP and blocks. */

static char directory[] = "/tmp/gateway-media-XXXXXX";
static char path[100];
static struct engine engine;
static uint8_t reply[GM_PACKET_MAX];
static size_t reply_size;
static uint64_t seed = 2;

static uint32_t below(uint32_t most)
{
    return most ? check_random(&seed) % most : 0;
}

static void steps(int count)
{
    for (int i = 0; i < count; i++)
        CHECK_EQUAL(engine_step(&engine, 0), 0);
}

static int dial(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

    CHECK(fd >= 0);
    (void)snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    CHECK_EQUAL(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static size_t build(uint8_t *to, unsigned opcode, uint32_t request, uint32_t stream, const void *body, size_t size)
{
    struct writer w = writer_over(to, GM_PACKET_MAX);

    put_le16(&w, GM_MAGIC);
    put_u8(&w, GM_VERSION);
    put_u8(&w, opcode);
    put_le32(&w, request);
    put_le32(&w, stream);
    put_le32(&w, (uint32_t)size);
    put_bytes(&w, body, size);
    return w.at;
}

/* Code of the reply, -1 if there is none. */
static int ask(int fd, unsigned opcode, uint32_t stream, const void *body, size_t size)
{
    static uint32_t request = 100;
    uint8_t packet[GM_PACKET_MAX];
    size_t length = build(packet, opcode, ++request, stream, body, size);

    CHECK_EQUAL(send(fd, packet, length, MSG_NOSIGNAL), (ssize_t)length);
    for (int i = 0; i < 50; i++) {
        ssize_t got;

        steps(1);
        got = recv(fd, reply, sizeof reply, MSG_DONTWAIT);
        for (size_t at = 0; got > 0 && at + GM_HEADER_BYTES < (size_t)got;) {
            struct cursor c = cursor_over(reply + at, (size_t)got - at);
            uint32_t its, bytes;

            cursor_take(&c, 4);
            its = cursor_le32(&c);
            cursor_le32(&c);
            bytes = cursor_le32(&c);
            if (its == request) {
                reply_size = bytes;
                memmove(reply, reply + at + GM_HEADER_BYTES, bytes);
                c = cursor_over(reply, bytes);
                return (int)cursor_le32(&c);
            }
            at += GM_HEADER_BYTES + bytes;
        }
    }
    return -1;
}

static int hello(void)
{
    uint8_t body[12];
    struct writer w = writer_over(body, sizeof body);
    int fd = dial();

    put_le16(&w, 40000);
    put_le16(&w, 40999);
    put_le32(&w, 500);
    put_le32(&w, 1);
    steps(2);
    CHECK_EQUAL(ask(fd, GM_HELLO, 0, body, sizeof body), 0);
    return fd;
}

static size_t open_body(uint8_t *body, unsigned opcode)
{
    struct writer w = writer_over(body, GM_BODY_MAX);
    const uint8_t loopback[16] = {127, 0, 0, 1};

    memset(body, 0, GM_BODY_MAX);
    if (opcode == GM_OPEN_RTP) {
        put_le32(&w, 4);
        put_bytes(&w, loopback, sizeof loopback);
    } else if (opcode == GM_OPEN_TONE) {
        put_le32(&w, 1);
    } else if (opcode == GM_OPEN_RECORDER) {
        put_le32(&w, 10);
    } else if (opcode != GM_OPEN_ECHO) {
        put_le32(&w, 0);
    }
    put_zeros(&w, GM_LABEL_BYTES);
    if (opcode == GM_OPEN_TONE) {
        put_le16(&w, 440);
        put_zeros(&w, 14);
    } else if (opcode == GM_OPEN_TDM) {
        put_bytes(&w, directory, strlen(directory));
        put_bytes(&w, "/line", 5);
    } else if (opcode == GM_OPEN_PROMPT) {
        put_bytes(&w, "/nowhere.wav", 12);
    } else if (opcode == GM_OPEN_RECORDER) {
        put_bytes(&w, "/dev/null", 9);
    }
    return w.at;
}

static size_t set_body(uint8_t *body, uint16_t port)
{
    struct writer w = writer_over(body, GM_BODY_MAX);
    const uint8_t loopback[16] = {127, 0, 0, 1};

    put_u8(&w, 4);
    put_u8(&w, 0);
    put_u8(&w, 0);
    put_u8(&w, 101);
    put_bytes(&w, loopback, sizeof loopback);
    put_le16(&w, port);
    put_le16(&w, port + 1U);
    put_u8(&w, 20);
    put_u8(&w, GM_SENDRECV);
    put_u8(&w, below(2));
    put_u8(&w, 0);
    return w.at;
}

static void close_all(int fd)
{
    for (unsigned i = 0; i < engine.streams.count; i++)
        if (engine.streams.all[i].kind)
            CHECK_EQUAL(ask(fd, GM_CLOSE, engine.streams.all[i].id, NULL, 0), 0);
    CHECK_EQUAL(engine.streams.used, 0);
}

static void requests_have_their_errors(void)
{
    uint8_t body[GM_BODY_MAX];
    int fd = hello();

    CHECK_EQUAL(ask(fd, GM_CLOSE, 5, NULL, 0), ENOENT);
    CHECK_EQUAL(ask(fd, GM_OPEN_ECHO, 0, body, open_body(body, GM_OPEN_ECHO)), EINVAL);
    CHECK_EQUAL(ask(fd, GM_OPEN_ECHO, 5, body, 3), EBADMSG);
    CHECK_EQUAL(ask(fd, GM_OPEN_ECHO, 5, body, open_body(body, GM_OPEN_ECHO)), 0);
    CHECK_EQUAL(ask(fd, GM_OPEN_ECHO, 5, body, open_body(body, GM_OPEN_ECHO)), EEXIST);
    CHECK_EQUAL(ask(fd, 99, 5, NULL, 0), ENOSYS);
    CHECK_EQUAL(ask(fd, GM_SET_RTP, 5, body, set_body(body, 9)), EINVAL);
    CHECK_EQUAL(ask(fd, GM_SEND_DIGITS, 5, "\0\0\0\0001", 5), EINVAL);
    CHECK_EQUAL(ask(fd, GM_CONNECT, 5, "\5\0\0\0", 4), EINVAL);
    CHECK_EQUAL(ask(fd, GM_CONNECT, 5, "\6\0\0\0", 4), ENOENT);
    CHECK_EQUAL(ask(fd, GM_STATISTICS, 5, NULL, 0), 0);
    CHECK_EQUAL(reply_size, 4 + GM_STATISTICS_BYTES);
    CHECK_EQUAL(ask(fd, GM_OPEN_RTP, 6, body, open_body(body, GM_OPEN_RTP)), 0);
    CHECK_EQUAL((reply[4] | reply[5] << 8) % 2, 0);
    CHECK_EQUAL(ask(fd, GM_SET_RTP, 6, body, set_body(body, 0)), EINVAL);
    (void)set_body(body, 9);
    body[0] = 6;
    CHECK_EQUAL(ask(fd, GM_SET_RTP, 6, body, 28), EAFNOSUPPORT);
    memset(body, 'x', sizeof body);
    memset(body, 0, 4 + GM_LABEL_BYTES);
    CHECK_EQUAL(ask(fd, GM_OPEN_TDM, 7, body, 4 + GM_LABEL_BYTES + 108), ENAMETOOLONG);
    CHECK_EQUAL(ask(fd, GM_OPEN_PROMPT, 7, body, 4 + GM_LABEL_BYTES + 1024), ENAMETOOLONG);
    close_all(fd);
    close(fd);
    steps(3);
}

static void the_table_of_streams_has_a_limit(void)
{
    uint8_t body[GM_BODY_MAX];
    int fd = hello();

    for (unsigned i = 0; i < engine.streams.count; i++)
        CHECK_EQUAL(ask(fd, GM_OPEN_ECHO, 1000 + i * 64, body, open_body(body, GM_OPEN_ECHO)), 0);
    CHECK_EQUAL(ask(fd, GM_OPEN_ECHO, 5, body, open_body(body, GM_OPEN_ECHO)), ENFILE);
    CHECK_EQUAL(ask(fd, GM_LIST, 0, "\0\0\0\0", 4), 0);
    CHECK_EQUAL(reply_size, 8 + GM_LIST_MAX * (12 + GM_LABEL_BYTES));
    CHECK_EQUAL(ask(fd, GM_LIST, 0, "\60\0\0\0", 4), 0);
    CHECK_EQUAL(reply_size, 8 + (engine.streams.count - 48) * (12 + GM_LABEL_BYTES));
    close_all(fd);
    close(fd);
    steps(3);
}

static void who_does_not_say_hello_is_turned_away(void)
{
    uint8_t packet[64];
    int fd = dial(), many[20];
    size_t size = build(packet, GM_LIST, 1, 0, "\0\0\0\0", 4);

    steps(1);
    CHECK_EQUAL(send(fd, packet, size, MSG_NOSIGNAL), (ssize_t)size);
    steps(3);
    CHECK_EQUAL(recv(fd, reply, sizeof reply, MSG_DONTWAIT), 0);
    close(fd);
    for (int i = 0; i < 20; i++) {
        many[i] = dial();
        steps(2);
    }
    fd = hello(); /* in spite of all those that wait and say nothing */
    for (int i = 0; i < 20; i++)
        close(many[i]);
    steps(30);
    CHECK_EQUAL(ask(fd, GM_LIST, 0, "\0\0\0\0", 4), 0);
    close(fd);
    steps(3);
}

static void a_new_client_takes_over_and_may_adopt(void)
{
    uint8_t body[GM_BODY_MAX];
    int first = hello(), second;
    struct timespec pause = {0, 20000000};

    CHECK_EQUAL(ask(first, GM_OPEN_ECHO, 71, body, open_body(body, GM_OPEN_ECHO)), 0);
    CHECK_EQUAL(ask(first, GM_OPEN_ECHO, 72, body, open_body(body, GM_OPEN_ECHO)), 0);
    second = hello();
    CHECK_EQUAL(reply[4], 0); /* not fresh */
    CHECK_EQUAL(recv(first, reply, sizeof reply, MSG_DONTWAIT), 0);
    CHECK_EQUAL(ask(second, GM_ADOPT, 71, NULL, 0), 0);
    for (int i = 0; i < 500 && engine.streams.used > 1; i++) {
        nanosleep(&pause, NULL);
        steps(1);
    }
    CHECK_EQUAL(engine.streams.used, 1);
    CHECK(stream_find(&engine.streams, 71));
    close_all(second);
    close(first);
    close(second);
    steps(3);
}

static void a_client_that_never_reads_is_cut_off(void)
{
    uint8_t packet[GM_HEADER_BYTES + 4];
    int fd = hello();
    size_t size = build(packet, GM_LIST, 1, 0, "\0\0\0\0", 4);

    for (int i = 0; i < 200000 && engine.control.client >= 0; i++) {
        if (send(fd, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            steps(1);
    }
    CHECK(engine.control.client < 0);
    close(fd);
    steps(3);
}

/* A random message that is often nearly right. */
static size_t random_message(uint8_t *to)
{
    uint8_t body[GM_BODY_MAX];
    unsigned opcode = below(18);
    size_t size = below(100);

    for (size_t i = 0; i < size; i++)
        body[i] = (uint8_t)check_random(&seed);
    if ((opcode >= GM_OPEN_TDM && opcode <= GM_OPEN_RECORDER) || (opcode == GM_OPEN_RTP && below(4))) {
        size = open_body(body, opcode);
    } else if (opcode == GM_SET_RTP && below(4)) {
        size = set_body(body, (uint16_t)(50000 + below(100)));
    } else if (opcode == GM_CONNECT) {
        struct writer w = writer_over(body, sizeof body);

        put_le32(&w, 1 + below(12));
        size = w.at;
    } else if (opcode == GM_SEND_DIGITS && below(2)) {
        static const uint8_t digits[8] = {100, 0, 0, 0, '1', '#', 'A', '9'};

        memcpy(body, digits, sizeof digits);
        size = sizeof digits;
    } else if (opcode == GM_CLOSE && below(3)) {
        opcode = GM_STATISTICS;
    } else if (opcode == GM_HELLO) {
        memset(body, 0, 12);
        size = 12;
    }
    if (!below(4))
        for (unsigned k = below(4); k > 0 && size; k--)
            body[below((uint32_t)size)] = (uint8_t)check_random(&seed);
    if (!below(10))
        size = below((uint32_t)size + 1);
    return build(to, opcode, below(3) ? check_random(&seed) : 0, 1 + below(12), body, size);
}

static void random_control_messages_break_nothing(void)
{
    int fd = hello();
    unsigned reconnected = 0;

    for (int i = 0; i < 30000; i++) {
        uint8_t packet[GM_PACKET_MAX] = {0};
        size_t size = 0;

        for (unsigned k = 1 + below(3); k > 0; k--)
            size += random_message(packet + size);
        if (!below(50))
            packet[below((uint32_t)size)] ^= (uint8_t)(1 << below(8));
        if (!below(50))
            size = below((uint32_t)size + 1);
        (void)send(fd, packet, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        steps(1);
        while (recv(fd, reply, sizeof reply, MSG_DONTWAIT) > 0)
            ;
        if (engine.control.client < 0) {
            close(fd);
            fd = hello();
            reconnected++;
        }
    }
    CHECK(reconnected > 0);
    close_all(fd);
    close(fd);
    steps(3);
}

static void hostile_packets_do_not_end_a_stream(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, to;
    socklen_t size = sizeof a;
    uint8_t body[GM_BODY_MAX];
    int control = hello(), fd = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
    struct stream *s;
    struct timespec pause = {0, 2000000};
    uint16_t sequence = 0;
    uint32_t accepted;

    if (fd < 0 || other < 0)
        abort();
    CHECK_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    CHECK_EQUAL(getsockname(fd, (struct sockaddr *)&a, &size), 0);
    CHECK_EQUAL(ask(control, GM_OPEN_RTP, 1, body, open_body(body, GM_OPEN_RTP)), 0);
    CHECK_EQUAL(ask(control, GM_OPEN_ECHO, 2, body, open_body(body, GM_OPEN_ECHO)), 0);
    CHECK_EQUAL(ask(control, GM_SET_RTP, 1, body, set_body(body, ntohs(a.sin_port))), 0);
    CHECK_EQUAL(ask(control, GM_CONNECT, 1, "\2\0\0\0", 4), 0);
    s = stream_find(&engine.streams, 1);
    to = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(s->rtp.port)};
    for (int i = 0; i < 20000; i++) {
        uint8_t packet[600];
        size_t length = below(sizeof packet);
        struct sockaddr_in target = to;
        struct rtp_packet header = {.sequence = sequence, .stamp = (uint32_t)sequence * 160, .ssrc = 7,
                                    .payload_type = (uint8_t)(below(3) ? 0 : 101)};

        for (size_t k = 0; k < length; k++)
            packet[k] = (uint8_t)check_random(&seed);
        if (i & 1 && length > RTP_HEADER) {
            rtp_header(packet, &header);
            sequence = (uint16_t)(sequence + (below(8) ? 1 : below(70000)));
        }
        if (!below(5))
            target.sin_port = htons((uint16_t)(s->rtp.port + 1));
        (void)sendto(below(4) ? fd : other, packet, length, 0, (struct sockaddr *)&target, sizeof target);
        if (!(i % 40))
            nanosleep(&pause, NULL);
        steps(1);
        while (!(i % 16) && recv(fd, packet, sizeof packet, MSG_DONTWAIT) > 0)
            ;
        while (!(i % 16) && recv(control, reply, sizeof reply, MSG_DONTWAIT) > 0)
            ;
    }
    CHECK(s->rejected > 100);
    accepted = (uint32_t)s->packets_received;
    for (int i = 0; i < 2000 && s->packets_received < accepted + 20; i++) {
        uint8_t packet[RTP_HEADER + SAMPLES] = {0};
        struct rtp_packet header = {.ssrc = 7};

        header.sequence = ++sequence;
        header.stamp = (uint32_t)sequence * 160;
        rtp_header(packet, &header);
        (void)sendto(fd, packet, sizeof packet, 0, (struct sockaddr *)&to, sizeof to);
        nanosleep(&pause, NULL);
        steps(1);
    }
    CHECK(s->packets_received >= accepted + 20);
    CHECK_EQUAL(ask(control, GM_STATISTICS, 1, NULL, 0), 0);
    close_all(control);
    close(control);
    close(fd);
    close(other);
    steps(3);
}

static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
    signalled = number;
}

static void a_signal_from_before_the_wait_ends_it(void)
{
    const struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked;

    signalled = 0;
    (void)sigemptyset(&blocked);
    (void)sigaddset(&blocked, SIGTERM);
    CHECK_EQUAL(sigprocmask(SIG_BLOCK, &blocked, NULL), 0);
    CHECK_EQUAL(sigaction(SIGTERM, &action, NULL), 0);
    CHECK_EQUAL(raise(SIGTERM), 0);
    CHECK_EQUAL(engine_step(&engine, 1000), 0);
    CHECK_EQUAL(signalled, SIGTERM);
}

/* As Linux before 5.11, and container hosts that refuse what they do not know. */
static void forbid_epoll_pwait2(unsigned err)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};

    CHECK_EQUAL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQUAL(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* The last one: what is forbidden stays so. */
static void a_kernel_without_epoll_pwait2_will_do(void)
{
    static const unsigned refusals[] = {ENOSYS, EPERM};

    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        int control;
        int64_t begun;

        forbid_epoll_pwait2(refusals[i]);
        control = hello();
        begun = engine.now;
        CHECK_EQUAL(engine_step(&engine, 30), 0);
        CHECK(engine.now - begun >= 29000);
        close(control);
        steps(3);
        a_signal_from_before_the_wait_ends_it();
    }
}

int main(void)
{
    struct options options = {.control = path, .streams = 64, .files = 8, .port_first = 41000, .port_last = 41999,
                              .silence_milliseconds = 500, .grace_seconds = 1, .delay_milliseconds = 200};


    CHECK(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/control", directory);
    CHECK_EQUAL(engine_open(&engine, &options), 0);
    RUN(requests_have_their_errors);
    RUN(the_table_of_streams_has_a_limit);
    RUN(who_does_not_say_hello_is_turned_away);
    RUN(a_new_client_takes_over_and_may_adopt);
    RUN(a_client_that_never_reads_is_cut_off);
    RUN(random_control_messages_break_nothing);
    RUN(hostile_packets_do_not_end_a_stream);
    RUN(a_signal_from_before_the_wait_ends_it);
    RUN(a_kernel_without_epoll_pwait2_will_do);
    engine_close(&engine);
    (void)rmdir(directory);
    return 0;
}
