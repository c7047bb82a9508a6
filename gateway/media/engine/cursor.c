#include "cursor.h"

#include <string.h>

struct cursor cursor_over(const void *data, size_t size)
{
    return (struct cursor){.data = data, .size = size};
}

size_t cursor_left(const struct cursor *c)
{
    return c->bad ? 0 : c->size - c->at;
}

const uint8_t *cursor_take(struct cursor *c, size_t size)
{
    const uint8_t *at = c->data + c->at;

    if (c->bad || size > c->size - c->at) {
        c->bad = true;
        return NULL;
    }
    c->at += size;
    return at;
}

void cursor_copy(struct cursor *c, void *to, size_t size)
{
    const uint8_t *from = cursor_take(c, size);

    if (from)
        memcpy(to, from, size);
    else
        memset(to, 0, size);
}

static uint32_t little_endian(struct cursor *c, size_t size)
{
    const uint8_t *p = cursor_take(c, size);
    uint32_t value = 0;

    for (size_t i = 0; p && i < size; i++)
        value |= (uint32_t)p[i] << (8 * i);
    return value;
}

uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 1);

    return p ? *p : 0;
}

uint16_t cursor_be16(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 2);

    return (uint16_t)(p ? p[0] << 8 | p[1] : 0);
}

uint32_t cursor_be24(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 3);

    return p ? (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2] : 0;
}

uint32_t cursor_be32(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 4);

    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

uint16_t cursor_le16(struct cursor *c)
{
    return (uint16_t)little_endian(c, 2);
}

uint32_t cursor_le32(struct cursor *c)
{
    return little_endian(c, 4);
}

struct writer writer_over(void *data, size_t size)
{
    return (struct writer){.data = data, .size = size};
}

static uint8_t *room(struct writer *w, size_t size)
{
    uint8_t *at = w->data + w->at;

    if (w->full || size > w->size - w->at) {
        w->full = true;
        return NULL;
    }
    w->at += size;
    return at;
}

void put_bytes(struct writer *w, const void *data, size_t size)
{
    uint8_t *to = room(w, size);

    if (to && size)
        memcpy(to, data, size);
}

void put_zeros(struct writer *w, size_t size)
{
    uint8_t *to = room(w, size);

    if (to)
        memset(to, 0, size);
}

static void put_little(struct writer *w, uint64_t value, size_t size)
{
    uint8_t *to = room(w, size);

    for (size_t i = 0; to && i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

void put_u8(struct writer *w, unsigned value)
{
    uint8_t *to = room(w, 1);

    if (to)
        *to = (uint8_t)value;
}

void put_be16(struct writer *w, unsigned value)
{
    uint8_t *to = room(w, 2);

    if (!to)
        return;
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
}

void put_be24(struct writer *w, uint32_t value)
{
    uint8_t *to = room(w, 3);

    if (!to)
        return;
    to[0] = (uint8_t)(value >> 16);
    to[1] = (uint8_t)(value >> 8);
    to[2] = (uint8_t)value;
}

void put_be32(struct writer *w, uint32_t value)
{
    uint8_t *to = room(w, 4);

    if (!to)
        return;
    to[0] = (uint8_t)(value >> 24);
    to[1] = (uint8_t)(value >> 16);
    to[2] = (uint8_t)(value >> 8);
    to[3] = (uint8_t)value;
}

void put_le16(struct writer *w, unsigned value)
{
    put_little(w, value, 2);
}

void put_le32(struct writer *w, uint32_t value)
{
    put_little(w, value, 4);
}

void put_le64(struct writer *w, uint64_t value)
{
    put_little(w, value, 8);
}

void put_f32(struct writer *w, double value)
{
    float narrow = (float)value;
    uint32_t bits;

    memcpy(&bits, &narrow, sizeof bits);
    put_le32(w, bits);
}
