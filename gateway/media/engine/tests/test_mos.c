#include "../mos.h"

#include "check.h"

static void defaults_give_the_rating_of_g107(void)
{
    CHECK_NEAR(mos_rating(0.0, 0.0), 93.2, 0.05);
    CHECK_NEAR(mos_of_rating(93.2), 4.41, 0.005);
}

static void annex_b_points(void)
{
    static const double points[][2] = {{90, 4.34}, {80, 4.03}, {70, 3.60}, {60, 3.10}, {50, 2.58}};

    for (unsigned i = 0; i < sizeof points / sizeof *points; i++)
        CHECK_NEAR(mos_of_rating(points[i][0]), points[i][1], 0.01);
    CHECK_NEAR(mos_of_rating(-3.0), 1.0, 0.0);
    CHECK_NEAR(mos_of_rating(120.0), 4.5, 0.0);
    CHECK_NEAR(mos_of_rating(2.0), 1.0, 0.0); /* the polynomial dips below 1 */
}

static void loss_impairs_as_g113_says(void)
{
    /* Ie-eff = 95 Ppl / (Ppl + 25.1) */
    CHECK_NEAR(mos_rating(0.0, 0.0) - mos_rating(0.0, 0.01), 95.0 / 26.1, 0.001);
    CHECK_NEAR(mos_rating(0.0, 0.0) - mos_rating(0.0, 0.05), 95.0 * 5 / 30.1, 0.001);
    CHECK_NEAR(mos_rating(0.0, 0.0) - mos_rating(0.0, 2.0), 95.0 * 100 / 125.1, 0.001);
}

static void delay_never_helps(void)
{
    double before = mos_rating(1.0, 0.0); /* the formula rises by 0.06 in the first millisecond */

    for (int delay = 2; delay <= 1000; delay++) {
        double now = mos_rating(delay, 0.0);

        CHECK(now <= before + 1e-9);
        before = now;
    }
    CHECK(mos_rating(50.0, 0.0) > 85.0);
    CHECK(mos_rating(400.0, 0.0) < 75.0);
    CHECK_NEAR(mos_rating(-5.0, -1.0), 93.2, 0.05);
}

int main(void)
{
    RUN(defaults_give_the_rating_of_g107);
    RUN(annex_b_points);
    RUN(loss_impairs_as_g113_says);
    RUN(delay_never_helps);
    return 0;
}
