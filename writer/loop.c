#include "writer/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "peers/source.h"
#include "shm/wake.h"
#include "writer/ahead.h"
#include "writer/flight.h"
#include "writer/service.h"
#include "writer/snap_policy.h"

enum {
	TAKE_MAX = 512,       /* records of one worker per turn */
	RECLAIM_MAX = 512,    /* objects per turn */
	STALL_MS = 500,       /* a turn that comes this much late: we did not run */
	AWAY_MS = 1200,       /* a worker turns twice a second, else it does not run */
	STUCK_MS = 500,       /* a full ring that nobody empties .. */
	STUCK_TURNS = 100,    /* .. while we ran: all wait for it */
	CRAWL_TURNS = 1000,   /* full again and again */
	HOLD_MS = 500,        /* a reader that holds memory and does not move .. */
	HOLD_TURNS = 20,      /* .. while we ran */
	HOLD_SHARE = 8,       /* from that part of the heap on */
	HERE_MAX = 64 << 10,  /* bytes of a batch for which the loop itself may wait */
	NOP_MS = 10,          /* at most one DOWN_NOP in that time */
	RECLAIM_WAIT_MS = 20, /* look again whether readers have gone on */
	LOG_WAIT_MS = 5000,   /* a segment that takes so long is worth a line */
	FULL_MS = 1,          /* look again whether there is room */
	REBUILD_MS = 5000,    /* between two rebuilds of a heap that is in pieces */
	EVENTS_MAX = 32,
	EXIT_EVENTFD = 1,
	EXIT_TORN = 4,
};

/* --- telling ----------------------------------------------------------------------------- */

/* Move core.out into the commit ring. False: there was no room for all. */
static bool flush(struct wtr_loop *l)
{
	struct wtr_buf *out = &l->core.out;

	while (l->out_done < out->len) {
		uint8_t *frame = out->bytes + l->out_done;
		struct msg_down head;
		uint32_t len;

		memcpy(&len, frame, sizeof(len));
		memcpy(&head, frame + 8, sizeof(head));
		if (shm_commit_appendv(&l->tx, &(struct iovec){frame + 8, len}, 1))
			return false;
		l->out_done += 8 + ((len + 7) & ~7u);
		l->unpublished = true;
		/* A DOWN_NOP may tell of the start of an epoch. */
		if (head.kind == DOWN_TXN || (head.kind == DOWN_NOP && head.zxid > l->told_zxid))
			l->told_zxid = head.zxid;
		if (head.kind == DOWN_REPORT)
			l->wake_all = true;
	}
	out->len = l->out_done = 0;
	return true;
}

static void publish(struct wtr_loop *l)
{
	if (!l->unpublished)
		return;
	shm_commit_publish(&l->tx, l->told_zxid);
	shm_tree_published(l->tree, l->told_zxid, l->tx.head);
	shm_wake_workers(l->heritage, l->wake_all);
	l->unpublished = l->wake_all = false;
}

void wtr_loop_make_room(struct wtr_loop *l)
{
	uint64_t behind, now = clock_mono_ms();
	int lag;

	l->wake_all = true;
	publish(l);
	shm_wake_workers(l->heritage, 1);
	lag = shm_commit_laggard(&l->tx, &behind);
	if (lag < 0)
		return;
	if (!l->stuck_ms || behind != l->stuck_behind) {
		l->stuck_ms = now;
		l->stuck_behind = behind;
		l->stuck_turns = 0;
	}
	l->stuck_turns++;
	l->crawl_turns++;
	if ((now - l->stuck_ms < STUCK_MS || l->stuck_turns < STUCK_TURNS) &&
	    l->crawl_turns < CRAWL_TURNS)
		return;
	l->stuck_ms = l->crawl_turns = 0;
	LOG_W("worker %d is %llu bytes behind and does not move: to be killed", lag,
	      (unsigned long long)behind);
	atomic_store(&l->board->reader[lag].kill, atomic_load(&l->board->reader[lag].incarnation));
	shm_wake_supervisor(l->heritage);
}

