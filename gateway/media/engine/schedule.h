/* Who is due at which tick: each place has one tick (its phase) in every frame of 20 ms, and may ask for the next too. */
#ifndef GM_SCHEDULE_H
#define GM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "jitter.h"

struct engine;
struct stream;

struct place {
    struct stream *stream; /* NULL: not in a schedule */
    unsigned phase, index; /* where in the schedule */
    int64_t frame;         /* the last one it was served in */
};

struct schedule {
    struct place **phases[PHASES];
    unsigned counts[PHASES];
    struct place **waiting; /* to be served again at the next tick */
    unsigned waiting_count;
};

/* Serves one stream at this tick; `*phase` comes as the phase of the tick and goes as the phase from the next frame on.
 * False: nothing yet, again at the next tick. At the last tick of a frame it must be true. */
typedef bool serve_function(struct engine *e, struct stream *s, unsigned *phase);

/* Allocates; 0 or an errno. */
int schedule_open(struct schedule *t, unsigned places);
void schedule_close(struct schedule *t);
void schedule_add(struct schedule *t, struct place *p, struct stream *s, unsigned phase);
void schedule_remove(struct schedule *t, struct place *p);
/* Is anybody due at this tick? */
bool schedule_due(const struct schedule *t, int64_t tick);
/* Serves `p` if it is due at this tick and has not been served in its frame. */
void schedule_run_one(struct schedule *t, struct place *p, int64_t tick, serve_function *serve, struct engine *e);
/* At each tick: first who asked for it, then who is due. */
void schedule_run_waiting(struct schedule *t, int64_t tick, serve_function *serve, struct engine *e);
void schedule_run(struct schedule *t, int64_t tick, serve_function *serve, struct engine *e);

#endif
