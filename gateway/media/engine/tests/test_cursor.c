#include "../cursor.h"

#include <string.h>

#include "check.h"

static void reading_past_the_end_gives_zeros_and_stays_bad(void)
{
    const uint8_t data[3] = {1, 2, 3};
    struct cursor c = cursor_over(data, sizeof data);
    uint8_t copy[4] = {9, 9, 9, 9};

    CHECK_EQUAL(cursor_be16(&c), 0x0102);
    CHECK_EQUAL(cursor_left(&c), 1);
    CHECK_EQUAL(cursor_be16(&c), 0);
    CHECK(c.bad);
    CHECK_EQUAL(cursor_u8(&c), 0);
    CHECK_EQUAL(cursor_left(&c), 0);
    CHECK(!cursor_take(&c, 0));
    cursor_copy(&c, copy, sizeof copy);
    CHECK_EQUAL(copy[3], 0);
}

static void a_huge_length_does_not_wrap(void)
{
    const uint8_t data[3] = {1, 2, 3};
    struct cursor c = cursor_over(data, sizeof data);

    cursor_u8(&c);
    CHECK(!cursor_take(&c, SIZE_MAX));
    CHECK(c.bad);
}

static void numbers_go_and_come_back(void)
{
    uint8_t data[21];
    struct writer w = writer_over(data, sizeof data);
    struct cursor c;

    put_be16(&w, 0x1234);
    put_be24(&w, 0x56789a);
    put_be32(&w, 0xdeadbeef);
    put_le16(&w, 0x1234);
    put_le32(&w, 0xdeadbeef);
    put_f32(&w, 1.5);
    put_u8(&w, 7);
    put_zeros(&w, 1);
    CHECK(!w.full);
    c = cursor_over(data, w.at);
    CHECK_EQUAL(cursor_be16(&c), 0x1234);
    CHECK_EQUAL(cursor_be24(&c), 0x56789a);
    CHECK_EQUAL(cursor_be32(&c), 0xdeadbeef);
    CHECK_EQUAL(cursor_le16(&c), 0x1234);
    CHECK_EQUAL(cursor_le32(&c), 0xdeadbeef);
    CHECK_EQUAL(cursor_le32(&c), 0x3fc00000);
    CHECK_EQUAL(cursor_u8(&c), 7);
}

static void writing_past_the_end_writes_nothing(void)
{
    uint8_t data[4] = {0, 0, 0, 0xaa};
    struct writer w = writer_over(data, 3);

    put_be16(&w, 1);
    put_be16(&w, 0xffff);
    put_u8(&w, 5);
    CHECK(w.full);
    CHECK_EQUAL(w.at, 2);
    CHECK_EQUAL(data[2], 0);
    CHECK_EQUAL(data[3], 0xaa);
}

int main(void)
{
    RUN(reading_past_the_end_gives_zeros_and_stays_bad);
    RUN(a_huge_length_does_not_wrap);
    RUN(numbers_go_and_come_back);
    RUN(writing_past_the_end_writes_nothing);
    return 0;
}
