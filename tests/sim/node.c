/*
 * node.c - a member: the real core, and a loop around it like the writer's
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/sim.h"

enum { DIALS_MAX = 5 };

static void step(struct sim_node *n, struct zab_event *e, const struct sim_message *m,
		 uint64_t value);

uint64_t sim_node_now_ms(const struct sim_node *n)
{
	return sim.now_us / 1000 + n->skew_ms;
}

bool sim_node_serves(const struct sim_node *n)
{
	return n->up && (n->zab.phase == ZAB_SERVING || n->zab.phase == ZAB_ACTIVE);
}

bool sim_node_listens(const struct sim_node *n)
{
	return n->up && (n->zab.role == ZAB_LEADING ||
			 (sim.masters && n->zab.role == ZAB_FOLLOWING && sim_node_serves(n)));
}

static void simple(struct sim_node *n, enum zab_event_type type, int32_t peer)
{
	step(n, &(struct zab_event){.type = type, .peer = peer}, NULL, 0);
}

/* --- log --------------------------------------------------------------------------------- */

static void start_sync(struct sim_node *n)
{
	struct sim_disk *d = &n->disk;
	struct sim_log *log = sim_disk_log(d);
	uint64_t us = d->slow_until_us > sim.now_us ? sim_between(20000, 600000)
						    : sim_between(80, sim.sync_us);

	if (d->syncing || d->cutting || d->full || log->written == log->n)
		return;
	log->written = log->n;
	d->batch++;
	d->syncing = true;
	sim_at(us, EV_SYNC_DONE, n->id, n->life, n->sync_life);
}

static void sync_done(struct sim_node *n, uint64_t life)
{
	struct sim_disk *d = &n->disk;
	struct sim_log *log = sim_disk_log(d);
	int64_t zxid;

	if (life != n->sync_life)
		return;
	d->syncing = false;
	if (d->sync_fails && log->written > log->synced) {
		d->sync_fails = false;
		sim_fired(SIM_SYNC_ERROR);
		if (!BUG(SYNC_ERROR_IGNORED)) {
			sim_node_crash(n, true);
			return;
		}
		if (!log->lost)
			log->lost = log->synced + 1;
	}
	log->synced = log->written;
	zxid = log->synced ? log->e[log->synced - 1].zxid : log->base;
	if (zxid > n->zab.durable_zxid)
		step(n, &(struct zab_event){.type = ZAB_DURABLE, .zxid = zxid}, NULL, 0);
	if (n->up && life == n->sync_life)
		start_sync(n);
}

static void cut_done(struct sim_node *n)
{
	n->disk.cutting = false;
	simple(n, ZAB_READY, 0);
	if (n->up)
		start_sync(n);
}

static void state_stored(struct sim_node *n, uint64_t life)
{
	if (life != n->sync_life)
		return;
	n->snap_pending = false;
	simple(n, ZAB_READY, 0);
}

static void trim(struct sim_node *n)
{
	if (!n->disk.staged && n->disk.log.base > n->zab.history.base)
		step(n, &(struct zab_event){.type = ZAB_TRIM, .zxid = n->disk.log.base}, NULL, 0);
}

static void snapshot_done(struct sim_node *n)
{
	n->snapshotting = false;
	if (n->snapshot.zxid < n->disk.snap[0].zxid || n->disk.staged)
		return;
	if (n->snapshot.zxid > n->disk.snap[0].zxid)
		sim_disk_snapshot(&n->disk, &n->snapshot);
	/* Now and then a state is said to be less to send than a few transactions. */
	step(n,
	     &(struct zab_event){.type = ZAB_STATE,
				 .zxid = n->snapshot.zxid,
				 .far_zxid = n->snapshot.zxid % 3 ? 0 : n->snapshot.zxid - 5},
	     NULL, 0);
	if (n->up)
		trim(n);
}

