/*
 * check.c - one truth that all servers must agree with
 *
 * Who applies a transaction first makes it true for ever; all others must apply the same bytes at
 * the same place, and have the same tree after it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/check.h"
#include "jute/txn.h"
#include "tests/simwhole/whole.h"

enum { BUCKETS = 1024, HEALS_US = 10000000 };

struct fact {
	int64_t zxid, client_id;
	uint64_t bytes, digest;
	int32_t cxid, type;
	uint32_t sessions;
	int64_t nodes;
	bool answered;
	size_t before; /* number of an earlier one, in the same bucket of sessions; 0: none */
};

static struct fact *facts;
static size_t n_facts, facts_cap;
static size_t last_of[BUCKETS];     /* numbers, from 1 */
static size_t at_fact[W_NODES_MAX]; /* how many of them its tree has */
static int64_t told;

/* Ids of one server count up from bit 16. */
static size_t bucket_of(int64_t session)
{
	return (size_t)((uint64_t)session ^ (uint64_t)session >> 56 ^ (uint64_t)session >> 16) %
	       BUCKETS;
}

void w_check_reset(void)
{
	n_facts = 0;
	told = 0;
	memset(last_of, 0, sizeof(last_of));
	memset(at_fact, 0, sizeof(at_fact));
}

int64_t w_check_told(void)
{
	return told;
}

static const char *where(const struct w_node *n)
{
	static char text[64];

	snprintf(text, sizeof(text), "member %d (life %u)", n->id + 1, n->life);
	return text;
}

/* Is this request done for a second time, or before an earlier one of its session? */
static void check_once(const struct fact *f)
{
	if (!f->cxid || f->type == ZK_OP_CREATE_SESSION)
		return;
	for (size_t i = f->before; i; i = facts[i - 1].before) {
		const struct fact *before = &facts[i - 1];

		if (before->client_id != f->client_id || !before->cxid ||
		    before->type == ZK_OP_ERROR || f->type == ZK_OP_ERROR)
			continue;
		if (before->cxid == f->cxid)
			w_fail("request %d of session %" PRIx64 " is done twice: %" PRIx64
			       " and %" PRIx64,
			       f->cxid, f->client_id, before->zxid, f->zxid);
		if (before->cxid > f->cxid)
			w_fail("request %d of session %" PRIx64 " is done after request %d",
			       f->cxid, f->client_id, before->cxid);
	}
}

/* Ephemerals belong to sessions that live. */
static void check_ephemerals(const struct w_node *n, struct shm_tree *t)
{
	uint32_t slots = shm_session_slots(t);
	int64_t owned = 0;

	for (uint32_t i = 0; i < slots; i++) {
		const struct shm_session *s = shm_session_at(t, i, SHM_LATEST);
		struct shm_iter it;

		if (!s)
			continue;
		shm_ephemerals_begin(&it, s, SHM_LATEST);
		while (shm_ephemerals_next(&it))
			owned++;
	}
	if (owned != shm_tree_ephemerals(t))
		w_fail("%s: %" PRId64 " ephemerals, %" PRId64 " of sessions that live", where(n),
		       shm_tree_ephemerals(t), owned);
}

static void check_durable(const struct w_node *n, int64_t zxid)
{
	const struct zab *z;

	if (!n->writer_up)
		return;
	z = &n->writer->loop.core.zab;
	if (n->log && zxid > wtr_log_durable(n->log))
		w_fail("%s publishes %" PRIx64 ", its log is durable to %" PRIx64, where(n), zxid,
		       wtr_log_durable(n->log));
	if (zxid > z->commit_zxid)
		w_fail("%s publishes %" PRIx64 ", which is not committed", where(n), zxid);
}

/* Is there a quorum of voters that may have it? Who is down may. */
static void check_committed(const struct w_node *n, int64_t zxid)
{
	int lack = 0;

	for (int i = 0; i < w_n_voters; i++) {
		const struct w_node *voter = &w_nodes[i];
		const struct zab *z = voter->writer_up ? &voter->writer->loop.core.zab : NULL;

		lack += z && !z->must_sync && !z->staged && z->last_zxid < zxid;
	}
	if (2 * lack > w_n_voters)
		w_fail("%s publishes %" PRIx64 ", which %d of %d voters don't have", where(n), zxid,
		       lack, w_n_voters);
}

static void add(const struct fact *f)
{
	if (n_facts == facts_cap) {
		facts_cap = facts_cap ? 2 * facts_cap : 1024;
		facts = realloc(facts, facts_cap * sizeof(*facts));
		CHECK(facts != NULL);
	}
	facts[n_facts++] = *f;
	last_of[bucket_of(f->client_id)] = n_facts;
	w_count(N_TXNS);
	if (f->type == ZK_OP_CLOSE_SESSION && !f->cxid)
		w_count(N_EXPIRED);
}

