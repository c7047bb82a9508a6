/* The far end of IAX2 calls for media-load: one socket for all of them, mini frames in clear or encrypted, or a trunk. */
#ifndef GM_BENCH_IAX_ENDS_H
#define GM_BENCH_IAX_ENDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum iax_kind { IAX_NONE, IAX_MINI, IAX_TRUNK, IAX_SECRET };

enum {
    IAX_SOCKET = 100000, /* its number in the engine */
    IAX_THEIR_CALL = 1000,
    IAX_OUR_CALL = 2000,
    IAX_VOICE = 160,
    IAX_KEY_OCTETS = 16,
    IAX_KEY_OCTET = 9,   /* what the bytes of the key are */
};

/* NULL if the word names another kind. */
const enum iax_kind *iax_kind_of(const char *word);
/* Once: a socket of ours; its port. */
uint16_t iax_listen(void);
/* Where the engine's socket is. */
void iax_aim(uint16_t port);
/* Voice of call `index`; of a trunk it waits for iax_ship(). */
void iax_speak(enum iax_kind kind, unsigned index, uint32_t stamp, const uint8_t *voice);
void iax_ship(void);
/* Hands all voice that has come to `hear`, with the time it came. */
void iax_take(enum iax_kind kind, int64_t (*arrival)(struct msghdr *m), void (*hear)(const uint8_t *voice, int64_t at));

#endif