static void begin_snapshot(struct sim_node *n)
{
	if (n->snapshotting)
		return;
	n->snapshotting = true;
	n->snapshot = n->state;
	if (BUG(SNAPSHOT_TENTATIVE))
		for (const struct sim_entry *e;
		     (e = sim_log_after(&n->disk.log, n->snapshot.zxid));)
			sim_apply(&n->snapshot, e);
	sim_at(sim_between(2000, 80000), EV_SNAPSHOT_DONE, n->id, n->life, 0);
}

static void maybe_snapshot(struct sim_node *n)
{
	if (n->state.count >= n->disk.snap[0].count + sim.snapshot_every)
		begin_snapshot(n);
}

/* --- output ------------------------------------------------------------------------------ */

static void publish(struct sim_node *n, int64_t zxid)
{
	while (n->state.zxid < zxid) {
		const struct sim_entry *e = sim_log_after(sim_disk_log(&n->disk), n->state.zxid);

		if (!e || e->zxid > zxid)
			sim_fail("member %d is to publish %" PRIx64 ", which it has not", n->id + 1,
				 (uint64_t)zxid);
		if (sim.strict && !sim_node_serves(n) && n->zab.role != ZAB_LOOKING)
			sim_fail("member %d publishes %" PRIx64 " out of service", n->id + 1,
				 (uint64_t)e->zxid);
		if (sim.strict && e->zxid > sim_log_synced(sim_disk_log(&n->disk)))
			sim_fail("member %d publishes %" PRIx64 " before it is durable here",
				 n->id + 1, (uint64_t)e->zxid);
		sim_apply(&n->state, e);
		sim_check_published(n, e);
	}
	if (n->state.count > n->shown)
		n->shown = n->state.count;
	maybe_snapshot(n);
}

static void send_packet(struct sim_node *n, int c, int32_t type, int64_t zxid, uint64_t value)
{
	struct sim_message m = {.packet = {.type = type, .zxid = zxid, .current_epoch = -1},
				.value = value};

	sim_net_send(c, n->id, &m);
}

static uint64_t value_of(const struct sim_node *n, int64_t zxid)
{
	const struct sim_log *log = n->disk.staged ? &n->disk.staged_log : &n->disk.log;
	const struct sim_entry *e = sim_log_after(log, zxid - 1);

	if (!e || e->zxid != zxid)
		sim_fail("member %d is to send %" PRIx64 ", which it has not", n->id + 1,
			 (uint64_t)zxid);
	return e->value;
}

static void send_history(struct sim_node *n, int c, const struct zab_send *s)
{
	const struct sim_log *log = &n->disk.log;

	if (s->first < log->base)
		sim_fail("member %d is to send what is purged", n->id + 1);
	for (const struct sim_entry *e = sim_log_after(log, s->first);
	     e && e < log->e + log->n && e->zxid <= s->last; e++) {
		send_packet(n, c, QUORUM_PROPOSAL, e->zxid, e->value);
		send_packet(n, c, QUORUM_COMMIT, e->zxid, 0);
	}
}

static void send_state(struct sim_node *n, int c, const struct zab_send *s)
{
	struct sim_message m = {.packet = s->packet, .state = n->disk.snap[0]};

	if (m.state.zxid != s->packet.zxid)
		sim_fail("member %d is to send the state of %" PRIx64 ", it has %" PRIx64,
			 n->id + 1, (uint64_t)s->packet.zxid, (uint64_t)m.state.zxid);
	sim.result.snaps++;
	sim_net_send(c, n->id, &m);
}

static void send_range(struct sim_node *n, int c, const struct zab_send *s)
{
	bool whole = s->packet.type == QUORUM_PROPOSAL || s->packet.type == QUORUM_INFORM;

	for (int64_t z = s->first; z <= s->last; z++)
		send_packet(n, c, s->packet.type, z, whole ? value_of(n, z) : 0);
}

