#include "writer/reclaim.h"

#include "base/log.h"
#include "shm/wake.h"
#include "writer/loop.h"
#include "writer/tell.h"

enum {
	RECLAIM_MAX = 512, /* objects per turn */
	HOLD_MS = 500,     /* a reader that holds memory and does not move .. */
	HOLD_TURNS = 20,   /* .. while we ran */
	HOLD_SHARE = 8,    /* from that part of the heap on */
	NOP_MS = 10,       /* at most one DOWN_NOP in that time */
	REBUILD_MS = 5000, /* between two rebuilds of a heap that is in pieces */
};

/* A worker that keeps much memory from being freed and does not move has to go; when nothing can be
 * accepted any more for want of memory, also one that crawls, and the snapshotter. */
static void bound_holder(struct wtr_loop *l, uint64_t min)
{
	bool waits = !wtr_core_has_memory(&l->core);
	int holder;

	/* Readers that have seen everything hold nothing: what is left is ours to free. */
	if (min > l->tx.head || (!waits && (shm_tree_retired_bytes(l->tree) <
						l->heritage->conf->heap_max / HOLD_SHARE ||
					    min != l->held_min))) {
		l->held_min = min;
		l->held_ms = 0;
		return;
	}
	if (!l->held_ms) {
		l->held_ms = l->turn_ms;
		l->held_turns = 0;
	}
	holder = shm_readers_holder(l->heritage);
	if (l->turn_ms - l->held_ms < HOLD_MS || ++l->held_turns < HOLD_TURNS || holder < 0 ||
	    (!waits && holder == (int)l->board->n_workers))
		return;
	l->held_ms = 0;
	LOG_W("reader %d keeps %llu bytes of old versions and does not move: to be killed", holder,
	      (unsigned long long)shm_tree_retired_bytes(l->tree));
	atomic_store(&l->board->reader[holder].kill,
		     atomic_load(&l->board->reader[holder].incarnation));
	shm_wake_supervisor(l->heritage);
}

void wtr_reclaim(struct wtr_loop *l)
{
	uint64_t min = shm_readers_min(l->heritage);
	struct msg_down nop = {.kind = DOWN_NOP, .worker = MSG_NO_WORKER, .zxid = l->told_zxid};
	bool wants_head = false;

	bound_holder(l, min);
	shm_tree_reclaim(l->tree, min, RECLAIM_MAX, &wants_head);
	if (!wants_head || l->turn_ms < l->nop_ms || l->core.out.len)
		return;
	l->nop_ms = l->turn_ms + NOP_MS;
	wtr_core_down(&l->core, &nop, NULL, 0);
	wtr_tell(l);
}

void wtr_reclaim_look_at_heap(struct wtr_loop *l)
{
	bool starved = l->core.starved;

	l->core.starved = false;
	if (!starved || l->rebuild || l->turn_ms - l->begun_ms < REBUILD_MS ||
	    !shm_tree_is_torn(l->tree))
		return;
	LOG_W("heap used=%llu max=%llu is in pieces: building it anew",
	      (unsigned long long)shm_tree_used(l->tree),
	      (unsigned long long)l->heritage->conf->heap_max);
	l->rebuild = WTR_REBUILD_WANTED;
}
