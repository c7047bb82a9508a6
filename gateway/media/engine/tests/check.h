/* What a test program needs: named cases, checks that say what they saw, and numbers from a seed. */
#ifndef GM_CHECK_H
#define GM_CHECK_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                                      \
    do {                                                                                      \
        if (!(condition)) {                                                                   \
            (void)fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #condition); \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)

#define CHECK_EQUAL(actual, expected)                                                         \
    do {                                                                                      \
        long long actual_ = (long long)(actual), expected_ = (long long)(expected);           \
        if (actual_ != expected_) {                                                           \
            (void)fprintf(stderr, "%s:%d: %s: %s is %lld, expected %lld\n", __FILE__, __LINE__, __func__, #actual, \
                          actual_, expected_);                                                \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)

#define CHECK_NEAR(actual, expected, most)                                                    \
    do {                                                                                      \
        double actual_ = (double)(actual), expected_ = (double)(expected);                    \
        if (!(fabs(actual_ - expected_) <= (double)(most))) {                                 \
            (void)fprintf(stderr, "%s:%d: %s: %s is %g, expected %g\n", __FILE__, __LINE__, __func__, #actual, \
                          actual_, expected_);                                                \
            exit(1);                                                                          \
        }                                                                                     \
    } while (0)

/* splitmix64 */
static inline uint32_t check_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ z >> 31) >> 32);
}

#define RUN(test)                                       \
    do {                                                \
        test();                                         \
        (void)printf("ok %s\n", #test);                 \
    } while (0)

#endif
