/*
 * member.c - a server: board, disk, and a writer that is turned by events; its supervisor and
 * snapshotter
 */
#include <setjmp.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/check.h"
#include "shm/wake.h"
#include "tests/simwhole/whole.h"
#include "writer/snapshot.h"

enum {
	RING_BYTES = 1 << 20,
	TURN_US = 20,
	KILLED = -1,
	EXIT_DATA = 3,
	EXIT_TORN = 4,
	EXIT_STORAGE = 10
};

struct w_node w_nodes[W_NODES_MAX];
int w_n_nodes, w_n_voters;
struct w_node *w_now;

static jmp_buf dying;
static int why_died;

uint64_t w_node_ms(const struct w_node *n)
{
	return 1000000 + w.now_us / 1000 + n->skew_ms;
}

/* --- the disk ------------------------------------------------------------------------------ */

_Noreturn void w_node_die(int status)
{
	why_died = status;
	longjmp(dying, 1);
}

static struct memfs *calls(struct w_node *n)
{
	if (n->die_in && !--n->die_in) {
		w_fired(W_AT_CALL);
		w_node_die(KILLED);
	}
	return n->disk;
}

static int broken(struct w_node *n)
{
	if (!n->sync_fails)
		return 0;
	n->sync_fails = false;
	n->disk_failed = true;
	w_fired(W_SYNC_ERROR);
	return -EIO;
}

static int fs_open(void *self, int dir, const char *name, int flags, mode_t mode)
{
	return memfs_open(calls(self), dir, name, flags, mode);
}

static int fs_close(void *self, int fd)
{
	return memfs_close(((struct w_node *)self)->disk, fd);
}

static ssize_t fs_pread(void *self, int fd, void *buf, size_t n, off_t at)
{
	return memfs_pread(((struct w_node *)self)->disk, fd, buf, n, at);
}

static ssize_t fs_pwrite(void *self, int fd, const void *buf, size_t n, off_t at)
{
	struct memfs *m = calls(self);
	struct w_node *node = self;
	bool direct = m->fd[fd].flags & O_DSYNC,
	     grows = (uint64_t)at + n > m->file[m->fd[fd].file].size;
	int err = direct ? broken(node) : 0;

	if (err)
		return err;
	if (grows && node->full) {
		node->disk_failed = true;
		return -ENOSPC;
	}
	return memfs_pwrite(m, fd, buf, n, at);
}

static int fs_allocate(void *self, int fd, off_t at, off_t n)
{
	struct w_node *node = self;

	if (node->full) {
		node->disk_failed = true;
		return -ENOSPC;
	}
	return memfs_allocate(calls(self), fd, at, n);
}

static int fs_sync(void *self, int fd)
{
	struct memfs *m = calls(self);
	int err = broken(self);

	return err ? err : memfs_sync(m, fd);
}

static int fs_drop(void *self, int fd)
{
	(void)self, (void)fd;
	return 0;
}

static int fs_rename(void *self, int dir, const char *from, const char *to)
{
	return memfs_rename(calls(self), dir, from, to);
}

static int fs_unlink(void *self, int dir, const char *name)
{
	return memfs_unlink(calls(self), dir, name);
}

static int fs_mkdir(void *self, int dir, const char *name, mode_t mode)
{
	return memfs_mkdir(calls(self), dir, name, mode);
}

static int fs_truncate(void *self, int fd, off_t size)
{
	return memfs_truncate(calls(self), fd, size);
}

static off_t fs_size(void *self, int fd)
{
	return memfs_size(((struct w_node *)self)->disk, fd);
}

static int fs_list(void *self, int dir, int (*each)(void *arg, const char *name), void *arg)
{
	return memfs_list(((struct w_node *)self)->disk, dir, each, arg);
}

static struct memfs *new_disk(bool no_direct)
{
	struct memfs *m = malloc(sizeof(*m));

