#include "schedule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int schedule_open(struct schedule *t, unsigned places)
{
    memset(t, 0, sizeof *t);
    t->waiting = calloc(places, sizeof(struct place *));
    return t->waiting ? 0 : ENOMEM;
}

void schedule_close(struct schedule *t)
{
    free((void *)t->waiting);
    memset(t, 0, sizeof *t);
}

static void link_in(struct schedule *t, struct place *p, unsigned phase)
{
    struct place **head = &t->phases[phase];

    p->phase = phase;
    p->before = NULL;
    p->after = *head;
    if (*head)
        (*head)->before = p;
    *head = p;
}

static void unlink_from(struct schedule *t, struct place *p)
{
    if (p->after)
        p->after->before = p->before;
    if (p->before)
        p->before->after = p->after;
    else
        t->phases[p->phase] = p->after;
}

void schedule_add(struct schedule *t, struct place *p, struct stream *s, unsigned phase)
{
    p->stream = s;
    p->frame = -1;
    link_in(t, p, phase % PHASES);
}

void schedule_remove(struct schedule *t, struct place *p)
{
    unsigned kept = 0;

    if (!p->stream)
        return;
    unlink_from(t, p);
    p->stream = NULL;
    for (unsigned i = 0; i < t->waiting_count; i++)
        if (t->waiting[i] != p)
            t->waiting[kept++] = t->waiting[i];
    t->waiting_count = kept;
}

static bool serve_place(struct schedule *t, struct place *p, unsigned phase, serve_function *serve, struct engine *e)
{
    if (!serve(e, p->stream, &phase))
        return false;
    if (phase != p->phase) {
        unlink_from(t, p);
        link_in(t, p, phase);
    }
    return true;
}

void schedule_run(struct schedule *t, int64_t tick, serve_function *serve, struct engine *e)
{
    unsigned phase = (unsigned)(tick % PHASES);
    int64_t frame = tick / PHASES;
    unsigned kept = 0;
    struct place *next;

    for (unsigned i = 0; i < t->waiting_count; i++)
        if (!serve_place(t, t->waiting[i], phase, serve, e))
            t->waiting[kept++] = t->waiting[i];
    t->waiting_count = kept;
    for (struct place *p = t->phases[phase]; p; p = next) {
        next = p->after;
        if (p->frame == frame)
            continue;
        p->frame = frame;
        if (!serve_place(t, p, phase, serve, e))
            t->waiting[t->waiting_count++] = p;
    }
}
