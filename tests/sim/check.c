/*
 * check.c - one truth that all members must agree with
 *
 * Whoever publishes a transaction first, at a place in the order, makes it true for ever. From
 * that follow agreement, total order, and that nothing published or acknowledged is ever lost:
 * another transaction at its place is the failure, or its absence at the end.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/sim.h"

struct fact {
	struct sim_entry e;
	uint64_t digest;
};

struct write {
	int node;
	uint32_t life;
	uint64_t place; /* in the order, from 1; 0: not published yet */
	bool acked;
};

static struct fact *facts;
static struct write *writes;
static uint64_t n_facts, facts_cap, n_writes, writes_cap;

enum { EPOCHS_MAX = 1 << 16 };
static struct {
	int node;
	uint32_t life;
} leader_of[EPOCHS_MAX];

void sim_check_reset(void)
{
	n_facts = n_writes = 0;
	memset(leader_of, -1, sizeof(leader_of));
}

static void *grow(void *p, uint64_t n, uint64_t *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = *cap ? *cap * 2 : 4096;
	p = realloc(p, *cap * size);
	CHECK(p != NULL);
	return p;
}

uint64_t sim_check_issue(int node, uint32_t life)
{
	writes = grow(writes, n_writes, &writes_cap, sizeof(*writes));
	writes[n_writes] = (struct write){.node = node, .life = life};
	sim.result.writes++;
	return ++n_writes;
}

static void add_fact(const struct sim_node *n, const struct sim_entry *e)
{
	struct write *w = &writes[e->value - 1];

	facts = grow(facts, n_facts, &facts_cap, sizeof(*facts));
	facts[n_facts++] = (struct fact){*e, n->state.digest};
	if (w->place)
		sim_fail("write %" PRIu64 " is applied twice, at %" PRIu64 " and %" PRIu64,
			 e->value, w->place, n_facts);
	w->place = n_facts;
	sim.result.committed++;
}

void sim_check_published(struct sim_node *n, const struct sim_entry *e)
{
	uint64_t at = n->state.count - 1;
	struct write *w;

	if (e->value < 1 || e->value > n_writes)
		sim_fail("member %d published what nobody wrote", n->id + 1);
	if (at > n_facts)
		sim_fail("member %d left out transactions before %" PRIx64, n->id + 1,
			 (uint64_t)e->zxid);
	if (at && facts[at - 1].e.zxid >= e->zxid)
		sim_fail("zxids do not grow: %" PRIx64 " at member %d", (uint64_t)e->zxid,
			 n->id + 1);
	if (at == n_facts)
		add_fact(n, e);
	if (facts[at].e.zxid != e->zxid || facts[at].e.value != e->value)
		sim_fail("member %d has %" PRIx64 " (write %" PRIu64 ") at %" PRIu64
			 ", another published %" PRIx64 " (write %" PRIu64 ")",
			 n->id + 1, (uint64_t)e->zxid, e->value, at, (uint64_t)facts[at].e.zxid,
			 facts[at].e.value);
	if (facts[at].digest != n->state.digest)
		sim_fail("member %d has another digest at %" PRIx64, n->id + 1, (uint64_t)e->zxid);
	w = &writes[e->value - 1];
	if (w->node == n->id && w->life == n->life && !w->acked) {
		w->acked = true;
		sim.result.acked++;
	}
}

void sim_check_state(const struct sim_node *n, const struct sim_state *s, const char *where)
{
	if (s->count > n_facts)
		sim_fail("member %d, %s: %" PRIu64 " transactions, %" PRIu64 " are committed",
			 n->id + 1, where, s->count, n_facts);
	if (s->count &&
	    (facts[s->count - 1].digest != s->digest || facts[s->count - 1].e.zxid != s->zxid))
		sim_fail("member %d, %s: another state at %" PRIx64, n->id + 1, where,
			 (uint64_t)s->zxid);
}

void sim_check_serving(const struct sim_node *n)
{
	int64_t epoch = n->zab.epoch;

	sim_check_state(n, &n->state, "entering service");
	if (n->state.count < n->shown)
		sim_fail("member %d went back: %" PRIu64 " transactions, %" PRIu64
			 " were shown before",
			 n->id + 1, n->state.count, n->shown);
	if (n->zab.role != ZAB_LEADING || epoch >= EPOCHS_MAX)
		return;
	if (leader_of[epoch].node >= 0 &&
	    (leader_of[epoch].node != n->id || leader_of[epoch].life != n->life))
		sim_fail("epoch %" PRId64 " has two leaders, %d and %d", epoch,
			 leader_of[epoch].node + 1, n->id + 1);
	leader_of[epoch].node = n->id;
	leader_of[epoch].life = n->life;
}

