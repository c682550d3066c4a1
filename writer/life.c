#include "writer/life.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/wake.h"
#include "storage/committed.h"
#include "storage/recover.h"
#include "writer/flight.h"
#include "writer/snap_policy.h"
#include "writer/tell.h"

enum { EXIT_UNEXPECTED = 1, EXIT_DATA = 3, EXIT_STORAGE = 10, ROOM_US = 1000 };

/*
 * Is the tree what readers have seen, or may see in its place? They may have been told of the start
 * of an epoch, which is in no log: then the tree has to hold the last transaction before it, and
 * may be called by that, or by the start of any epoch since.
 */
static bool fits_readers(struct wtr_recovery *r, const struct shm_board *board, int64_t settled)
{
	int64_t txn = atomic_load(&board->ensemble.settled_txn);

	if (r->tree_zxid == settled)
		return true;
	if (!r->conf->members)
		return false;
	/* A leader's snapshot took the place of our history; nobody kept a connection. */
	if (r->tree_zxid > settled)
		return r->tree_zxid == r->found.snapshot_zxid;
	if (zab_counter_of(settled) != 0 || r->tree_zxid < txn ||
	    (r->tree_zxid > txn && zab_counter_of(r->tree_zxid) != 0))
		return false;
	shm_tree_touch(r->tree, settled);
	r->tree_zxid = settled;
	return true;
}

/* What read-only service shows before anybody leads: as far as a process before us knew. */
static int64_t committed_before(const struct conf *conf, const struct sto_fs *fs)
{
	char dir[WTR_DIR_MAX];

	if (!conf->read_only_mode || sto_dir_make(conf->data_dir, dir, sizeof(dir)))
		return 0;
	return sto_committed_load(fs, dir);
}

/*
 * A part of the history can't be read or is gone: this member gives up all of it,
 * and its vote, until a leader has sent its state (V11). So it is when it gave it up before: files
 * may stand there still, if it died over that.
 *
 * Not once something was published. The tree without a history would be behind it, and the one
 * that readers have is theirs until the server ends: the supervisor gives up, and what starts the
 * server again comes here.
 */
static int give_up_history(const struct shm_heritage *h, const struct sto_fs *fs,
			   struct sto_member *member, const char *what)
{
	const struct conf *conf = h->conf;
	char snap_dir[WTR_DIR_MAX], log_dir[WTR_DIR_MAX];
	bool before = member->must_sync;
	int err = sto_dir_make(conf->data_dir, snap_dir, sizeof(snap_dir));

	if (!err)
		err = sto_dir_make(conf->data_log_dir, log_dir, sizeof(log_dir));
	if (!err)
		err = sto_history_set_aside(fs, snap_dir, log_dir, member);
	if (err) {
		log_always(LOG_ERROR, "dataDir=%s: the history can't be set aside: %s",
			   conf->data_dir, strerror(-err));
		return EXIT_DATA;
	}
	if (before)
		log_always(LOG_WARNING,
			   "dataDir=%s: the history was given up before (version-2/damaged); no "
			   "vote and no service until a leader has sent its state",
			   conf->data_dir);
	else
		log_always(LOG_ERROR,
			   "dataDir=%s: %s: the history is given up, and is kept in "
			   "version-2/damaged; no vote and no service until a leader has sent its "
			   "state (promised epoch=%lld)",
			   conf->data_dir, what, (long long)member->accepted_epoch);
	return 0;
}

static bool may_give_up(const struct shm_heritage *h)
{
	return h->conf->members && !atomic_load(&h->board->gen);
}

/*
 * Readers may have seen everything up to settled_zxid, and what is behind it perhaps: the tree is
 * built to exactly there (V2), the rest is told through the ring. Of what the log of a member of an
 * ensemble holds behind its snapshot, and behind what was known before, nobody knows whether it is
 * committed.
 */
static int recover(struct wtr_recovery *r, const struct shm_heritage *h, const struct sto_fs *fs,
		   struct sto_member *member)
{
	bool first = !atomic_load(&h->board->gen);
	int64_t settled = atomic_load(&h->board->settled_zxid);
	bool tail = h->conf->members && !WRONG(TAIL_APPLIED);
	int64_t limit = !first ? settled : tail ? committed_before(h->conf, fs) : INT64_MAX;
	int err = wtr_recover(r, h->conf, fs, h->region_gen, h->board->commit_size, limit, member);

