/* IAX2 calls in virtual time: a socket of the engine, one far end on loopback, and lines. */
#ifndef GM_TEST_IAX_SCENE_H
#define GM_TEST_IAX_SCENE_H

#include "scene.h"

enum { SOCKET = 100, CALL = 1000, LINE = 2000, CALLS_ROOM = 40, DATAGRAMS_MAX = 8192, OURS = 7, THEIRS = 300 };

struct came {
    int64_t at;
    size_t size;
    uint8_t data[IAX_DATAGRAM_MAX > 6000 ? 6000 : IAX_DATAGRAM_MAX];
};

/* What GM_SET_IAX says of a call; zeros are what is usual. */
struct iax_said {
    uint8_t codec, flags, direction; /* direction: what is taken away from sendrecv */
    uint16_t most, source, far, port;
    int64_t epoch;
    const uint8_t *send, *receive;
};

struct iax_scene {
    unsigned calls;
    int peer, lines[CALLS_ROOM];
    uint16_t peer_port, port;
    struct came *came; /* DATAGRAMS_MAX */
    unsigned count;
    struct {
        unsigned count;
        uint32_t last;
    } heard[CALLS_ROOM];
    uint32_t stamp;
};

extern struct iax_scene iax;

void iax_begin(unsigned calls, const struct iax_said *said);
void iax_end(void);
void iax_say(unsigned call, const struct iax_said *said);
/* Opens the socket at `port`, under another number. */
void iax_open_socket(uint32_t stream, uint16_t port);
/* Lets time go on, by STEP_US or by frames, and takes what comes at the far end. */
void iax_step(void);
void iax_run(unsigned frames);
/* A frame's time with a block from each line. */
void iax_run_lines(unsigned frames);
void iax_send(int fd, const void *data, size_t size);
void iax_send_mini(unsigned far, uint32_t stamp, const uint8_t *frame);
void iax_send_block(unsigned call, const uint8_t *frame);
/* The voice of a full frame, as signalling hands it on. */
void iax_say_voice(unsigned call, uint32_t stamp, const uint8_t *frame);
/* How many of the blocks that came at a line since the last time are numbered, and the last of their numbers, if any. */
unsigned iax_numbered(unsigned call, uint32_t *last);
const struct stream *iax_stream(unsigned call);
struct iax_socket *iax_socket(void);

#endif