static bool has_durable(const struct sim_node *n, int64_t zxid)
{
	const struct sim_entry *e = sim_log_after(&n->disk.log, zxid - 1);

	if (n->disk.must_sync || n->lose_log)
		return true; /* it had it once; until it has it again it counts in no quorum */
	return zxid <= n->disk.snap[0].zxid ||
	       (e && e->zxid == zxid && zxid <= sim_log_synced(&n->disk.log));
}

/* What a leader commits is durable at a quorum of voters. */
static void check_commit(const struct sim_node *n, int64_t zxid)
{
	int have = 0;

	for (int i = 0; i < sim.n_voters; i++)
		have += has_durable(&sim.node[i], zxid);
	if (have <= sim.n_voters / 2)
		sim_fail("member %d commits %" PRIx64 ", durable at %d of %d voters", n->id + 1,
			 (uint64_t)zxid, have, sim.n_voters);
}

static void check_promise(struct sim_node *n, const struct zab_send *s)
{
	if (n->disk.accepted_epoch < n->zab.epoch || sim_log_synced(&n->disk.log) < s->packet.zxid)
		sim_fail("member %d promises what is not durable", n->id + 1);
	if (s->packet.current_epoch >= 0 && n->zab.epoch <= n->promised)
		sim_fail("member %d promises epoch %" PRId64 " after %" PRId64, n->id + 1,
			 n->zab.epoch, n->promised);
	n->promised = n->zab.epoch > n->promised ? n->zab.epoch : n->promised;
}

void sim_check_claim(struct sim_node *n, const struct zab_send *s)
{
	const struct sim_disk *d = &n->disk;
	int64_t synced = sim_log_synced(d->staged ? &d->staged_log : &d->log);
	bool range = s->kind == ZAB_SEND_RANGE;

	if (!sim.strict)
		return;
	if (range && (s->packet.type == QUORUM_COMMIT || s->packet.type == QUORUM_INFORM))
		check_commit(n, s->last);
	if (n->zab.role == ZAB_LEADING)
		return;
	if (s->packet.type == QUORUM_ACK && range && s->last > synced)
		sim_fail("member %d acknowledges %" PRIx64 ", durable is %" PRIx64, n->id + 1,
			 (uint64_t)s->last, (uint64_t)synced);
	if (s->packet.type == QUORUM_ACK && !range &&
	    (d->current_epoch != n->zab.epoch || d->staged || d->cutting ||
	     synced < n->zab.initial_zxid))
		sim_fail("member %d acknowledges NEWLEADER before it is durable", n->id + 1);
	if (s->packet.type == QUORUM_ACKEPOCH)
		check_promise(n, s);
}

/* These mean that a peer did what no member of an ensemble without bugs does. */
void sim_check_why(const struct sim_node *n, const char *why)
{
	static const char *const never[] = {
	    "TRUNC",
	    "a COMMIT",
	    "a proposal",
	    "the leader lacks",
	    "the leader has not",
	    "NEWLEADER of",
	    "UPTODATE before",
	    "an ACK of",
	    "not a",
	    "neither",
	    "a packet where",
	    "a negative",
	    "a request before",
	    "INFORM for",
	    "a learner's configuration",
	    "no SNAP for",
	};

	for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		if (strncmp(why, never[i], strlen(never[i])) == 0)
			sim_fail("member %d: %s", n->id + 1, why);
}

void sim_check_end(void)
{
	for (int i = 0; i < sim.n_nodes; i++) {
		const struct sim_node *n = &sim.node[i];

		if (!n->up || !sim_node_serves(n))
			sim_fail("member %d is not in service at the end: %s %d", n->id + 1,
				 n->up ? "role" : "down", (int)n->zab.role);
		if (n->zab.role == ZAB_LEADING && n->zab.decided_zxid != n->zab.last_zxid)
			sim_fail("member %d never committed its last proposals", n->id + 1);
		if (n->state.count != n_facts)
			sim_fail("member %d has %" PRIu64 " transactions at the end, not %" PRIu64,
				 n->id + 1, n->state.count, n_facts);
	}
	for (uint64_t i = 0; i < n_writes; i++)
		if (writes[i].acked && !writes[i].place)
			sim_fail("acknowledged write %" PRIu64 " is lost", i + 1);
}
