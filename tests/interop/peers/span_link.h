/*
 * One end of a virtual span: the D channel (one LAPD frame a packet) and the line (one JSON object a packet), each a
 * Unix SOCK_SEQPACKET socket in the span's directory. Loses frames on request and writes down every frame.
 */
#ifndef SPAN_LINK_H
#define SPAN_LINK_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum {
	FRAME_MAXIMUM = 1024, /* N201 is 260 octets (Q.921 5.9.3); more shows what a far end does wrong */
	LINK_DESCRIPTORS = 4,
	RETRY_MILLISECONDS = 50,
	PATH_MAXIMUM = 107, /* sun_path without its terminator */
};

struct span_link {
	char d_path[PATH_MAXIMUM + 1];
	char line_path[PATH_MAXIMUM + 1];
	bool listening; /* else connecting */
	bool cut;       /* the cable is cut on command */
	int d_listener, line_listener;
	int d_channel, line;
	char alarm[16]; /* what the far end last said, "red" while there is no line */
	double retry_at;
	double loss; /* fraction of frames lost, each way */
	uint64_t random;
	FILE *record;
	FILE *pcap;
	bool network;
};

/* Prepares the paths and, at the listening end, binds them. Returns 0, or -1 with a message on standard error. */
int link_open(struct span_link *link, const char *directory, bool t1, bool listening);
void link_close(struct span_link *link);

/* Closes all connections and refuses new ones until link_join: a cut cable. */
void link_cut(struct span_link *link);
void link_join(struct span_link *link);

/* Fills `slots` (LINK_DESCRIPTORS of them) for poll(2); unused ones have fd -1. */
void link_descriptors(const struct span_link *link, struct pollfd *slots);

/* At the connecting end: tries to connect what is not connected, at most every RETRY_MILLISECONDS. */
void link_connect(struct span_link *link);

/* Accepts, connects, reads the line and notices lost connections. True if the D channel or the alarm changed. */
bool link_service(struct span_link *link, const struct pollfd *slots);

bool link_up(const struct span_link *link);

/* One frame without FCS, or 0 if there is none now (or it was lost on purpose), or -1 if the connection is gone. */
int link_read(struct span_link *link, unsigned char *frame, int size);
void link_write(struct span_link *link, const unsigned char *frame, int length);
void link_say_alarm(struct span_link *link, const char *alarm);

/* Writes frames to a pcap file of LAPD frames (LINKTYPE_LINUX_LAPD, with the pseudo header that tells directions). */
int link_open_pcap(struct span_link *link, const char *path);

#endif