static void send_one(struct sim_node *n, const struct zab_send *s)
{
	bool to_leader = s->peer == 0 && n->conn >= 0;
	int c = to_leader ? n->conn : n->peer_conn[s->peer];

	if (c < 0)
		return;
	sim_check_claim(n, s);
	switch (s->kind) {
	case ZAB_SEND_PACKET:
		sim.result.diffs += s->packet.type == QUORUM_DIFF;
		sim.result.truncs += s->packet.type == QUORUM_TRUNC;
		sim_net_send(c, n->id, &(struct sim_message){.packet = s->packet});
		return;
	case ZAB_SEND_RANGE:
		send_range(n, c, s);
		return;
	case ZAB_SEND_HISTORY:
		send_history(n, c, s);
		return;
	case ZAB_SEND_STATE:
		send_state(n, c, s);
		return;
	case ZAB_SEND_CLOSE:
		sim_net_close(c, n->id);
		if (to_leader)
			n->conn = -1;
		else
			n->peer_conn[s->peer] = -1;
		return;
	}
}

static void close_all(struct sim_node *n)
{
	if (n->conn >= 0)
		sim_net_close(n->conn, n->id);
	n->conn = -1;
	for (int i = 0; i < ZAB_PEERS_MAX; i++) {
		if (n->peer_conn[i] >= 0)
			sim_net_close(n->peer_conn[i], n->id);
		n->peer_conn[i] = -1;
	}
	n->n_syncs = 0;
}

/* False: the process died of it. */
static bool store(struct sim_node *n, const struct zab_out *out)
{
	struct sim_disk *d = &n->disk;

	if (out->flags & ZAB_OUT_UNSTAGE) {
		sim_disk_unstage(d);
		d->syncing = false;
		n->snap_pending = false;
		n->sync_life++;
	}
	if (!(out->flags & ZAB_OUT_EPOCHS))
		return true;
	if (n->armed_before_store) {
		sim_fired(SIM_CRASH_AT_STORE);
		sim_node_crash(n, sim_chance(50));
		return false;
	}
	d->accepted_epoch = n->zab.accepted_epoch;
	d->current_epoch = n->zab.current_epoch;
	d->must_sync = n->zab.must_sync;
	if (out->flags & ZAB_OUT_INSTALL) {
		struct sim_state s = d->staged_snap;

		sim_disk_install(d);
		sim_check_state(n, &s, "installing a snapshot");
		if (s.zxid > n->state.zxid)
			n->state = s;
	}
	if (n->armed_after_store) {
		sim_fired(SIM_CRASH_AFTER_STORE);
		sim_node_crash(n, sim_chance(50));
		return false;
	}
	return true;
}

static void to_log(struct sim_node *n, const struct zab_out *out, const struct sim_message *m,
		   uint64_t value)
{
	if (out->cut_zxid >= 0) {
		sim_disk_cut(&n->disk, out->cut_zxid);
		sim_at(sim_between(500, 30000), EV_CUT_DONE, n->id, n->life, 0);
		if (sim.now_us < sim.calm_us && sim_chance(60))
			sim_at(sim_between(0, 30000), EV_CRASH, n->id, n->life, 0);
	}
	if (out->snapshot_zxid >= 0) {
		sim_disk_stage(&n->disk, &m->state);
		n->snap_pending = true;
		n->sync_life++;
		n->disk.syncing = false;
		sim_at(sim_between(2000, 60000), EV_STATE_STORED, n->id, n->life, n->sync_life);
	}
	if (out->append_zxid) {
		sim_disk_append(&n->disk, (struct sim_entry){out->append_zxid, value});
		start_sync(n);
	}
}

static void arm_timer(struct sim_node *n, uint64_t deadline_ms)
{
	uint64_t at;

	if (deadline_ms == UINT64_MAX)
		return;
	at = sim.now_us +
	     (deadline_ms > sim_node_now_ms(n) ? (deadline_ms - sim_node_now_ms(n)) * 1000 : 0);
	if (n->timer_us && n->timer_us <= at)
		return;
	n->timer_us = at;
	sim_at(at - sim.now_us, EV_TIMER, n->id, n->life, at);
}

