#include "scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct scene scene;

static char directory[] = "/tmp/gateway-fuzz-XXXXXX";

static void leave(void)
{
    engine_close(&scene.engine);
    (void)chdir("/");
    (void)rmdir(directory);
}

static int64_t arrival(const struct engine *e, struct msghdr *m)
{
    (void)m;
    return e->now;
}

static void say_hello(void)
{
    static const uint8_t hello[] = {0x47, 0x4d, GM_VERSION, GM_HELLO, 1, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0xdc, 5, 0, 0, 1, 0, 0, 0};
    struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "control"};

    scene.control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (scene.control < 0 || connect(scene.control, (const struct sockaddr *)&a, sizeof a) ||
        send(scene.control, hello, sizeof hello, 0) != (ssize_t)sizeof hello)
        abort();
    while (scene.engine.control.client < 0)
        if (engine_step(&scene.engine, 0))
            abort();
}

bool scene_open(void)
{
    static bool opened;
    const struct options options = {.control = "control", .streams = 16, .wide = 4, .port_first = 43000, .port_last = 43999,
                                    .silence_milliseconds = 500, .grace_seconds = 1, .delay_milliseconds = 200};

    if (opened)
        return false;
    opened = true;
    if (!mkdtemp(directory) || chdir(directory) || atexit(leave))
        abort();
    if (!freopen("/dev/null", "w", stdout) || engine_open(&scene.engine, &options))
        abort();
    scene.engine.arrival = arrival;
    say_hello();
    return true;
}

void scene_clear(void)
{
    uint8_t packet[GM_PACKET_MAX];

    for (unsigned i = 0; i < scene.engine.streams.count; i++)
        if (scene.engine.streams.all[i].kind)
            requests_close(&scene.engine, &scene.engine.streams.all[i]);
    control_flush(&scene.engine);
    while (scene.control >= 0 && recv(scene.control, packet, sizeof packet, MSG_DONTWAIT) > 0)
        ;
    if (scene.engine.control.client < 0) {
        close(scene.control);
        say_hello();
    }
}

void scene_run(unsigned frames)
{
    struct engine *e = &scene.engine;

    if (!e->running) {
        e->running = true;
        e->origin = e->now - e->tick * TICK_US;
    }
    for (unsigned i = 0; i < frames * PHASES; i++) {
        e->now += TICK_US;
        engine_ticks(e);
    }
}