	CHECK(m != NULL);
	memfs_init(m);
	m->record = true;
	m->no_direct = no_direct;
	return m;
}

static void close_files(struct memfs *m)
{
	for (int i = 0; i < MEMFS_FDS; i++)
		m->fd[i].file = -1;
	m->open_dirs = 0;
}

/* What is left of the disk, or of the cache after a sync that failed. */
static void lose_writes(struct w_node *n)
{
	struct memfs_choice choice = {.bits = w_random(), .random = true};
	struct memfs *left = new_disk(n->disk->no_direct);
	struct memfs *base = new_disk(false);

	/* All its calls were over. */
	memfs_crash(n->disk, n->base, n->disk->ops + 1, &choice, left);
	if (choice.units)
		w_fired(W_LOST_WRITE);
	memfs_copy(base, left);
	memfs_fini(n->disk);
	free(n->disk);
	if (n->base) {
		memfs_fini(n->base);
		free(n->base);
	}
	n->disk = left;
	n->base = base;
}

/* --- life ---------------------------------------------------------------------------------- */

static void *memory(size_t bytes)
{
	void *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(m != MAP_FAILED);
	return m;
}

/* As shm_board_create(), without descriptors. */
static void make_board(struct w_node *n)
{
	size_t board = shm_page_round(sizeof(struct shm_board)) + RING_BYTES;
	size_t seat = shm_page_round(sizeof(struct shm_seat)) + RING_BYTES;

	if (n->h.board) {
		munmap(n->h.board, board);
		for (int i = 0; i < 2; i++)
			munmap(n->h.seat[i], seat);
	}
	n->h = (struct shm_heritage){
	    .conf = &n->conf, .wake_writer = -1, .wake_supervisor = -1, .wake_worker = {-1}};
	n->h.board = memory(board);
	n->h.board->n_workers = 1;
	n->h.board->seat_bytes = (uint32_t)seat;
	n->h.board->commit_size = n->h.board->up_size = RING_BYTES;
	for (int i = 0; i < 2; i++) {
		n->h.seat[i] = memory(seat);
		atomic_store(&n->h.board->reader[i].incarnation, 1);
	}
	atomic_store(&n->h.board->reader[0].pid, 1);
}

static void make_conf(struct w_node *n)
{
	n->conf = (struct conf){.data_dir = (char *)(uintptr_t) "d",
				.data_log_dir = (char *)(uintptr_t)(w.separate_log ? "l" : "d"),
				.tick_ms = w.tick_ms,
				.session_min_ms = 2 * w.tick_ms,
				.session_max_ms = 20 * w.tick_ms,
				.max_buffer = 16 << 10,
				.max_buffer_extra = 16 << 10,
				.force_sync = true,
				.snap_count = (uint32_t)w_between(60, w_chance(50) ? 200 : 2000),
				.segment_size = 64 << 10,
				.fsync_warn_ms = 1000,
				.digest_enabled = w.digests,
				.local_sessions = w.locals,
				.local_sessions_upgrading = true,
				.extended_types = true,
				.close_session_txn = true,
				.container_check_ms = 60000,
				.container_per_minute = 10000,
				.server_id = (uint8_t)(n->id + 1),
				.members = n->members,
				.sid = n->id + 1,
				.init_limit = 10,
				.sync_limit = 5,
				.connect_retry_ms = 20,
				.vote_min_ms = w.vote_ms,
				.vote_max_ms = 8 * w.vote_ms,
				.observer_delay_ms = 20,
				.leader_serves = true,
				.workers = 1,
				.heap_max = 1 << 30};
	if (!w.masters)
		return;
	n->conf.observer_master_port = W_PORT_NUMBER + W_OBSERVERS_PORT;
	n->conf.observer_master_bytes = 4 << 20;
}

