/* The far ends of many standing calls by RTP: each sends a tone of its own and listens to one, sample by sample.
 *
 *   tone_ends
 *
 * Commands come on standard input, a line each; ports are of 127.0.0.1, voice is A-law in packets of 20 ms:
 *
 *   open END LOCAL REMOTE SEND EXPECT   the tone with SEND cycles in PERIOD samples goes out, that with EXPECT should come
 *   expect END CYCLES                   another tone should come
 *   close END
 *   skip END PACKETS                    so many packets are not sent, though their time passes: a gap made on purpose
 *   judge                               forget what was heard so far
 *   report                              a line of JSON for each end, then {"done":true}
 *
 * A way through gateways that does not touch voice gives back every sample, so each one that is not the tone's next is found.
 * It ends with its standard input.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    ENDS_MAX = 1024,
    HEADER = 12,
    FRAME = 160,
    FRAME_US = 20000,
    TICK_US = 1000,
    PCMA = 8,
    /* A prime of more than a frame: no frame that is missing, doubled or moved looks like the one that belongs there. */
    PERIOD = 331,
    SURE = 80,      /* samples by which a place in the tone is known */
    FAINT = 100,    /* of 32768: less is silence if there are SILENT_RUN of it */
    SILENT_RUN = 8,
    PAUSE_US = 60000,
    EVENTS_MAX = 64,
    REALTIME_PRIORITY = 10,
};

/* Some samples, from time `at` on, were not the tone's next; after them the tone was `jump` samples further on than it should
 * have been. Two frames made one are +FRAME, one that came too late and was waited for is -FRAME. */
struct event {
    int64_t at;
    uint32_t samples, quiet;
    int jump;
};

struct pause {
    int64_t at, length;
};

struct end {
    bool open, heard, locked;
    int fd;
    struct sockaddr_in remote;
    uint8_t own[PERIOD], other[PERIOD];
    unsigned own_phase;
    uint16_t sequence;
    uint32_t stamp;
    int64_t next;
    unsigned skip;
    uint32_t ssrc, due; /* what comes: its sender, and the stamp that is next */
    unsigned phase;     /* in the other's tone, of the sample that is next */
    unsigned faint;
    bool broken;
    struct event now;
    int64_t last;
    uint64_t sent, received, senders;
    unsigned events_count, pauses_count;
    struct event events[EVENTS_MAX];
    struct pause pauses[EVENTS_MAX];
};

static struct end ends[ENDS_MAX];

static int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int linear(uint8_t code)
{
    const int bits = code ^ 0x55, segment = bits >> 4 & 7;
    int value = ((bits & 0x0f) << 4) + 8;

    if (segment)
        value = (value + 0x100) << (segment - 1);
    return bits & 0x80 ? value : -value;
}

/* The code whose value is nearest. */
static uint8_t alaw(int value)
{
    int best = 0;

    for (int code = 1; code < 256; code++) {
        if (abs(linear((uint8_t)code) - value) < abs(linear((uint8_t)best) - value))
            best = code;
    }
    return (uint8_t)best;
}

/* About -10 dBm0. */
static void make_tone(uint8_t *codes, unsigned cycles)
{
    for (unsigned i = 0; i < PERIOD; i++)
        codes[i] = alaw((int)lrint(7200.0 * sin(2.0 * M_PI * cycles * i / PERIOD)));
}

