/* libpri's events as JSON lines, and what has to follow from them by itself. */
#include "json_line.h"
#include "pri_peer.h"

#include <string.h>

struct peer_call *call_of(struct peer *peer, q931_call *call)
{
	struct peer_call *vacant = NULL;

	for (int i = 0; i < CALLS_MAXIMUM; i++) {
		if (peer->calls[i].id && peer->calls[i].call == call)
			return &peer->calls[i];
		if (!peer->calls[i].id && !vacant)
			vacant = &peer->calls[i];
	}
	if (vacant)
		*vacant = (struct peer_call){.id = ++peer->last_call, .call = call};
	return vacant;
}

struct peer_call *call_by_id(struct peer *peer, int id)
{
	for (int i = 0; i < CALLS_MAXIMUM && id > 0; i++)
		if (peer->calls[i].id == id)
			return &peer->calls[i];
	return NULL;
}

int free_timeslot(const struct peer *peer)
{
	bool used[TIMESLOTS] = {[0] = true};

	used[peer->t1 ? 24 : 16] = true;
	for (int i = 0; i < CALLS_MAXIMUM; i++)
		if (peer->calls[i].id)
			used[peer->calls[i].timeslot] = true;
	for (int timeslot = 1; timeslot < (peer->t1 ? 24 : TIMESLOTS); timeslot++)
		if (!used[timeslot])
			return timeslot;
	return 0;
}

static int timeslot_of(int channel)
{
	int timeslot = channel & 0xff; /* the rest of libpri's channel is the span and flags */

	return channel == -1 || timeslot >= TIMESLOTS ? 0 : timeslot;
}

static void print_number(const char *name, const struct pri_party_number *number)
{
	char key[48];

	if (!number->valid)
		return;
	json_string(name, number->str);
	snprintf(key, sizeof key, "%s_plan", name);
	json_integer(key, number->plan);
	snprintf(key, sizeof key, "%s_presentation", name);
	json_integer(key, number->presentation);
}

static void print_name(const char *name, const struct pri_party_name *party)
{
	char key[48];

	if (!party->valid)
		return;
	json_string(name, party->str);
	snprintf(key, sizeof key, "%s_presentation", name);
	json_integer(key, party->presentation);
}

static void print_redirecting(const struct pri_party_redirecting *redirecting)
{
	print_number("redirecting", &redirecting->from.number);
	print_name("redirecting_name", &redirecting->from.name);
	print_number("redirected_to", &redirecting->to.number);
	print_number("original_called", &redirecting->orig_called.number);
	print_name("original_called_name", &redirecting->orig_called.name);
	json_integer("redirecting_count", redirecting->count);
	json_integer("redirecting_reason", redirecting->reason);
	json_integer("original_reason", redirecting->orig_reason);
}

static void print_subcommands(const struct pri_subcommands *subcommands)
{
	for (int i = 0; subcommands && i < subcommands->counter_subcmd; i++) {
		const struct pri_subcommand *subcommand = &subcommands->subcmd[i];

		switch (subcommand->cmd) {
		case PRI_SUBCMD_REDIRECTING:
			print_redirecting(&subcommand->u.redirecting);
			break;
		case PRI_SUBCMD_CONNECTED_LINE:
			print_number("connected", &subcommand->u.connected_line.id.number);
			print_name("connected_name", &subcommand->u.connected_line.id.name);
			break;
		case PRI_SUBCMD_DISPLAY_TEXT:
			json_string("display", subcommand->u.display.text);
			break;
		default:
			json_integer("subcommand", subcommand->cmd);
			break;
		}
	}
}

static struct peer_call *print_call(struct peer *peer, q931_call *call, int channel)
{
	struct peer_call *entry = call ? call_of(peer, call) : NULL;

	if (entry && timeslot_of(channel))
		entry->timeslot = timeslot_of(channel);
	if (entry)
		json_integer("call", entry->id);
	json_integer("channel", timeslot_of(channel));
	return entry;
}

