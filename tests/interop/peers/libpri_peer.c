/*
 * A scriptable PRI end on libpri, for interoperability tests: one end of a virtual span, user or network side.
 * Commands come on standard input, events go as JSON lines to standard output; it ends with its standard input.
 */
#define _GNU_SOURCE
#include "json_line.h"
#include "pri_peer.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { FCS_OCTETS = 2, WAIT_MAXIMUM_MILLISECONDS = 500, SETTLE_MILLISECONDS = 20 };

static const struct {
	const char *name;
	int type;
} SWITCHES[] = {
	{"euroisdn", PRI_SWITCH_EUROISDN_E1}, {"ni2", PRI_SWITCH_NI2},   {"dms100", PRI_SWITCH_DMS100}, {"5ess", PRI_SWITCH_LUCENT5E},
	{"4ess", PRI_SWITCH_ATT4ESS},         {"qsig", PRI_SWITCH_QSIG}, {"ni1", PRI_SWITCH_NI1},
};

/* libpri hands over and expects the two octets of the FCS, as DAHDI's HDLC channels do. */
static int read_frame(struct pri *pri, void *buffer, int size)
{
	struct peer *peer = pri_get_userdata(pri);
	int length = link_read(&peer->link, buffer, size - FCS_OCTETS);

	if (length <= 0)
		return 0;
	memset((unsigned char *)buffer + length, 0, FCS_OCTETS);
	return length + FCS_OCTETS;
}

static int write_frame(struct pri *pri, void *buffer, int length)
{
	struct peer *peer = pri_get_userdata(pri);

	link_write(&peer->link, buffer, length - FCS_OCTETS);
	return length;
}

static void print_message(struct pri *pri, char *text)
{
	const struct peer *peer = pri ? pri_get_userdata(pri) : NULL;

	if (!peer || !peer->quiet)
		fputs(text, stderr);
}

static void print_error(struct pri *pri, char *text)
{
	(void)pri;
	text[strcspn(text, "\n")] = 0;
	json_begin("libpri_error");
	json_string("text", text);
	json_end();
}

static int wait_milliseconds(struct peer *peer, double deadline)
{
	struct timeval now, *next = peer->pri ? pri_schedule_next(peer->pri) : NULL;
	int wait = WAIT_MAXIMUM_MILLISECONDS, plan = plan_wait(peer);
	double left = (deadline - monotonic_seconds()) * 1e3;

	if (next) {
		long until;

		gettimeofday(&now, NULL);
		until = (next->tv_sec - now.tv_sec) * 1000 + (next->tv_usec - now.tv_usec) / 1000 + 1;
		if (until < wait)
			wait = until < 0 ? 0 : (int)until;
	}
	if (plan >= 0 && plan < wait)
		wait = plan;
	if (!peer->pri && peer->start_at > 0 && peer->options.settle < wait)
		wait = peer->options.settle;
	if (!peer->link.listening && !link_up(&peer->link) && wait > RETRY_MILLISECONDS)
		wait = RETRY_MILLISECONDS;
	return left < wait ? (left < 0 ? 0 : (int)left + 1) : wait;
}

/* Reads what there is of standard input and runs the complete lines; false at its end. */
static bool read_commands(struct peer *peer)
{
	static char buffer[COMMAND_MAXIMUM];
	static size_t filled;
	ssize_t length = read(STDIN_FILENO, buffer + filled, sizeof buffer - 1 - filled);
	char *start = buffer, *newline;

	if (length <= 0)
		return length < 0 && (errno == EAGAIN || errno == EINTR);
	filled += (size_t)length;
	buffer[filled] = 0;
	while ((newline = strchr(start, '\n'))) {
		*newline = 0;
		run_command(peer, start);
		start = newline + 1;
	}
	filled = strlen(start);
	memmove(buffer, start, filled);
	return filled < sizeof buffer - 1;
}

static int set_timer(struct pri *pri, const char *text)
{
	char name[16];
	int value, timer;

	if (sscanf(text, "%15[^=]=%d", name, &value) != 2 || (timer = pri_timer2idx(name)) < 0)
		return -1;
	return pri_set_timer(pri, timer, value);
}

static void start_libpri(struct peer *peer)
{
	const struct peer_options *options = &peer->options;

	peer->pri = pri_new_cb(-1, options->side, options->switch_type, read_frame, write_frame, peer);
	if (!peer->pri) {
		peer->running = false;
		return;
	}
	pri_set_debug(peer->pri, options->debug);
	pri_facility_enable(peer->pri);
	pri_hangup_fix_enable(peer->pri, 1);
	pri_set_overlapdial(peer->pri, options->overlap);
	if (options->service)
		pri_set_service_message_support(peer->pri, 1);
	for (int i = 0; i < options->timers; i++)
		if (set_timer(peer->pri, options->timer[i]) < 0)
			fprintf(stderr, "libpri has no timer %s\n", options->timer[i]);
}

/* Layer 1 is no matter of libpri's: its pri_restart does nothing, and it finds out about a cut line by T203 and T200. */
static void report_line(struct peer *peer)
{
	json_begin("line");
	json_boolean("connected", peer->link.d_channel >= 0);
	json_string("alarm", peer->link.alarm);
	json_end();
	peer->start_at = link_up(&peer->link) ? monotonic_seconds() + peer->options.settle / 1e3 : 0;
}

static void drain(struct peer *peer)
{
	pri_event *event;

	while (peer->pri && (event = pri_schedule_run(peer->pri)))
		handle_event(peer, event);
}

