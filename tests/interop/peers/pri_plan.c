/* The number plan of the peer: what it does by itself with a call, by the first digits of the called number. */
#include "json_line.h"
#include "pri_peer.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	const char *word;
	enum plan_action action;
} WORDS[] = {
	{"answer", PLAN_ANSWER}, {"quick", PLAN_QUICK}, {"busy", PLAN_BUSY},     {"refuse", PLAN_REFUSE}, {"reject", PLAN_REJECT},
	{"ring", PLAN_RING},     {"slow", PLAN_SLOW},   {"inband", PLAN_INBAND}, {"dial", PLAN_DIAL},     {"ignore", PLAN_IGNORE},
};

int plan_add(struct peer *peer, const char *text)
{
	struct plan_entry *entry;
	const char *equals = strchr(text, '='), *colon;
	size_t word_length;

	if (!equals || equals - text > DIGITS_MAXIMUM || peer->plan_entries == PLAN_MAXIMUM)
		return -1;
	entry = &peer->plan[peer->plan_entries];
	memcpy(entry->prefix, text, (size_t)(equals - text));
	entry->prefix[equals - text] = 0;
	colon = strchr(equals, ':');
	entry->argument = colon ? atoi(colon + 1) : 0;
	word_length = colon ? (size_t)(colon - equals - 1) : strlen(equals + 1);
	for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) {
		if (strlen(WORDS[i].word) == word_length && !strncmp(WORDS[i].word, equals + 1, word_length)) {
			entry->action = WORDS[i].action;
			peer->plan_entries++;
			return 0;
		}
	}
	return -1;
}

static void step_later(struct peer *peer, const struct peer_call *call, enum step_kind kind, int milliseconds)
{
	if (peer->steps_waiting < STEPS_MAXIMUM)
		peer->steps[peer->steps_waiting++] = (struct step){monotonic_seconds() + milliseconds / 1e3, call->id, kind};
}

void plan_run_steps(struct peer *peer)
{
	double now = monotonic_seconds();

	for (int i = 0; i < peer->steps_waiting;) {
		struct step due = peer->steps[i];
		struct peer_call *call;

		if (due.at > now) {
			i++;
			continue;
		}
		peer->steps[i] = peer->steps[--peer->steps_waiting];
		call = call_by_id(peer, due.call);
		if (call && due.kind == STEP_ALERT)
			pri_acknowledge(peer->pri, call->call, call->timeslot, 0);
		else if (call)
			pri_answer(peer->pri, call->call, call->timeslot, 0);
	}
}

int plan_wait(const struct peer *peer)
{
	double now = monotonic_seconds(), nearest = -1;

	for (int i = 0; i < peer->steps_waiting; i++)
		if (nearest < 0 || peer->steps[i].at < nearest)
			nearest = peer->steps[i].at;
	if (nearest < 0)
		return -1;
	return nearest <= now ? 0 : (int)((nearest - now) * 1e3) + 1;
}

static const struct plan_entry *plan_lookup(const struct peer *peer, const char *called)
{
	const struct plan_entry *best = NULL;

	for (int i = 0; i < peer->plan_entries; i++) {
		const struct plan_entry *entry = &peer->plan[i];

		if (!strncmp(called, entry->prefix, strlen(entry->prefix)) &&
		    (!best || strlen(entry->prefix) > strlen(best->prefix)))
			best = entry;
	}
	return best;
}

/* Overlap: asks for digits until there are enough. */
static void collect(struct peer *peer, struct peer_call *call, const struct plan_entry *entry, bool setup, bool complete)
{
	if ((int)strlen(call->called) >= entry->argument || complete) {
		call->planned = true;
		pri_proceeding(peer->pri, call->call, call->timeslot, 0);
		pri_acknowledge(peer->pri, call->call, call->timeslot, 0);
		pri_answer(peer->pri, call->call, call->timeslot, 0);
	} else if (setup) {
		pri_setup_ack(peer->pri, call->call, call->timeslot, 0, 1);
	}
}

void plan_apply(struct peer *peer, struct peer_call *call, bool setup, bool complete)
{
	const struct plan_entry *entry = plan_lookup(peer, call->called);
	struct pri *pri = peer->pri;

	if (!entry || call->planned)
		return;
	if (entry->action == PLAN_DIAL) {
		collect(peer, call, entry, setup, complete);
		return;
	}
	call->planned = true;
	if (entry->action != PLAN_QUICK && entry->action != PLAN_REFUSE && entry->action != PLAN_IGNORE)
		pri_proceeding(pri, call->call, call->timeslot, 0);
	switch (entry->action) {
	case PLAN_ANSWER:
		pri_acknowledge(pri, call->call, call->timeslot, 0);
		step_later(peer, call, STEP_ANSWER, entry->argument);
		break;
	case PLAN_QUICK:
		pri_answer(pri, call->call, call->timeslot, 0);
		break;
	case PLAN_BUSY:
		clear_call(peer, call, PRI_CAUSE_USER_BUSY);
		break;
	case PLAN_REFUSE:
	case PLAN_REJECT:
		clear_call(peer, call, entry->argument);
		break;
	case PLAN_RING:
		pri_acknowledge(pri, call->call, call->timeslot, 0);
		break;
	case PLAN_SLOW:
		step_later(peer, call, STEP_ALERT, entry->argument);
		step_later(peer, call, STEP_ANSWER, 2 * entry->argument);
		break;
	case PLAN_INBAND:
		pri_progress(pri, call->call, call->timeslot, 1);
		break;
	case PLAN_DIAL:
	case PLAN_IGNORE:
		break;
	}
}
