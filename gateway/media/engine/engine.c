#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "halfband.h"
#include "law.h"

/* The outer epoll wakes the engine: control socket, disk, and the next tick at which somebody is due; a machine with one call
 * spends most of what it spends on waking up. Voice sockets are in no epoll at all: they are read at the tick at which
 * something is expected, which costs one call a packet. The media epoll, looked at once in 20 ms but never waited for,
 * holds what is rare. */

enum {
    KEY_DISK = 100,
    BATCH = 256,
    ROUNDS = 16,      /* of BATCH each, at one tick: a flood cannot stop the clock */
    PATIENCE = 2048,  /* strangers' packets in a frame, of all streams; each costs a microsecond or two */
    WALL_US = 100000, /* clocks part slowly */
    ASKING = 8,
    CATCH_UP = 50,    /* ticks made up for after a stall; beyond that time is lost */
};

static int64_t clock_microseconds(clockid_t id)
{
    struct timespec t;

    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void look_at_clock(struct engine *e)
{
    e->now = clock_microseconds(CLOCK_MONOTONIC);
    if (e->now >= e->wall_until) {
        e->wall = clock_microseconds(CLOCK_REALTIME) - e->now;
        e->wall_until = e->now + WALL_US;
    }
}

uint64_t engine_ntp(const struct engine *e, int64_t at)
{
    int64_t wall = at + e->wall;

    return rtcp_ntp(wall / 1000000, wall % 1000000 * 1000);
}

/* The kernel's time, or now if that makes no sense. */
static int64_t kernel_arrival(const struct engine *e, struct msghdr *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        struct timespec t;
        int64_t at;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        memcpy(&t, CMSG_DATA(c), sizeof t);
        at = (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000 - e->wall;
        return at > e->now || at < e->now - 1000000 ? e->now : at;
    }
    return e->now;
}

/* splitmix64: good enough for SSRCs, ports and jittered intervals once seeded by the kernel. */
uint32_t engine_random(struct engine *e)
{
    uint64_t z = e->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) >> 32);
}

static int watch(struct engine *e, int fd, uint32_t key)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = key};

    return epoll_ctl(e->outer, EPOLL_CTL_ADD, fd, &event) ? errno : 0;
}

int engine_watch(struct engine *e, const struct stream *s, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = s->slot};

    return epoll_ctl(e->media, EPOLL_CTL_ADD, fd, &event) ? errno : 0;
}

int engine_open(struct engine *e, const struct options *options)
{
    int err;

    memset(e, 0, sizeof *e);
    e->options = *options;
    e->arrival = kernel_arrival;
    e->asking = ASKING;
    e->control.listen_fd = e->control.client = e->outer = e->media = NO_FD;
    law_init();
    tone_init();
    inband_init();
    halfband_init();
    err = secure_library_open(&e->secure);
    if (err)
        log_line("libsrtp2 does not start, there is no SRTP: %s", strerrordesc_np(err));
    look_at_clock(e);
    if (getrandom(&e->random, sizeof e->random, 0) < 0)
        e->random = (uint64_t)e->now;
    e->next_phase = engine_random(e);
    e->beat = (struct beat){.on = true, .tick = PHASES - 1};
    err = streams_open(&e->streams, options->streams, options->delay_milliseconds);
    if (!err)
        err = wides_open(&e->wides, options->wide);
    if (!err)
        err = iax_open(e);
    if (!err)
        err = schedule_open(&e->hearing, options->streams);
    if (!err)
        err = schedule_open(&e->reading, options->streams);
    if (err) {
        log_line("memory for %u streams: %s", options->streams, strerrordesc_np(err));
        return err;
    }
    e->outer = epoll_create1(EPOLL_CLOEXEC);
    e->media = epoll_create1(EPOLL_CLOEXEC);
    if (e->outer < 0 || e->media < 0) {
        err = errno;
        log_line("epoll: %s", strerrordesc_np(err));
        return err;
    }
    err = disk_open(&e->disk, options->files);
    if (!err)
        err = watch(e, e->disk.event, KEY_DISK);
    if (err) {
        log_line("disk thread: %s", strerrordesc_np(err));
        return err;
    }
    err = control_open(e, options->control);
    if (err)
        log_line("control socket %s: %s", options->control, strerrordesc_np(err));
    return err;
}

