#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20 };

static unsigned bucket(const struct streams *t, uint32_t id)
{
    return (unsigned)(id * UINT32_C(2654435761) >> 7) & t->bucket_mask;
}

/* In huge pages, if the system has any to give: with many streams each would cost a walk of the page tables a frame. */
static struct stream *table(unsigned count)
{
    size_t size = (count * sizeof(struct stream) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    struct stream *all = aligned_alloc(HUGE_PAGE, size);

    if (all) {
        (void)madvise(all, size, MADV_HUGEPAGE);
        memset(all, 0, size);
    }
    return all;
}

int streams_open(struct streams *t, unsigned count, unsigned delay_max_milliseconds)
{
    unsigned buckets = 1;
    int err = 0;

    memset(t, 0, sizeof *t);
    while (buckets < 2 * count)
        buckets *= 2;
    t->all = table(count);
    t->buckets = (struct stream **)calloc(buckets, sizeof(struct stream *));
    if (!t->all || !t->buckets) {
        err = ENOMEM;
        goto out;
    }
    t->bucket_mask = buckets - 1;
    for (; t->count < count && !err; t->count++) {
        struct stream *s = &t->all[t->count];

        s->slot = t->count;
        s->rtp.fd = s->rtp.rtcp_fd = s->tdm.fd = s->tdm.listen_fd = NO_FD;
        err = jitter_open(&s->jitter, delay_max_milliseconds);
        if (!err)
            err = inband_open(&s->inband);
    }
    for (unsigned i = t->count; i > 0; i--) {
        t->all[i - 1].chain = t->free;
        t->free = &t->all[i - 1];
    }
out:
    if (err)
        streams_close(t);
    return err;
}

void streams_close(struct streams *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        jitter_close(&t->all[i].jitter);
        inband_close(&t->all[i].inband);
    }
    free(t->all);
    free((void *)t->buckets);
    memset(t, 0, sizeof *t);
}

struct stream *stream_find(const struct streams *t, uint32_t id)
{
    struct stream *s = t->buckets[bucket(t, id)];

    while (s && s->id != id)
        s = s->chain;
    return s;
}

struct stream *stream_new(struct streams *t, uint32_t id, uint8_t kind)
{
    struct stream *s = t->free;

    if (!s)
        return NULL;
    t->free = s->chain;
    t->used++;
    s->id = id;
    s->kind = kind;
    s->adopted = true;
    s->chain = t->buckets[bucket(t, id)];
    t->buckets[bucket(t, id)] = s;
    s->peer = NULL;
    memset(&s->hearing, 0, sizeof s->hearing);
    memset(&s->reading, 0, sizeof s->reading);
    s->fed = 0;
    s->first = s->silent = s->in_fault = s->tone_told = false;
    s->heard_at = s->expected_from = 0;
    s->packets_sent = s->octets_sent = s->packets_received = s->octets_received = 0;
    s->rejected = s->dropped = 0;
    memset(s->label, 0, sizeof s->label);
    digits_clear(&s->digits);
    inband_reset(&s->inband);
    jitter_reset(&s->jitter, ULAW);
    memset(&s->rtp, 0, sizeof s->rtp);
    memset(&s->tdm, 0, sizeof s->tdm);
    memset(&s->iax, 0, sizeof s->iax);
    memset(&s->file, 0, sizeof s->file);
    s->rtp.fd = s->rtp.rtcp_fd = s->tdm.fd = s->tdm.listen_fd = NO_FD;
    return s;
}

void stream_free(struct streams *t, struct stream *s)
{
    struct stream **at = &t->buckets[bucket(t, s->id)];

    while (*at != s)
        at = &(*at)->chain;
    *at = s->chain;
    s->kind = 0;
    s->chain = t->free;
    t->free = s;
    t->used--;
}

enum law stream_law(const struct stream *s)
{
    return s->kind == GM_KIND_TDM ? s->tdm.law : stream_packets(s) ? s->rtp.law : ULAW;
}

const uint8_t *stream_sent(const struct stream *s)
{
    if (!s->octets_sent)
        return NULL;
    if (s->kind == GM_KIND_TDM)
        return s->tdm.block;
    return stream_packets(s) && !s->rtp.wide && s->rtp.packet_samples >= SAMPLES ? s->rtp.packet + RTP_HEADER : NULL;
}
