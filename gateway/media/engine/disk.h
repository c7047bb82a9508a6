/* Prompts and recordings: a thread of its own touches the disk, so that a slow one never stands in the voice path.
 *
 * A file is a ring of samples between the voice thread and the disk thread; both sides only ever wait for nothing. All
 * functions but the thread's own are for the voice thread.
 */
#ifndef GM_DISK_H
#define GM_DISK_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"
#include "wav.h"

enum { DISK_RING = 16384 /* samples, 2 s; a power of two */, DISK_POLL_MS = 100 };

enum disk_state {
    DISK_FREE,
    DISK_OPENING, /* the disk thread owns all but the ring from here ... */
    DISK_OPEN,
    DISK_ENDED,   /* a prompt: read to its end; a recording: as long as it may be */
    DISK_FAILED,
    DISK_CLOSING, /* ... to here */
};

struct disk_file {
    _Atomic int state;
    _Atomic bool closing;
    _Atomic uint32_t head, tail; /* samples put in and taken out; modulo 2^32 */
    int16_t ring[DISK_RING];
    bool writing, repeat;
    char path[GM_FILE_PATH_MAX + 1];
    int error;
    char why[GM_TEXT_MAX];
    int fd;
    struct wav wav;
    uint32_t done, most; /* octets read or written, octets to write at most */
    bool filled;         /* a prompt's ring has been filled once */
};

struct disk {
    struct disk_file *files;
    unsigned count;
    int wake;  /* eventfd: to the disk thread */
    int event; /* eventfd: a file opened, ended or failed */
    _Atomic bool stop;
    bool started;
    sem_t ready; /* the thread has its own table of descriptors */
    pthread_t thread;
};

/* Allocates and starts the thread; 0 or an errno. */
int disk_open(struct disk *d, unsigned files);
void disk_close(struct disk *d);
/* NULL: no file is free. The path has at most GM_FILE_PATH_MAX octets. */
struct disk_file *disk_start_read(struct disk *d, const char *path, bool repeat);
struct disk_file *disk_start_write(struct disk *d, const char *path, unsigned seconds);
void disk_release(struct disk *d, struct disk_file *f);
/* Samples taken, less than `count` at the end or if the disk is too slow. */
size_t disk_take(struct disk_file *f, int16_t *to, size_t count);
/* False if the ring is full: samples are dropped. */
bool disk_give(struct disk_file *f, const int16_t *from, size_t count);

/* disk_thread.c */
void *disk_thread(void *argument);
void disk_notify(int fd);

#endif
