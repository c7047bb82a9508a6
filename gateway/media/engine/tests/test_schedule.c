#include "../schedule.h"

#include <string.h>

#include "../stream.h"
#include "check.h"

enum { MANY = 50 };

static struct schedule schedule;
static struct place places[MANY];
static struct stream streams[MANY];
static unsigned served[MANY];
static unsigned next_phase[MANY];
static unsigned refusals[MANY];
static size_t last;  /* who was served last ... */
static size_t after[MANY]; /* ... before whom */

static bool serve(struct engine *e, struct stream *s, unsigned *phase)
{
    size_t i = (size_t)(s - streams);

    (void)e;
    if (refusals[i]) {
        refusals[i]--;
        return false;
    }
    served[i]++;
    after[i] = last;
    last = i;
    *phase = next_phase[i] == PHASES ? *phase : next_phase[i];
    return true;
}

static void begin(void)
{
    CHECK_EQUAL(schedule_open(&schedule, MANY), 0);
    for (unsigned i = 0; i < MANY; i++) {
        served[i] = refusals[i] = 0;
        next_phase[i] = PHASES;
        schedule_add(&schedule, &places[i], &streams[i], i);
    }
}

static void end(void)
{
    for (unsigned i = 0; i < MANY; i++)
        schedule_remove(&schedule, &places[i]);
    for (unsigned i = 0; i < PHASES; i++)
        CHECK_EQUAL(schedule.counts[i], 0);
    CHECK_EQUAL(schedule.waiting_count, 0);
    schedule_close(&schedule);
}

static void run(int64_t from, int64_t to)
{
    for (int64_t tick = from; tick < to; tick++) {
        schedule_run_waiting(&schedule, tick, serve, NULL);
        schedule_run(&schedule, tick, serve, NULL);
    }
}

static void each_place_is_served_once_a_frame(void)
{
    begin();
    run(0, 10L * PHASES);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQUAL(served[i], 10);
    end();
}

static void a_place_that_moves_is_still_served_once_a_frame(void)
{
    uint64_t seed = 6;

    begin();
    for (unsigned frame = 0; frame < 200; frame++) {
        for (unsigned i = 0; i < MANY; i++)
            next_phase[i] = check_random(&seed) % (PHASES + 1);
        run((int64_t)frame * PHASES, (int64_t)(frame + 1) * PHASES);
        for (unsigned i = 0; i < MANY; i++)
            CHECK_EQUAL(served[i], frame + 1);
    }
    end();
}

static void who_waits_is_asked_again_at_the_next_tick(void)
{
    begin();
    refusals[0] = 2; /* its phase is 0 */
    run(0, 2);
    CHECK_EQUAL(served[0], 0);
    CHECK_EQUAL(schedule.waiting_count, 1);
    run(2, 3);
    CHECK_EQUAL(served[0], 1);
    CHECK_EQUAL(places[0].phase, 2); /* and stays there */
    run(3, 4 + 2);
    CHECK_EQUAL(served[0], 1);
    run(6, 7);
    CHECK_EQUAL(served[0], 2);
    end();
}

static void removing_one_that_waits_leaves_the_others(void)
{
    begin();
    refusals[0] = refusals[4] = 3;
    run(0, 1);
    CHECK_EQUAL(schedule.waiting_count, 2);
    schedule_remove(&schedule, &places[0]);
    schedule_remove(&schedule, &places[0]); /* twice is once */
    run(1, 8);
    CHECK_EQUAL(served[0], 0);
    CHECK_EQUAL(served[4], 2);
    end();
}

/* In the cache is what both use. */
static void who_is_wired_to_each_other_is_served_together_where_the_tick_is_the_same(void)
{
    enum { FIRST = 0, SAME_TICK = 40, OTHER_TICK = 42 };

    begin();
    for (unsigned i = 0; i < MANY; i++) {
        schedule_remove(&schedule, &places[i]);
        schedule_add(&schedule, &streams[i].hearing, &streams[i], i);
    }
    streams[FIRST].peer = &streams[SAME_TICK];
    streams[SAME_TICK].peer = &streams[FIRST];
    streams[1].peer = &streams[OTHER_TICK];
    streams[OTHER_TICK].peer = &streams[1];
    next_phase[SAME_TICK] = 3; /* it moves while the first one's turn lasts */
    run(0, PHASES);
    CHECK_EQUAL(after[SAME_TICK], FIRST);
    CHECK(after[OTHER_TICK] != 1);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQUAL(served[i], 1);
    run(PHASES, 3L * PHASES);
    CHECK(after[SAME_TICK] != FIRST);
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQUAL(served[i], 3);
    for (unsigned i = 0; i < MANY; i++) {
        schedule_remove(&schedule, &streams[i].hearing);
        streams[i].peer = NULL;
    }
    end();
}

int main(void)
{
    RUN(each_place_is_served_once_a_frame);
    RUN(a_place_that_moves_is_still_served_once_a_frame);
    RUN(who_waits_is_asked_again_at_the_next_tick);
    RUN(removing_one_that_waits_leaves_the_others);
    RUN(who_is_wired_to_each_other_is_served_together_where_the_tick_is_the_same);
    return 0;
}