static struct sockaddr_in at_port(unsigned port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

/* -- sending -- */

static void send_voice(struct end *end, unsigned number)
{
    uint8_t packet[HEADER + FRAME] = {0x80, PCMA, (uint8_t)(end->sequence >> 8), (uint8_t)end->sequence};

    for (int i = 0; i < 4; i++) {
        packet[4 + i] = (uint8_t)(end->stamp >> (24 - 8 * i));
        packet[8 + i] = (uint8_t)((number + 1) >> (24 - 8 * i));
    }
    for (unsigned i = 0; i < FRAME; i++) {
        packet[HEADER + i] = end->own[end->own_phase];
        end->own_phase = (end->own_phase + 1) % PERIOD;
    }
    end->sequence++;
    end->stamp += FRAME;
    if (end->skip) {
        end->skip--;
        return;
    }
    if (sendto(end->fd, packet, sizeof packet, MSG_DONTWAIT, (struct sockaddr *)&end->remote, sizeof end->remote) > 0)
        end->sent++;
}

/* -- hearing -- */

static void close_event(struct end *end, int jump)
{
    end->broken = false;
    end->now.jump = jump;
    if (end->events_count < EVENTS_MAX)
        end->events[end->events_count] = end->now;
    end->events_count++;
}

static void begin_event(struct end *end, int64_t at)
{
    if (end->broken)
        return;
    end->broken = true;
    end->now = (struct event){.at = at};
}

/* The place in the tone of the sample behind `voice`, of whose last SURE samples it is made; -1 if they are something else. */
static int place_of(const struct end *end, const uint8_t *voice, unsigned count)
{
    int found = -1;

    for (unsigned phase = 0; phase < PERIOD; phase++) {
        unsigned i = 0;

        while (i < SURE && voice[count - SURE + i] == end->other[(phase + i) % PERIOD])
            i++;
        if (i < SURE)
            continue;
        if (found >= 0)
            return -1; /* not sure at all */
        found = (int)((phase + SURE) % PERIOD);
    }
    return found;
}

static void count_quiet(struct end *end, const uint8_t *voice, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        end->faint = abs(linear(voice[i])) < FAINT ? end->faint + 1 : 0;
        if (end->faint == SILENT_RUN)
            end->now.quiet += SILENT_RUN;
        else if (end->faint > SILENT_RUN)
            end->now.quiet++;
    }
}

static void hear(struct end *end, const uint8_t *voice, unsigned count, int64_t at)
{
    const unsigned expected = (end->phase + count) % PERIOD;
    unsigned good = 0, again = count;
    int place;

    if (end->locked && !end->broken) {
        while (good < count && voice[good] == end->other[(end->phase + good) % PERIOD])
            good++;
        if (good == count) {
            end->phase = expected;
            return;
        }
        end->faint = 0;
        begin_event(end, at);
    }
    end->phase = expected;
    place = count < SURE ? -1 : place_of(end, voice, count);
    if (place < 0) {
        end->now.samples += count - good;
        count_quiet(end, voice + good, count - good);
        return;
    }
    while (again > good && voice[again - 1] == end->other[((unsigned)place + 2 * PERIOD - (count - again) - 1) % PERIOD])
        again--;
    end->phase = (unsigned)place;
    if (!end->locked) {
        end->locked = true;
        end->broken = false;
        return;
    }
    end->now.samples += again - good;
    count_quiet(end, voice + good, again - good);
    place = (int)(((unsigned)place + PERIOD - expected) % PERIOD);
    close_event(end, place > PERIOD / 2 ? place - PERIOD : place);
}

