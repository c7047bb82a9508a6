/* One line to standard error, at most LOG_BURST of them a second: nobody who sends us nonsense fills a disk with it. */
#ifndef GM_LOG_H
#define GM_LOG_H

enum { LOG_BURST = 30 };

void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
