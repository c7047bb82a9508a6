#include "../stream.h"

#include "check.h"

static struct streams table;

static void numbers_are_found_and_forgotten(void)
{
    uint64_t seed = 12;
    uint32_t ids[32] = {0};

    CHECK_EQUAL(streams_open(&table, 32, 200), 0);
    for (int round = 0; round < 20000; round++) {
        uint32_t at = check_random(&seed) % 32;
        struct stream *s;

        if (ids[at]) {
            s = stream_find(&table, ids[at]);
            CHECK(s && s->id == ids[at]);
            stream_free(&table, s);
            CHECK(!stream_find(&table, ids[at]));
            ids[at] = 0;
            continue;
        }
        do
            ids[at] = (check_random(&seed) % 64 + 1) << (check_random(&seed) % 26);
        while (stream_find(&table, ids[at]));
        s = stream_new(&table, ids[at], GM_KIND_ECHO);
        CHECK(s);
        CHECK_EQUAL(s->kind, GM_KIND_ECHO);
        CHECK(stream_find(&table, ids[at]) == s);
    }
    streams_close(&table);
}

static void a_full_table_refuses_and_a_used_stream_is_as_new(void)
{
    struct stream *s = NULL;

    CHECK_EQUAL(streams_open(&table, 4, 200), 0);
    for (uint32_t i = 1; i <= 4; i++)
        s = stream_new(&table, i, GM_KIND_RTP);
    CHECK(!stream_new(&table, 5, GM_KIND_RTP));
    s->packets_sent = 7;
    s->jitter.late = 3;
    s->rtp.payload_type = 9;
    s->digits.count = 2;
    s->first = true;
    stream_free(&table, s);
    CHECK_EQUAL(table.used, 3);
    CHECK(stream_new(&table, 6, GM_KIND_TDM) == s);
    CHECK_EQUAL(s->packets_sent, 0);
    CHECK_EQUAL(s->jitter.late, 0);
    CHECK_EQUAL(s->rtp.payload_type, 0);
    CHECK_EQUAL(s->digits.count, 0);
    CHECK(!s->first);
    CHECK_EQUAL(s->rtp.fd, NO_FD);
    CHECK(!stream_sent(s));
    streams_close(&table);
}

int main(void)
{
    law_init();
    RUN(numbers_are_found_and_forgotten);
    RUN(a_full_table_refuses_and_a_used_stream_is_as_new);
    return 0;
}
