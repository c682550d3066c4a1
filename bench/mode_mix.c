/*
 * Closed loop: each connection keeps `depth` requests in flight and sends the next on an answer.
 * With a rate: requests are due at fixed times, whatever the server does, and go to the connections
 * in turn. The latency of one that had to wait, for all connections were full, counts from when it
 * was due.
 */
#include "bench/load.h"

#include <errno.h>

#include "base/clock.h"

enum { OWN_NODES_MAX = 1000 }; /* that a connection has created and not yet deleted */

static uint64_t pick_key(struct bench_run *run)
{
	const uint64_t nodes = run->o.nodes;
	const uint64_t n = bench_random(&run->frames) >> 16;

	switch (run->o.keys) {
	case BENCH_SEQUENTIAL:
		return run->issued % nodes;
	case BENCH_HOT:
		/* 7 bits apart from those that choose the key. */
		if ((n & 127) < 115)
			return (n >> 7) % (nodes / 100 + 1);
		return (n >> 7) % nodes;
	case BENCH_UNIFORM:
		break;
	}
	return n % nodes;
}

static enum bench_op pick_op(struct bench_run *run)
{
	uint32_t roll = (uint32_t)(bench_random(&run->frames) >> 32) % 100;
	enum bench_op op = BENCH_GET;

	while (op < BENCH_MULTI && roll >= run->o.mix[op])
		roll -= run->o.mix[op++];
	return op;
}

/* A connection creates what is new and deletes its oldest: no request of ours can fail. */
static void send_own(struct bench_run *run, struct bench_conn *c, enum bench_op op)
{
	const uint64_t live = c->made - c->gone;
	uint64_t key;
	size_t len;

	if (live == 0)
		op = BENCH_CREATE;
	else if (live >= OWN_NODES_MAX)
		op = BENCH_DELETE;
	key = op == BENCH_CREATE ? c->made++ : c->gone++;
	len = bench_frame(&run->frames, op, key, c->index, 0);
	bench_send(&run->loop, c, run->frames.frame, len, op, key);
}

static void send_one(struct bench_run *run, struct bench_conn *c)
{
	const enum bench_op op = pick_op(run);
	uint64_t key;
	size_t len;

	run->issued++;
	if (op == BENCH_CREATE || op == BENCH_DELETE) {
		send_own(run, c, op);
		return;
	}
	key = pick_key(run);
	len = bench_frame(&run->frames, op, key, 0, 0);
	bench_send(&run->loop, c, run->frames.frame, len, op, key);
}

static void on_ready(struct bench_loop *l, struct bench_conn *c)
{
	struct bench_run *run = l->ctx;

	while (!run->stopping && run->o.rate == 0 && c->in_flight < l->depth &&
	       (run->o.count == 0 || run->issued < run->o.count))
		send_one(run, c);
}

static void on_reply(struct bench_loop *l, struct bench_conn *c, const struct bench_slot *slot,
		     int32_t err, const uint8_t *body, size_t len)
{
	(void)c;
	bench_account(l->ctx, slot, err, body, len);
}

/* Which of the requests in flight took effect is unknown: start over with fresh nodes. */
static void on_down(struct bench_loop *l, struct bench_conn *c)
{
	(void)l;
	c->gone = c->made;
}

static const struct bench_handler handler = {.reply = on_reply, .ready = on_ready, .down = on_down};

static struct bench_conn *next_free(struct bench_run *run)
{
	struct bench_loop *l = &run->loop;

	for (uint32_t i = 0; i < l->n_conns; i++) {
		struct bench_conn *c = &l->conns[(run->issued + i) % l->n_conns];

		if (c->state == BENCH_OPEN && c->in_flight < l->depth)
			return c;
	}
	return NULL;
}

static void send_due(struct bench_run *run)
{
	const uint64_t now_ns = clock_mono_ns();
	struct bench_conn *c;

	for (;; run->paced++) {
		const uint64_t due_ns =
		    run->paced_from_ns + (uint64_t)((double)run->paced * 1e9 / run->o.rate);

		if (due_ns > now_ns || (run->o.count > 0 && run->issued >= run->o.count))
			return;
		c = next_free(run);
		if (c == NULL)
			return;
		run->loop.now_ns = due_ns;
		send_one(run, c);
		run->loop.now_ns = now_ns;
		bench_flush(&run->loop, c);
	}
}

static void turn(struct bench_run *run, int timeout_ms)
{
	if (run->o.rate > 0) {
		send_due(run);
		timeout_ms = 1;
	}
	bench_loop_turn(&run->loop, timeout_ms);
}

static void turn_until(struct bench_run *run, double seconds)
{
	const uint64_t end = clock_mono_ns() + (uint64_t)(seconds * 1e9);

	while (run->loop.now_ns < end) {
		const uint64_t left_ms = (end - run->loop.now_ns) / 1000000;

		turn(run, left_ms < 10 ? (int)left_ms + 1 : 10);
	}
}

static void turn_until_answered(struct bench_run *run)
{
	uint64_t left = 1;

	while (left > 0) {
		turn(run, 10);
		left = run->issued < run->o.count;
		for (uint32_t i = 0; i < run->loop.n_conns && left == 0; i++)
			left += run->loop.conns[i].in_flight;
	}
}

static void start_all(struct bench_run *run)
{
	run->paced_from_ns = clock_mono_ns();
	for (uint32_t i = 0; i < run->loop.n_conns; i++) {
		struct bench_conn *c = &run->loop.conns[i];

		if (c->state == BENCH_OPEN) {
			run->loop.now_ns = clock_mono_ns();
			on_ready(&run->loop, c);
			bench_flush(&run->loop, c);
		}
	}
}

int bench_mode_mix(struct bench_run *run)
{
	int rc = bench_tree_make(run);

	if (rc < 0)
		return rc;
	bench_frames_seed(&run->frames, run->o.seed); /* whether or not the tree was there */
	run->loop.handler = &handler;
	run->loop.reconnect = true;
	if (run->o.count > 0)
		bench_measure_begin(run);
	start_all(run);
	if (run->o.count > 0) {
		turn_until_answered(run);
	} else {
		turn_until(run, run->o.warmup_s);
		bench_measure_begin(run);
		turn_until(run, run->o.seconds);
	}
	bench_measure_end(run);
	run->stopping = true;
	run->loop.reconnect = false;
	bench_loop_drain(&run->loop, 10);
	return 0;
}