/* There was room. The ring counts as emptied only when the laggard has come a good part nearer. */
static void had_room(struct wtr_loop *l)
{
	uint64_t behind;

	l->stuck_ms = 0;
	if (!l->crawl_turns)
		return;
	if (shm_commit_laggard(&l->tx, &behind) < 0 || behind < l->board->commit_size / 2)
		l->crawl_turns = 0;
}

/* Tell all that the core has to say. False: the ring is full. */
static bool tell(struct wtr_loop *l)
{
	if (!flush(l)) {
		wtr_loop_make_room(l);
		return false;
	}
	had_room(l);
	publish(l);
	return true;
}

static void down(struct wtr_loop *l, enum msg_down_kind kind, int32_t xid)
{
	struct msg_down head = {
	    .kind = (uint8_t)kind, .worker = MSG_NO_WORKER, .zxid = l->told_zxid, .xid = xid};

	wtr_core_down(&l->core, &head, NULL, 0);
}

/* --- applying ---------------------------------------------------------------------------- */

static void count_commit(struct wtr_loop *l)
{
	if (l->at_log && l->at_log->begun_us)
		hist_record(&l->board->stats.commit_us, clock_mono_us() - l->at_log->begun_us);
	l->at_log = NULL;
}

/*
 * How far the log is durable. While a state is received it is still the log of the old history,
 * whose zxids say nothing of the new one's.
 */
static int64_t durable_zxid(const struct wtr_loop *l)
{
	if (l->core.zab.staged && !l->ensemble->kept)
		return l->core.zab.durable_zxid;
	return wtr_log_durable(&l->log);
}

/* V10. A successor builds the tree anew from the disk, and asks its leader for a state. */
static void doubt(struct wtr_loop *l)
{
	wtr_service_doubt(l->ensemble);
	l->rebuild = WTR_REBUILD_READY;
}

/* A piece of what is committed, so that workers have answers to send, and the disk the next batch,
 * while the rest is applied. True: something was done. */
static bool apply(struct wtr_loop *l)
{
	int64_t durable = durable_zxid(l);

	if (durable > l->core.zab.durable_zxid) {
		count_commit(l);
		wtr_core_durable(&l->core, durable);
	}
	/* If that installed a state, what is behind it is not this tree's. */
	if (l->ensemble && l->ensemble->installed && !WRONG(APPLIED_BEHIND_INSTALL))
		return false;
	if (l->core.doubts)
		return false;
	if (l->core.applied_zxid >= l->core.zab.commit_zxid || !tell(l))
		return false;
	wtr_core_apply(&l->core);
	if (l->core.doubts)
		doubt(l);
	tell(l);
	return true;
}

/* Workers send again what is still unanswered; doubtful: what was sent before may be done. */
static void begin_service(struct wtr_loop *l, enum wtr_service service, bool doubtful)
{
	uint32_t epoch = atomic_load(&l->board->writer_epoch) + 1;
	struct msg_down head = {.kind = DOWN_EPOCH,
				.worker = MSG_NO_WORKER,
				.err = doubtful,
				.zxid = l->told_zxid,
				.xid = (int32_t)epoch};

	wtr_core_serve(&l->core, service, epoch);
	atomic_store(&l->board->writer_epoch, epoch);
	wtr_core_down(&l->core, &head, NULL, 0);
	l->wake_all = true;
	atomic_store(service == WTR_READS ? &l->board->read_only : &l->board->in_service, 1);
	tell(l);
	shm_wake_supervisor(l->heritage);
	(void)setpriority(PRIO_PROCESS, 0, 0); /* main.c raised it for the recovery */
}

/* The predecessor's tail, then the new epoch. True: something was done. */
static bool come_into_service(struct wtr_loop *l)
{
	while (l->tail_done < l->tail_len) {
		uint32_t len;

		if (l->core.out.len > WTR_OUT_BYTES && !tell(l))
			return false;
		memcpy(&len, l->tail + l->tail_done, sizeof(len));
		l->tail_done += sizeof(len);
		CHECK(wtr_core_replay(&l->core, l->tail + l->tail_done, len) == 0);
		l->tail_done += len;
	}
	/* All is told before the epoch is: workers send again what is still unanswered. */
	if (!tell(l))
		return false;
	wtr_core_start_alone(&l->core);
	l->in_service = true;
	begin_service(l, WTR_LEADS, false);
	return true;
}

