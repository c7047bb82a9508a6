#include "iax_ends.h"

#include <netinet/in.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MINI = 4, CLEAR = 2, BLOCK = 16, PADDING = 30, SECRET = CLEAR + PADDING + 2 + IAX_VOICE };
enum { HEADER = 8, ENTRY = 4, ROOM = 1 << 16 };

static int fd = -1;
static struct sockaddr_in engine;
static uint8_t trunk[ROOM];
static size_t gathered;
static uint32_t trunk_stamp;

const enum iax_kind *iax_kind_of(const char *word)
{
    static const struct {
        const char *word;
        enum iax_kind kind;
    } table[] = {{"iax", IAX_MINI}, {"iax-trunk", IAX_TRUNK}, {"iax-aes", IAX_SECRET}};

    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (!strcmp(word, table[i].word))
            return &table[i].kind;
    return NULL;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

uint16_t iax_listen(void)
{
    const int one = 1, room = 1 << 20;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof own;

    if (fd < 0) {
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (fd < 0 || bind(fd, (const struct sockaddr *)&own, sizeof own))
            die("IAX2 socket");
        (void)setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    }
    if (getsockname(fd, (struct sockaddr *)&own, &size))
        die("IAX2 socket");
    return ntohs(own.sin_port);
}

void iax_aim(uint16_t port)
{
    engine = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
}

static void put_be16(uint8_t *to, unsigned value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

static unsigned be16(const uint8_t *from)
{
    return (unsigned)from[0] << 8 | from[1];
}

static bool crypt_blocks(uint8_t *to, const uint8_t *from, int size, int sending)
{
    static const uint8_t zeros[BLOCK];
    static EVP_CIPHER_CTX *contexts[2];
    uint8_t key[IAX_KEY_OCTETS];
    EVP_CIPHER_CTX **context = &contexts[sending];
    int done;

    if (!*context) {
        memset(key, IAX_KEY_OCTET, sizeof key);
        *context = EVP_CIPHER_CTX_new();
        if (!*context || !EVP_CipherInit_ex2(*context, EVP_aes_128_cbc(), key, zeros, sending, NULL))
            die("AES");
        (void)EVP_CIPHER_CTX_set_padding(*context, 0);
    }
    return EVP_CipherInit_ex2(*context, NULL, NULL, zeros, -1, NULL) && EVP_CipherUpdate(*context, to, &done, from, size);
}

static void send_out(const uint8_t *data, size_t size)
{
    (void)sendto(fd, data, size, MSG_DONTWAIT, (const struct sockaddr *)&engine, sizeof engine);
}

static void gather(unsigned index, const uint8_t *voice)
{
    if (gathered + ENTRY + IAX_VOICE > sizeof trunk)
        return;
    if (!gathered)
        gathered = HEADER;
    put_be16(trunk + gathered, IAX_THEIR_CALL + index);
    put_be16(trunk + gathered + 2, IAX_VOICE);
    memcpy(trunk + gathered + ENTRY, voice, IAX_VOICE);
    gathered += ENTRY + IAX_VOICE;
}

void iax_ship(void)
{
    if (!gathered)
        return;
    trunk[2] = 1;
    put_be16(trunk + 4, trunk_stamp >> 16);
    put_be16(trunk + 6, trunk_stamp & 0xffff);
    trunk_stamp += 20;
    send_out(trunk, gathered);
    gathered = 0;
}

void iax_speak(enum iax_kind kind, unsigned index, uint32_t stamp, const uint8_t *voice)
{
    uint8_t frame[SECRET] = {0};
    const size_t at = kind == IAX_SECRET ? CLEAR + PADDING : CLEAR;

    if (kind == IAX_TRUNK) {
        gather(index, voice);
        return;
    }
    put_be16(frame, IAX_THEIR_CALL + index);
    put_be16(frame + at, stamp & 0xffff);
    memcpy(frame + at + 2, voice, IAX_VOICE);
    if (kind == IAX_MINI) {
        send_out(frame, MINI + IAX_VOICE);
        return;
    }
    memcpy(frame + CLEAR, voice, sizeof(uint64_t)); /* noise enough: the time */
    frame[CLEAR + BLOCK - 1] = PADDING & 15;
    if (crypt_blocks(frame + CLEAR, frame + CLEAR, SECRET - CLEAR, 1))
        send_out(frame, SECRET);
}

static void take_one(enum iax_kind kind, uint8_t *data, size_t size, int64_t at, void (*hear)(const uint8_t *voice, int64_t at))
{
    if (kind == IAX_MINI && size == MINI + IAX_VOICE) {
        hear(data + MINI, at);
    } else if (kind == IAX_SECRET && size == SECRET && crypt_blocks(data + CLEAR, data + CLEAR, SECRET - CLEAR, 0)) {
        hear(data + CLEAR + PADDING + 2, at);
    } else if (kind == IAX_TRUNK && size > HEADER && !be16(data)) {
        for (size_t i = HEADER; i + ENTRY + IAX_VOICE <= size; i += ENTRY + be16(data + i + 2))
            hear(data + i + ENTRY, at);
    }
}

void iax_take(enum iax_kind kind, int64_t (*arrival)(struct msghdr *m), void (*hear)(const uint8_t *voice, int64_t at))
{
    static uint8_t data[ROOM];
    uint64_t control[8];
    struct iovec v = {data, sizeof data};
    ssize_t got;

    for (;;) {
        struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};

        got = recvmsg(fd, &m, MSG_DONTWAIT);
        if (got < 0)
            return;
        take_one(kind, data, (size_t)got, arrival(&m), hear);
    }
}
