/* The control socket: one client at a time, packets of messages in, replies and events out. */
#ifndef GM_CONTROL_H
#define GM_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "cursor.h"
#include "protocol.h"

struct engine;

enum { CONTROL_WAITING = 4 /* connections that have not said HELLO */ };
enum { KEY_IAX = 1000 /* keys of the outer epoll from here on are IAX2 sockets */ };

struct message {
    uint8_t opcode;
    uint32_t request;
    uint32_t stream;
};

struct control {
    struct sockaddr_un path;
    int listen_fd;
    int client;                   /* the one that said HELLO, or NO_FD */
    int waiting[CONTROL_WAITING]; /* or NO_FD */
    unsigned oldest;
    bool graceful;                /* the grace time runs */
    int64_t grace_end, alone_since;
    uint8_t in[GM_PACKET_MAX + 1];
    uint8_t out[GM_PACKET_MAX];
    size_t out_size;
};

int control_open(struct engine *e, const char *path);
void control_close(struct engine *e);
/* `key` is what control.c gave epoll. */
void control_readable(struct engine *e, uint32_t key);
/* Octets that the client has not read. */
size_t control_backlog(const struct engine *e);
/* Sends what has gathered. */
void control_flush(struct engine *e);
/* Ends what nobody adopted, once the grace time is over. */
void control_grace(struct engine *e);
/* Cuts the client off; its streams run on. */
void control_drop(struct engine *e, const char *why);

/* Building messages: begin, write the body through the writer, commit. */
struct writer control_begin(struct engine *e, uint8_t opcode, uint32_t request, uint32_t stream);
void control_commit(struct engine *e, struct writer *w);
void control_reply(struct engine *e, const struct message *m); /* success without more */
void control_failure(struct engine *e, const struct message *m, int err, const char *text);
void control_event(struct engine *e, uint8_t event, uint32_t stream);
void control_event_digit(struct engine *e, uint32_t stream, char digit, uint32_t milliseconds);
void control_event_silent(struct engine *e, uint32_t stream, uint32_t milliseconds);
void control_event_lost(struct engine *e, uint32_t stream, const char *text);

#endif
