#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"
#include "law.h"
#include "socket_call.h"

enum {
    RETRY_FIRST_US = 20000, /* a far end that is a moment late costs no more than a frame or two */
    RETRY_LAST_US = 500000,
    ABSENT_US = 100000, /* once it is waited for so long, that is told */
    BLOCKS_AT_ONCE = 16,
    OLD_US = 25000,    /* a block that waited so long has another behind it */
    QUIET_US = 200000, /* a line this quiet is looked at once a frame */
    SETTLED_US = 1000,
    STEADY = 8, /* blocks that came alike: so the line's clock is */
    SEND_BUFFER = 2304, /* doubled by the kernel: about five blocks; a far end that does not read hears no old voice */
};

static int unix_socket(struct sockaddr_un *a, const char *path, size_t size)
{
    if (size > GM_SOCKET_PATH_MAX)
        return ENAMETOOLONG;
    memset(a, 0, sizeof *a);
    a->sun_family = AF_UNIX;
    memcpy(a->sun_path, path, size);
    return 0;
}

static void use(struct engine *e, struct stream *s, int fd)
{
    const int room = SEND_BUFFER, one = 1;

    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room); /* fails on a device, which has its own */
    (void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    s->tdm.fd = fd;
    s->tdm.lost = false;
    s->expected_from = e->now;
}

static int connect_out(struct engine *e, struct stream *s)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err;

    if (fd < 0)
        return errno;
    if (connect(fd, (const struct sockaddr *)&s->tdm.path, sizeof s->tdm.path)) {
        err = errno;
        close(fd);
        return err;
    }
    use(e, s, fd);
    return 0;
}

/* A socket file that nobody listens at is left over from a program that is gone. */
static bool left_over(const struct sockaddr_un *path)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat status;
    bool left = fd >= 0 && !lstat(path->sun_path, &status) && S_ISSOCK(status.st_mode) &&
                connect(fd, (const struct sockaddr *)path, sizeof *path) && errno == ECONNREFUSED;

    if (fd >= 0)
        close(fd);
    return left;
}

static int listen_at(struct engine *e, struct stream *s)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int err = 0;

    if (fd < 0)
        return errno;
    if (left_over(&s->tdm.path))
        (void)unlink(s->tdm.path.sun_path);
    if (bind(fd, (const struct sockaddr *)&s->tdm.path, sizeof s->tdm.path) || listen(fd, 1))
        err = errno;
    if (!err)
        err = engine_watch(e, s, fd);
    if (err)
        close(fd);
    else
        s->tdm.listen_fd = fd;
    return err;
}

static int open_device(struct engine *e, struct stream *s, const char *path)
{
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    (void)e;
    (void)s;
    if (fd < 0)
        return errno;
    /* A DAHDI channel needs its block size, law and buffers set by ioctl here, then use(). No card is supported yet. */
    close(fd);
    return ENOTSUP;
}

static void lose(struct engine *e, struct stream *s, const char *text)
{
    bool told = s->tdm.fd >= 0 || s->tdm.wait >= ABSENT_US;

    if (s->tdm.fd >= 0)
        close(s->tdm.fd);
    s->tdm.fd = NO_FD;
    s->tdm.retry = e->now + s->tdm.wait;
    s->tdm.wait = s->tdm.wait < RETRY_LAST_US / 2 ? 2 * s->tdm.wait : RETRY_LAST_US;
    if (told && !s->tdm.lost) {
        control_event_lost(e, s->id, text);
        s->tdm.lost = true;
    }
}

int tdm_open(struct engine *e, struct stream *s, const char *path, size_t size, enum law law, bool listening)
{
    int err = unix_socket(&s->tdm.path, path, size);
    struct stat status;

    if (err)
        return err;
    s->tdm.law = law;
    s->tdm.wait = RETRY_FIRST_US;
    jitter_reset(&s->jitter, law);
    if (listening)
        err = listen_at(e, s);
    else if (!stat(s->tdm.path.sun_path, &status) && S_ISCHR(status.st_mode))
        err = open_device(e, s, s->tdm.path.sun_path);
    else if (connect_out(e, s))
        s->tdm.retry = e->now; /* the far end may come yet: the line heals by itself */
    bridge_join(e, s);
    schedule_add(&e->reading, &s->reading, s, engine_random(e));
    return err;
}

void tdm_close(struct engine *e, struct stream *s)
{
    (void)e;
    if (s->tdm.fd >= 0)
        close(s->tdm.fd);
    if (s->tdm.listen_fd >= 0) {
        close(s->tdm.listen_fd);
        (void)unlink(s->tdm.path.sun_path);
    }
    s->tdm.fd = s->tdm.listen_fd = NO_FD;
}

