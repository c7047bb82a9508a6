#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "disk.h"
#include "law.h"

/* What the disk thread does: opens, reads ahead, writes behind, closes. It owns a file from DISK_OPENING to DISK_FREE. */

enum { BLOCK = 4096 /* samples moved at a time */ };

void disk_notify(int fd)
{
    uint64_t one = 1;

    /* A full counter is as good as one more: somebody is going to look. */
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

static void fail(struct disk *d, struct disk_file *f, int err)
{
    f->error = err;
    if (!f->why[0]) {
        const char *text = strerrordesc_np(err);

        (void)snprintf(f->why, sizeof f->why, "%s", text ? text : "unknown error");
    }
    atomic_store(&f->state, DISK_FAILED);
    disk_notify(d->event);
}

static void open_file(struct disk *d, struct disk_file *f)
{
    uint8_t header[WAV_HEADER];
    int err = 0;

    f->fd = f->writing ? open(f->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640)
                       : open(f->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (f->fd < 0) {
        fail(d, f, errno);
        return;
    }
    if (f->writing) {
        wav_build_header(header, 0);
        if (write(f->fd, header, sizeof header) != (ssize_t)sizeof header)
            err = errno ? errno : ENOSPC;
    } else {
        err = wav_read_header(&f->wav, f->fd, f->why, sizeof f->why);
    }
    if (err) {
        fail(d, f, err);
        return;
    }
    atomic_store(&f->state, DISK_OPEN);
    if (f->writing)
        disk_notify(d->event);
}

static void store(struct disk_file *f, const uint8_t *from, size_t count)
{
    uint32_t head = atomic_load(&f->head);

    for (size_t i = 0; i < count; i++) {
        int16_t *to = &f->ring[(head + i) % DISK_RING];

        if (f->wav.format == WAV_LINEAR)
            *to = (int16_t)(from[2 * i] | from[2 * i + 1] << 8);
        else
            *to = law_linear(f->wav.format == WAV_ALAW ? ALAW : ULAW, from[i]);
    }
    atomic_store(&f->head, head + (uint32_t)count);
}

/* Fills the ring; a prompt that repeats starts over without a gap. */
static void read_on(struct disk *d, struct disk_file *f)
{
    uint8_t data[BLOCK * 2];

    for (;;) {
        uint32_t held = atomic_load(&f->head) - atomic_load(&f->tail);
        size_t want = DISK_RING - held < BLOCK ? DISK_RING - held : BLOCK;
        size_t left = (f->wav.size - f->done) / f->wav.width;
        ssize_t got;

        if (!want)
            break;
        if (!left && !f->repeat) {
            atomic_store(&f->state, DISK_ENDED);
            break;
        }
        if (!left) {
            f->done = 0;
            continue;
        }
        want = want < left ? want : left;
        got = pread(f->fd, data, want * f->wav.width, (off_t)f->wav.offset + f->done);
        if (got < (ssize_t)f->wav.width) {
            fail(d, f, got < 0 ? errno : EIO);
            return;
        }
        got -= got % (ssize_t)f->wav.width;
        f->done += (uint32_t)got;
        store(f, data, (size_t)got / f->wav.width);
    }
    if (!f->filled) {
        f->filled = true;
        disk_notify(d->event);
    }
}

static void write_on(struct disk *d, struct disk_file *f)
{
    uint8_t data[BLOCK * 2];
    uint8_t header[WAV_HEADER];
    bool wrote = false;

    for (;;) {
        uint32_t tail = atomic_load(&f->tail);
        uint32_t held = atomic_load(&f->head) - tail;
        uint32_t room = (f->most - f->done) / 2;
        uint32_t count = held < BLOCK ? held : BLOCK;
        ssize_t put;

        count = count < room ? count : room;
        if (!count)
            break;
        for (size_t i = 0; i < count; i++) {
            uint16_t value = (uint16_t)f->ring[(tail + i) % DISK_RING];

            data[2 * i] = (uint8_t)value;
            data[2 * i + 1] = (uint8_t)(value >> 8);
        }
        put = pwrite(f->fd, data, (size_t)count * 2, WAV_HEADER + (off_t)f->done);
        if (put != (ssize_t)count * 2) {
            fail(d, f, put < 0 ? errno : ENOSPC);
            break;
        }
        f->done += (uint32_t)put;
        atomic_store(&f->tail, tail + count);
        wrote = true;
    }
    if (wrote) { /* what is on the disk is a valid file at any time */
        wav_build_header(header, f->done);
        if (pwrite(f->fd, header, sizeof header, 0) != (ssize_t)sizeof header)
            fail(d, f, errno);
    }
    if (atomic_load(&f->state) == DISK_OPEN && f->done >= f->most) {
        atomic_store(&f->state, DISK_ENDED);
        disk_notify(d->event);
    }
}

static bool serve(struct disk *d, struct disk_file *f)
{
    int state = atomic_load(&f->state);

    if (state == DISK_FREE)
        return false;
    if (state == DISK_OPENING)
        open_file(d, f);
    if (atomic_load(&f->state) == DISK_OPEN) {
        if (f->writing)
            write_on(d, f);
        else
            read_on(d, f);
    }
    if (atomic_load(&f->closing)) {
        if (f->fd >= 0)
            close(f->fd);
        f->fd = -1;
        atomic_store(&f->state, DISK_FREE);
        return false;
    }
    return true;
}

void *disk_thread(void *argument)
{
    struct disk *d = argument;
    bool busy = false;

    /* A table of descriptors of its own: the kernel then does not count references at each of the other thread's calls. It
     * must be had before that thread opens a socket, or closing it there would not close it. */
    (void)unshare(CLONE_FILES);
    (void)sem_post(&d->ready);
    for (;;) {
        struct pollfd p = {.fd = d->wake, .events = POLLIN};
        bool stop = atomic_load(&d->stop);
        uint64_t count;

        busy = false;
        for (unsigned i = 0; i < d->count; i++)
            busy = serve(d, &d->files[i]) || busy;
        if (stop)
            return NULL;
        if (poll(&p, 1, busy ? DISK_POLL_MS : -1) > 0 && read(d->wake, &count, sizeof count) < 0)
            continue;
    }
}
