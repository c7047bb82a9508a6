#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"

/* Keys of the outer epoll; engine.c has another, KEY_DISK. */
enum { KEY_LISTEN = 0, KEY_CLIENT = 1, KEY_WAITING = 2 };
enum {
    PACKETS_AT_ONCE = 16,    /* then voice gets its turn */
    SEND_BUFFER = 1 << 20,   /* a client that lets this fill up is stuck, and cut off */
};

static int watch(struct engine *e, int fd, uint32_t key, int operation)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = key};

    return epoll_ctl(e->outer, operation, fd, &event) ? errno : 0;
}

int control_open(struct engine *e, const char *path)
{
    struct control *c = &e->control;
    size_t size = strlen(path);
    int probe, err = 0;

    c->listen_fd = c->client = NO_FD;
    for (int i = 0; i < CONTROL_WAITING; i++)
        c->waiting[i] = NO_FD;
    if (size > GM_SOCKET_PATH_MAX)
        return ENAMETOOLONG;
    c->path.sun_family = AF_UNIX;
    memcpy(c->path.sun_path, path, size);
    probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return errno;
    if (connect(probe, (struct sockaddr *)&c->path, sizeof c->path) && errno == ECONNREFUSED) {
        struct stat status;

        if (!lstat(path, &status) && S_ISSOCK(status.st_mode))
            (void)unlink(path); /* left over from an engine that is gone */
    }
    close(probe);
    c->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->listen_fd < 0)
        return errno;
    if (bind(c->listen_fd, (struct sockaddr *)&c->path, sizeof c->path) || chmod(path, 0660) ||
        listen(c->listen_fd, CONTROL_WAITING)) {
        err = errno;
        close(c->listen_fd);
        c->listen_fd = NO_FD;
        return err;
    }
    return watch(e, c->listen_fd, KEY_LISTEN, EPOLL_CTL_ADD);
}

void control_drop(struct engine *e, const char *why)
{
    struct control *c = &e->control;

    log_line("client gone (%s), %u streams run on for %u s", why, e->streams.used, e->options.grace_seconds);
    close(c->client);
    c->client = NO_FD;
    c->out_size = 0;
    c->graceful = true;
    c->alone_since = e->now;
    c->grace_end = e->now + (int64_t)e->options.grace_seconds * 1000000;
    tap_none(e);
    for (unsigned i = 0; i < e->streams.count; i++) {
        e->streams.all[i].adopted = false;
        e->streams.all[i].file.request = 0;
    }
}

void control_close(struct engine *e)
{
    struct control *c = &e->control;

    for (int i = 0; i < CONTROL_WAITING; i++)
        if (c->waiting[i] >= 0)
            close(c->waiting[i]);
    if (c->client >= 0)
        close(c->client);
    if (c->listen_fd >= 0) {
        close(c->listen_fd);
        (void)unlink(c->path.sun_path);
    }
}

/* Executes the messages of one packet up to the first that is not whole; false: the connection is to be closed. */
static bool take_packet(struct engine *e, size_t size, int *waiting)
{
    struct control *c = &e->control;
    struct cursor packet = cursor_over(c->in, size);

    while (cursor_left(&packet)) {
        unsigned magic = cursor_le16(&packet);
        unsigned version = cursor_u8(&packet);
        struct message m = {.opcode = cursor_u8(&packet)};
        struct cursor body;
        uint32_t length;
        const uint8_t *data;

        m.request = cursor_le32(&packet);
        m.stream = cursor_le32(&packet);
        length = cursor_le32(&packet);
        data = cursor_take(&packet, length);
        if (!data || magic != GM_MAGIC || length > GM_BODY_MAX) {
            log_line("control: malformed packet of %zu octets", size);
            return !waiting;
        }
        if (version != GM_VERSION) {
            log_line("control: protocol version %u, expected %u", version, (unsigned)GM_VERSION);
            return false;
        }
        if (waiting) {
            if (m.opcode != GM_HELLO)
                return false;
            if (c->client >= 0)
                control_drop(e, "another one says hello");
            c->client = *waiting;
            *waiting = NO_FD;
            waiting = NULL;
            (void)watch(e, c->client, KEY_CLIENT, EPOLL_CTL_MOD);
        }
        body = cursor_over(data, length);
        request_execute(e, &m, &body);
        if ((m.opcode == GM_SET_RTP || m.opcode == GM_SET_IAX) && length)
            explicit_bzero(c->in + (data - c->in), length); /* there may be keys in it */
        if (c->client < 0)
            return true; /* cut off meanwhile */
    }
    return true;
}

static void accept_one(struct engine *e)
{
    struct control *c = &e->control;
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    const int room = SEND_BUFFER;
    unsigned at = c->oldest;

    if (fd < 0)
        return;
    for (unsigned i = 0; i < CONTROL_WAITING; i++)
        if (c->waiting[i] < 0)
            at = i;
    if (c->waiting[at] >= 0) { /* all places taken by connections that say nothing: the oldest goes */
        close(c->waiting[at]);
        c->oldest = (c->oldest + 1) % CONTROL_WAITING;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    c->waiting[at] = fd;
    if (watch(e, fd, KEY_WAITING + at, EPOLL_CTL_ADD)) {
        close(fd);
        c->waiting[at] = NO_FD;
    }
}

static void read_waiting(struct engine *e, int *fd)
{
    ssize_t got = *fd < 0 ? -1 : recv(*fd, e->control.in, sizeof e->control.in, MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || *fd < 0))
        return;
    if (got > 0 && take_packet(e, (size_t)got, fd) && *fd < 0)
        return; /* it is the client now */
    if (*fd >= 0)
        close(*fd);
    *fd = NO_FD;
}

static void read_client(struct engine *e)
{
    struct control *c = &e->control;

    for (int i = 0; i < PACKETS_AT_ONCE && c->client >= 0; i++) {
        ssize_t got = recv(c->client, c->in, sizeof c->in, MSG_DONTWAIT);

        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0)
            control_drop(e, got ? strerrordesc_np(errno) : "closed");
        else if (!take_packet(e, (size_t)got, NULL) && c->client >= 0)
            control_drop(e, "wrong protocol version");
    }
}

void control_readable(struct engine *e, uint32_t key)
{
    if (key == KEY_LISTEN)
        accept_one(e);
    else if (key == KEY_CLIENT)
        read_client(e);
    else if (key < KEY_WAITING + CONTROL_WAITING)
        read_waiting(e, &e->control.waiting[key - KEY_WAITING]);
    control_flush(e);
}

void control_grace(struct engine *e)
{
    struct control *c = &e->control;

    if (!c->graceful || e->now < c->grace_end)
        return;
    c->graceful = false;
    for (unsigned i = 0; i < e->streams.count; i++) {
        struct stream *s = &e->streams.all[i];

        if (s->kind && !s->adopted) {
            log_line("stream %u (%s): nobody adopted it", s->id, s->label);
            requests_close(e, s);
        }
    }
}