void w_check_applied(struct w_node *n, const uint8_t *entry, uint32_t len,
		     const struct wtr_apply *a)
{
	size_t body = ZK_TXN_HEADER_SIZE;
	struct fact f = {.zxid = a->header.zxid,
			 .client_id = a->header.client_id,
			 .cxid = a->header.cxid,
			 .type = a->header.type,
			 .bytes = XXH3_64bits(entry, len),
			 .digest = shm_tree_digest(a->tree),
			 .sessions = shm_session_count(a->tree),
			 .nodes = shm_tree_count(a->tree)};
	size_t *at = &at_fact[n->id];

	f.before = last_of[bucket_of(f.client_id)];
	CHECK(len >= body);
	if (a->digest_differs && n->flipped) {
		if (!n->found) {
			w_fired(W_FLIPPED_BIT);
			w.end_us += HEALS_US;
		}
		n->found = true;
		/* Nobody may be told of it; a recovery goes by it. */
		*at += !a->speak;
		if (!a->speak || n->writer->loop.core.heeds_digest)
			return;
	}
	if (a->digest_differs)
		w_fail("%s: the tree's digest after %" PRIx64 " is not the logged one", where(n),
		       f.zxid);
	if (a->speak)
		check_durable(n, f.zxid);
	w_hash(f.bytes ^ (uint64_t)n->id << 60);
	if (*at == n_facts) {
		if (n_facts && f.zxid <= facts[n_facts - 1].zxid)
			w_fail("%s: %" PRIx64 " after %" PRIx64, where(n), f.zxid,
			       facts[n_facts - 1].zxid);
		check_once(&f);
		if (a->speak)
			check_committed(n, f.zxid);
		add(&f);
		w_trace("%d    publishes first %" PRIx64 " type %d of session %" PRIx64 " cxid %d",
			n->id + 1, f.zxid, f.type, f.client_id, f.cxid);
		if (f.type == ZK_OP_CLOSE_SESSION || n_facts % 64 == 0)
			check_ephemerals(n, a->tree);
	} else {
		const struct fact *is = &facts[*at];

		if (is->zxid != f.zxid || is->bytes != f.bytes)
			w_fail("%s applies %" PRIx64 " of session %" PRIx64
			       " cxid %d type %d where others have %" PRIx64 " of session %" PRIx64
			       " cxid %d type %d",
			       where(n), f.zxid, f.client_id, f.cxid, f.type, is->zxid,
			       is->client_id, is->cxid, is->type);
		if ((is->digest != f.digest && !n->flipped) || is->sessions != f.sessions ||
		    is->nodes != f.nodes)
			w_fail("%s: after %" PRIx64 " its tree differs from others'", where(n),
			       f.zxid);
	}
	++*at;
}

void w_check_recovered(struct w_node *n, const struct shm_tree *t, int64_t zxid)
{
	size_t at = 0, end = n_facts;

	while (at < end) {
		size_t middle = (at + end) / 2;

		if (facts[middle].zxid <= zxid)
			at = middle + 1;
		else
			end = middle;
	}
	at_fact[n->id] = at;
	w_trace("%d    loads its state as of %" PRIx64 ", %zu transactions", n->id + 1, zxid, at);
	if (at && (uint32_t)zxid && facts[at - 1].zxid != zxid)
		w_fail("%s has a state as of %" PRIx64 ", which nobody published", where(n), zxid);
	if (at && n->flipped && facts[at - 1].digest != shm_tree_digest(t))
		return; /* a snapshot had the bit, too */
	n->flipped = false;
	if (at && (facts[at - 1].digest != shm_tree_digest(t) ||
		   facts[at - 1].nodes != shm_tree_count(t) ||
		   facts[at - 1].sessions != shm_session_count(t)))
		w_fail("%s has a state as of %" PRIx64 " that is not the others'", where(n), zxid);
}

void w_check_answer(int64_t session, int32_t xid, int64_t zxid, int32_t err)
{
	size_t at = 0, end = n_facts;

	while (at < end) {
		size_t middle = (at + end) / 2;

		if (facts[middle].zxid < zxid)
			at = middle + 1;
		else
			end = middle;
	}
	if (at == n_facts || facts[at].zxid != zxid || facts[at].client_id != session ||
	    facts[at].cxid != xid)
		w_fail("request %d of session %" PRIx64 " was answered with %" PRIx64
		       ", which is something else",
		       xid, (uint64_t)session, zxid);
	if (facts[at].answered)
		w_fail("request %d of session %" PRIx64 " was answered twice", xid,
		       (uint64_t)session);
	facts[at].answered = true;
	if (zxid > told)
		told = zxid;
	(void)err;
}

void w_check_end(void)
{
	for (int i = 0; i < w_n_nodes; i++) {
		struct w_node *n = &w_nodes[i];
		const struct wtr_core *c = n->writer_up ? &n->writer->loop.core : NULL;

		if (!c || c->service == WTR_IDLE)
			w_fail("%s does not serve at the end", where(n));
		if (at_fact[i] != n_facts)
			w_fail("%s has %zu of %zu transactions at the end", where(n), at_fact[i],
			       n_facts);
		if (n_facts && (shm_tree_digest(c->tree) != facts[n_facts - 1].digest ||
				shm_session_count(c->tree) != facts[n_facts - 1].sessions))
			w_fail("%s: its tree differs at the end", where(n));
		check_ephemerals(n, c->tree);
		shm_tree_check(c->tree);
	}
	w_clients_end();
}