	if (err && r->found.lost && may_give_up(h)) {
		if (give_up_history(h, fs, member, "a part of log or snapshot is lost"))
			return EXIT_DATA;
		err = wtr_recover(r, h->conf, fs, h->region_gen, h->board->commit_size, limit,
				  member);
	}
	if (err)
		return err == -ENOMEM ? EXIT_UNEXPECTED : EXIT_DATA;
	if (r->tree_zxid > settled)
		atomic_store(&h->board->ensemble.settled_txn, r->tree_zxid);
	if (first || fits_readers(r, h->board, settled))
		return 0;
	log_always(LOG_ERROR,
		   "recovery zxid=0x%llx, but readers have seen 0x%llx: acknowledged writes are "
		   "missing on the disk; nothing more is served",
		   (unsigned long long)r->tree_zxid, (unsigned long long)settled);
	return EXIT_DATA;
}

static struct sto_log_options log_options(const struct conf *conf)
{
	return (struct sto_log_options){conf->segment_size, conf->force_sync, conf->force_sync};
}

static int open_log(struct sto_log **log, const struct wtr_life *w)
{
	const struct wtr_recovery *r = &w->recovery;
	struct sto_log_options options = log_options(r->conf);
	int64_t last = r->tree_zxid > r->found.last_zxid ? r->tree_zxid : r->found.last_zxid;
	int err;

	/* A member's tree, or its snapshot, may be as of the start of an epoch, which is no zxid of
	 * a log: behind it the log goes on where it ended. */
	if (r->conf->members && !WRONG(EPOCH_START_LOGGED))
		last = zab_history_last(&w->ensemble.history);
	err = sto_log_open(log, r->fs, r->log_dir, last, &options);
	if (!err)
		return 0;
	log_always(LOG_ERROR, "log dir=%s: %s", r->log_dir, strerror(-err));
	return EXIT_STORAGE;
}

static int init_core(struct wtr_loop *l, const struct wtr_recovery *r)
{
	uint32_t max = shm_commit_record_max(l->board->commit_size);
	int err = wtr_core_init(&l->core, r->conf, r->tree, r->tree_zxid, l->board->n_workers, max,
				clock_mono_ms(), clock_wall_ms());

	if (err)
		return err;
	l->core.sessions.locals = &l->board->locals;
	for (unsigned i = 0; i < l->board->n_workers; i++) {
		l->core.sessions.heard[i] = l->heritage->seat[i]->heard;
		l->worker[i].incarnation = atomic_load(&l->board->reader[i].incarnation);
		shm_ring_rx_attach(&l->worker[i].ring, l->heritage, i);
	}
	l->record_cap = shm_ring_record_max(l->board->up_size);
	l->record = malloc(l->record_cap);
	return l->record ? 0 : -ENOMEM;
}

/* Let readers have the tree as it is. From here on changes wait for readers. */
static void publish_generation(struct wtr_loop *l, const struct wtr_recovery *r)
{
	struct msg_down nop = {.kind = DOWN_NOP,
			       .worker = MSG_NO_WORKER,
			       .zxid = r->tree_zxid,
			       .xid = (int32_t)r->gen};
	struct iovec iov = {&nop, sizeof(nop)};

	l->told_zxid = r->tree_zxid;
	shm_commit_tx_attach(&l->tx, l->heritage);
	/* A predecessor may have left the ring full. */
	while (shm_commit_appendv(&l->tx, &iov, 1) == -EAGAIN) {
		wtr_tell_make_room(l);
		usleep(ROOM_US);
	}
	shm_tree_published(l->tree, r->tree_zxid, l->tx.head);
	atomic_store(&l->board->gen, r->gen);
	shm_commit_publish(&l->tx, r->tree_zxid);
	shm_wake_workers(l->heritage, 1);
	shm_wake_supervisor(l->heritage);
}

static int start(struct wtr_life *w, const struct shm_heritage *h, struct sto_log *log)
{
	struct wtr_loop *l = &w->loop;
	const struct wtr_recovery *r = &w->recovery;
	int64_t last = l->ensemble ? zab_history_last(&l->ensemble->history) : r->tree_zxid;

	if (l->ensemble) {
		wtr_core_tail(&l->core, r->tail.bytes, r->tail.len);
		l->core.epoch = atomic_load(&h->board->writer_epoch);
	} else {
		l->tail = r->tail.bytes;
		l->tail_len = r->tail.len;
	}
	l->helper = (struct wtr_helper){.heritage = h,
					.tree = l->tree,
					.log = log,
					.snap_dir = r->snap_dir,
					.log_dir = r->log_dir};
	if (!wtr_log_start(&l->log, log, h, last) && !wtr_helper_start(&l->helper))
		return 0;
	log_always(LOG_ERROR, "threads can't be started");
	return EXIT_UNEXPECTED;
}