/*
 * Clients that were at a server of Apache's may have seen the start of the epoch as a zxid, and
 * must not find us behind it (ZooKeeperServer.processConnectRequest).
 */
static void tell_epoch(struct wtr_loop *l)
{
	int64_t start = zab_zxid(l->core.zab.epoch, 0);
	struct msg_down head = {.kind = DOWN_NOP, .worker = MSG_NO_WORKER, .zxid = start};

	wtr_core_show_config(&l->core, INT64_MAX);
	if (start <= l->told_zxid)
		return;
	/* A tree that recovery made as of the start of an epoch holds no more than it did then. */
	if (l->core.applied_zxid != l->ensemble->touched_zxid)
		atomic_store(&l->board->ensemble.settled_txn, l->core.applied_zxid);
	shm_tree_touch(l->tree, start);
	l->core.epoch_zxid = start;
	wtr_core_down(&l->core, &head, NULL, 0);
}

/* A member whose leadership, or leader, is established. */
static void enter_service(struct wtr_loop *l)
{
	enum wtr_service service = wtr_service_enters(l->ensemble);
	_Atomic int64_t *served = &l->board->ensemble.served_epoch;
	int64_t epoch = l->core.zab.epoch;

	if (service == WTR_IDLE || !tell(l))
		return;
	tell_epoch(l);
	begin_service(l, service, atomic_load(served) == epoch);
	atomic_store(served, epoch);
	wtr_service_entered(l->ensemble);
	LOG_I("in service zxid=0x%llx epoch=%lld leader=%lld", (unsigned long long)l->told_zxid,
	      (long long)epoch, (long long)l->core.zab.leader_sid);
}

/*
 * Nobody leads: who is content with reads is let in. Those whom a predecessor let in stay, and
 * attach again; there is nobody else, or there should be.
 */
static void enter_read_only(struct wtr_loop *l)
{
	if (!wtr_service_reads(l->ensemble) || !tell(l))
		return;
	if (!atomic_load(&l->board->read_only))
		atomic_fetch_add(&l->board->resets, 1);
	begin_service(l, WTR_READS, false);
	LOG_W("no leader is found: serving read-only clients, zxid=0x%llx",
	      (unsigned long long)l->told_zxid);
}

/* A leader was elected: it is looked up by clients anew, with another kind of session perhaps. */
static void leave_read_only(struct wtr_loop *l)
{
	if (l->core.zab.role == ZAB_LOOKING || !atomic_load(&l->board->read_only))
		return;
	if (l->core.service == WTR_READS)
		wtr_core_retire(&l->core);
	atomic_store(&l->board->read_only, 0);
	atomic_fetch_add(&l->board->resets, 1);
	shm_wake_workers(l->heritage, 1);
	LOG_I("read-only service ends: a leader is elected");
}

/* --- taking ------------------------------------------------------------------------------ */

static void give_up_on(struct wtr_loop *l, unsigned i, const char *why)
{
	struct wtr_worker *w = &l->worker[i];

	LOG_E("worker %u: %s: to be killed", i, why);
	w->broken = true;
	atomic_store(&l->board->reader[i].kill, w->incarnation);
	shm_wake_supervisor(l->heritage);
}

/* Did this worker die, or does it stand still? */
static void watch_worker(struct wtr_loop *l, unsigned i)
{
	struct wtr_worker *w = &l->worker[i];
	const struct shm_seat *seat = l->heritage->seat[i];
	uint32_t incarnation = atomic_load(&l->board->reader[i].incarnation);
	uint32_t turn = atomic_load_explicit(&seat->turn_ms, memory_order_relaxed);
	bool away;

	if (incarnation != w->incarnation) {
		wtr_core_worker_died(&l->core, (uint16_t)i);
		shm_ring_rx_attach(&w->ring, l->heritage, i);
		w->incarnation = incarnation;
		w->broken = false;
	}
	if (turn != w->turn_ms) {
		w->turn_ms = turn;
		w->turn_seen_ms = l->turn_ms;
	}
	away = atomic_load(&l->board->reader[i].pid) <= 0 || l->turn_ms - w->turn_seen_ms > AWAY_MS;
	wtr_sessions_worker(&l->core.sessions, i, away);
}