static void forward_sync(struct sim_node *n, int peer, uint64_t sees)
{
	uint32_t at = (n->sync_head + n->n_syncs) % 64;

	if (n->n_syncs == 64)
		return;
	n->n_syncs++;
	n->syncs_at[at] = sees;
	n->syncs_for[at] = peer;
	send_packet(n, n->conn, QUORUM_REQUEST, -1, 0);
}

static void synced(struct sim_node *n)
{
	uint32_t at = n->sync_head;

	if (!n->n_syncs)
		sim_fail("member %d got an answer to a sync that it did not ask", n->id + 1);
	if ((uint64_t)n->zab.decided_zxid < n->syncs_at[at])
		sim_fail("member %d: a sync does not see what was committed before", n->id + 1);
	n->sync_head = (at + 1) % 64;
	n->n_syncs--;
	if (n->syncs_for[at] > 0 && n->peer_conn[n->syncs_for[at]] >= 0)
		send_packet(n, n->peer_conn[n->syncs_for[at]], QUORUM_SYNC, 0, 0);
}

/* A follower has it of an observer. */
static void relay(struct sim_node *n, int peer, const struct sim_message *m)
{
	if (m->packet.type == QUORUM_REQUEST && m->value)
		sim_node_write(n, m->value);
	else if (m->packet.type == QUORUM_REQUEST)
		forward_sync(n, peer, 0);
}

static void deliver(struct sim_node *n, int c, const struct sim_message *m)
{
	if (n->zab.role == ZAB_LEADING) {
		if (m->packet.type == QUORUM_REQUEST && m->value)
			sim_node_write(n, m->value);
		else if (m->packet.type == QUORUM_REQUEST)
			for (int i = 0; i < ZAB_PEERS_MAX; i++)
				if (n->peer_conn[i] == c)
					simple(n, ZAB_SYNC_ASKED, i);
		return;
	}
	if (m->packet.type == QUORUM_PING)
		send_packet(n, c, QUORUM_PING, m->packet.zxid, 0);
	if (m->packet.type == QUORUM_SYNC)
		synced(n);
}

static void perform(struct sim_node *n, const struct zab_out *out, const struct sim_message *m,
		    uint64_t value)
{
	uint32_t life = n->life;

	if (!store(n, out))
		return;
	to_log(n, out, m, value);
	for (uint32_t i = 0; i < out->n_send; i++)
		send_one(n, &out->send[i]);
	if (out->why)
		sim_check_why(n, out->why);
	publish(n, out->commit_zxid);
	if (out->flags & ZAB_OUT_SERVE) {
		sim_check_serving(n);
		sim_vote_serving(n);
	}
	if ((out->flags & ZAB_OUT_ROLE) && n->zab.role == ZAB_LOOKING) {
		close_all(n);
		sim_vote_look(n);
	}
	if (out->flags & ZAB_OUT_STATE)
		begin_snapshot(n);
	if (out->flags & ZAB_OUT_CONNECT) {
		n->tries = 0;
		sim_at(sim_between(500, 5000), EV_DIAL, n->id, n->life, 0);
	}
	if (n->life == life)
		arm_timer(n, out->deadline_ms);
}

static void step(struct sim_node *n, struct zab_event *e, const struct sim_message *m,
		 uint64_t value)
{
	struct zab_out out;
	int err;

	e->now_ms = sim_node_now_ms(n);
	err = zab_step(&n->zab, e, &out);
	sim.result.events++;
	if (sim.trace) {
		static char line[SIM_LINE_MAX];

		if (!err)
			zab_trace(&n->zab, e, &out, line, sizeof(line));
		sim_trace("%s", err ? strerror(-err) : line);
	}
	sim_hash((uint64_t)n->id << 56 ^ (uint64_t)e->type << 48 ^ (uint64_t)err << 40 ^ e->now_ms);
	sim_hash((uint64_t)n->zab.last_zxid ^ (uint64_t)n->zab.durable_zxid << 20 ^
		 (uint64_t)n->zab.commit_zxid << 40 ^ (uint64_t)n->zab.phase);
	if (!err)
		perform(n, &out, m, value);
	else if (e->type == ZAB_RECEIVE && n->zab.role != ZAB_LOOKING && err == -EPROTO)
		sim_fail("member %d: packet %d refused", n->id + 1, e->packet->type);
}

