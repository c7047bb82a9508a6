#include "far_end.h"

#include <stddef.h>
#include <string.h>

enum rank { ANYBODY, SAME_HOST, SIGNALLED };

void far_end_set(struct far_end *f, const union address *signalled, const union address *signalling, bool latch, int64_t now)
{
    f->usable = address_usable(signalled);
    f->signalling = *signalling;
    f->latch = latch;
    if (f->set && (!f->usable || address_equal(signalled, &f->signalled)))
        return; /* on hold, or as before: who has been learned stays */
    f->set = true;
    f->signalled = *signalled;
    memset(f->candidates, 0, sizeof f->candidates);
    if (f->known) {
        f->former = f->source;
        f->former_until = now + FAR_END_FORMER_US;
        f->has_former = true;
    }
    f->known = false;
}

static enum rank rank_of(const struct far_end *f, const union address *from)
{
    if (address_equal(from, &f->signalled))
        return SIGNALLED;
    return address_same_host(from, &f->signalled) || address_same_host(from, &f->signalling) ? SAME_HOST : ANYBODY;
}

enum far_end_who far_end_who(const struct far_end *f, const union address *from, int64_t now)
{
    if (!f->set)
        return FAR_END_STRANGER;
    if (f->known && address_equal(from, &f->source))
        return FAR_END_SOURCE;
    if (!f->known || now - f->heard_at >= FAR_END_QUIET_US || rank_of(f, from) > rank_of(f, &f->source))
        return FAR_END_OTHER;
    return FAR_END_STRANGER;
}

static void settle(struct far_end *f, const union address *from, int64_t now)
{
    f->source = *from;
    f->heard_at = now;
    f->known = true;
    f->has_former = false;
    memset(f->candidates, 0, sizeof f->candidates);
}

/* Who is likelier pushes out those who are anybody, however many they are; others wait until one has gone. */
static bool makes_room(const struct far_end *f, const struct far_end_candidate *c, enum rank rank, int64_t now)
{
    return !c->count || now - c->at >= FAR_END_CANDIDATE_US || (rank != ANYBODY && rank_of(f, &c->from) == ANYBODY);
}

static struct far_end_candidate *candidate(struct far_end *f, const struct far_end_packet *p, enum rank rank, int64_t now)
{
    struct far_end_candidate *free = NULL;

    for (unsigned i = 0; i < FAR_END_CANDIDATES; i++) {
        struct far_end_candidate *c = &f->candidates[i];

        if (c->count && address_equal(&c->from, p->from))
            return c;
        if (makes_room(f, c, rank, now))
            free = c;
    }
    if (free)
        free->count = 0;
    return free;
}

static bool proves_itself(struct far_end *f, const struct far_end_packet *p, enum rank rank, int64_t now)
{
    struct far_end_candidate *c = candidate(f, p, rank, now);
    unsigned needed = rank == ANYBODY ? 2 * FAR_END_PROBATION : FAR_END_PROBATION;

    if (!c)
        return false;
    if (!c->count || c->ssrc != p->ssrc || c->next != p->sequence || now - c->at >= FAR_END_CANDIDATE_US) {
        c->from = *p->from;
        c->ssrc = p->ssrc;
        c->since = now;
        c->count = 0;
    }
    c->next = (uint16_t)(p->sequence + 1);
    c->at = now;
    if (c->count < UINT8_MAX)
        c->count++;
    return c->count >= needed && now - c->since >= FAR_END_SPREAD_US;
}

/* There is no source yet. */
static bool learn(struct far_end *f, const struct far_end_packet *p, enum rank rank, int64_t now)
{
    if (f->has_former && rank != SIGNALLED && address_equal(p->from, &f->former)) {
        if (now >= f->former_until)
            settle(f, p->from, now);
        return true;
    }
    if (rank != SIGNALLED && !p->authentic && !proves_itself(f, p, rank, now))
        return false;
    settle(f, p->from, now);
    return true;
}

bool far_end_take(struct far_end *f, const struct far_end_packet *p, int64_t now)
{
    int64_t quiet = now - f->heard_at;
    enum rank rank;

    if (!f->set)
        return false;
    if (f->known && address_equal(p->from, &f->source)) {
        f->heard_at = now;
        return true;
    }
    rank = rank_of(f, p->from);
    if (!f->known)
        return learn(f, p, rank, now);
    if (p->authentic) {
        if (quiet >= FAR_END_QUIET_SECURE_US || (rank == SIGNALLED && proves_itself(f, p, rank, now)))
            settle(f, p->from, now);
        return true;
    }
    if (rank > rank_of(f, &f->source) || (quiet >= FAR_END_QUIET_US && p->continues)) {
        bool proven = proves_itself(f, p, rank, now);

        if (proven)
            settle(f, p->from, now);
        return proven;
    }
    return false;
}

const union address *far_end_target(const struct far_end *f)
{
    if (f->latch && f->known)
        return &f->source;
    return f->usable ? &f->signalled : NULL;
}
