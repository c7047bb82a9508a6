/* One flat JSON object a line on standard output: the events of a test peer. */
#ifndef JSON_LINE_H
#define JSON_LINE_H

/* Starts {"time":SECONDS,"event":NAME; SECONDS are of CLOCK_MONOTONIC, as Python's time.monotonic() has them. */
void json_begin(const char *event);
void json_integer(const char *key, long value);
void json_boolean(const char *key, int value);
/* Octets outside printable ASCII are taken as ISO 8859-1. */
void json_string(const char *key, const char *value);
void json_hex(const char *key, const unsigned char *octets, int length);
/* Ends the object and flushes it, so that the driver sees every event at once. */
void json_end(void);

double monotonic_seconds(void);

#endif
