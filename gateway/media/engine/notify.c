#include "notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stream.h"

enum { BEATS = 3 /* in the time after which systemd gives us up: one that comes late ends nothing */ };

static int64_t microseconds(const char *text)
{
    char *end;
    long long value = text ? strtoll(text, &end, 10) : 0;

    return text && *text && !*end && value > 0 ? value : 0;
}

static bool for_us(const char *text)
{
    return !text || strtoll(text, NULL, 10) == (long long)getpid();
}

void notify_open(struct notify *n)
{
    const char *path = getenv("NOTIFY_SOCKET");
    const size_t length = path ? strlen(path) : 0;

    *n = (struct notify){.fd = NO_FD, .to.sun_family = AF_UNIX};
    if (length < 2 || length >= sizeof n->to.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(n->to.sun_path, path, length);
    if (path[0] == '@') /* unix(7): abstract, and no longer than it is */
        n->to.sun_path[0] = 0;
    n->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] == '/'));
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n->fd >= 0 && for_us(getenv("WATCHDOG_PID")))
        n->every = microseconds(getenv("WATCHDOG_USEC")) / BEATS;
}

void notify_close(struct notify *n)
{
    if (n->fd >= 0)
        close(n->fd);
    n->fd = NO_FD;
}

void notify_send(const struct notify *n, const char *state)
{
    if (n->fd >= 0)
        (void)sendto(n->fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&n->to, n->size);
}

void notify_alive(struct notify *n, int64_t now)
{
    if (!n->every || now < n->due)
        return;
    n->due = now + n->every;
    notify_send(n, "WATCHDOG=1");
}

int notify_patience(const struct notify *n)
{
    return n->every ? (int)(n->every / 1000 + 1) : -1;
}
