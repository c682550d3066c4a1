#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "shm/wake.h"
#include "supervisor/state.h"
#include "supervisor/supervise.h"

void sup_kill(struct sup_child *c, const char *who, const char *why)
{
	if (c->pid <= 0 || c->killed)
		return;
	LOG_W("killing %s (process %d): %s", who, (int)c->pid, why);
	c->killed = true;
	kill(c->pid, SIGKILL); /* it is not reaped yet: the pid is still its own */
}

/* Asleep, and rightly so: nobody has rung its bell. A stopped process does not answer it. */
static bool sleeps(const _Atomic uint32_t *flag, int bell)
{
	struct pollfd p = {.fd = bell, .events = POLLIN};

	return atomic_load(flag) != 0 && poll(&p, 1, 0) == 0;
}

/* For how long has the stamp been the same while the process was awake? */
static uint32_t stands_still(struct sup_child *c, uint32_t turn, bool asleep, uint32_t ms)
{
	if (turn != c->last_turn || asleep)
		c->still_ms = 0;
	else
		c->still_ms += ms;
	c->last_turn = turn;
	return c->still_ms;
}

static void watch_worker(struct sup *s, unsigned i, uint32_t ms)
{
	const struct shm_reader *r = &s->h.board->reader[i];
	const struct shm_seat *seat = s->h.seat[i];
	struct sup_child *c = i == s->h.board->n_workers ? &s->snapshotter : &s->worker[i];
	char who[32];

	if (c->pid <= 0)
		return;
	if (c == &s->snapshotter)
		snprintf(who, sizeof(who), "snapshotter");
	else
		snprintf(who, sizeof(who), "worker %u", i);
	if (atomic_load(&r->kill) == atomic_load(&r->incarnation))
		sup_kill(c, who, "the writer asked for it");
	if (c == &s->snapshotter)
		return;
	if (stands_still(c, atomic_load(&seat->turn_ms),
			 sleeps(&seat->sleeping, s->h.wake_worker[i]), ms) > SUP_WORKER_STALL_MS)
		sup_kill(c, who, "it stands still");
	/* One that was forked since has no old generation to leave. */
	if (s->h.read_gen && s->switch_ms > SUP_SWITCH_MS && atomic_load(&seat->gen) != 0 &&
	    atomic_load(&seat->gen) != s->h.read_gen)
		sup_kill(c, who, "it does not leave an old generation");
}

void sup_watch(struct sup *s, uint32_t ms)
{
	const struct shm_board *b = s->h.board;
	uint32_t turn = atomic_load(&b->writer_turn_ms);

	if (s->switch_ms <= SUP_SWITCH_MS)
		s->switch_ms += ms;
	/* Sleepers are asked whether they live: by the next look but a few they are awake. */
	s->probe_ms += ms;
	if (s->probe_ms > SUP_PROBE_MS) {
		s->probe_ms = 0;
		shm_wake_all(&s->h);
	}
	for (unsigned i = 0; i <= b->n_workers; i++)
		watch_worker(s, i, ms);
	/* A writer that recovers says so by 0; the longest legal sync is far below the limit. */
	if (s->writer.pid > 0 &&
	    stands_still(&s->writer, turn,
			 turn == 0 || sleeps(&b->writer_sleeping, s->h.wake_writer),
			 ms) > SUP_WRITER_STALL_MS)
		sup_kill(&s->writer, "writer", "it stands still");
}
