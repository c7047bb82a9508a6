/* The far ends of standing calls through anything that relays RTP: sends and takes the voice of both ends of every call.
 *
 *   voice-ends SECONDS < PLAN
 *
 * A line of PLAN is an end, two lines a call: LOCAL REMOTE [OUT IN], ports of 127.0.0.1, and for SRTP by
 * AES_CM_128_HMAC_SHA1_80 the key and salt of either direction in hexadecimal. Says "begin" when voice has flowed for two
 * seconds, "end" SECONDS later, and then how many packets were sent and how many came in between.
 */
#include <netinet/in.h>
#include <sched.h>
#include <srtp2/srtp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum {
    ENDS_MAX = 1024,
    HEADER = 12,
    FRAME = 160,
    FRAME_US = 20000,
    KEY = 30, /* and salt */
    HEX = 2 * KEY,
    PCMA = 8,
    SETTLE = 2,
    REALTIME_PRIORITY = 10,
};

struct end {
    int fd;
    struct sockaddr_in remote;
    srtp_t out, in; /* NULL: in the clear */
    uint16_t sequence;
    uint32_t stamp;
    int64_t next;
};

static struct end ends[ENDS_MAX];
static unsigned long sent, received;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static struct sockaddr_in at_port(unsigned long port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static srtp_t session(const char *text, srtp_ssrc_type_t type)
{
    uint8_t key[KEY];
    srtp_policy_t policy = {.ssrc = {type, 0}, .key = key, .window_size = 128};
    srtp_t made;

    for (size_t i = 0; i < KEY; i++) {
        char octet[3] = {text[2 * i], text[2 * i + 1], 0};

        key[i] = (uint8_t)strtoul(octet, NULL, 16);
    }
    srtp_crypto_policy_set_rtp_default(&policy.rtp);
    policy.rtcp = policy.rtp;
    if (srtp_create(&made, &policy)) {
        (void)fprintf(stderr, "voice-ends: libsrtp2 takes no such key\n");
        exit(1);
    }
    return made;
}

static void open_end(struct end *end, const char *line)
{
    char *rest;
    unsigned long own = strtoul(line, &rest, 10), far = strtoul(rest, &rest, 10);
    const char *out = rest + 1, *in = rest + 1 + HEX + 1;
    size_t length = strcspn(rest, "\n");
    struct sockaddr_in local = at_port(own);

    if (!own || !far || (length && length != 2 * (1 + (size_t)HEX))) {
        (void)fprintf(stderr, "voice-ends: \"%s\", expected LOCAL REMOTE [OUT IN]\n", line);
        exit(2);
    }
    end->remote = at_port(far);
    end->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (end->fd < 0 || bind(end->fd, (struct sockaddr *)&local, sizeof local))
        die("voice-ends: RTP socket");
    if (length) {
        end->out = session(out, ssrc_any_outbound);
        end->in = session(in, ssrc_any_inbound);
    }
    end->stamp = (uint32_t)own * 12345;
}

static void send_voice(struct end *end, unsigned ssrc)
{
    /* 1000 Hz by its eight A-law codes: the digital milliwatt of G.711. */
    static const uint8_t milliwatt[8] = {0x34, 0x21, 0x21, 0x34, 0xb4, 0xa1, 0xa1, 0xb4};
    _Alignas(4) uint8_t packet[HEADER + FRAME + SRTP_MAX_TRAILER_LEN] = {0x80, PCMA, (uint8_t)(end->sequence >> 8),
                                                                       (uint8_t)end->sequence};
    int size = HEADER + FRAME;

    for (int i = 0; i < 4; i++) {
        packet[4 + i] = (uint8_t)(end->stamp >> (24 - 8 * i));
        packet[8 + i] = (uint8_t)(ssrc >> (24 - 8 * i));
    }
    for (int i = 0; i < FRAME; i++)
        packet[HEADER + i] = milliwatt[i % 8];
    end->sequence++;
    end->stamp += FRAME;
    if (end->out)
        (void)srtp_protect(end->out, packet, &size);
    if (sendto(end->fd, packet, (size_t)size, MSG_DONTWAIT, (struct sockaddr *)&end->remote, sizeof end->remote) == size)
        sent++;
}

static bool take_voice(const struct end *end)
{
    _Alignas(4) uint8_t packet[2048];
    ssize_t got = recv(end->fd, packet, sizeof packet, MSG_DONTWAIT);
    int size = (int)got;

    if (got < 0)
        return false;
    if (end->in && srtp_unprotect(end->in, packet, &size))
        return true;
    if (size == HEADER + FRAME && (packet[1] & 127) == PCMA)
        received++;
    return true;
}

static void run(unsigned count, int64_t until)
{
    const struct timespec pause = {0, 1000000};
    int64_t now;

    while ((now = now_us()) < until) {
        for (unsigned i = 0; i < count; i++) {
            if (ends[i].next > now)
                continue;
            ends[i].next += FRAME_US;
            while (take_voice(&ends[i]))
                ;
            send_voice(&ends[i], i + 1);
        }
        /* Sleeps between looks instead of waiting on the sockets: being woken would be charged to the relay. */
        (void)nanosleep(&pause, NULL);
    }
}

static void say(const char *word)
{
    (void)printf("%s\n", word);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    const struct sched_param priority = {.sched_priority = REALTIME_PRIORITY};
    char line[256];
    unsigned count = 0;
    double seconds = argc == 2 ? strtod(argv[1], NULL) : 0;

    if (seconds <= 0 || srtp_init()) {
        (void)fprintf(stderr, "usage: voice-ends SECONDS < PLAN\n");
        return 2;
    }
    while (count < ENDS_MAX && fgets(line, sizeof line, stdin))
        open_end(&ends[count++], line);
    for (unsigned i = 0; i < count; i++)
        ends[i].next = now_us() + (int64_t)(i * 7919U % FRAME_US);
    (void)sched_setscheduler(0, SCHED_FIFO, &priority); /* if allowed: others on the machine do not disturb the measure */
    run(count, now_us() + (int64_t)SETTLE * 1000000);
    sent = received = 0;
    say("begin");
    run(count, now_us() + (int64_t)(seconds * 1e6));
    say("end");
    (void)printf("%lu sent, %lu received\n", sent, received);
    return 0;
}