static void run(struct peer *peer, double seconds)
{
	double deadline = monotonic_seconds() + seconds;

	while (peer->running && monotonic_seconds() < deadline) {
		/* Its first SABME goes out at once, and the next a second later: it must not come before the far end's line is up. */
		if (!peer->pri && peer->start_at > 0 && monotonic_seconds() >= peer->start_at)
			start_libpri(peer);
		struct pollfd slots[LINK_DESCRIPTORS + 1];
		pri_event *event;

		link_descriptors(&peer->link, slots);
		slots[LINK_DESCRIPTORS] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
		poll(slots, LINK_DESCRIPTORS + 1, wait_milliseconds(peer, deadline));
		if (link_service(&peer->link, slots))
			report_line(peer);
		if (slots[0].revents && peer->link.d_channel >= 0 && peer->pri) {
			event = pri_dchannel_run(peer->pri, 0);
			if (event)
				handle_event(peer, event);
			if (peer->link.d_channel < 0)
				report_line(peer);
		}
		drain(peer);
		plan_run_steps(peer);
		if (slots[LINK_DESCRIPTORS].revents && !read_commands(peer))
			peer->running = false;
	}
}

static int usage(const char *program)
{
	fprintf(stderr,
		"usage: %s --dir DIR [--listen | --connect] [--side user|network] [--switch TYPE] [--line e1|t1]\n"
		"  [--plan PREFIX=ACTION[:ARGUMENT]]... [--timer NAME=VALUE]... [--loss FRACTION] [--seed N]\n"
		"  [--record FILE] [--pcap FILE] [--overlap] [--service] [--seconds N] [--settle MILLISECONDS] [--debug]\n",
		program);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option OPTIONS[] = {{"dir", 1, NULL, 'd'}, {"listen", 0, NULL, 'l'}, {"connect", 0, NULL, 'c'},
		{"side", 1, NULL, 's'}, {"switch", 1, NULL, 'w'}, {"line", 1, NULL, 'L'}, {"plan", 1, NULL, 'p'}, {"timer", 1, NULL, 't'},
		{"loss", 1, NULL, 'x'}, {"seed", 1, NULL, 'S'}, {"record", 1, NULL, 'r'}, {"pcap", 1, NULL, 'P'}, {"overlap", 0, NULL, 'o'},
		{"service", 0, NULL, 'v'}, {"seconds", 1, NULL, 'n'}, {"settle", 1, NULL, 'e'}, {"debug", 0, NULL, 'D'}, {NULL, 0, NULL, 0}};
	static struct peer peer;
	struct peer_options *options = &peer.options;
	const char *directory = NULL, *record = NULL, *pcap = NULL;
	bool listening = true;
	int option;
	double seconds = 120;

	options->side = PRI_NETWORK;
	options->settle = SETTLE_MILLISECONDS;
	options->switch_type = PRI_SWITCH_EUROISDN_E1;
	peer.running = peer.automatic_clearing = true;
	peer.link.random = 0x9E3779B97F4A7C15ULL;
	while ((option = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1) {
		switch (option) {
		case 'd': directory = optarg; break;
		case 'l': listening = true; break;
		case 'c': listening = false; break;
		case 's': options->side = strcmp(optarg, "user") ? PRI_NETWORK : PRI_CPE; break;
		case 'L': peer.t1 = !strcmp(optarg, "t1"); break;
		case 'x': peer.link.loss = atof(optarg); break;
		case 'S': peer.link.random ^= strtoull(optarg, NULL, 0) * 0xBF58476D1CE4E5B9ULL; break;
		case 'r': record = optarg; break;
		case 'P': pcap = optarg; break;
		case 'o': options->overlap = 1; break;
		case 'v': options->service = true; break;
		case 'e': options->settle = atoi(optarg); break;
		case 'n': seconds = atof(optarg); break;
		case 'D':
			options->debug = PRI_DEBUG_Q921_DUMP | PRI_DEBUG_Q921_STATE | PRI_DEBUG_Q931_DUMP | PRI_DEBUG_Q931_STATE;
			break;
		case 't':
			if (options->timers == TIMERS_MAXIMUM)
				return usage(argv[0]);
			options->timer[options->timers++] = optarg;
			break;
		case 'p':
			if (plan_add(&peer, optarg) < 0)
				return usage(argv[0]);
			break;
		case 'w':
			options->switch_type = -1;
			for (size_t i = 0; i < sizeof SWITCHES / sizeof *SWITCHES; i++)
				if (!strcmp(SWITCHES[i].name, optarg))
					options->switch_type = SWITCHES[i].type;
			if (options->switch_type < 0)
				return usage(argv[0]);
			break;
		default:
			return usage(argv[0]);
		}
	}
	if (!directory)
		return usage(argv[0]);
	if (options->switch_type == PRI_SWITCH_EUROISDN_E1 && peer.t1)
		options->switch_type = PRI_SWITCH_EUROISDN_T1;
	peer.link.network = options->side == PRI_NETWORK;
	if (link_open(&peer.link, directory, peer.t1, listening) < 0)
		return 1;
	if ((record && !(peer.link.record = fopen(record, "a"))) || (pcap && link_open_pcap(&peer.link, pcap) < 0)) {
		fprintf(stderr, "cannot write %s: %s\n", record ? record : pcap, strerror(errno));
		return 1;
	}
	pri_set_message(print_message);
	pri_set_error(print_error);
	json_begin("ready");
	json_string("version", pri_get_version());
	json_end();
	run(&peer, seconds);
	json_begin("end");
	json_end();
	link_close(&peer.link);
	return 0;
}
