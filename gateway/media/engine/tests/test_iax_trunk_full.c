#include "iax_scene.h"

#include <string.h>

/* Full frames of voice of a call that is in a trunk: theirs is the call's own time, that of trunk frames without stamps is
 * the trunk's, and signalling takes its time with them. */

enum { SECOND = 50 /* frames */, TRUNK_HEADER = 8 };

static const struct iax_said mini = {0};
static const struct iax_said trunked = {.flags = GM_IAX_TRUNK};
static const struct iax_said stamped = {.flags = GM_IAX_TRUNK | GM_IAX_TRUNK_STAMPS};

static void run_us(unsigned us)
{
    for (unsigned i = 0; i < us / STEP_US; i++)
        iax_step();
}

/* -- what comes -- */

struct outcome {
    int missing;
    unsigned concealed;
};

static struct outcome begun(unsigned call)
{
    uint32_t last;

    (void)iax_numbered(call, &last);
    return (struct outcome){.concealed = iax_stream(call)->jitter.concealed};
}

/* Since then. */
static struct outcome come(unsigned call, struct outcome since, unsigned frames)
{
    uint32_t last = 0;

    return (struct outcome){.missing = (int)frames - (int)iax_numbered(call, &last),
                            .concealed = iax_stream(call)->jitter.concealed - since.concealed};
}

static void send_trunk(uint32_t number)
{
    uint8_t frame[TRUNK_HEADER + 4 + SAMPLES];
    struct writer w = writer_over(frame, sizeof frame);

    put_be32(&w, 0x100);
    put_be32(&w, 7000 + number * 20);
    put_be16(&w, THEIRS);
    put_be16(&w, SAMPLES);
    put_bytes(&w, numbered(number), SAMPLES);
    iax_send(iax.peer, frame, w.at);
}

/* Of a call every 50th frame comes as a full one `late_us` after its time, as might be the first one, with a stamp `off` ms from
 * where the trunk's frames would have it: 20 of them, after the first seconds. */
static struct outcome hear(int32_t off, unsigned late_us, bool first)
{
    enum { APART = 50, SETTLED = 3 * SECOND, FRAMES = SETTLED + 20 * APART };
    const unsigned later = late_us / FRAME_US;
    struct outcome o = {0};

    iax_begin(1, &trunked);
    for (uint32_t i = 1; i <= FRAMES; i++) {
        const uint32_t due = i - later;

        if (i == 1 ? !first : i % APART != 0)
            send_trunk(i);
        run_us(late_us % FRAME_US);
        if (due == 1 ? first : due && due % APART == 0)
            iax_say_voice(0, due * 20 + (uint32_t)off, numbered(due));
        run_us(FRAME_US - late_us % FRAME_US);
        if (i == SETTLED)
            o = begun(0);
    }
    o = come(0, o, FRAMES - SETTLED);
    CHECK_EQUAL(iax_stream(0)->iax.lost, 0);
    iax_end();
    return o;
}

static void a_full_frame_goes_between_those_before_and_after_it(void)
{
    static const int32_t offs[] = {0, 3, 12, 33, 5000, -5, -18, -150};

    for (unsigned i = 0; i < sizeof offs / sizeof offs[0]; i++) {
        for (unsigned late = 0; late <= 16000; late += 8000) {
            const struct outcome after_full = hear(offs[i], late, true), after_trunk = hear(offs[i], late, false);

            CHECK_EQUAL(after_full.missing, 0);
            CHECK_EQUAL(after_full.concealed, 0);
            CHECK_EQUAL(after_trunk.missing, 0);
            CHECK_EQUAL(after_trunk.concealed, 0);
        }
    }
}

/* It is late for a frame longer than there is delay for: once for each, and in its place when there is. */
static void one_that_comes_after_the_next_is_in_its_place(void)
{
    for (unsigned late = 24000; late <= 32000; late += 8000) {
        const struct outcome o = hear(12, late, true);

        CHECK_NEAR(o.concealed, 20, 1); /* the delay grows by a frame ... */
        CHECK_NEAR(o.missing, 40, 2);   /* ... in a second, and shrinks again in the next one */
    }
}

/* -- from one to the other -- */

static unsigned told;