/* Readers have it from here on. */
static void publish(struct wtr_life *w, uint64_t from_ms)
{
	const struct wtr_recovery *r = &w->recovery;
	struct wtr_loop *l = &w->loop;

	publish_generation(l, r);
	wtr_snap_begin(l, r->found.txns, clock_mono_ms());
	atomic_store(&l->board->stats.heap_max, (int64_t)r->conf->heap_max);
	atomic_store(&l->board->stats.start_wall_ms, clock_wall_ms());
	atomic_store(&l->board->stats.recovered_ms, (int64_t)(clock_mono_ms() - from_ms));
	LOG_I("serving zxid=0x%llx nodes=%lld sessions=%u tail=%zu txns=%llu took_ms=%llu "
	      "snapshot_ms=%llu replay_ms=%llu",
	      (unsigned long long)r->tree_zxid, (long long)shm_tree_count(l->tree),
	      shm_session_count(l->tree), r->tail.len, (unsigned long long)r->found.txns,
	      (unsigned long long)(clock_mono_ms() - from_ms),
	      (unsigned long long)(r->loaded_ms - from_ms),
	      (unsigned long long)(r->replayed_ms - r->loaded_ms));
}

/* What was decided can't be carried out. If the record itself, or ZooKeeper's epochs, can't be read
 * then promises were lost, which no leader's state makes up for: an operator's matter. */
static bool has_record(const struct sto_fs *fs, const char *snap_dir)
{
	struct sto_member m;

	return sto_member_load(fs, snap_dir, &m) == 0;
}

/* What was decided about the files and not carried out yet, before anybody reads them. */
static int settle(const struct shm_heritage *h, const struct sto_fs *fs, struct sto_member *member)
{
	const struct conf *conf = h->conf;
	char snap_dir[WTR_DIR_MAX], log_dir[WTR_DIR_MAX];
	int err = sto_dir_make(conf->data_dir, snap_dir, sizeof(snap_dir));

	if (!err)
		err = sto_dir_make(conf->data_log_dir, log_dir, sizeof(log_dir));
	if (!err)
		err = sto_member_settle(fs, snap_dir, log_dir, member);
	if (!err)
		return member->must_sync ? give_up_history(h, fs, member, "") : 0;
	log_always(LOG_ERROR, "record of the member in %s: %s; nothing is served", conf->data_dir,
		   strerror(-err));
	if (err != -EBADMSG || !may_give_up(h) || !has_record(fs, snap_dir))
		return EXIT_DATA;
	return give_up_history(h, fs, member, "what was decided about it can't be carried out");
}

/* A member of an ensemble, beside what a standalone server is. */
static int init_ensemble(struct wtr_life *w, struct sto_member *member)
{
	struct wtr_recovery *r = &w->recovery;
	struct wtr_loop *l = &w->loop;
	int64_t last = r->found.last_zxid, settled = atomic_load(&l->board->settled_zxid);

	/* Files of another's making may have an epoch that no record knows (quorum.md 1.6). */
	if (zab_epoch_of(last) > member->accepted_epoch)
		member->accepted_epoch = zab_epoch_of(last);
	if (r->imported && zab_epoch_of(last) > member->current_epoch)
		member->current_epoch = zab_epoch_of(last);
	w->ensemble = (struct wtr_ensemble){.core = &l->core,
					    .log = &l->log,
					    .helper = &l->helper,
					    .heritage = l->heritage,
					    .fs = r->fs,
					    .inbox_max = WTR_INBOX_BYTES,
					    .log_options = log_options(r->conf)};
	l->ensemble = &w->ensemble;
	/* Whatever the tree was built of, beside an import, is committed. */
	if (!settled && !r->imported && r->limit > 0)
		settled = r->tree_zxid;
	return wtr_ensemble_recover(&w->ensemble, r, member, settled) ? EXIT_DATA : 0;
}

int wtr_life_begin(struct wtr_life *w, const struct shm_heritage *h, const struct sto_fs *fs)
{
	struct sto_member member = {0};
	uint64_t from_ms = clock_mono_ms();
	struct sto_log *log;
	int status = h->conf->members ? settle(h, fs, &member) : 0;

	if (!status)
		status = recover(&w->recovery, h, fs, &member);
	if (status)
		return status;
	w->loop = (struct wtr_loop){.heritage = h, .board = h->board, .tree = w->recovery.tree};
	if (init_core(&w->loop, &w->recovery)) {
		log_always(LOG_ERROR, "no memory");
		return EXIT_UNEXPECTED;
	}
	if (h->conf->members)
		status = init_ensemble(w, &member);
	if (!status)
		status = open_log(&log, w);
	if (!status)
		status = start(w, h, log);
	if (!status)
		publish(w, from_ms);
	return status;
}

int wtr_life_end(struct wtr_life *w, int status)
{
	/* Where a state was installed the threads have ended, and the log is closed. */
	if (w->loop.ensemble && w->ensemble.installed)
		return status;
	wtr_helper_stop(&w->loop.helper);
	if (!status && sto_log_close(w->loop.log.log))
		status = EXIT_STORAGE;
	wtr_recovery_fini(&w->recovery);
	return status;
}
