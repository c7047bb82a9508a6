/* Checked reader and writer: the only way bytes of the network, a file or the control socket are looked at. */
#ifndef GM_CURSOR_H
#define GM_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reads past the end give zeros and set `bad`, which stays set. */
struct cursor {
    const uint8_t *data;
    size_t size;
    size_t at;
    bool bad;
};

struct cursor cursor_over(const void *data, size_t size);
size_t cursor_left(const struct cursor *c);
/* The next `size` octets and steps over them, or NULL. */
const uint8_t *cursor_take(struct cursor *c, size_t size);
void cursor_copy(struct cursor *c, void *to, size_t size);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_be16(struct cursor *c);
uint32_t cursor_be24(struct cursor *c);
uint32_t cursor_be32(struct cursor *c);
uint16_t cursor_le16(struct cursor *c);
uint32_t cursor_le32(struct cursor *c);

/* Writes past the end are dropped and set `full`, which stays set. */
struct writer {
    uint8_t *data;
    size_t size;
    size_t at;
    bool full;
};

struct writer writer_over(void *data, size_t size);
void put_bytes(struct writer *w, const void *data, size_t size);
void put_zeros(struct writer *w, size_t size);
void put_u8(struct writer *w, unsigned value);
void put_be16(struct writer *w, unsigned value);
void put_be24(struct writer *w, uint32_t value);
void put_be32(struct writer *w, uint32_t value);
void put_le16(struct writer *w, unsigned value);
void put_le32(struct writer *w, uint32_t value);
void put_le64(struct writer *w, uint64_t value);
void put_f32(struct writer *w, double value);

#endif