/* What the next records of this worker name is fetched while the first of them is prepared. */
static void look_ahead(struct wtr_loop *l, struct wtr_worker *w)
{
	struct wtr_ahead ahead = {.n = 0};
	uint8_t record[WTR_AHEAD_BYTES];
	uint64_t at = 0;
	uint32_t len;

	for (int i = 0; i < WTR_AHEAD; i++) {
		len = shm_ring_glance(&w->ring, &at, record, sizeof(record));
		if (!len)
			break;
		wtr_ahead_request(&l->core, &ahead, record, len);
	}
	wtr_ahead_fetch(&l->core, &ahead);
}

/* True: something was taken. */
static bool take_from(struct wtr_loop *l, unsigned i)
{
	struct wtr_worker *w = &l->worker[i];
	bool taken = false;

	for (int n = 0; n < TAKE_MAX && !w->broken && wtr_core_ready(&l->core); n++) {
		int64_t len;

		if (n % WTR_AHEAD == 0)
			look_ahead(l, w);
		len = shm_ring_pop(&w->ring, l->record, l->record_cap);
		if (!len)
			break;
		taken = true;
		if (len < 0)
			give_up_on(l, i, "its ring can't be");
		else if (wtr_core_request(&l->core, (uint16_t)i, l->record, (uint32_t)len))
			give_up_on(l, i, "it sent what can't be");
		if (l->core.out.len > WTR_OUT_BYTES)
			break;
	}
	if (taken && !w->broken)
		shm_ring_consumed(&w->ring);
	return taken;
}

/* Is it not known yet whether there is a segment for what comes? It is as soon as the helper has
 * tried to make one; without room for it, growth is refused, and the rest of the last segment is
 * kept for what is not growth. */
static bool log_waits(struct wtr_loop *l)
{
	l->core.log_full = atomic_load(&l->helper.no_room) || atomic_load(&l->log.full);
	return !l->core.log_full && sto_log_is_tight(l->log.log, l->core.flight_bytes);
}

/* True: it does. It is a matter of milliseconds; who waits for long finds out why. */
static bool wait_for_log(struct wtr_loop *l)
{
	if (!log_waits(l)) {
		l->log_waits_ms = 0;
		return false;
	}
	if (!l->log_waits_ms) {
		l->log_waits_ms = l->turn_ms | 1;
		l->log_wait_told = false;
		wtr_helper_kick(&l->helper);
	} else if (!l->log_wait_told && l->turn_ms >= l->log_waits_ms + LOG_WAIT_MS &&
		   sto_log_is_tight(l->log.log, 0)) { /* it is not for what is under way */
		l->log_wait_told = true;
		LOG_W("log dir=%s: the next segment is not there after %d s, requests wait for it",
		      l->helper.log_dir, LOG_WAIT_MS / 1000);
	}
	return true;
}

static bool take(struct wtr_loop *l)
{
	bool taken = false;

	if (wait_for_log(l) || l->core.out.len > WTR_OUT_BYTES)
		return false;
	for (unsigned i = 0; i < l->board->n_workers; i++)
		taken = take_from(l, i) || taken;
	if (taken && l->core.fill && l->core.fill->n && !l->core.fill->begun_us)
		l->core.fill->begun_us = clock_mono_us();
	return taken;
}

static bool rings_are_empty(const struct wtr_loop *l);

/* To the log thread; or to the disk at once, if nobody wants anything of us before that. */
static bool hand_over(struct wtr_loop *l)
{
	struct wtr_batch *b;

	/* Answers that need no log are told before anything later is logged. */
	if (wtr_log_busy(&l->log) || l->core.out.len)
		return false;
	b = wtr_core_take(&l->core);
	if (!b)
		return false;
	l->at_log = b;
	if (b->len > HERE_MAX || !rings_are_empty(l) || !wtr_log_commit(&l->log, b))
		wtr_log_give(&l->log, b);
	return true;
}

/* --- the rest ---------------------------------------------------------------------------- */

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

