#include "jitter_ring.h"

#include <string.h>

enum { WORD = 64 /* samples whose presence is told by one word */ };

bool ring_has(const struct jitter *j, uint32_t stamp)
{
    uint32_t bit = stamp % RING;

    return j->present[bit / WORD] >> bit % WORD & 1;
}

/* The presence bits of the samples from `stamp` that share a word, at least 1 and at most `left`; `*mask` selects them. */
static uint64_t *word_at(struct jitter *j, uint32_t stamp, uint32_t left, uint64_t *mask, uint32_t *count)
{
    uint32_t bit = stamp % RING;
    uint32_t room = WORD - bit % WORD;

    *count = room < left ? room : left;
    /* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult,clang-analyzer-core.BitwiseShift): count is 1 to WORD */
    *mask = UINT64_MAX >> (WORD - *count) << bit % WORD;
    return &j->present[bit / WORD];
}

void ring_mark(struct jitter *j, uint32_t stamp, uint32_t samples, bool there)
{
    uint64_t mask;
    uint32_t count;

    for (uint32_t i = 0; i < samples; i += count) {
        uint64_t *word = word_at(j, stamp + i, samples - i, &mask, &count);

        *word = there ? *word | mask : *word & ~mask;
    }
}

bool ring_has_frame(struct jitter *j, uint32_t stamp)
{
    uint64_t mask;
    uint32_t count;

    for (uint32_t i = 0; i < SAMPLES; i += count) {
        const uint64_t *word = word_at(j, stamp + i, SAMPLES - i, &mask, &count);

        if ((*word & mask) != mask)
            return false;
    }
    return true;
}

void ring_put(struct jitter *j, uint32_t stamp, const uint8_t *from, size_t count, enum law law)
{
    size_t at = stamp % RING;
    size_t first = count < RING - at ? count : RING - at;

    law_convert(j->law, j->ring + at, law, from, first);
    law_convert(j->law, j->ring, law, from + first, count - first);
}

void ring_get(const struct jitter *j, uint8_t *to, uint32_t stamp, size_t count)
{
    size_t at = stamp % RING;
    size_t first = count < RING - at ? count : RING - at;

    memcpy(to, j->ring + at, first);
    memcpy(to + first, j->ring, count - first);
}
