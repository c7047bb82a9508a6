/* One flat JSON object a line on standard output; no nesting, no parsing. */
#include "json_line.h"

#include <stdio.h>
#include <time.h>

double monotonic_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void quoted(const char *text)
{
	putchar('"');
	for (const unsigned char *at = (const unsigned char *)text; *at; at++) {
		if (*at == '"' || *at == '\\')
			printf("\\%c", *at);
		else if (*at < 0x20 || *at > 0x7e)
			printf("\\u%04x", *at);
		else
			putchar(*at);
	}
	putchar('"');
}

void json_begin(const char *event)
{
	printf("{\"time\":%.6f,\"event\":", monotonic_seconds());
	quoted(event);
}

void json_integer(const char *key, long value)
{
	printf(",\"%s\":%ld", key, value);
}

void json_boolean(const char *key, int value)
{
	printf(",\"%s\":%s", key, value ? "true" : "false");
}

void json_string(const char *key, const char *value)
{
	printf(",\"%s\":", key);
	quoted(value);
}

void json_hex(const char *key, const unsigned char *octets, int length)
{
	printf(",\"%s\":\"", key);
	for (int i = 0; i < length; i++)
		printf("%02x", octets[i]);
	putchar('"');
}

void json_end(void)
{
	puts("}");
	fflush(stdout);
}