static void reclaim(struct wtr_loop *l)
{
	uint64_t min = shm_readers_min(l->heritage);
	bool wants_head = false;

	bound_holder(l, min);
	shm_tree_reclaim(l->tree, min, RECLAIM_MAX, &wants_head);
	if (!wants_head || l->turn_ms < l->nop_ms || l->core.out.len)
		return;
	l->nop_ms = l->turn_ms + NOP_MS;
	down(l, DOWN_NOP, 0);
	tell(l);
}

#define SET(field_, value_)                                                                        \
	atomic_store_explicit(&stats->field_, (int64_t)(value_), memory_order_relaxed)

static void show(struct wtr_loop *l)
{
	struct shm_writer_stats *stats = &l->board->stats;
	struct wtr_core *c = &l->core;

	SET(node_count, shm_tree_count(l->tree));
	SET(ephemeral_count, shm_tree_ephemerals(l->tree));
	SET(data_bytes, shm_tree_data_bytes(l->tree));
	SET(session_count, c->sessions.table.count - c->sessions.n_locals);
	SET(local_count, c->sessions.n_locals);
	SET(outstanding, wtr_core_outstanding(c));
	SET(heap_used, shm_tree_used(l->tree));
	SET(retired_bytes, shm_tree_retired_bytes(l->tree));
	SET(txns, c->txns);
	SET(txn_bytes, c->txn_bytes);
	SET(log_bytes, sto_log_bytes_since_open(l->log.log));
	SET(refused, c->refused);
	SET(to_replay, c->changes - l->snap_base);
	SET(digest_zxid, l->told_zxid);
	SET(digest, shm_tree_digest(l->tree));
}

static bool rings_are_empty(const struct wtr_loop *l)
{
	for (unsigned i = 0; i < l->board->n_workers; i++) {
		const struct wtr_worker *w = &l->worker[i];
		uint64_t head =
		    atomic_load_explicit(&l->heritage->seat[i]->up_head, memory_order_acquire);

		if (atomic_load(&l->board->reader[i].incarnation) != w->incarnation)
			return false;
		if (!w->broken && head != w->ring.tail)
			return false;
	}
	return true;
}

/* Is there something that a turn could do now? Looked at with the sleeping flag up. */
static bool has_work(const struct wtr_loop *l)
{
	if (atomic_load(&l->board->stopping))
		return true;
	if (l->core.out.len) /* the commit ring is full: nothing moves before it does */
		return false;
	if (durable_zxid(l) > l->core.zab.durable_zxid ||
	    l->core.applied_zxid < l->core.zab.commit_zxid)
		return true;
	if (!wtr_log_busy(&l->log) && (l->core.to_log || (l->core.fill && l->core.fill->n)))
		return true;
	return wtr_core_ready(&l->core) && !l->log_waits_ms && !rings_are_empty(l);
}

static int sleep_ms(const struct wtr_loop *l)
{
	uint64_t until = wtr_core_deadline_ms(&l->core), now = l->turn_ms;
	uint64_t others = l->ensemble ? wtr_ensemble_deadline_ms(l->ensemble) : until;
	uint64_t ms;

	if (others < until)
		until = others;
	ms = until > now ? until - now : 0;
	if (shm_tree_retired_bytes(l->tree) && ms > RECLAIM_WAIT_MS)
		ms = RECLAIM_WAIT_MS;
	if (l->core.out.len)
		ms = FULL_MS;
	else if (l->log_waits_ms)
		ms = FULL_MS;
	else if (!wtr_core_ready(&l->core) && ms < FULL_MS)
		ms = FULL_MS; /* what is overdue needs room; the log thread wakes us */
	return ms > 1000 ? 1000 : (int)ms;
}

/* Bells and sockets, for at most that long. */
static void hear(struct wtr_loop *l, int ms)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(l->epoll, events, EVENTS_MAX, ms);

	for (int i = 0; i < n; i++) {
		struct peer_source *source = events[i].data.ptr;

		if (source)
			source->ready(source, events[i].events);
		else
			shm_wake_drain(l->heritage->wake_writer);
	}
}

