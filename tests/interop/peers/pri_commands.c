/* Commands of the peer, one a line: a word, then key=value pairs whose values may hold %XX escapes. */
#include "json_line.h"
#include "pri_peer.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { PAIRS_MAXIMUM = 24 };

struct arguments {
	const char *keys[PAIRS_MAXIMUM];
	char *values[PAIRS_MAXIMUM];
	int count;
};

static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text == '%' && isxdigit((unsigned char)text[1]) && isxdigit((unsigned char)text[2])) {
			char digits[3] = {text[1], text[2], 0};

			*to++ = (char)strtol(digits, NULL, 16);
			text += 2;
		} else {
			*to++ = *text;
		}
	}
	*to = 0;
}

static char *text_of(const struct arguments *arguments, const char *key)
{
	for (int i = 0; i < arguments->count; i++)
		if (!strcmp(arguments->keys[i], key))
			return arguments->values[i];
	return NULL;
}

static int number_of(const struct arguments *arguments, const char *key, int missing)
{
	const char *text = text_of(arguments, key);

	return text ? (int)strtol(text, NULL, 0) : missing;
}

/* Fills a party from PREFIX (digits), PREFIX_plan, PREFIX_pres, NAME and NAME_pres. */
static void party_of(const struct arguments *arguments, const char *prefix, const char *name, struct pri_party_id *party)
{
	char key[48];
	const char *text;

	if ((text = text_of(arguments, prefix))) {
		party->number.valid = 1;
		snprintf(party->number.str, sizeof party->number.str, "%s", text);
		snprintf(key, sizeof key, "%s_plan", prefix);
		party->number.plan = number_of(arguments, key, PRI_NATIONAL_ISDN);
		snprintf(key, sizeof key, "%s_pres", prefix);
		party->number.presentation = number_of(arguments, key, PRES_ALLOWED_USER_NUMBER_PASSED_SCREEN);
	}
	if ((text = text_of(arguments, name))) {
		party->name.valid = 1;
		party->name.char_set = PRI_CHAR_SET_ISO8859_1;
		snprintf(party->name.str, sizeof party->name.str, "%s", text);
		snprintf(key, sizeof key, "%s_pres", name);
		party->name.presentation = number_of(arguments, key, PRI_PRES_ALLOWED);
	}
}

static void fail(const char *text)
{
	json_begin("command_error");
	json_string("text", text);
	json_end();
}

static void place_call(struct peer *peer, const struct arguments *arguments)
{
	struct pri_party_redirecting redirecting = {0};
	struct pri_party_id caller = {0};
	char *called = text_of(arguments, "called");
	const char *text;
	struct pri_sr *request = pri_sr_new();
	q931_call *call = pri_new_call(peer->pri);
	struct peer_call *entry = call ? call_of(peer, call) : NULL;

	if (!request || !entry) {
		fail("no more calls");
		pri_sr_free(request);
		return;
	}
	entry->timeslot = number_of(arguments, "channel", 0);
	if (!entry->timeslot)
		entry->timeslot = free_timeslot(peer);
	pri_sr_set_channel(request, entry->timeslot, number_of(arguments, "exclusive", 0), number_of(arguments, "nonisdn", 0));
	pri_sr_set_bearer(request, number_of(arguments, "bearer", PRI_TRANS_CAP_SPEECH),
		number_of(arguments, "layer1", peer->t1 ? PRI_LAYER_1_ULAW : PRI_LAYER_1_ALAW));
	pri_sr_set_called(request, called ? called : (char[]){""}, number_of(arguments, "called_plan", PRI_NATIONAL_ISDN),
		number_of(arguments, "complete", 1));
	party_of(arguments, "caller", "name", &caller);
	pri_sr_set_caller_party(request, &caller);
	if (text_of(arguments, "redirecting")) {
		party_of(arguments, "redirecting", "redirecting_name", &redirecting.from);
		party_of(arguments, "original", "original_name", &redirecting.orig_called);
		redirecting.reason = number_of(arguments, "reason", PRI_REDIR_UNCONDITIONAL);
		redirecting.orig_reason = number_of(arguments, "original_reason", 0);
		redirecting.count = number_of(arguments, "count", 1);
		pri_sr_set_redirecting_parties(request, &redirecting);
	}
	if ((text = text_of(arguments, "keypad")))
		pri_sr_set_keypad_digits(request, text);
	if ((text = text_of(arguments, "user_user")))
		pri_sr_set_useruser(request, text);
	json_begin("placed");
	json_integer("call", entry->id);
	json_integer("channel", entry->timeslot);
	json_integer("result", pri_setup(peer->pri, call, request));
	json_end();
	pri_sr_free(request);
}

static void answer(struct peer *peer, struct peer_call *call, const struct arguments *arguments, int channel)
{
	struct pri_party_connected_line connected = {0};

	party_of(arguments, "connected", "connected_name", &connected.id);
	if (connected.id.number.valid || connected.id.name.valid)
		pri_connected_line_update(peer->pri, call->call, &connected);
	pri_answer(peer->pri, call->call, channel, number_of(arguments, "nonisdn", 0));
}