static struct peer_call *print_ring(struct peer *peer, const pri_event_ring *ring)
{
	struct peer_call *entry = print_call(peer, ring->call, ring->channel);

	json_integer("cref", ring->cref);
	json_boolean("exclusive", !ring->flexible);
	json_string("called", ring->callednum);
	json_integer("called_plan", ring->calledplan);
	print_number("caller", &ring->calling.number);
	print_name("name", &ring->calling.name);
	json_boolean("complete", ring->complete);
	json_integer("bearer", ring->ctype);
	json_integer("layer1", ring->layer1);
	json_integer("progress", ring->progressmask);
	json_integer("ani2", ring->ani2);
	if (ring->redirectingnum[0])
		json_string("redirectingnum", ring->redirectingnum);
	if (ring->origcallednum[0])
		json_string("origcallednum", ring->origcallednum);
	json_integer("redirecting_reason_ie", ring->redirectingreason);
	if (ring->keypad_digits[0])
		json_string("keypad", ring->keypad_digits);
	if (ring->useruserinfo[0])
		json_string("user_user", ring->useruserinfo);
	print_subcommands(ring->subcmds);
	if (entry)
		snprintf(entry->called, sizeof entry->called, "%.*s", DIGITS_MAXIMUM, ring->callednum);
	return entry;
}

/* pri_hangup may end the call in libpri at once, after which its pointer is void and may serve the next call. */
int clear_call(struct peer *peer, struct peer_call *entry, int cause)
{
	int mode, result = pri_hangup(peer->pri, entry->call, cause);

	peer->quiet = true;
	if (pri_get_crv(peer->pri, entry->call, &mode) < 0)
		entry->id = 0;
	peer->quiet = false;
	return result;
}

static const char *event_name(int event)
{
	switch (event) {
	case PRI_EVENT_DCHAN_UP: return "up";
	case PRI_EVENT_DCHAN_DOWN: return "down";
	case PRI_EVENT_RESTART: return "restart";
	case PRI_EVENT_CONFIG_ERR: return "config_error";
	case PRI_EVENT_RING: return "ring";
	case PRI_EVENT_HANGUP: return "hangup";
	case PRI_EVENT_RINGING: return "ringing";
	case PRI_EVENT_ANSWER: return "answer";
	case PRI_EVENT_HANGUP_ACK: return "hangup_ack";
	case PRI_EVENT_RESTART_ACK: return "restart_ack";
	case PRI_EVENT_FACILITY: return "facility";
	case PRI_EVENT_INFO_RECEIVED: return "info";
	case PRI_EVENT_PROCEEDING: return "proceeding";
	case PRI_EVENT_SETUP_ACK: return "setup_ack";
	case PRI_EVENT_HANGUP_REQ: return "hangup_request";
	case PRI_EVENT_NOTIFY: return "notify";
	case PRI_EVENT_PROGRESS: return "progress";
	case PRI_EVENT_KEYPAD_DIGIT: return "keypad";
	case PRI_EVENT_SERVICE: return "service";
	case PRI_EVENT_SERVICE_ACK: return "service_ack";
	case PRI_EVENT_HOLD: return "hold";
	case PRI_EVENT_HOLD_ACK: return "hold_ack";
	case PRI_EVENT_HOLD_REJ: return "hold_reject";
	case PRI_EVENT_RETRIEVE: return "retrieve";
	case PRI_EVENT_RETRIEVE_ACK: return "retrieve_ack";
	case PRI_EVENT_RETRIEVE_REJ: return "retrieve_reject";
	case PRI_EVENT_CONNECT_ACK: return "connect_ack";
	default: return "unknown";
	}
}

