#include "wav.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cursor.h"
#include "law.h"

enum { RIFF_HEADER = 12, CHUNK_HEADER = 8, FMT_LEAST = 16, FMT_MOST = 40, CHUNKS_MAX = 64, EXTENSIBLE = 0xfffe };

static int refuse(char *why, size_t room, const char *text, unsigned value)
{
    (void)snprintf(why, room, text, value);
    return EINVAL;
}

static int check_format(struct wav *wav, struct cursor *c, char *why, size_t room)
{
    unsigned format = cursor_le16(c);
    unsigned channels = cursor_le16(c);
    uint32_t rate = cursor_le32(c);
    unsigned bits;

    cursor_take(c, 6);
    bits = cursor_le16(c);
    if (format == EXTENSIBLE) {
        cursor_take(c, 8);
        format = cursor_le16(c); /* the sub-format GUID starts with the format */
    }
    if (c->bad)
        return refuse(why, room, "WAV format chunk of %u octets is too short", (unsigned)c->size);
    if (rate != SAMPLE_RATE)
        return refuse(why, room, "WAV of %u Hz, expected 8000", rate);
    if (channels != 1)
        return refuse(why, room, "WAV of %u channels, expected 1", channels);
    if (format != WAV_LINEAR && format != WAV_ALAW && format != WAV_ULAW)
        return refuse(why, room, "WAV of format %u, expected 1 (linear), 6 (A-law) or 7 (mu-law)", format);
    if (bits != (format == WAV_LINEAR ? 16U : 8U))
        return refuse(why, room, "WAV of %u bits a sample, expected 16 if linear, 8 if G.711", bits);
    wav->format = (enum wav_format)format;
    wav->width = bits / 8;
    return 0;
}

int wav_read_header(struct wav *wav, int fd, char *why, size_t room)
{
    uint8_t data[FMT_MOST] = {0};
    struct cursor c = cursor_over(data, RIFF_HEADER);
    bool formatted = false;
    struct stat status;
    off_t at = RIFF_HEADER;

    if (fstat(fd, &status))
        return errno;
    if (!S_ISREG(status.st_mode))
        return refuse(why, room, "not a regular file", 0);
    if (pread(fd, data, RIFF_HEADER, 0) != RIFF_HEADER || memcmp(cursor_take(&c, 4), "RIFF", 4) != 0 ||
        !cursor_take(&c, 4) || memcmp(cursor_take(&c, 4), "WAVE", 4) != 0)
        return refuse(why, room, "not a WAV file", 0);
    for (int i = 0; i < CHUNKS_MAX; i++) {
        const uint8_t *name;
        uint32_t size;

        if (pread(fd, data, CHUNK_HEADER, at) != CHUNK_HEADER)
            return refuse(why, room, "WAV file without samples", 0);
        c = cursor_over(data, CHUNK_HEADER);
        name = cursor_take(&c, 4);
        size = cursor_le32(&c);
        at += CHUNK_HEADER;
        if (memcmp(name, "data", 4) == 0 && formatted) {
            off_t there = status.st_size - at;

            /* A recording that was cut off says more, or nothing, of its size. */
            wav->offset = (uint32_t)at;
            wav->size = size < there && size ? size : (uint32_t)(there > 0 ? there : 0);
            wav->size -= wav->size % wav->width;
            return wav->size ? 0 : refuse(why, room, "WAV file without samples", 0);
        }
        if (memcmp(name, "fmt ", 4) == 0) {
            size_t part = size < FMT_MOST ? size : FMT_MOST;
            int err;

            if (part < FMT_LEAST || pread(fd, data, part, at) != (ssize_t)part)
                return refuse(why, room, "WAV format chunk of %u octets is too short", size);
            c = cursor_over(data, part);
            err = check_format(wav, &c, why, room);
            if (err)
                return err;
            formatted = true;
        }
        at += (off_t)size + (size & 1);
        if (at > INT32_MAX)
            break;
    }
    return refuse(why, room, "WAV file without samples in its first chunks", 0);
}

void wav_build_header(uint8_t *out, uint32_t size)
{
    struct writer w = writer_over(out, WAV_HEADER);

    put_bytes(&w, "RIFF", 4);
    put_le32(&w, size + WAV_HEADER - CHUNK_HEADER);
    put_bytes(&w, "WAVEfmt ", 8);
    put_le32(&w, FMT_LEAST);
    put_le16(&w, WAV_LINEAR);
    put_le16(&w, 1);
    put_le32(&w, SAMPLE_RATE);
    put_le32(&w, SAMPLE_RATE * 2);
    put_le16(&w, 2);
    put_le16(&w, 16);
    put_bytes(&w, "data", 4);
    put_le32(&w, size);
}
