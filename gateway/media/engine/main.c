/* gateway-media: the voice of the gateway. Options, signals, privileges; everything else is in the engine. */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "engine.h"
#include "notify.h"

enum { EXIT_USAGE = 2, REALTIME_PRIORITY = 50, STREAMS_MAX = 16384, FDS_BESIDE_STREAMS = 256, BUSY_US = 500000 };

static volatile sig_atomic_t stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* Real-time and busy without a pause: no share of a machine is worth hanging all of it. */
static void on_too_busy(int signal_number)
{
    const struct sched_param none = {.sched_priority = 0};

    (void)signal_number;
    /* NOLINTNEXTLINE(bugprone-signal-handler,cert-sig30-c,cert-msc54-cpp): a bare system call */
    (void)sched_setscheduler(0, SCHED_OTHER, &none);
}

static const char help[] =
    "usage: gateway-media --control PATH [options]\n"
    "\n"
    "The media engine: bridges RTP, TDM, tones, prompts, echo and recordings for the signalling daemon, which\n"
    "speaks to it over a Unix SOCK_SEQPACKET socket (docs/media-engine.md). Prints READY when it serves.\n"
    "\n"
    "  --control PATH       the control socket, at most 107 octets\n"
    "  --streams N          streams at most (default 1024)\n"
    "  --files N            prompts and recordings open at once (default 64)\n"
    "  --wide N             of the streams, how many may speak another codec than G.711 at once (default all)\n"
    "  --rtp-ports LOW-HIGH UDP ports for RTP and RTCP, until the client says otherwise (default 10000-19999)\n"
    "  --grace SECONDS      streams outlive their client by this, until the client says otherwise (default 60)\n"
    "  --jitter MS          longest delay of the jitter buffer (default 200, 40 to 200)\n"
    "  --no-realtime        no real-time priority, no locked memory\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 ended by SIGTERM or SIGINT, 1 it could not run, 2 wrong usage.\n";

static bool number(const char *text, unsigned least, unsigned most, unsigned *value)
{
    char *end;
    unsigned long read;

    errno = 0;
    read = strtoul(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || read < least || read > most)
        return false;
    *value = (unsigned)read;
    return true;
}

static bool ports(char *text, struct options *o)
{
    char *dash = strchr(text, '-');
    unsigned first, last;

    if (!dash)
        return false;
    *dash = 0;
    if (!number(text, 1024, 65534, &first) || !number(dash + 1, first + 1, 65535, &last))
        return false;
    o->port_first = (uint16_t)first;
    o->port_last = (uint16_t)last;
    return true;
}

/* 0 or EXIT_USAGE; `*leave`: all is said, there is nothing to run. */
static int parse(int argc, char **argv, struct options *o, bool *leave)
{
    static const struct option known[] = {
        {"control", required_argument, NULL, 'c'},   {"streams", required_argument, NULL, 's'},
        {"files", required_argument, NULL, 'f'},     {"wide", required_argument, NULL, 'w'},
        {"rtp-ports", required_argument, NULL, 'p'},
        {"grace", required_argument, NULL, 'g'},     {"jitter", required_argument, NULL, 'j'},
        {"no-realtime", no_argument, NULL, 'n'},     {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},         {NULL, 0, NULL, 0},
    };
    bool wide = false;
    int c, which = 0;

    while ((c = getopt_long(argc, argv, "", known, &which)) != -1) {
        bool good = true;

        switch (c) {
        case 'c':
            o->control = optarg;
            break;
        case 's':
            good = number(optarg, 2, STREAMS_MAX, &o->streams);
            break;
        case 'f':
            good = number(optarg, 0, STREAMS_MAX, &o->files);
            break;
        case 'w':
            good = number(optarg, 0, STREAMS_MAX, &o->wide);
            wide = true;
            break;
        case 'p':
            good = ports(optarg, o);
            break;
        case 'g':
            good = number(optarg, 0, 86400, &o->grace_seconds);
            break;
        case 'j':
            good = number(optarg, 40, 200, &o->delay_milliseconds);
            break;
        case 'n':
            o->realtime = false;
            break;
        case 'h':
            (void)fputs(help, stdout);
            *leave = true;
            return 0;
        case 'v':
            (void)printf("gateway-media, control protocol %d\n", GM_VERSION);
            *leave = true;
            return 0;
        default:
            return EXIT_USAGE;
        }
        if (!good) {
            (void)fprintf(stderr, "gateway-media: --%s: \"%s\" is not in its range, see --help\n", known[which].name,
                          optarg);
            return EXIT_USAGE;
        }
    }
    if (!wide)
        o->wide = o->streams;
    if (optind < argc || !o->control) {
        (void)fprintf(stderr, "gateway-media: %s, see --help\n",
                      o->control ? "options only, no arguments" : "--control PATH is missing");
        return EXIT_USAGE;
    }
    return 0;
}

/* Each is a wish: without them voice works, only less evenly on a busy machine. */
static void take_privileges(const struct options *o)
{
    struct rlimit files;
    struct sched_param priority = {.sched_priority = REALTIME_PRIORITY};
    struct rlimit busy = {BUSY_US, RLIM_INFINITY};

    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        rlim_t needed = (rlim_t)o->streams * 2 + o->files + FDS_BESIDE_STREAMS;

        if (files.rlim_cur < needed) {
            files.rlim_cur = files.rlim_max < needed ? files.rlim_max : needed;
            (void)setrlimit(RLIMIT_NOFILE, &files);
        }
        if (files.rlim_cur < needed)
            log_line("%llu file descriptors allowed, %llu may be needed", (unsigned long long)files.rlim_cur,
                     (unsigned long long)needed);
    }
    if (!o->realtime)
        return;
    (void)signal(SIGXCPU, on_too_busy);
    (void)setrlimit(RLIMIT_RTTIME, &busy);
    if (sched_setscheduler(0, SCHED_FIFO, &priority))
        log_line("no real-time priority: %s", strerror(errno));
    if (mlockall(MCL_CURRENT | MCL_FUTURE))
        log_line("memory is not locked: %s", strerror(errno));
}

int main(int argc, char **argv)
{
    static struct engine engine;
    struct options options = {.streams = 1024,
                              .files = 64,
                              .port_first = 10000,
                              .port_last = 19999,
                              .silence_milliseconds = 1500,
                              .grace_seconds = 60,
                              .delay_milliseconds = 200,
                              .realtime = true};
    struct sigaction action = {.sa_handler = on_signal};
    struct notify notify;
    sigset_t ends;
    bool leave = false;
    int err = parse(argc, argv, &options, &leave);

    if (err || leave)
        return err;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    notify_open(&notify);
    err = engine_open(&engine, &options);
    if (err)
        goto out;
    take_privileges(&options);
    log_line("%u streams, of which %u in other codecs than G.711, with %zu KiB each once they are", engine.streams.count,
             engine.wides.count, engine.wides.each / 1024);
    (void)printf("READY %s\n", options.control);
    (void)fflush(stdout);
    notify_send(&notify, "READY=1");
    while (!stop && !err) {
        err = engine_step(&engine, notify_patience(&notify));
        notify_alive(&notify, engine.now);
    }
    notify_send(&notify, "STOPPING=1");
    if (err)
        (void)fprintf(stderr, "gateway-media: %s\n", strerror(err));
out:
    notify_close(&notify);
    engine_close(&engine);
    return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
