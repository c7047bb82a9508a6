/* What systemd hears of the engine: nothing that it did not ask for, and signs of life in time. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "notify.h"

static int heard_fd;

static const char *heard(void)
{
    static char text[256];
    ssize_t size = recv(heard_fd, text, sizeof text - 1, MSG_DONTWAIT);

    text[size < 0 ? 0 : size] = 0;
    return text;
}

/* Listens at an abstract address and puts it into the environment. */
static void listen_at(const char *watchdog, const char *process)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char name[64];
    int length = snprintf(name, sizeof name, "@gateway-media-test-%d", getpid());

    memcpy(at.sun_path, name, (size_t)length);
    at.sun_path[0] = 0;
    heard_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(!bind(heard_fd, (struct sockaddr *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length)));
    setenv("NOTIFY_SOCKET", name, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (watchdog)
        setenv("WATCHDOG_USEC", watchdog, 1);
    if (process)
        setenv("WATCHDOG_PID", process, 1);
}

static void end(struct notify *n)
{
    notify_close(n);
    close(heard_fd);
}

static void what_is_said_arrives(void)
{
    struct notify n;

    listen_at(NULL, NULL);
    notify_open(&n);
    notify_send(&n, "READY=1\nSTATUS=serving");
    CHECK(!strcmp(heard(), "READY=1\nSTATUS=serving"));
    CHECK_EQUAL(notify_patience(&n), -1);
    notify_alive(&n, 1000000);
    CHECK(!*heard());
    end(&n);
}

static void signs_of_life_come_three_times_in_the_time_that_is_given(void)
{
    struct notify n;
    char process[32];

    (void)snprintf(process, sizeof process, "%d", getpid());
    listen_at("3000000", process);
    notify_open(&n);
    CHECK_EQUAL(notify_patience(&n), 1001);
    notify_alive(&n, 5000000);
    CHECK(!strcmp(heard(), "WATCHDOG=1"));
    notify_alive(&n, 5999999);
    CHECK(!*heard());
    notify_alive(&n, 6000000);
    CHECK(!strcmp(heard(), "WATCHDOG=1"));
    end(&n);
}

static void those_of_another_process_are_not_ours_to_give(void)
{
    struct notify n;

    listen_at("3000000", "1");
    notify_open(&n);
    CHECK_EQUAL(notify_patience(&n), -1);
    end(&n);
}

static void nonsense_is_nothing(void)
{
    static const char *const wrong[] = {"", "-3", "soon", "12x"};
    struct notify n;

    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        listen_at(wrong[i], NULL);
        notify_open(&n);
        CHECK_EQUAL(notify_patience(&n), -1);
        end(&n);
    }
}

static void without_a_socket_nobody_is_told(void)
{
    static const char *const wrong[] = {"", "@", "relative"};
    struct notify n;
    char longer[200];

    unsetenv("NOTIFY_SOCKET");
    notify_open(&n);
    notify_send(&n, "READY=1");
    CHECK_EQUAL(n.fd, -1);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        setenv("NOTIFY_SOCKET", wrong[i], 1);
        notify_open(&n);
        CHECK_EQUAL(n.fd, -1);
    }
    memset(longer, '/', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    setenv("NOTIFY_SOCKET", longer, 1);
    notify_open(&n);
    CHECK_EQUAL(n.fd, -1);
}

static void a_listener_that_is_gone_hurts_nobody(void)
{
    struct notify n;

    listen_at("3000000", NULL);
    notify_open(&n);
    close(heard_fd);
    notify_alive(&n, 1000000);
    notify_send(&n, "STOPPING=1");
    notify_close(&n);
    notify_send(&n, "STOPPING=1");
}

int main(void)
{
    RUN(what_is_said_arrives);
    RUN(signs_of_life_come_three_times_in_the_time_that_is_given);
    RUN(those_of_another_process_are_not_ours_to_give);
    RUN(nonsense_is_nothing);
    RUN(without_a_socket_nobody_is_told);
    RUN(a_listener_that_is_gone_hurts_nobody);
    return 0;
}