/* --- input ------------------------------------------------------------------------------- */

void sim_node_connected(struct sim_node *n, int c, bool as_leader)
{
	int i = n->zab.role == ZAB_FOLLOWING; /* its leader is 0 */

	if (!as_leader) {
		if (n->zab.phase != ZAB_CONNECT || !n->up)
			return;
		n->conn = c;
		simple(n, ZAB_CONNECTED, 0);
		return;
	}
	while (i < ZAB_PEERS_MAX && n->peer_conn[i] >= 0)
		i++;
	CHECK(i < ZAB_PEERS_MAX);
	n->peer_conn[i] = c;
	simple(n, ZAB_CONNECTED, i);
}

void sim_node_no_connection(struct sim_node *n)
{
	if (++n->tries < DIALS_MAX)
		sim_at(100000, EV_DIAL, n->id, n->life, 0);
	else
		simple(n, ZAB_LOST, 0);
}

static int peer_of(const struct sim_node *n, int c)
{
	for (int i = 0; i < ZAB_PEERS_MAX; i++)
		if (n->peer_conn[i] == c)
			return i;
	return -1;
}

void sim_node_lost(struct sim_node *n, int c)
{
	int i = peer_of(n, c);

	if (n->zab.role != ZAB_LOOKING && i >= 0) {
		n->peer_conn[i] = -1;
		for (int k = 0; k < 64; k++)
			if (n->syncs_for[k] == i)
				n->syncs_for[k] = -1;
		simple(n, ZAB_LOST, i);
	} else if (n->conn == c) {
		n->conn = -1;
		simple(n, ZAB_LOST, 0);
	}
}

void sim_node_receive(struct sim_node *n, int c, const struct sim_message *m)
{
	struct zab_event e = {.type = ZAB_RECEIVE, .packet = &m->packet};
	uint32_t life = n->life;

	e.peer = n->conn == c ? 0 : peer_of(n, c);
	if (e.peer < 0)
		return;
	step(n, &e, m, m->value);
	if (n->life != life || n->zab.role == ZAB_LOOKING)
		return;
	if (!sim_node_serves(n) || (n->conn != c && n->zab.peer[e.peer].phase != ZAB_PEER_ACTIVE))
		return;
	if (n->zab.role == ZAB_FOLLOWING && n->conn != c)
		relay(n, e.peer, m);
	else
		deliver(n, c, m);
}

void sim_node_elected(struct sim_node *n, int64_t sid)
{
	sim.result.elections++;
	step(n, &(struct zab_event){.type = ZAB_ELECTED, .sid = sid}, NULL, 0);
}

void sim_node_write(struct sim_node *n, uint64_t value)
{
	struct zab_event e = {.type = ZAB_SUBMIT};

	if (!sim_node_serves(n) || n->paused_until_us > sim.now_us)
		return;
	if (n->zab.role != ZAB_LEADING) {
		send_packet(n, n->conn, QUORUM_REQUEST, -1, value);
		return;
	}
	if (!zab_has_room(&n->zab, 1))
		return;
	e.zxid = zab_next_zxid(&n->zab);
	step(n, &e, NULL, value);
}

void sim_node_sync(struct sim_node *n)
{
	const struct sim_node *leader;

	if (!sim_node_serves(n) || n->zab.role == ZAB_LEADING || n->n_syncs == 64 ||
	    n->paused_until_us > sim.now_us)
		return;
	leader = &sim.node[n->zab.leader_sid - 1];
	forward_sync(n, 0,
		     leader->zab.role == ZAB_LEADING && leader->zab.epoch == n->zab.epoch
			 ? (uint64_t)leader->zab.last_zxid
			 : 0);
}

/* --- life -------------------------------------------------------------------------------- */