/* Prints the fields of events that lead to no action; the object is open. */
static void print_fields(struct peer *peer, pri_event *event)
{
	switch (event->e) {
	case PRI_EVENT_RESTART:
	case PRI_EVENT_RESTART_ACK:
		json_integer("channel", event->restart.channel == -1 ? -1 : timeslot_of(event->restart.channel));
		break;
	case PRI_EVENT_CONFIG_ERR:
		json_string("text", event->err.err);
		break;
	case PRI_EVENT_RINGING:
	case PRI_EVENT_ANSWER: /* both structures are laid out alike */
		print_call(peer, event->ringing.call, event->ringing.channel);
		json_integer("progress", event->ringing.progressmask);
		print_subcommands(event->ringing.subcmds);
		break;
	case PRI_EVENT_PROCEEDING:
	case PRI_EVENT_PROGRESS:
		print_call(peer, event->proceeding.call, event->proceeding.channel);
		json_integer("progress", event->proceeding.progressmask);
		if (event->e == PRI_EVENT_PROGRESS) /* libpri leaves it unset for CALL PROCEEDING */
			json_integer("cause", event->proceeding.cause);
		print_subcommands(event->proceeding.subcmds);
		break;
	case PRI_EVENT_SETUP_ACK:
		print_call(peer, event->setup_ack.call, event->setup_ack.channel);
		json_integer("progress", event->setup_ack.progressmask);
		break;
	case PRI_EVENT_FACILITY:
		print_call(peer, event->facility.call, event->facility.channel);
		json_string("name", event->facility.callingname);
		print_subcommands(event->facility.subcmds);
		break;
	case PRI_EVENT_NOTIFY:
		print_call(peer, event->notify.call, event->notify.channel);
		json_integer("info", event->notify.info);
		print_subcommands(event->notify.subcmds);
		break;
	case PRI_EVENT_KEYPAD_DIGIT:
		print_call(peer, event->digit.call, event->digit.channel);
		json_string("digits", event->digit.digits);
		break;
	case PRI_EVENT_SERVICE:
	case PRI_EVENT_SERVICE_ACK:
		json_integer("channel", timeslot_of(event->service.channel));
		json_integer("status", event->service.changestatus);
		break;
	case PRI_EVENT_CONNECT_ACK:
		print_call(peer, event->connect_ack.call, event->connect_ack.channel);
		print_subcommands(event->connect_ack.subcmds);
		break;
	case PRI_EVENT_HOLD:
	case PRI_EVENT_HOLD_ACK:
	case PRI_EVENT_RETRIEVE_ACK:
		print_call(peer, event->hold.call, event->hold.channel);
		break;
	default:
		break;
	}
}

void handle_event(struct peer *peer, pri_event *event)
{
	struct peer_call *entry;
	bool complete;
	int cause;

	json_begin(event_name(event->e));
	switch (event->e) {
	case PRI_EVENT_RING:
		complete = event->ring.complete;
		entry = print_ring(peer, &event->ring);
		json_end();
		if (entry && !entry->timeslot)
			entry->timeslot = free_timeslot(peer);
		if (entry)
			plan_apply(peer, entry, true, complete);
		return;
	case PRI_EVENT_INFO_RECEIVED:
		complete = event->ring.complete;
		entry = print_call(peer, event->ring.call, event->ring.channel);
		json_string("digits", event->ring.callednum);
		json_boolean("complete", complete);
		json_end();
		if (entry) {
			strncat(entry->called, event->ring.callednum, sizeof entry->called - 1 - strlen(entry->called));
			plan_apply(peer, entry, false, complete);
		}
		return;
	case PRI_EVENT_HANGUP:
	case PRI_EVENT_HANGUP_REQ:
	case PRI_EVENT_HANGUP_ACK:
		cause = event->hangup.cause;
		entry = print_call(peer, event->hangup.call, event->hangup.channel);
		json_integer("cause", cause);
		if (event->hangup.useruserinfo[0])
			json_string("user_user", event->hangup.useruserinfo);
		print_subcommands(event->hangup.subcmds);
		json_end();
		if (entry && (event->e == PRI_EVENT_HANGUP || (event->e == PRI_EVENT_HANGUP_REQ && peer->automatic_clearing)))
			clear_call(peer, entry, cause);
		if (entry && event->e != PRI_EVENT_HANGUP_REQ)
			entry->id = 0; /* libpri ends the call by itself with HANGUP_ACK */
		return;
	default:
		print_fields(peer, event);
		json_end();
	}
}
