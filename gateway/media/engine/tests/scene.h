/* What tests of the whole engine share: a call in virtual time. Its sockets are real, its clock is ours, so that delays and
 * digits can be checked exactly however busy the machine is. */
#ifndef GM_TEST_SCENE_H
#define GM_TEST_SCENE_H

#include "../engine.h"
#include "check.h"

enum { RTP = 1, TDM = 2, STEP_US = 500, FRAMES_MAX = 4096, IDLE = 0xff, ON_WAY = 1024, EVENTS_MAX = 1024, PACKET_ROOM = 2048,
       OCTETS_MAX = CODED_PAYLOAD_MAX };

struct heard {
    int64_t at;
    size_t size;
    uint32_t stamp, ssrc;
    uint16_t sequence;
    unsigned type; /* of RTP */
    bool marker;
    uint8_t data[OCTETS_MAX];
};

/* When what is in a socket was sent, in order. */
struct on_way {
    int64_t at[ON_WAY];
    unsigned head, count;
};

struct scene {
    struct engine engine;
    int control, peer, line;
    struct sockaddr_in to; /* the engine's RTP port */
    uint16_t peer_port;
    uint16_t sequence; /* of the far end */
    uint32_t stamp, speaker;
    uint8_t receive_dtmf; /* 0: as is sent */
    struct heard on_peer[FRAMES_MAX], on_line[FRAMES_MAX];
    unsigned peer_count, line_count;
    struct {
        uint32_t stream, value;
        uint8_t event, digit;
    } events[EVENTS_MAX];
    unsigned event_count;
    struct on_way in_rtp, in_tdm;
    struct secure *far; /* the far end's SRTP, NULL: none */
    unsigned undeciphered;
};

extern struct scene scene;

/* Starts the engine; and ends it. */
void scene_open(void);
void scene_close(void);
void request(uint8_t opcode, uint32_t stream, const void *body, size_t size);
/* Lets time go on, and takes what comes at the far ends. */
void advance(int64_t until);
void advance_frames(unsigned frames);
/* A call: an RTP stream wired to a TDM one, both with their far ends. */
void begin(unsigned dtmf_payload_type);
void end(void);
const struct stream *rtp_stream(void);

/* What GM_SET_RTP says, beside RTCP at port 9. */
struct said {
    uint8_t address[4]; /* 0: loopback */
    uint16_t port;      /* 0: the peer's */
    uint8_t dtmf, direction; /* direction: what is taken away from sendrecv */
    bool none, latch, mux;   /* none: an address of zeros */
    uint8_t signalling[4];
    const struct secure_key *send, *receive;
    uint8_t codec, type, milliseconds; /* 0: mu-law, its payload type, 20 */
};

void say(const struct said *said);
unsigned count_events(uint8_t event, uint32_t stream);
/* Errors that the engine answered with since the call began: the last one, 0 if there was none. */
int last_error(void);

/* From the peer, with the far end's next sequence number. */
void send_rtp(unsigned type, uint32_t at, const uint8_t *data, size_t size);
void send_audio(const uint8_t *frame);
/* The same from another socket, without SRTP, as it is. */
void send_raw(int fd, const uint8_t *packet, size_t size);
void send_block(const uint8_t *frame);
/* A socket on loopback, at `*port`. */
int udp_socket(uint16_t *port);

const uint8_t *numbered(uint32_t number);
const uint8_t *dtmf(struct sines *s);
bool quiet(const struct heard *h);
extern uint8_t idle[SAMPLES];

#endif
