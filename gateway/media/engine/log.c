#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void log_line(const char *format, ...)
{
    static time_t second;
    static unsigned lines;
    struct timespec now;
    char line[512];
    va_list arguments;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if (now.tv_sec != second) {
        if (lines > LOG_BURST)
            (void)fprintf(stderr, "gateway-media: %u more lines\n", lines - LOG_BURST);
        second = now.tv_sec;
        lines = 0;
    }
    if (++lines > LOG_BURST)
        return;
    va_start(arguments, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is, in the line above */
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "gateway-media: %s\n", line);
}
