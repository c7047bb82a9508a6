#include "disk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "law.h"

int disk_open(struct disk *d, unsigned files)
{
    int err;

    memset(d, 0, sizeof *d);
    d->wake = d->event = -1;
    d->count = files;
    d->files = calloc(files ? files : 1, sizeof *d->files);
    (void)sem_init(&d->ready, 0, 0);
    d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    err = !d->files ? ENOMEM : d->wake < 0 || d->event < 0 ? errno : pthread_create(&d->thread, NULL, disk_thread, d);
    d->started = !err;
    while (d->started && sem_wait(&d->ready) && errno == EINTR)
        ;
    if (err)
        disk_close(d);
    return err;
}

void disk_close(struct disk *d)
{
    if (d->started) {
        for (unsigned i = 0; i < d->count; i++)
            atomic_store(&d->files[i].closing, true);
        atomic_store(&d->stop, true);
        disk_notify(d->wake);
        pthread_join(d->thread, NULL);
    }
    d->started = false;
    if (d->wake >= 0)
        close(d->wake);
    if (d->event >= 0)
        close(d->event);
    d->wake = d->event = -1;
    free(d->files);
    d->files = NULL;
}

static struct disk_file *begin(struct disk *d, const char *path, bool writing)
{
    for (unsigned i = 0; i < d->count; i++) {
        struct disk_file *f = &d->files[i];

        if (atomic_load(&f->state) != DISK_FREE)
            continue;
        atomic_store(&f->closing, false);
        atomic_store(&f->head, 0);
        atomic_store(&f->tail, 0);
        f->writing = writing;
        f->repeat = f->filled = false;
        f->error = 0;
        f->why[0] = 0;
        f->fd = -1;
        f->done = f->most = 0;
        (void)snprintf(f->path, sizeof f->path, "%s", path);
        return f;
    }
    return NULL;
}

static struct disk_file *submit(struct disk *d, struct disk_file *f)
{
    if (f) {
        atomic_store(&f->state, DISK_OPENING);
        disk_notify(d->wake);
    }
    return f;
}

struct disk_file *disk_start_read(struct disk *d, const char *path, bool repeat)
{
    struct disk_file *f = begin(d, path, false);

    if (f)
        f->repeat = repeat;
    return submit(d, f);
}

struct disk_file *disk_start_write(struct disk *d, const char *path, unsigned seconds)
{
    struct disk_file *f = begin(d, path, true);
    const unsigned longest = INT32_MAX / 2 / SAMPLE_RATE; /* a WAV's size is 32 bits */

    if (f)
        f->most = (seconds < longest ? seconds : longest) * SAMPLE_RATE * 2;
    return submit(d, f);
}

void disk_release(struct disk *d, struct disk_file *f)
{
    atomic_store(&f->closing, true);
    disk_notify(d->wake);
}

size_t disk_take(struct disk_file *f, int16_t *to, size_t count)
{
    uint32_t tail = atomic_load(&f->tail);
    uint32_t held = atomic_load(&f->head) - tail;
    size_t part = held < count ? held : count;

    for (size_t i = 0; i < part; i++)
        to[i] = f->ring[(tail + i) % DISK_RING];
    atomic_store(&f->tail, tail + (uint32_t)part);
    return part;
}

bool disk_give(struct disk_file *f, const int16_t *from, size_t count)
{
    uint32_t head = atomic_load(&f->head);

    if (DISK_RING - (head - atomic_load(&f->tail)) < count)
        return false;
    for (size_t i = 0; i < count; i++)
        f->ring[(head + i) % DISK_RING] = from[i];
    atomic_store(&f->head, head + (uint32_t)count);
    return true;
}
