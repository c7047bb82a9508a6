#include "schedule.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

enum { NEXT = 1, AFTER_NEXT = 3 };

static void fetch(const void *from, size_t size)
{
    for (size_t i = 0; i < size; i += CACHE_LINE)
        __builtin_prefetch((const char *)from + i);
}

/* With many streams the next one and who is wired to it are not in the cache. What every frame touches comes first in
 * each part of a stream. */
static void warm(const struct stream *s)
{
    fetch(s, offsetof(struct stream, rtp.events));
    fetch(&s->tdm, offsetof(struct tdm_part, path));
    fetch(&s->jitter, offsetof(struct jitter, present));
}

static void look_ahead(const struct schedule *t, unsigned phase, unsigned index)
{
    const struct stream *s;

    if (index + AFTER_NEXT < t->counts[phase])
        __builtin_prefetch(t->phases[phase][index + AFTER_NEXT]);
    if (index + NEXT >= t->counts[phase])
        return;
    s = t->phases[phase][index + NEXT]->stream;
    warm(s);
    if (s->peer)
        warm(s->peer);
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

void schedule_run(struct schedule *t, int64_t tick, serve_function *serve, struct engine *e)
{
    unsigned phase = (unsigned)(tick % PHASES);
    int64_t frame = tick / PHASES;
    unsigned kept = 0;
    struct place **places = t->phases[phase];

    for (unsigned i = 0; i < t->waiting_count; i++)
        if (!serve_place(t, t->waiting[i], phase, serve, e))
            t->waiting[kept++] = t->waiting[i];
    t->waiting_count = kept;
    for (unsigned i = 0; i < t->counts[phase];) {
        struct place *p = places[i];

        look_ahead(t, phase, i);
        if (p->frame != frame) {
            p->frame = frame;
            if (!serve_place(t, p, phase, serve, e))
                t->waiting[t->waiting_count++] = p;
        }
        i += places[i] == p; /* else it has moved, and another has come here */
    }
}
