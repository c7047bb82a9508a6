#include "wide.h"

#include <errno.h>
#include <spandsp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "law.h"

enum { ALIGNED = 64, PAGE = 4096, G722_RATE = 64000 };

static size_t aligned(size_t size, size_t to)
{
    return (size + to - 1) / to * to;
}

int wides_open(struct wides *t, unsigned count)
{
    memset(t, 0, sizeof *t);
    t->each = aligned(aligned(sizeof(struct wide), ALIGNED) + aligned(decoder_opus_size(), ALIGNED) +
                          aligned(encoder_opus_size(), ALIGNED) + encoder_joiner_size(),
                      PAGE);
    if (!count)
        return 0;
    t->states = calloc(count, sizeof *t->states);
    t->all = mmap(NULL, t->each * count, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (t->all == MAP_FAILED)
        t->all = NULL;
    t->count = t->all && t->states ? count : 0;
    for (unsigned i = 0; i < t->count; i++) {
        t->states[i].decoding = g722_decode_init(NULL, G722_RATE, 0);
        t->states[i].encoding = g722_encode_init(NULL, G722_RATE, 0);
        if (!t->states[i].decoding || !t->states[i].encoding)
            t->count = i + 1;
    }
    if (t->count == count)
        return 0;
    wides_close(t);
    return ENOMEM;
}

void wides_close(struct wides *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        if (t->states[i].decoding)
            (void)g722_decode_free(t->states[i].decoding);
        if (t->states[i].encoding)
            (void)g722_encode_free(t->states[i].encoding);
    }
    free(t->states);
    if (t->all)
        (void)munmap(t->all, t->each * t->count);
    memset(t, 0, sizeof *t);
}

/* Where memory is locked this is also the moment it is had (mprotect(2) of what is mlocked). */
static struct wide *make(struct wides *t)
{
    uint8_t *place = t->all + t->made * t->each;
    uint8_t *after = place + aligned(sizeof(struct wide), ALIGNED);
    struct wide *w = (struct wide *)(void *)place;

    if (t->made == t->count || mprotect(place, t->each, PROT_READ | PROT_WRITE))
        return NULL;
    w->decoder.opus = (void *)after;
    after += aligned(decoder_opus_size(), ALIGNED);
    w->encoder.opus = (void *)after;
    after += aligned(encoder_opus_size(), ALIGNED);
    w->encoder.joiner = (void *)after;
    w->decoder.g722 = t->states[t->made].decoding;
    w->encoder.g722 = t->states[t->made].encoding;
    t->made++;
    return w;
}

struct wide *wide_new(struct wides *t, uint8_t codec)
{
    struct wide *w = t->free;

    if (w)
        t->free = w->chain;
    else
        w = make(t);
    if (!w)
        return NULL;
    t->used++;
    wide_reset(w, codec);
    return w;
}

void wide_free(struct wides *t, struct wide *w)
{
    w->chain = t->free;
    t->free = w;
    t->used--;
}

void wide_reset(struct wide *w, uint8_t codec)
{
    w->codec = codec;
    memset(w->packet, 0, sizeof w->packet);
    memset(w->sent, 0, sizeof w->sent);
    memset(&w->halver, 0, sizeof w->halver);
    memset(&w->doubler, 0, sizeof w->doubler);
    memset(&w->relay, 0, sizeof w->relay);
    decoder_reset(&w->decoder, codec);
    encoder_reset(&w->encoder, codec);
}

void wide_narrowed(struct wide *w, uint8_t *codes, const int16_t *frame)
{
    int16_t narrow[SAMPLES];

    halver_run(&w->halver, narrow, frame);
    law_encode(ULAW, codes, narrow, SAMPLES);
}

void wide_widened(struct wide *w, int16_t *frame, const int16_t *narrow)
{
    doubler_run(&w->doubler, frame, narrow);
}