void engine_close(struct engine *e)
{
    for (unsigned i = 0; i < e->streams.count; i++)
        if (e->streams.all[i].kind)
            requests_close(e, &e->streams.all[i]);
    control_close(e);
    if (e->disk.files)
        disk_close(&e->disk);
    if (e->media >= 0)
        close(e->media);
    if (e->outer >= 0)
        close(e->outer);
    schedule_close(&e->hearing);
    schedule_close(&e->reading);
    iax_close(e);
    streams_close(&e->streams);
    wides_close(&e->wides);
    secure_library_close(&e->secure);
}

/* RTCP and new far ends. */
static void look_around(struct engine *e)
{
    struct epoll_event events[BATCH];
    int count = 0;

    for (int round = 0; round < ROUNDS; round++) {
        count = epoll_wait(e->media, events, BATCH, 0);
        for (int i = 0; i < count; i++) {
            struct stream *s = &e->streams.all[events[i].data.u64];

            if (s->kind == GM_KIND_RTP)
                rtp_receive_rtcp(e, s);
            else if (s->kind == GM_KIND_TDM)
                tdm_accept(e, s);
        }
        if (count <= 0)
            break;
    }
}

/* Time goes on while there are streams. */
static void run(struct engine *e)
{
    bool needed = e->streams.used != iax_idle_streams(e) || (e->streams.used && e->control.graceful) || iax_polled(e);

    if (needed && !e->running) {
        e->origin = e->now - e->tick * TICK_US; /* ticks go on counting, so that no frame comes twice */
        e->tick++;
    }
    e->running = needed;
}

int64_t engine_next(const struct engine *e)
{
    int64_t tick = e->tick;

    if (!e->running)
        return -1;
    /* Once a frame in any case: for what is rare, and for the grace time. */
    while (tick < e->tick + PHASES - 1 && !schedule_due(&e->reading, tick) && !schedule_due(&e->hearing, tick) &&
           !iax_trunk_due(e, tick) && !iax_polled(e))
        tick++;
    return e->origin + tick * TICK_US;
}

void engine_ticks(struct engine *e)
{
    int64_t due = (e->now - e->origin) / TICK_US;

    if (!e->running || due < e->tick)
        return;
    if (due - e->tick > CATCH_UP) {
        log_line("stalled for %lld ms", (long long)(due - e->tick) * TICK_US / 1000);
        e->tick = due - CATCH_UP;
    }
    iax_receive_all(e);
    for (; e->tick <= due; e->tick++) {
        if (e->tick / PHASES != e->looked) {
            e->looked = e->tick / PHASES;
            e->patience = PATIENCE;
            beat_choose(&e->beat, e->looked);
            look_around(e);
        }
        bridge_tick(e);
        iax_trunk_tick(e);
        iax_flush(e);
    }
    control_grace(e);
    control_flush(e);
}

/* Linux before 5.11, or a container host that old, has no such system call: two others do the same. */
static int wait_until(int outer, struct epoll_event *events, int room, const struct timespec *limit)
{
    struct pollfd p = {.fd = outer, .events = POLLIN};
    sigset_t none;
    int count;

    (void)sigemptyset(&none); /* signals come here and nowhere else: one that came before would not wake us */
    count = epoll_pwait2(outer, events, room, limit, &none);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM))
        return count;
    count = ppoll(&p, 1, limit, &none);
    return count <= 0 ? count : epoll_wait(outer, events, room, 0);
}

/* Waits for the next tick or request, at most so long. */
static int wait(const struct engine *e, struct epoll_event *events, int room, int milliseconds)
{
    int64_t next = engine_next(e);
    int64_t most = next < 0 ? INT64_MAX : next - clock_microseconds(CLOCK_MONOTONIC);
    struct timespec limit;

    if (milliseconds >= 0 && most > milliseconds * INT64_C(1000))
        most = milliseconds * INT64_C(1000);
    if (most < 0)
        most = 0;
    limit.tv_sec = (time_t)(most / 1000000);
    limit.tv_nsec = (long)(most % 1000000 * 1000);
    return wait_until(e->outer, events, room, most == INT64_MAX ? NULL : &limit);
}

int engine_step(struct engine *e, int milliseconds)
{
    struct epoll_event events[8];
    int count = wait(e, events, 8, milliseconds);

    if (count < 0)
        return errno == EINTR ? 0 : errno;
    look_at_clock(e);
    engine_ticks(e);
    for (int i = 0; i < count; i++) {
        uint64_t key = events[i].data.u64;
        uint64_t drained;

        if (key >= KEY_IAX)
            iax_readable(e, (uint32_t)(key - KEY_IAX));
        else if (key != KEY_DISK)
            control_readable(e, (uint32_t)key);
        else if (read(e->disk.event, &drained, sizeof drained) > 0)
            requests_disk(e);
    }
    run(e);
    return 0;
}