int wtr_loop_rest_ms(struct wtr_loop *l)
{
	int ms = has_work(l) ? 0 : sleep_ms(l);

	if (ms)
		l->expected_ms = l->turn_ms + (uint64_t)ms;
	return ms;
}

static void rest(struct wtr_loop *l)
{
	int ms;

	shm_sleep_begin(&l->board->writer_sleeping);
	ms = wtr_loop_rest_ms(l);
	if (ms)
		hear(l, ms);
	shm_sleep_end(&l->board->writer_sleeping);
}

static void begin_turn(struct wtr_loop *l)
{
	uint64_t now = clock_mono_ms();

	atomic_store_explicit(&l->board->writer_turn_ms, (uint32_t)now | 1, memory_order_relaxed);
	l->turn_ms = now;
	for (unsigned i = 0; i < l->board->n_workers; i++)
		watch_worker(l, i);
	if (l->in_service || l->ensemble)
		wtr_core_tick(&l->core, now, clock_wall_ms(), now <= l->expected_ms + STALL_MS);
	l->expected_ms = now;
}

static int open_epoll(struct wtr_loop *l)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return -errno;
	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->heritage->wake_writer, &event) ? -errno : 0;
}

/* What is at the disk is finished and told; what is not there yet never was accepted. */
static void finish(struct wtr_loop *l)
{
	wtr_log_stop(&l->log);
	while (apply(l))
		;
}

/*
 * Was something refused, though memory is idle, in pieces that can't be promised to anybody? Then a
 * successor builds the tree anew in one piece, from a snapshot: the log leads through the same
 * disorder again.
 */
static void look_at_heap(struct wtr_loop *l)
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

/* True: something was done. */
static bool hear_others(struct wtr_loop *l)
{
	bool done;

	if (!l->ensemble)
		return false;
	hear(l, 0);
	done = wtr_ensemble_turn(l->ensemble);
	leave_read_only(l);
	l->snap_now = l->snap_now || l->ensemble->state_due;
	l->ensemble->state_due = false;
	return done;
}

static void tell_others(struct wtr_loop *l)
{
	if (l->ensemble)
		wtr_ensemble_flush(l->ensemble);
}

bool wtr_loop_goes_on(const struct wtr_loop *l)
{
	return !atomic_load(&l->board->stopping) && l->rebuild != WTR_REBUILD_READY &&
	       !(l->ensemble && l->ensemble->installed);
}

int wtr_loop_begin(struct wtr_loop *l)
{
	int err = open_epoll(l);

	if (err) {
		LOG_E("epoll: %s", strerror(-err));
		return EXIT_EVENTFD;
	}
	l->expected_ms = l->begun_ms = clock_mono_ms();
	return l->ensemble && wtr_ensemble_start(l->ensemble, l->epoll) ? EXIT_EVENTFD : 0;
}

bool wtr_loop_turn(struct wtr_loop *l)
{
	bool busy;

	begin_turn(l);
	busy = hear_others(l);
	if (!wtr_loop_goes_on(l))
		return true;
	if (!l->ensemble && !l->in_service && !come_into_service(l))
		return false;
	busy = apply(l) || busy;
	if (!wtr_loop_goes_on(l))
		return true;
	if (l->ensemble) {
		enter_service(l);
		enter_read_only(l);
	}
	busy = take(l) || busy;
	tell_others(l);
	busy = (tell(l) && hand_over(l)) || busy;
	tell_others(l);
	reclaim(l);
	wtr_snap_policy(l);
	show(l);
	look_at_heap(l);
	return busy;
}

int wtr_loop_end(struct wtr_loop *l)
{
	if (l->ensemble && l->ensemble->installed)
		return EXIT_TORN; /* its log is closed, its tree is the past */
	finish(l);
	if (l->ensemble)
		wtr_ensemble_stop(l->ensemble);
	close(l->epoll);
	return l->rebuild == WTR_REBUILD_READY ? EXIT_TORN : 0;
}

int wtr_loop_run(struct wtr_loop *l)
{
	int status = wtr_loop_begin(l);

	if (status)
		return status;
	while (wtr_loop_goes_on(l))
		if (!wtr_loop_turn(l))
			rest(l);
	return wtr_loop_end(l);
}