void w_node_init(struct w_node *n, int id)
{
	size_t at = 0;

	*n = (struct w_node){.id = id, .observer = id >= w_n_voters};
	n->fs = (struct sto_fs){n,        fs_open,     fs_close, fs_pread, fs_pwrite, fs_allocate,
				fs_sync,  fs_sync,     fs_drop,  fs_drop,  fs_rename, fs_unlink,
				fs_mkdir, fs_truncate, fs_size,  fs_list};
	n->disk = new_disk(w_chance(50));
	for (int i = 0; i < w_n_nodes; i++)
		at += (size_t)snprintf(n->members + at, sizeof(n->members) - at,
				       "server.%d=h%d:%d:2:%s\n", i + 1, i + 1, W_PORT_NUMBER,
				       i < w_n_voters ? "participant" : "observer");
	make_conf(n);
}

/* What the writer had in memory goes with its process. */
static void bury(struct w_node *n)
{
	w_links_died(n);
	w_elector_died(n);
	if (n->writer && n->writer_up) {
		struct shm_tree *tree = n->writer->loop.tree;

		wtr_core_fini(&n->writer->loop.core);
		free(n->writer->loop.record);
		shm_tree_free_private(tree);
	}
	free(n->writer);
	n->writer = NULL;
	n->log = NULL;
	n->helper = NULL;
	n->writer_up = n->helper_due = n->snap_due = false;
	n->life++;
	n->turn_us = n->die_in = 0;
	close_files(n->disk);
}

static void writer_ended(struct w_node *n, int status)
{
	w_trace("%d    the writer has ended: %d", n->id + 1, status);
	if (status == EXIT_DATA && !n->disk_failed)
		w_fail("member %d refuses its data", n->id + 1);
	if (status == EXIT_STORAGE && !n->disk_failed)
		w_fail("member %d gave up its disk, which was good", n->id + 1);
	if (status != KILLED && status != EXIT_STORAGE && status != EXIT_TORN &&
	    status != EXIT_DATA)
		w_fail("member %d: the writer ends with %d", n->id + 1, status);
	if (status == EXIT_TORN)
		w_count(N_INSTALLS);
	bury(n);
	/* Nobody knows what the cache holds of what could not be written. */
	if ((status == EXIT_STORAGE || status == EXIT_DATA) && !n->full)
		lose_writes(n);
	n->disk_failed = n->full;
	w_at(w_between(1, 60) * 1000, EV_BOOT, n->id, n->group, 0);
}

void w_node_kill_writer(struct w_node *n)
{
	if (!n->up || !n->writer_up)
		return;
	w_fired(W_WRITER);
	writer_ended(n, KILLED);
}

void w_node_crash(struct w_node *n, bool power)
{
	if (!n->up)
		return;
	w_fired(power ? W_POWER : W_CRASH);
	w_trace("%d    %s", n->id + 1, power ? "power cut" : "killed");
	w_worker_died(n);
	bury(n);
	n->up = false;
	n->group++;
	n->disk_failed = n->full;
	if (power)
		lose_writes(n);
	w_at(w_between(5, w_chance(80) ? 300 : 3000) * 1000, EV_BOOT, n->id, n->group, 1);
}

static void boot(struct w_node *n)
{
	int status;

	n->writer = calloc(1, sizeof(*n->writer));
	CHECK(n->writer != NULL);
	w_count(N_LIVES);
	n->generation++;
	n->h.region_gen = n->generation << 1 | (n->generation & 1);
	status = wtr_life_begin(n->writer, &n->h, &n->fs);
	if (!status) {
		n->writer_up = true;
		if (w.inbox_max)
			n->writer->ensemble.inbox_max = w.inbox_max;
		status = wtr_loop_begin(&n->writer->loop);
	}
	if (status)
		w_node_die(status);
	w_worker_wake(n);
	w_node_wake(n);
}