/* The voice of the first call in a datagram, as if it were the second one's. */
static void send_on(const struct came *c)
{
    uint8_t frame[TRUNK_HEADER + 6 + SAMPLES];
    struct writer w = writer_over(frame, sizeof frame);
    struct cursor p = cursor_over(c->data, c->size);
    const unsigned first = cursor_be16(&p);
    const bool stamps = c->data[3];

    put_be16(&w, first ? THEIRS + 1 : 0);
    if (first) {
        if (first == OURS)
            put_bytes(&w, c->data + w.at, c->size - w.at);
    } else {
        put_bytes(&w, c->data + w.at, TRUNK_HEADER - w.at);
        cursor_take(&p, TRUNK_HEADER - 2);
        while (cursor_left(&p)) {
            const unsigned size = stamps ? cursor_be16(&p) : SAMPLES, number = cursor_be16(&p), rest = cursor_be16(&p);
            const uint8_t *payload = cursor_take(&p, SAMPLES);

            if (number != OURS)
                continue;
            if (stamps)
                put_be16(&w, size);
            put_be16(&w, THEIRS + 1);
            put_be16(&w, rest);
            put_bytes(&w, payload, size);
        }
    }
    if (w.at > TRUNK_HEADER)
        iax_send(iax.peer, frame, w.at);
}

/* What a line said, from one call to the other, with full frames so late. */
static struct outcome pass(const struct iax_said *said, unsigned frames, unsigned settled, unsigned late_us)
{
    struct outcome o = {0};
    uint32_t full = 0, stamp = 0;
    int64_t due = 0;
    unsigned seen = 0;

    iax_begin(2, said);
    told = 0;
    for (uint32_t i = 1; i <= frames; i++) {
        iax_send_block(0, numbered(i));
        for (unsigned step = 0; step < FRAME_US / STEP_US; step++) {
            iax_step();
            for (unsigned n = told; n < count_events(GM_EVENT_IAX_VOICE, CALL); n = told) {
                told = n + 1;
                full = i;
                stamp = scene.events[scene.event_count - 1].value;
                due = scene.engine.now + late_us;
            }
            while (seen < iax.count)
                send_on(&iax.came[seen++]);
            if (full && scene.engine.now >= due) {
                iax_say_voice(1, stamp, numbered(full));
                full = 0;
            }
        }
        if (i == settled)
            o = begun(1);
    }
    o = come(1, o, frames - settled);
    iax_end();
    return o;
}

/* More than a minute, in which the 16 bits of a mini frame's stamp are over once. */
static void a_tone_is_whole_for_longer_than_stamps_last(void)
{
    static const struct {
        const struct iax_said *said;
        unsigned full;
    } table[] = {{&mini, 2}, {&stamped, 2}, {&trunked, 1}};
    const unsigned before = 50; /* seconds that the call has been on, to spare us those */
    unsigned i;

    for (i = 0; i < 3; i++) {
        struct iax_said said = *table[i].said;
        struct outcome o;

        said.epoch = scene.engine.now - (int64_t)before * 1000000;
        o = pass(&said, (75 - before) * SECOND, 5 * SECOND, 6000);
        CHECK_EQUAL(o.missing, 0);
        CHECK_EQUAL(o.concealed, 0);
        CHECK_EQUAL(told, table[i].full);
    }
    CHECK_EQUAL(pass(&trunked, 75 * SECOND, 5 * SECOND, 6000).missing, 0);
    CHECK_EQUAL(told, 1);
}

/* -- what is sent -- */

static void who_leaves_the_trunk_tells_the_time(void)
{
    struct iax_said said = trunked;

    said.epoch = scene.engine.now - 65000000;
    iax_begin(1, &said);
    iax_run_lines(2 * SECOND);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 1);
    said.flags = 0;
    iax_say(0, &said);
    iax_run_lines(SECOND);
    CHECK_EQUAL(count_events(GM_EVENT_IAX_VOICE, CALL), 2);
    iax_end();
}

/* A client is gone for a second, `after` frames after the call's codec was told. */
static unsigned told_after_absence(unsigned after)
{
    unsigned count;

    iax_begin(1, &trunked);
    iax_run_lines(after);
    for (unsigned i = 0; i < scene.engine.streams.count; i++)
        scene.engine.streams.all[i].adopted = false;
    scene.engine.control.alone_since = scene.engine.now;
    iax_run_lines(SECOND);
    request(GM_ADOPT, SOCKET, NULL, 0);
    request(GM_ADOPT, CALL, NULL, 0);
    request(GM_ADOPT, LINE, NULL, 0);
    iax_run_lines(11 * SECOND);
    count = count_events(GM_EVENT_IAX_VOICE, CALL);
    iax_end();
    scene.engine.control.alone_since = 0;
    return count;
}

static void a_new_client_tells_what_may_not_have_been_sent(void)
{
    CHECK_EQUAL(told_after_absence(2 * SECOND), 2);
    CHECK_EQUAL(told_after_absence(12 * SECOND), 1);
}

int main(void)
{
    scene_open();
    RUN(a_full_frame_goes_between_those_before_and_after_it);
    RUN(one_that_comes_after_the_next_is_in_its_place);
    RUN(a_tone_is_whole_for_longer_than_stamps_last);
    RUN(who_leaves_the_trunk_tells_the_time);
    RUN(a_new_client_tells_what_may_not_have_been_sent);
    scene_close();
    return 0;
}