void sim_node_init(struct sim_node *n, int id, bool observer)
{
	memset(n, 0, sizeof(*n));
	n->id = id;
	n->observer = observer;
	sim_disk_format(&n->disk);
}

void sim_node_free(struct sim_node *n)
{
	sim_disk_free(&n->disk);
}

static void history_of(const struct sim_node *n, struct zab_history *h)
{
	const struct sim_log *log = &n->disk.log;

	zab_history_init(h, log->base);
	for (uint32_t i = 0; i < log->n; i++) {
		if (!zab_history_follows(h, log->e[i].zxid))
			sim_fail("member %d has a hole in its log before %" PRIx64, n->id + 1,
				 (uint64_t)log->e[i].zxid);
		zab_history_add(h, log->e[i].zxid);
	}
}

void sim_node_boot(struct sim_node *n)
{
	struct zab_history history;
	struct zab_start start = {.accepted_epoch = n->disk.accepted_epoch,
				  .current_epoch = n->disk.current_epoch,
				  .committed_zxid = n->disk.snap[0].zxid,
				  .state_zxid = n->disk.snap[0].zxid,
				  .history = &history,
				  .must_sync = n->disk.must_sync,
				  .wants_state = sim_chance(10)};
	struct zab_options options = {.sid = n->id + 1,
				      .observer = n->observer,
				      .serves_observers = sim.masters,
				      .rejoin_step_down = true,
				      .tick_ms = sim.tick_ms,
				      .init_limit = 10,
				      .sync_limit = 5,
				      .diff_max = sim.diff_max,
				      .committed = &sim.config};

	n->up = true;
	n->conn = -1;
	memset(n->peer_conn, -1, sizeof(n->peer_conn));
	n->paused_until_us = n->timer_us = 0;
	n->snap_pending = n->snapshotting = false;
	n->armed_before_store = n->armed_after_store = false;
	n->n_syncs = 0;
	n->state = n->disk.snap[0];
	history_of(n, &history);
	sim_check_state(n, &n->state, "recovery");
	zab_init(&n->zab, &options);
	step(n, &(struct zab_event){.type = ZAB_START, .start = &start}, NULL, 0);
	CHECK(n->zab.started);
	sim_vote_boot(n);
	sim_vote_look(n);
}

void sim_node_crash(struct sim_node *n, bool power)
{
	if (!n->up)
		return;
	sim_trace("%6s %d dies%s", "", n->id + 1, power ? ", power cut" : "");
	n->up = false;
	n->life++;
	n->sync_life++;
	sim_net_died(n->id);
	sim_fired(power ? SIM_POWER : SIM_CRASH);
	sim_disk_crash(&n->disk, power, n->lose_log);
	n->lose_log = false;
	sim_at(sim_between(5, 1500) * 1000, EV_BOOT, n->id, n->life, 0);
}

/* The disk refuses to write. */
void sim_node_stop(struct sim_node *n)
{
	if (n->zab.role != ZAB_LOOKING)
		simple(n, ZAB_STOP, 0);
}

void sim_node_event(struct sim_node *n, int kind, uint64_t arg)
{
	switch (kind) {
	case EV_TIMER:
		if (n->timer_us == arg) {
			n->timer_us = 0;
			simple(n, ZAB_TIMEOUT, 0);
		}
		return;
	case EV_SYNC_DONE:
		sync_done(n, arg);
		return;
	case EV_CUT_DONE:
		cut_done(n);
		return;
	case EV_STATE_STORED:
		state_stored(n, arg);
		return;
	case EV_SNAPSHOT_DONE:
		snapshot_done(n);
		return;
	case EV_DIAL:
		if (n->zab.phase == ZAB_CONNECT)
			sim_net_dial(n->id, sim.masters && n->observer
						? (int)sim_below((uint64_t)sim.n_voters)
						: (int)n->zab.leader_sid - 1);
		return;
	case EV_CRASH:
		sim_node_crash(n, true);
		return;
	case EV_SPACE:
		n->disk.full = false;
		start_sync(n);
		return;
	default:
		sim_vote_event(n, kind, arg);
	}
}
