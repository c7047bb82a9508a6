#include "../beat.h"

#include "check.h"

enum { LONG = 1000 }; /* frames */

/* So many lines that could be read at each tick, for a while. */
static void go_on(struct beat *b, const unsigned reading[PHASES])
{
    static int64_t frame;

    for (const int64_t end = frame + LONG; frame < end; frame++) {
        for (unsigned tick = 0; tick < PHASES; tick++)
            for (unsigned i = 0; i < reading[tick]; i++)
                beat_reads(b, tick);
        beat_choose(b, frame);
    }
}

static void it_is_where_the_fewest_wait(void)
{
    struct beat b = {.on = true, .tick = 3};

    go_on(&b, (const unsigned[PHASES]){0, 30, 0, 0});
    CHECK_EQUAL(b.tick, 1);
    go_on(&b, (const unsigned[PHASES]){0, 30, 30, 0}); /* those that come after it wait a whole frame */
    CHECK_EQUAL(b.tick, 2);
    go_on(&b, (const unsigned[PHASES]){30, 0, 0, 30});
    CHECK_EQUAL(b.tick, 0);
}

static void it_stays_where_it_is_for_a_trifle(void)
{
    struct beat b = {.on = true};

    go_on(&b, (const unsigned[PHASES]){10, 0, 11, 0});
    CHECK_EQUAL(b.tick, 0);
    go_on(&b, (const unsigned[PHASES]){10, 0, 15, 0});
    CHECK_EQUAL(b.tick, 2);
    go_on(&b, (const unsigned[PHASES]){0});
    CHECK_EQUAL(b.tick, 2);
}

static void many_fill_ticks_of_their_own(void)
{
    struct beat b = {.on = true, .tick = 3};

    go_on(&b, (const unsigned[PHASES]){65, 64, 64, 64});
    CHECK(!b.on);
    go_on(&b, (const unsigned[PHASES]){64, 64, 64, 64});
    CHECK(b.on);
}

int main(void)
{
    RUN(it_is_where_the_fewest_wait);
    RUN(it_stays_where_it_is_for_a_trifle);
    RUN(many_fill_ticks_of_their_own);
    return 0;
}
