#include "../law.h"

#include "check.h"

static void known_codes_have_their_values(void)
{
    /* G.711 tables 1 and 2, scaled to 16 bits. */
    CHECK_EQUAL(law_linear(ULAW, 0xff), 0);
    CHECK_EQUAL(law_linear(ULAW, 0x80), 32124);
    CHECK_EQUAL(law_linear(ULAW, 0x00), -32124);
    CHECK_EQUAL(law_linear(ULAW, 0xfe), 8);
    CHECK_EQUAL(law_linear(ALAW, 0xd5), 8);
    CHECK_EQUAL(law_linear(ALAW, 0x55), -8);
    CHECK_EQUAL(law_linear(ALAW, 0xaa), 32256);
    CHECK_EQUAL(law_linear(ALAW, 0x2a), -32256);
}

static void every_code_survives_decoding_and_encoding(void)
{
    for (int law = ULAW; law <= ALAW; law++) {
        for (int code = 0; code < 256; code++) {
            uint8_t in = (uint8_t)code, out;
            int16_t linear;

            law_decode((enum law)law, &linear, &in, 1);
            law_encode((enum law)law, &out, &linear, 1);
            /* mu-law has two zeros; the negative one becomes the positive one. */
            CHECK_EQUAL(out, law == ULAW && code == 0x7f ? 0xff : code);
        }
    }
}

static void encoding_errs_by_half_a_step_at_most(void)
{
    for (int law = ULAW; law <= ALAW; law++) {
        for (int value = -32768; value < 32768; value++) {
            int16_t in = (int16_t)value, out;
            uint8_t code;
            int size = abs(value);

            law_encode((enum law)law, &code, &in, 1);
            law_decode((enum law)law, &out, &code, 1);
            CHECK(abs(out - value) <= (size > 32124 ? 1024 : size / 32 + 16));
        }
    }
}

static void transcoding_is_decoding_and_encoding(void)
{
    for (int code = 0; code < 256; code++) {
        uint8_t in = (uint8_t)code, there, back;

        law_convert(ALAW, &there, ULAW, &in, 1);
        law_convert(ULAW, &back, ALAW, &there, 1);
        CHECK(abs(law_linear(ULAW, back) - law_linear(ULAW, in)) <= abs(law_linear(ULAW, in)) / 16 + 16);
        CHECK((law_linear(ALAW, there) > 0) == (law_linear(ULAW, in) >= 0));
    }
}

static void levels_are_relative_to_the_loudest_sine(void)
{
    double squares = 0.0;

    for (int i = 0; i < 8000; i++)
        squares += pow(G711_PEAK * sin(2.0 * acos(-1.0) * 1004.0 * i / 8000.0), 2.0);
    CHECK_NEAR(power_to_dbm0(squares, 8000), 3.17, 0.01);
    CHECK_NEAR(power_to_dbm0(0.0, 8000), SILENT_DBM0, 0.0);
    CHECK_NEAR(dbm0_to_peak(3.17), G711_PEAK, 0.1);
    CHECK_NEAR(dbm0_to_peak(3.17 - 20.0), G711_PEAK / 10.0, 0.1);
}

int main(void)
{
    law_init();
    RUN(known_codes_have_their_values);
    RUN(every_code_survives_decoding_and_encoding);
    RUN(encoding_errs_by_half_a_step_at_most);
    RUN(transcoding_is_decoding_and_encoding);
    RUN(levels_are_relative_to_the_loudest_sine);
    return 0;
}
