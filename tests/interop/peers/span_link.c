/* One end of a virtual span; see span_link.h. */
#define _GNU_SOURCE
#include "span_link.h"

#include "json_line.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { D_CHANNEL, LINE, D_LISTENER, LINE_LISTENER };

static int address_of(struct sockaddr_un *address, const char *path)
{
	memset(address, 0, sizeof *address);
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, strlen(path) + 1);
	return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address;
	int fd = address_of(&address, path);

	if (fd < 0)
		return -1;
	unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0) {
		fprintf(stderr, "cannot listen at %s: %s\n", path, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address;
	int fd = address_of(&address, path);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void close_descriptor(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int path_in(char *path, const char *directory, const char *name)
{
	int length = snprintf(path, PATH_MAXIMUM + 1, "%s/%s", directory, name);

	if (length > PATH_MAXIMUM) {
		fprintf(stderr, "%s/%s has %d bytes, a socket path at most %d\n", directory, name, length, PATH_MAXIMUM);
		return -1;
	}
	return 0;
}

int link_open(struct span_link *link, const char *directory, bool t1, bool listening)
{
	link->listening = listening;
	link->d_listener = link->line_listener = link->d_channel = link->line = -1;
	strcpy(link->alarm, "red");
	if (path_in(link->d_path, directory, t1 ? "24" : "16") || path_in(link->line_path, directory, "line"))
		return -1;
	if (!listening)
		return 0;
	link->d_listener = listen_at(link->d_path);
	link->line_listener = listen_at(link->line_path);
	return link->d_listener < 0 || link->line_listener < 0 ? -1 : 0;
}

static void drop_connections(struct span_link *link)
{
	close_descriptor(&link->d_channel);
	close_descriptor(&link->line);
	strcpy(link->alarm, "red");
	link->retry_at = monotonic_seconds() + RETRY_MILLISECONDS / 1e3;
}

void link_close(struct span_link *link)
{
	drop_connections(link);
	if (link->listening) {
		unlink(link->d_path);
		unlink(link->line_path);
	}
	close_descriptor(&link->d_listener);
	close_descriptor(&link->line_listener);
	if (link->record)
		fclose(link->record);
	if (link->pcap)
		fclose(link->pcap);
	link->record = link->pcap = NULL;
}

void link_cut(struct span_link *link)
{
	drop_connections(link);
	link->cut = true;
	if (link->listening) {
		close_descriptor(&link->d_listener);
		close_descriptor(&link->line_listener);
		unlink(link->d_path);
		unlink(link->line_path);
	}
}

void link_join(struct span_link *link)
{
	link->cut = false;
	if (link->listening && link->d_listener < 0) {
		link->d_listener = listen_at(link->d_path);
		link->line_listener = listen_at(link->line_path);
	}
}

void link_descriptors(const struct span_link *link, struct pollfd *slots)
{
	const int fds[LINK_DESCRIPTORS] = {link->d_channel, link->line, link->d_listener, link->line_listener};

	for (int i = 0; i < LINK_DESCRIPTORS; i++) {
		slots[i].fd = fds[i];
		slots[i].events = POLLIN;
		slots[i].revents = 0;
	}
}

bool link_up(const struct span_link *link)
{
	return link->d_channel >= 0 && link->line >= 0 && strcmp(link->alarm, "none") == 0;
}

void link_say_alarm(struct span_link *link, const char *alarm)
{
	char text[64];
	int length = snprintf(text, sizeof text, "{\"alarm\": \"%s\"}", alarm);

	if (link->line >= 0 && length > 0)
		(void)!send(link->line, text, (size_t)length, MSG_NOSIGNAL);
}

/* Finds the value of "alarm" in a packet of the line; leaves the alarm as it was if there is none. */
static void hear_alarm(struct span_link *link, const char *text)
{
	const char *key = strstr(text, "\"alarm\"");
	char word[16];

	if (key && sscanf(key + 7, " : \"%15[a-z]\"", word) == 1)
		strcpy(link->alarm, word);
}

/* A cable that is plugged in is good until its far end says otherwise. */
static void greet(struct span_link *link)
{
	if (link->line < 0)
		return;
	strcpy(link->alarm, "none");
	link_say_alarm(link, "none");
}

static void accept_on(int listener, int *connection)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	close_descriptor(connection); /* the far end came back before we saw it go */
	*connection = fd;
}

static void read_line(struct span_link *link)
{
	char text[512];
	ssize_t length = recv(link->line, text, sizeof text - 1, 0);

	if (length <= 0) {
		if (length == 0 || errno != EAGAIN)
			drop_connections(link);
		return;
	}
	text[length] = 0;
	hear_alarm(link, text);
}

void link_connect(struct span_link *link)
{
	if (link->listening || link->cut || monotonic_seconds() < link->retry_at)
		return;
	if (link->d_channel < 0)
		link->d_channel = connect_to(link->d_path);
	if (link->line < 0 && link->d_channel >= 0) {
		link->line = connect_to(link->line_path);
		greet(link);
	}
	link->retry_at = monotonic_seconds() + RETRY_MILLISECONDS / 1e3;
}

bool link_service(struct span_link *link, const struct pollfd *slots)
{
	char before[16];
	int d_before = link->d_channel, line_before = link->line;

	strcpy(before, link->alarm);
	if (slots[D_LISTENER].revents & POLLIN)
		accept_on(link->d_listener, &link->d_channel);
	if (slots[LINE_LISTENER].revents & POLLIN) {
		accept_on(link->line_listener, &link->line);
		greet(link);
	} else if (link->line >= 0 && slots[LINE].fd == link->line && slots[LINE].revents) {
		read_line(link);
	}
	link_connect(link);
	return link->d_channel != d_before || link->line != line_before || strcmp(before, link->alarm) != 0;
}

/* xorshift64*: repeatable for a seed on every machine. */
static bool lost(struct span_link *link)
{
	if (link->loss <= 0)
		return false;
	link->random ^= link->random >> 12;
	link->random ^= link->random << 25;
	link->random ^= link->random >> 27;
	return (double)((link->random * 0x2545F4914F6CDD1DULL) >> 11) / 9007199254740992.0 < link->loss;
}

static void put32(unsigned char *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (unsigned char)(value >> 8 * i);
}

int link_open_pcap(struct span_link *link, const char *path)
{
	unsigned char header[24] = {0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0};

	link->pcap = fopen(path, "wb");
	if (!link->pcap)
		return -1;
	put32(header + 16, 65535);
	put32(header + 20, 177); /* LINKTYPE_LINUX_LAPD */
	fwrite(header, sizeof header, 1, link->pcap);
	return 0;
}

static void write_pcap(struct span_link *link, bool in, const unsigned char *frame, int length)
{
	/* Packet type (0 to us, 4 from us), ARPHRD 8445, eight octets whose first says network (1) or user (0), 0x0030 */
	unsigned char header[16] = {0, in ? 0 : 4, 0x20, 0xfd, 0, 0, link->network, 0, 0, 0, 0, 0, 0, 0, 0, 0x30};
	unsigned char packet[16];
	struct timeval now;

	gettimeofday(&now, NULL);
	put32(packet, (uint32_t)now.tv_sec);
	put32(packet + 4, (uint32_t)now.tv_usec);
	put32(packet + 8, (uint32_t)length + 16);
	put32(packet + 12, (uint32_t)length + 16);
	fwrite(packet, sizeof packet, 1, link->pcap);
	fwrite(header, sizeof header, 1, link->pcap);
	fwrite(frame, (size_t)length, 1, link->pcap);
	fflush(link->pcap);
}

static void write_down(struct span_link *link, const char *direction, const unsigned char *frame, int length)
{
	if (link->record) {
		fprintf(link->record, "%.6f %s ", monotonic_seconds(), direction);
		for (int i = 0; i < length; i++)
			fprintf(link->record, "%02x", frame[i]);
		fputc('\n', link->record);
		fflush(link->record);
	}
	if (link->pcap)
		write_pcap(link, strstr(direction, "in") != NULL, frame, length);
}

int link_read(struct span_link *link, unsigned char *frame, int size)
{
	ssize_t length;

	if (link->d_channel < 0)
		return -1;
	length = recv(link->d_channel, frame, (size_t)size, 0);
	if (length < 0 && errno == EAGAIN)
		return 0;
	if (length <= 0) {
		drop_connections(link);
		return -1;
	}
	if (strcmp(link->alarm, "none") != 0)
		return 0; /* nothing is read off a line in alarm */
	if (lost(link)) {
		write_down(link, "lost-in", frame, (int)length);
		return 0;
	}
	write_down(link, "in", frame, (int)length);
	return (int)length;
}

void link_write(struct span_link *link, const unsigned char *frame, int length)
{
	if (link->d_channel < 0 || strcmp(link->alarm, "none") != 0)
		return;
	if (lost(link)) {
		write_down(link, "lost-out", frame, length);
		return;
	}
	write_down(link, "out", frame, length);
	(void)!send(link->d_channel, frame, (size_t)length, MSG_NOSIGNAL);
}