void w_node_boot(struct w_node *n, bool all)
{
	if (n->writer_up || (!all && !n->up))
		return;
	if (all && !n->up) {
		make_board(n);
		n->up = true;
		w_worker_new(n);
	}
	w_now = n;
	if (w.now_us < w.calm_us && w_chance(5))
		n->die_in = w_between(1, 60);
	if (!setjmp(dying))
		boot(n);
	else
		writer_ended(n, why_died);
	w_now = NULL;
}

bool w_node_serves(const struct w_node *n)
{
	return n->writer_up && n->writer->loop.core.service != WTR_IDLE;
}

/* --- events -------------------------------------------------------------------------------- */

static void schedule_turn(struct w_node *n, uint64_t us)
{
	uint64_t at = w.now_us + us;

	if (n->turn_us && n->turn_us <= at)
		return;
	n->turn_us = at;
	w_at(us, EV_TURN, n->id, n->life, at);
}

void w_node_wake(struct w_node *n)
{
	if (n->writer_up)
		schedule_turn(n, w_between(1, TURN_US));
}

/* The supervisor has a snapshotter started. */
static void look_for_snapshot(struct w_node *n)
{
	uint32_t wanted = atomic_load(&n->h.board->snap_wanted);

	if (n->snap_due || wanted == atomic_load(&n->h.board->snap_done))
		return;
	n->snap_due = true;
	w_at(w_between(1, 50) * 1000, EV_SNAP, n->id, n->life, wanted);
}

static void snapshot(struct w_node *n, uint64_t wanted)
{
	int err = wtr_snapshot_write(n->writer->loop.tree, atomic_load(&n->h.board->zxid), &n->fs,
				     n->conf.data_dir, NULL, NULL, NULL);

	n->snap_due = false;
	w_trace("%d    snapshot zxid=0x%llx: %s", n->id + 1,
		(unsigned long long)atomic_load(&n->h.board->zxid), strerror(-err));
	if (!err)
		w_count(N_SNAPSHOTS);
	atomic_store(&n->h.board->snap_status, err ? EXIT_STORAGE : 0);
	atomic_store(&n->h.board->snap_done, (uint32_t)wanted);
	w_node_wake(n);
}

static void turn(struct w_node *n)
{
	struct wtr_loop *l = &n->writer->loop;
	enum wtr_service before = l->core.service;
	bool busy;
	int ms;

	busy = wtr_loop_turn(l);
	if (!wtr_loop_goes_on(l))
		w_node_die(wtr_loop_end(l));
	zab_check(&l->core.zab);
	if (before == WTR_IDLE && l->core.service != WTR_IDLE)
		w_count(n->observer ? N_OBSERVED : N_SERVED);
	w_hash(l->core.zab.role ^ (uint64_t)l->core.zab.phase << 8 ^
	       (uint64_t)l->core.applied_zxid << 16);
	look_for_snapshot(n);
	w_worker_wake(n);
	ms = busy ? 0 : wtr_loop_rest_ms(l);
	schedule_turn(n, ms ? (uint64_t)ms * 1000 : w_between(1, TURN_US));
}

static void writer_event(struct w_node *n, enum w_event_kind kind, uint64_t arg)
{
	switch (kind) {
	case EV_TURN:
		if (n->turn_us != arg)
			return;
		n->turn_us = 0;
		turn(n);
		return;
	case EV_LOG:
		w_log_event(n);
		return;
	case EV_HELPER:
		w_helper_event(n);
		return;
	case EV_SNAP:
		snapshot(n, arg);
		return;
	case EV_ELECT:
	case EV_VOTE:
	case EV_VOTE_TIMER:
		w_elector_event(n, kind, arg);
		return;
	default:
		w_links_event(n, kind, arg);
	}
}

void w_node_event(struct w_node *n, enum w_event_kind kind, uint64_t arg)
{
	w_now = n;
	if (!setjmp(dying))
		writer_event(n, kind, arg);
	else
		writer_ended(n, why_died);
	w_now = NULL;
}