static void send_digits(struct peer *peer, struct peer_call *call, const char *digits)
{
	for (; digits && *digits; digits++)
		pri_information(peer->pri, call->call, *digits);
}

static void hang_up(struct peer *peer, struct peer_call *call, int cause)
{
	int id = call->id, result = clear_call(peer, call, cause);

	json_begin("hanging_up");
	json_integer("call", id);
	json_integer("result", result);
	json_boolean("alive", call->id != 0);
	json_end();
}

/* Commands on one call; false if the word is none of them. */
static bool run_call_command(struct peer *peer, const char *word, const struct arguments *arguments)
{
	static const char *const WORDS[] = {"proceed", "alert", "progress", "answer", "setup_ack", "info", "keypad", "hangup", "notify",
		"display", "hold", "forget"};
	struct peer_call *call = call_by_id(peer, number_of(arguments, "call", 0));
	struct pri *pri = peer->pri;
	int channel, info;
	size_t index;

	for (index = 0; index < sizeof WORDS / sizeof *WORDS; index++)
		if (!strcmp(WORDS[index], word))
			break;
	if (index == sizeof WORDS / sizeof *WORDS)
		return false;
	if (!call) {
		fail("no such call");
		return true;
	}
	channel = call->timeslot = number_of(arguments, "channel", call->timeslot);
	info = number_of(arguments, "inband", 0);
	switch (index) {
	case 0:
		pri_proceeding(pri, call->call, channel, info);
		break;
	case 1:
		pri_acknowledge(pri, call->call, channel, info);
		break;
	case 2:
		pri_progress_with_cause(pri, call->call, channel, info, number_of(arguments, "cause", -1));
		break;
	case 3:
		answer(peer, call, arguments, channel);
		break;
	case 4:
		pri_setup_ack(pri, call->call, channel, number_of(arguments, "nonisdn", 0), info);
		break;
	case 5:
		send_digits(peer, call, text_of(arguments, "digits"));
		break;
	case 6:
		pri_keypad_facility(pri, call->call, text_of(arguments, "digits") ? text_of(arguments, "digits") : "");
		break;
	case 7:
		hang_up(peer, call, number_of(arguments, "cause", PRI_CAUSE_NORMAL_CLEARING));
		break;
	case 8:
		pri_notify(pri, call->call, channel, number_of(arguments, "info", PRI_NOTIFY_REMOTE_HOLD));
		break;
	case 9: {
		struct pri_subcmd_display_txt display = {.char_set = PRI_CHAR_SET_ISO8859_1};
		const char *text = text_of(arguments, "text");

		display.length = snprintf(display.text, sizeof display.text, "%s", text ? text : "");
		pri_display_text(pri, call->call, &display);
		break;
	}
	case 10:
		pri_hold(pri, call->call);
		break;
	default:
		call->id = 0;
	}
	return true;
}

static void run_span_command(struct peer *peer, const char *word, const struct arguments *arguments)
{
	const char *text;

	if (!strcmp(word, "call")) {
		place_call(peer, arguments);
	} else if (!strcmp(word, "reset")) {
		pri_reset(peer->pri, number_of(arguments, "channel", 1));
	} else if (!strcmp(word, "service")) {
		pri_maintenance_service(peer->pri, 0, number_of(arguments, "channel", 1), number_of(arguments, "status", 0));
	} else if (!strcmp(word, "plan") && (text = text_of(arguments, "add"))) {
		if (plan_add(peer, text) < 0)
			fail("bad plan entry");
	} else if (!strcmp(word, "alarm") && (text = text_of(arguments, "state"))) {
		link_say_alarm(&peer->link, text);
	} else if (!strcmp(word, "cut")) {
		link_cut(&peer->link);
	} else if (!strcmp(word, "join")) {
		link_join(&peer->link);
	} else if (!strcmp(word, "loss") && (text = text_of(arguments, "fraction"))) {
		peer->link.loss = atof(text);
	} else if (!strcmp(word, "clearing")) {
		peer->automatic_clearing = number_of(arguments, "automatic", 1) != 0;
	} else if (!strcmp(word, "info_dump")) {
		char *dump = pri_dump_info_str(peer->pri);

		json_begin("dump");
		json_string("text", dump ? dump : "");
		json_end();
		free(dump);
	} else if (!strcmp(word, "quit")) {
		peer->running = false;
	} else {
		fail("unknown command");
		return;
	}
}

void run_command(struct peer *peer, char *line)
{
	struct arguments arguments = {.count = 0};
	char *rest = line, *word = strsep(&rest, " \n"), *pair;

	while ((pair = strsep(&rest, " \n")) && arguments.count < PAIRS_MAXIMUM) {
		char *equals = strchr(pair, '=');

		if (!equals)
			continue;
		*equals = 0;
		unescape(equals + 1);
		arguments.keys[arguments.count] = pair;
		arguments.values[arguments.count++] = equals + 1;
	}
	if (!peer->pri && word && strcmp(word, "plan") && strcmp(word, "quit")) {
		fail("no line yet");
		return;
	}
	if (word && *word && !run_call_command(peer, word, &arguments))
		run_span_command(peer, word, &arguments);
}
