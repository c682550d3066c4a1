/* Each connection opens a session, closes it, waits for the server to hang up, and begins again. */
#include "bench/load.h"

#include <errno.h>

#include "base/clock.h"

static void on_open(struct bench_loop *l, struct bench_conn *c)
{
	struct bench_run *run = l->ctx;
	const size_t len = bench_frame(&run->frames, BENCH_CLOSE, 0, 0, 0);

	bench_send(l, c, run->frames.frame, len, BENCH_CLOSE, run->issued++);
	c->slots[c->slot_head].sent_ns = c->connect_ns; /* the whole life is timed */
}

static void on_reply(struct bench_loop *l, struct bench_conn *c, const struct bench_slot *slot,
		     int32_t err, const uint8_t *body, size_t len)
{
	bench_account(l->ctx, slot, err, body, len);
	bench_conn_expect_close(l, c);
}

static void on_down(struct bench_loop *l, struct bench_conn *c)
{
	struct bench_run *run = l->ctx;

	if (!run->stopping && c->fd < 0)
		bench_conn_open(l, c);
}

static const struct bench_handler handler = {.open = on_open, .reply = on_reply, .down = on_down};

static void turn_until(struct bench_run *run, double seconds)
{
	const uint64_t end = clock_mono_ns() + (uint64_t)(seconds * 1e9);

	while (run->loop.now_ns < end &&
	       (run->o.count == 0 || hist_count(&run->r.write) < run->o.count))
		bench_loop_turn(&run->loop, 10);
}

int bench_mode_sessions(struct bench_run *run)
{
	run->loop.handler = &handler;
	run->loop.ctx = run;
	run->loop.reconnect = true;
	for (uint32_t i = 0; i < run->loop.n_conns; i++)
		bench_conn_open(&run->loop, &run->loop.conns[i]);
	turn_until(run, run->o.warmup_s);
	bench_measure_begin(run);
	turn_until(run, run->o.seconds);
	bench_measure_end(run);
	run->stopping = true;
	run->loop.reconnect = false;
	run->loop.n_down = 0;
	bench_loop_drain(&run->loop, 5);
	return hist_count(&run->r.write) == 0 ? -ETIMEDOUT : 0;
}
