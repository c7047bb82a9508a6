/* The yardstick for the engine: what N standing calls cost in bare system calls on this machine. For each call 50 times a
 * second one block is read from a seqpacket socket, one packet sent by UDP, one received, one block written; nothing is
 * done with them. A process beside it is the far ends.
 *
 *   bare-calls CALLS SECONDS [rtp|trunk|secret]
 *
 * prints the percentage of a core that a call costs. rtp: both of its ends are UDP; trunk: one datagram each way has what all
 * calls say in a frame of 20 ms, and all lines speak at once; secret: datagrams have the size of encrypted mini frames.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CALLS_MAX = 512, BLOCK = 160, PACKET = 172, SECRET = 194, ENTRY = 164, TRUNK_MAX = 8 + CALLS_MAX * ENTRY, TICK_NS = 5000000, PHASES = 4, SETTLE_TICKS = 200 };

/* One socket of a call, or its far end. */
struct end {
    int fd;
    bool line; /* seqpacket, else UDP */
    struct sockaddr_in own, far;
};

struct call {
    struct end ends[2];
};

static struct call ours[CALLS_MAX], theirs[CALLS_MAX];
static size_t packet = PACKET;
static bool trunk;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int udp_socket(struct sockaddr_in *own)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    socklen_t size = sizeof *own;

    *own = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (const struct sockaddr *)own, size) || getsockname(fd, (struct sockaddr *)own, &size))
        die("UDP socket");
    return fd;
}

static void open_udp(struct end *our, struct end *their)
{
    our->fd = udp_socket(&our->own);
    their->fd = udp_socket(&their->own);
    our->far = their->own;
    their->far = our->own;
}

static void open_line(struct end *our, struct end *their)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair))
        die("socketpair");
    our->fd = pair[0];
    their->fd = pair[1];
    our->line = their->line = true;
}

static void send_voice(const struct end *e)
{
    static const uint8_t voice[TRUNK_MAX] = {0x80};

    if (e->line)
        (void)send(e->fd, voice, BLOCK, MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        (void)sendto(e->fd, voice, packet, MSG_DONTWAIT, (const struct sockaddr *)&e->far, sizeof e->far);
}

static bool receive_voice(const struct end *e)
{
    static uint8_t voice[TRUNK_MAX];
    struct sockaddr_in from;
    socklen_t size = sizeof from;

    if (e->line)
        return recv(e->fd, voice, sizeof voice, MSG_DONTWAIT) == BLOCK;
    return recvfrom(e->fd, voice, sizeof voice, MSG_DONTWAIT, (struct sockaddr *)&from, &size) == (ssize_t)packet;
}

static void add_tick(struct timespec *next)
{
    next->tv_nsec += TICK_NS;
    if (next->tv_nsec >= 1000000000) {
        next->tv_nsec -= 1000000000;
        next->tv_sec++;
    }
}

/* Each call at one tick of four, as in the engine, those of a trunk at the same; ticks without a call are slept through. */
static unsigned run(const struct call *calls, unsigned count, unsigned ticks, struct timespec *next)
{
    const unsigned step = trunk ? 1 : PHASES;
    unsigned missing = 0;

    for (unsigned tick = 0; !ticks || tick < ticks; tick++) {
        add_tick(next);
        if (tick % PHASES >= (trunk ? 1 : count))
            continue;
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, next, NULL);
        for (unsigned i = tick % PHASES; i < count; i += step) {
            const unsigned first = trunk && i ? 1 : 0; /* the first has the datagram of all */

            for (unsigned k = first; k < 2; k++)
                missing += !receive_voice(&calls[i].ends[k]);
            for (unsigned k = first; k < 2; k++)
                send_voice(&calls[i].ends[k]);
        }
    }
    return missing;
}

static double used(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    const char *mode = argc == 4 ? argv[3] : "";
    const bool relay = !strcmp(mode, "rtp"), known = relay || !strcmp(mode, "trunk") || !strcmp(mode, "secret");
    unsigned count = argc == 3 || known ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
    unsigned seconds = argc == 3 || known ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    struct timespec next;
    unsigned missing;
    double before;
    pid_t far;

    if (!count || count > CALLS_MAX || !seconds || seconds > 3600) {
        (void)fprintf(stderr, "usage: bare-calls CALLS SECONDS [rtp|trunk|secret]\n");
        return 2;
    }
    trunk = !strcmp(mode, "trunk");
    packet = trunk ? 8 + (size_t)count * ENTRY : !strcmp(mode, "secret") ? SECRET : PACKET;
    for (unsigned i = 0; i < count; i++) {
        open_udp(&ours[i].ends[0], &theirs[i].ends[0]);
        (relay ? open_udp : open_line)(&ours[i].ends[1], &theirs[i].ends[1]);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &next);
    far = fork();
    if (far < 0)
        die("fork");
    if (!far) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)run(theirs, count, 0, &next);
    }
    (void)run(ours, count, SETTLE_TICKS, &next);
    before = used();
    missing = run(ours, count, seconds * PHASES * 50, &next);
    (void)printf("%.4f\n", (used() - before) * 100.0 / seconds / count);
    (void)fprintf(stderr, "%u calls, %u s: %u of %u found nothing\n", count, seconds, missing, (trunk ? count + 1 : 2 * count) * seconds * 50);
    (void)kill(far, SIGKILL);
    (void)waitpid(far, NULL, 0);
    return 0;
}
