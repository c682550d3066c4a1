/* The tree: root, directories, nodes; made by all connections at once, pipelined. */
#include "bench/load.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"

enum {
	BATCH_NODES_MAX = 50, /* creates per multi */
	BATCH_BYTES_MAX = 32 * 1024,
	PHASE_SECONDS_MAX = 600,
	ZNONODE = -101,
};

/* One kind of request for numbers 0..total-1, `step` of them per request. */
struct phase {
	struct bench_run *run;
	enum bench_op op;
	uint64_t total, next, done, existed;
	uint32_t step;
	int32_t err;
	bool per_conn; /* one request on each connection, rather than all on any */
};

static void phase_send(struct phase *p, struct bench_loop *l, struct bench_conn *c)
{
	struct bench_frames *f = &p->run->frames;

	while (c->in_flight < l->depth && p->next < p->total) {
		const uint64_t left = p->total - p->next;
		const uint32_t n = left < p->step ? (uint32_t)left : p->step;
		const uint32_t conn = p->per_conn ? (uint32_t)p->next : 0;
		const size_t len = bench_frame(f, p->op, p->next, conn, n);

		bench_send(l, c, f->frame, len, p->op, p->next);
		p->next += n;
	}
}

static void phase_ready(struct bench_loop *l, struct bench_conn *c)
{
	phase_send(l->ctx, l, c);
}

static void phase_reply(struct bench_loop *l, struct bench_conn *c, const struct bench_slot *slot,
			int32_t err, const uint8_t *body, size_t len)
{
	struct phase *p = l->ctx;
	const uint64_t left = p->total - slot->key;

	(void)c;
	p->done += left < p->step ? left : p->step;
	p->existed += err != 0;
	p->err = err;
	if (p->op == BENCH_GET)
		return; /* the probe: any answer is one */
	bench_account(p->run, slot, err, body, len);
}

static const struct bench_handler phase_handler = {.reply = phase_reply, .ready = phase_ready};

/* 0; -ETIMEDOUT; -ECONNRESET when a connection broke, for then the tree may have holes. */
static int run_phase(struct bench_run *run, struct phase *p)
{
	struct bench_loop *l = &run->loop;
	const uint64_t end = clock_mono_ns() + PHASE_SECONDS_MAX * UINT64_C(1000000000);
	const uint64_t disconnects = l->faults.disconnects;

	p->run = run;
	l->ctx = p;
	l->handler = &phase_handler;
	for (uint32_t i = 0; i < l->n_conns && p->next < p->total; i++) {
		l->now_ns = clock_mono_ns();
		phase_send(p, l, &l->conns[i]);
		bench_flush(l, &l->conns[i]);
	}
	while (p->done < p->total && l->now_ns < end && l->faults.disconnects == disconnects)
		bench_loop_turn(l, 10);
	l->ctx = run;
	if (l->faults.disconnects != disconnects)
		return -ECONNRESET;
	return p->done < p->total ? -ETIMEDOUT : 0;
}

static uint32_t batch(const struct bench_run *run)
{
	const uint32_t n = BATCH_BYTES_MAX / (run->o.value_len + 100);

	if (n == 0)
		return 1;
	return n > BATCH_NODES_MAX ? BATCH_NODES_MAX : n;
}

static int make_nodes(struct bench_run *run, bool fresh)
{
	struct phase nodes = {.op = BENCH_MAKE_NODES, .total = run->o.nodes, .step = batch(run)};

	if (!fresh || nodes.step == 1) { /* a multi would fail as a whole */
		nodes.op = BENCH_MAKE_NODE;
		nodes.step = 1;
	}
	return run_phase(run, &nodes);
}

/* Root and directories; 1: some were there, 0: none. */
static int make_dirs(struct bench_run *run)
{
	struct phase root = {.op = BENCH_MAKE_ROOT, .total = 1, .step = 1};
	struct phase dirs = {
	    .op = BENCH_MAKE_DIR, .total = bench_frames_dirs(&run->frames), .step = 1};
	int rc = run_phase(run, &root);

	if (rc == 0)
		rc = run_phase(run, &dirs);
	return rc < 0 ? rc : dirs.existed > 0;
}

/* The directories that the connections create and delete in. */
static int make_own(struct bench_run *run)
{
	struct phase own = {
	    .op = BENCH_MAKE_OWN, .total = run->loop.n_conns, .step = 1, .per_conn = true};

	if (run->o.canned || run->o.mix[BENCH_CREATE] + run->o.mix[BENCH_DELETE] == 0)
		return 0;
	return run_phase(run, &own);
}

/* 1: the tree is there, as far as its last node tells; 0: it is not. */
static int probe(struct bench_run *run)
{
	struct phase p = {.op = BENCH_GET,
			  .total = run->o.nodes,
			  .next = run->o.nodes - 1,
			  .done = run->o.nodes - 1,
			  .step = 1};
	int rc = run_phase(run, &p);

	if (rc < 0)
		return rc;
	return p.err != ZNONODE;
}

int bench_tree_make(struct bench_run *run)
{
	int rc = run->o.canned ? 1 : probe(run);

	if (rc == 0) {
		rc = make_dirs(run);
		if (rc >= 0)
			rc = make_nodes(run, rc == 0);
	}
	return rc < 0 ? rc : make_own(run);
}

int bench_mode_load(struct bench_run *run)
{
	double seconds;
	int rc = make_dirs(run);

	if (rc < 0)
		return rc;
	bench_measure_begin(run);
	rc = make_nodes(run, rc == 0);
	bench_measure_end(run);
	seconds = run->r.seconds > 0 ? run->r.seconds : 1e-9;
	snprintf(run->extra, sizeof(run->extra), "\"nodes_per_s\": %.1f, \"znodes\": %llu, ",
		 (double)run->o.nodes / seconds,
		 (unsigned long long)(run->o.nodes + bench_frames_dirs(&run->frames) + 1));
	return rc;
}