static uint32_t word(const uint8_t *from)
{
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static bool take_voice(struct end *end, int64_t at)
{
    uint8_t packet[2048];
    const ssize_t size = recv(end->fd, packet, sizeof packet, MSG_DONTWAIT);
    uint32_t stamp, ssrc, missing;
    unsigned count;

    if (size < 0)
        return false;
    if (size <= HEADER || (packet[1] & 127) != PCMA)
        return true;
    stamp = word(packet + 4);
    ssrc = word(packet + 8);
    count = (unsigned)size - HEADER;
    missing = stamp - end->due;
    if (!end->heard || ssrc != end->ssrc) {
        end->senders++;
        if (end->locked)
            begin_event(end, at);
    } else if (missing) {
        /* A stamp that is earlier is as much a fault as one that is later. */
        if (end->locked)
            begin_event(end, at);
        end->now.samples += missing < UINT32_MAX / 2 ? missing : 0;
        end->phase = (end->phase + missing % PERIOD) % PERIOD;
    }
    if (end->heard && at - end->last > PAUSE_US && end->pauses_count < EVENTS_MAX)
        end->pauses[end->pauses_count++] = (struct pause){end->last, at - end->last};
    end->heard = true;
    end->ssrc = ssrc;
    end->due = stamp + count;
    end->last = at;
    end->received++;
    hear(end, packet + HEADER, count, at);
    return true;
}

/* -- commands -- */

static void open_end(unsigned number, unsigned local, unsigned remote, unsigned send, unsigned expect)
{
    struct end *end = &ends[number];
    struct sockaddr_in own = at_port(local);

    if (end->open) { /* the far end tells another port */
        end->remote = at_port(remote);
        return;
    }
    memset(end, 0, sizeof *end);
    end->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (end->fd < 0 || bind(end->fd, (struct sockaddr *)&own, sizeof own))
        die("tone_ends: RTP socket");
    end->open = true;
    end->remote = at_port(remote);
    make_tone(end->own, send);
    make_tone(end->other, expect);
    end->stamp = number * 12345U;
    end->next = now_us() + (int64_t)(number * 7U % 20) * TICK_US;
}

static void judge(void)
{
    for (struct end *end = ends; end < ends + ENDS_MAX; end++) {
        end->sent = end->received = 0;
        end->events_count = end->pauses_count = 0;
        end->broken = false;
        end->last = now_us();
        if (end->senders)
            end->senders = 1;
    }
}

static unsigned kept(unsigned count)
{
    return count < EVENTS_MAX ? count : EVENTS_MAX;
}

static void report_end(const struct end *end, int64_t now)
{
    const char *comma = "";

    (void)printf("{\"end\":%d,\"sent\":%llu,\"received\":%llu,\"senders\":%llu,\"locked\":%s,\"broken\":%lld,\"since\":%lld,"
                 "\"events\":[",
                 (int)(end - ends), (unsigned long long)end->sent, (unsigned long long)end->received,
                 (unsigned long long)end->senders, end->locked ? "true" : "false", (long long)(end->broken ? end->now.at : 0),
                 (long long)(now - end->last));
    for (const struct event *e = end->events; e < end->events + kept(end->events_count); e++, comma = ",")
        (void)printf("%s[%lld,%u,%d,%u]", comma, (long long)e->at, e->samples, e->jump, e->quiet);
    (void)printf("],\"pauses\":[");
    comma = "";
    for (const struct pause *p = end->pauses; p < end->pauses + kept(end->pauses_count); p++, comma = ",")
        (void)printf("%s[%lld,%lld]", comma, (long long)p->at, (long long)p->length);
    (void)printf("],\"count\":%u}\n", end->events_count);
}

static void report(void)
{
    const int64_t now = now_us();

    for (const struct end *end = ends; end < ends + ENDS_MAX; end++) {
        if (end->open)
            report_end(end, now);
    }
    (void)printf("{\"done\":true}\n");
    (void)fflush(stdout);
}

static void command(const char *line)
{
    unsigned number = 0, a, b, c, d;

    if (sscanf(line, "open %u %u %u %u %u", &number, &a, &b, &c, &d) == 5 && number < ENDS_MAX) {
        open_end(number, a, b, c, d);
    } else if (sscanf(line, "close %u", &number) == 1 && number < ENDS_MAX) {
        if (ends[number].open)
            (void)close(ends[number].fd);
        ends[number].open = false;
    } else if (sscanf(line, "expect %u %u", &number, &a) == 2 && number < ENDS_MAX) {
        make_tone(ends[number].other, a);
        ends[number].locked = ends[number].broken = false;
    } else if (sscanf(line, "skip %u %u", &number, &a) == 2 && number < ENDS_MAX) {
        ends[number].skip = a;
    } else if (!strcmp(line, "judge")) {
        judge();
    } else if (!strcmp(line, "report")) {
        report();
    } else {
        (void)fprintf(stderr, "tone_ends: \"%s\"?\n", line);
        exit(2);
    }
}

/* Whole lines of standard input; false at its end. */
static bool commands(void)
{
    static char text[65536];
    static size_t have;
    const ssize_t got = read(STDIN_FILENO, text + have, sizeof text - have);
    char *begin = text, *end;

    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    if (!got)
        return false;
    have += (size_t)got;
    while ((end = memchr(begin, '\n', have - (size_t)(begin - text)))) {
        *end = 0;
        command(begin);
        begin = end + 1;
    }
    have -= (size_t)(begin - text);
    memmove(text, begin, have);
    return true;
}

int main(void)
{
    const struct sched_param priority = {.sched_priority = REALTIME_PRIORITY};
    int64_t tick = now_us();

    (void)sched_setscheduler(0, SCHED_FIFO, &priority); /* if allowed: what is late here is nobody else's fault */
    if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK))
        die("tone_ends: standard input");
    while (commands()) {
        const int64_t now = now_us();

        for (unsigned i = 0; i < ENDS_MAX; i++) {
            struct end *end = &ends[i];

            if (!end->open || end->next > now)
                continue;
            end->next += FRAME_US;
            while (take_voice(end, now))
                ;
            send_voice(end, i);
        }
        /* Looks a thousand times a second: being woken by every packet would take more than everything else, and a packet
         * that leaves later than the one before it is what a jitter buffer has to put up with. */
        tick = tick + TICK_US > now ? tick + TICK_US : now;
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &(struct timespec){tick / 1000000, tick % 1000000 * 1000}, NULL);
    }
    return 0;
}
