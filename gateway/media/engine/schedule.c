#include "schedule.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

enum { NEXT = 1, AFTER_NEXT = 2, LATER = 4 }; /* how far ahead of who is served */

static void fetch(const void *from, size_t size)
{
    __asm__ volatile(""); /* gcc leaves out whoever calls what does nothing but fetch, as if it did nothing at all */
    for (size_t i = 0; i < size; i += CACHE_LINE)
        __builtin_prefetch((const char *)from + i);
}

static void fetch_between(const struct stream *s, size_t from, size_t to)
{
    fetch((const char *)s + from / CACHE_LINE * CACHE_LINE, to - from / CACHE_LINE * CACHE_LINE);
}

/* With many streams the next one and who is wired to it are not in the cache: first what every frame touches, ... */
static void warm(const struct stream *s)
{
    fetch(s, offsetof(struct stream, digits.head));
    fetch(&s->jitter, offsetof(struct jitter, present));
    if (s->kind == GM_KIND_TDM)
        fetch_between(s, offsetof(struct stream, tdm), offsetof(struct stream, tdm.path));
    else
        fetch_between(s, offsetof(struct stream, rtp.far_end.set), offsetof(struct stream, rtp.secure.send.key.octets));
}

/* ... then where it says that voice is to be put. */
static void warm_voice(const struct stream *s)
{
    const uint32_t at = s->jitter.passing ? s->jitter.play % PAST : s->jitter.newest % RING;

    fetch(s->jitter.ring + at, SAMPLES);
    fetch(&s->jitter.present[at / 64], sizeof s->jitter.present[0]);
    if (s->kind == GM_KIND_RTP)
        fetch(s->rtp.packet, RTP_HEADER + SAMPLES);
    if (s->kind == GM_KIND_RTP && secure_on(&s->rtp.secure))
        fetch_between(s, offsetof(struct stream, rtp.secure.fresh), offsetof(struct stream, rtp.secure.receive.ssrcs[1]));
}

static void look_ahead(const struct schedule *t, unsigned phase, unsigned index)
{
    const unsigned count = t->counts[phase];
    const struct stream *s;

    if (index + LATER < count)
        __builtin_prefetch(t->phases[phase][index + LATER]);
    if (index + AFTER_NEXT < count) {
        s = t->phases[phase][index + AFTER_NEXT]->stream;
        warm(s);
        if (s->peer)
            warm(s->peer);
    }
    if (index + NEXT < count) {
        s = t->phases[phase][index + NEXT]->stream;
        warm_voice(s);
        if (s->peer)
            warm_voice(s->peer);
    }
}

int schedule_open(struct schedule *t, unsigned places)
{
    int err = 0;

    memset(t, 0, sizeof *t);
    t->waiting = (struct place **)calloc(places, sizeof(struct place *));
    err = t->waiting ? 0 : ENOMEM;
    for (unsigned i = 0; i < PHASES; i++) {
        t->phases[i] = (struct place **)calloc(places, sizeof(struct place *));
        err = t->phases[i] ? err : ENOMEM;
    }
    if (err)
        schedule_close(t);
    return err;
}

void schedule_close(struct schedule *t)
{
    for (unsigned i = 0; i < PHASES; i++)
        free((void *)t->phases[i]);
    free((void *)t->waiting);
    memset(t, 0, sizeof *t);
}

static void put_in(struct schedule *t, struct place *p, unsigned phase)
{
    p->phase = phase;
    p->index = t->counts[phase]++;
    t->phases[phase][p->index] = p;
}

/* The last of the phase takes its place. */
static void take_out(struct schedule *t, const struct place *p)
{
    struct place *last = t->phases[p->phase][--t->counts[p->phase]];

    t->phases[p->phase][p->index] = last;
    last->index = p->index;
}

void schedule_add(struct schedule *t, struct place *p, struct stream *s, unsigned phase)
{
    p->stream = s;
    p->frame = -1;
    put_in(t, p, phase % PHASES);
}

void schedule_remove(struct schedule *t, struct place *p)
{
    unsigned kept = 0;

    if (!p->stream)
        return;
    take_out(t, p);
    p->stream = NULL;
    for (unsigned i = 0; i < t->waiting_count; i++)
        if (t->waiting[i] != p)
            t->waiting[kept++] = t->waiting[i];
    t->waiting_count = kept;
}

bool schedule_due(const struct schedule *t, int64_t tick)
{
    return t->waiting_count || t->counts[tick % PHASES];
}

static bool serve_place(struct schedule *t, struct place *p, unsigned phase, serve_function *serve, struct engine *e)
{
    if (!serve(e, p->stream, &phase))
        return false;
    if (phase != p->phase) {
        take_out(t, p);
        put_in(t, p, phase);
    }
    return true;
}

/* Who is wired to `p`, and due at the same tick; else NULL. */
static struct place *mate(const struct place *p, unsigned phase, int64_t frame)
{
    struct stream *peer = p->stream->peer;
    struct place *other = !peer ? NULL : p == &p->stream->hearing ? &peer->hearing : &peer->reading;

    return other && other->stream && other->phase == phase && other->frame < frame ? other : NULL;
}

static void serve_first(struct schedule *t, struct place *p, int64_t tick, serve_function *serve, struct engine *e)
{
    p->frame = tick / PHASES;
    if (!serve_place(t, p, (unsigned)(tick % PHASES), serve, e))
        t->waiting[t->waiting_count++] = p;
}

void schedule_run_one(struct schedule *t, struct place *p, int64_t tick, serve_function *serve, struct engine *e)
{
    if (p->stream && p->phase == tick % PHASES && p->frame < tick / PHASES)
        serve_first(t, p, tick, serve, e);
}

void schedule_run_waiting(struct schedule *t, int64_t tick, serve_function *serve, struct engine *e)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < t->waiting_count; i++)
        if (!serve_place(t, t->waiting[i], (unsigned)(tick % PHASES), serve, e))
            t->waiting[kept++] = t->waiting[i];
    t->waiting_count = kept;
}

void schedule_run(struct schedule *t, int64_t tick, serve_function *serve, struct engine *e)
{
    unsigned phase = (unsigned)(tick % PHASES);
    int64_t frame = tick / PHASES;
    struct place **places = t->phases[phase];

    for (unsigned i = 0; i < t->counts[phase];) {
        struct place *p = places[i];

        if (p->frame < frame) {
            struct place *other = mate(p, phase, frame);

            look_ahead(t, phase, i);
            serve_first(t, p, tick, serve, e);
            if (other) /* both use the same sockets, which are in the cache now */
                serve_first(t, other, tick, serve, e);
        }
        i += places[i] == p; /* else it has moved, and another has come here */
    }
}
