/* What systemd is told (sd_notify(3)), if it started us: that we serve, that we live, that we end. */
#ifndef GM_NOTIFY_H
#define GM_NOTIFY_H

#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
    int fd;
    struct sockaddr_un to;
    socklen_t size;
    int64_t every, due; /* us; `every` 0: no signs of life are wanted */
};

/* By NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of the environment; without the first nobody is told anything. */
void notify_open(struct notify *n);
void notify_close(struct notify *n);
/* `state` is lines of NAME=value. */
void notify_send(const struct notify *n, const char *state);
/* A sign of life, if one is due at `now` (us, monotonic). */
void notify_alive(struct notify *n, int64_t now);
/* How many milliseconds may go by until notify_alive is to be called; -1: as many as one likes. */
int notify_patience(const struct notify *n);

#endif
