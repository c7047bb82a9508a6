/* The state of a scriptable PRI end on libpri, shared by its main loop, its commands, its events and its number plan. */
#ifndef PRI_PEER_H
#define PRI_PEER_H

#include "span_link.h"

#include <libpri.h>
#include <stdbool.h>

enum {
	CALLS_MAXIMUM = 64,
	PLAN_MAXIMUM = 32,
	STEPS_MAXIMUM = 128,
	COMMAND_MAXIMUM = 2048,
	TIMESLOTS = 32,
	DIGITS_MAXIMUM = 40,
	TIMERS_MAXIMUM = 16,
};

struct peer_call {
	int id; /* 0 is a free entry */
	q931_call *call;
	int timeslot;
	char called[DIGITS_MAXIMUM + 1]; /* grows with overlap digits */
	bool planned;
};

/* What the number plan does with a called number. */
enum plan_action {
	PLAN_ANSWER,   /* proceeding, alerting, connect after `argument` ms */
	PLAN_QUICK,    /* connect as the only answer */
	PLAN_BUSY,     /* proceeding, then cleared with cause 17 */
	PLAN_REFUSE,   /* cleared with cause `argument` as the only answer */
	PLAN_REJECT,   /* proceeding, then cleared with cause `argument` */
	PLAN_RING,     /* proceeding, alerting, nothing more */
	PLAN_SLOW,     /* proceeding, alerting after `argument` ms, connect after as much again */
	PLAN_INBAND,   /* proceeding, progress with in-band information, nothing more */
	PLAN_DIAL,     /* overlap: setup acknowledge, answer once `argument` digits are there */
	PLAN_IGNORE,   /* nothing at all */
};

struct plan_entry {
	char prefix[DIGITS_MAXIMUM + 1];
	enum plan_action action;
	int argument;
};

enum step_kind { STEP_ALERT, STEP_ANSWER };

struct step {
	double at;
	int call;
	enum step_kind kind;
};

/* What libpri is set to when it starts, which is when the line first comes up. */
struct peer_options {
	int side, switch_type, overlap, debug, settle;
	bool service;
	int timers;
	const char *timer[TIMERS_MAXIMUM];
};

struct peer {
	struct pri *pri; /* NULL until the line was up */
	struct peer_options options;
	double start_at; /* when to start it, 0 while the line is down */
	struct span_link link;
	bool t1;
	bool automatic_clearing; /* answer a DISCONNECT or RELEASE at once */
	bool quiet;              /* libpri's messages of this moment are expected */
	bool running;
	int last_call;
	struct peer_call calls[CALLS_MAXIMUM];
	struct plan_entry plan[PLAN_MAXIMUM];
	int plan_entries;
	struct step steps[STEPS_MAXIMUM];
	int steps_waiting;
};

/* The entry of a libpri call, made if there is none; NULL if the table is full. */
struct peer_call *call_of(struct peer *peer, q931_call *call);
struct peer_call *call_by_id(struct peer *peer, int id);
/* The lowest timeslot that carries a call of no one, or 0. */
int free_timeslot(const struct peer *peer);

/* pri_hangup, forgetting the call if that ended it. Returns what pri_hangup returned. */
int clear_call(struct peer *peer, struct peer_call *entry, int cause);

/* Prints one libpri event and does what the number plan and automatic clearing say. */
void handle_event(struct peer *peer, pri_event *event);

/* Carries out one line of standard input: a word, then key=value pairs (values with %XX escapes). */
void run_command(struct peer *peer, char *line);

/* Adds PREFIX=ACTION[:ARGUMENT]; 0, or -1 if it makes no sense or the plan is full. */
int plan_add(struct peer *peer, const char *text);
/* Does what the plan says for a call whose called number grew; `setup` is true for the first time. */
void plan_apply(struct peer *peer, struct peer_call *call, bool setup, bool complete);
void plan_run_steps(struct peer *peer);
/* Milliseconds until the next delayed step, or -1. */
int plan_wait(const struct peer *peer);

#endif