/* One far end at a time: a second one is turned away. */
void tdm_accept(struct engine *e, struct stream *s)
{
    int fd = accept4(s->tdm.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    if (s->tdm.fd >= 0)
        close(fd);
    else
        use(e, s, fd);
}

/* When a block came is asked for once in a while, as that takes the kernel longer: while nothing is known of the line's clock,
 * and whenever something is late. */
static bool ask_age(const struct engine *e, const struct stream *s, unsigned phase)
{
    return s->tdm.steady < STEADY || phase != s->reading.phase || e->now - (e->origin + e->tick * TICK_US) >= TICK_US ||
           (e->tick / PHASES + s->slot) % e->asking == 0;
}

/* One block, -1 if there is none; `*age`: microseconds since it came. */
static ssize_t receive_block(struct engine *e, struct stream *s, uint8_t *block, size_t size, bool asked, int64_t *age)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec v = {.iov_base = block, .iov_len = size};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t got;

    *age = 0;
    if (s->tdm.device)
        return read(s->tdm.fd, block, size);
    if (!asked)
        return call_recv(s->tdm.fd, block, size, MSG_DONTWAIT);
    got = call_recvmsg(s->tdm.fd, &m, MSG_DONTWAIT);
    if (got > 0)
        *age = e->now - e->arrival(e, &m);
    return got;
}

static void take_block(struct engine *e, struct stream *s, uint8_t *block)
{
    s->packets_received++;
    s->octets_received += SAMPLES;
    s->tdm.wait = RETRY_FIRST_US;
    bridge_heard(e, s);
    jitter_pass(&s->jitter, block);
    if (bridge_inband(e, s, s->tdm.law, block))
        memset(block, law_idle(s->tdm.law), SAMPLES);
    bridge_push(e, s, s->tdm.law, block);
}

/* What is put in a trunk frame waits there for the beat, so as well may the line. Ticks to wait for that after `natural`. */
static unsigned wait_of(const struct engine *e, const struct stream *s, unsigned natural)
{
    if (!s->peer || !s->peer->iax.trunk || !e->beat.on || s->tdm.steady < STEADY || s->fed)
        return 0;
    return (e->beat.tick + PHASES - natural) % PHASES;
}

/* When the next block is to be read, of one that came `age` microseconds ago. */
static void choose_tick(struct engine *e, struct stream *s, unsigned *phase, int64_t age)
{
    const int64_t late = e->now - (e->origin + e->tick * TICK_US), spare = age - late - SETTLED_US;
    const unsigned early = spare < TICK_US ? 0 : spare < FRAME_US ? (unsigned)(spare / TICK_US) : PHASES - 1;
    const unsigned natural = (*phase + PHASES - early) % PHASES;
    unsigned next;

    if (natural != s->tdm.natural)
        s->tdm.steady = 0;
    else if (s->tdm.steady < STEADY)
        s->tdm.steady++;
    s->tdm.natural = (uint8_t)natural;
    next = *phase + PHASES - early + wait_of(e, s, natural);
    s->reading.frame += (int64_t)(next / PHASES) - 1; /* it may come in this frame yet, or not in the next */
    *phase = next % PHASES;
}

/* Reads without asking epoll first, at the tick after a block is expected or a little later. What was late moves that tick
 * on, what had to wait for more than a tick moves it back. */
bool tdm_receive(struct engine *e, struct stream *s, unsigned *phase)
{
    bool last = *phase == PHASES - 1;
    uint8_t block[SAMPLES + 1]; /* a longer block is seen to be longer */
    const bool asked = ask_age(e, s, *phase);
    int64_t age = 0;
    ssize_t got = -1;

    for (int i = 0; i < BLOCKS_AT_ONCE && s->tdm.fd >= 0; i++) {
        got = receive_block(e, s, block, sizeof block, asked, &age);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (got <= 0)
            lose(e, s, got ? strerrordesc_np(errno) : "far end closed the channel");
        else if (got != SAMPLES)
            s->rejected++;
        else
            take_block(e, s, block);
        if (got > 0 && age < OLD_US)
            break;
    }
    if (got < 0) {
        bool quiet = s->tdm.fd < 0 || e->now - s->heard_at > QUIET_US;

        if (quiet) {
            *phase = s->hearing.phase; /* one wake-up for both */
            return true;
        }
        if (last)
            *phase = 0;
        return last;
    }
    if (asked)
        choose_tick(e, s, phase, age);
    if (s->peer && s->peer->iax.trunk)
        beat_reads(&e->beat, s->tdm.natural);
    return true;
}

void tdm_send(struct engine *e, struct stream *s, enum law law, const uint8_t *frame)
{
    uint8_t *block = s->tdm.block;
    ssize_t put;

    if (digits_busy(&s->digits)) {
        int16_t linear[SAMPLES];

        digits_tones(&s->digits, linear);
        law_encode(s->tdm.law, block, linear, SAMPLES);
    } else {
        law_convert(s->tdm.law, block, law, frame, SAMPLES);
    }
    if (s->tdm.fd < 0)
        return;
    put = s->tdm.device ? write(s->tdm.fd, block, SAMPLES)
                        : call_sendto(s->tdm.fd, block, SAMPLES, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
    if (put == SAMPLES) {
        s->packets_sent++;
        s->octets_sent += SAMPLES;
    } else if (put >= 0) {
        lose(e, s, "a block was written in part");
    } else if (errno == EAGAIN || errno == ENOBUFS) {
        s->dropped++;
    } else {
        lose(e, s, strerrordesc_np(errno));
    }
}

void tdm_upkeep(struct engine *e, struct stream *s)
{
    int err;

    if (s->tdm.fd >= 0 || s->tdm.listen_fd >= 0 || e->now < s->tdm.retry)
        return;
    err = connect_out(e, s);
    if (err)
        lose(e, s, strerrordesc_np(err));
}
