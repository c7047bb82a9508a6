/* WAV files: 8 kHz mono, 16-bit linear or G.711 in; 16-bit linear out. Works on a file descriptor. */
#ifndef GM_WAV_H
#define GM_WAV_H

#include <stddef.h>
#include <stdint.h>

enum { WAV_HEADER = 44 };
enum wav_format { WAV_LINEAR = 1, WAV_ALAW = 6, WAV_ULAW = 7 };

struct wav {
    enum wav_format format;
    unsigned width; /* octets a sample */
    uint32_t offset; /* of the first sample in the file */
    uint32_t size;   /* octets of samples */
};

/* 0, or an errno with the reason in `why` (`room` octets). */
int wav_read_header(struct wav *wav, int fd, char *why, size_t room);
/* The header of a file with `size` octets of 16-bit samples. */
void wav_build_header(uint8_t *out, uint32_t size);

#endif
