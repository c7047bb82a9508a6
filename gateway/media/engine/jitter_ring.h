/* The samples a jitter buffer holds: a ring indexed by time stamp, with a bit for each sample that is there. */
#ifndef GM_JITTER_RING_H
#define GM_JITTER_RING_H

#include "jitter.h"

bool ring_has(const struct jitter *j, uint32_t stamp);
/* Is the whole frame from `stamp` there? */
bool ring_has_frame(struct jitter *j, uint32_t stamp);
void ring_mark(struct jitter *j, uint32_t stamp, uint32_t samples, bool there);
/* Copies in, transcoding from `law`, without marking; and out. */
void ring_put(struct jitter *j, uint32_t stamp, const uint8_t *from, size_t count, enum law law);
void ring_get(const struct jitter *j, uint8_t *to, uint32_t stamp, size_t count);

#endif
