/*
 * writer_perf - what a write costs the writer beside the log: prepare, apply, tell, reclaim
 *
 *	writer_perf [znodes] [requests in flight] [seconds]	(100000, 2048, 2)
 *
 * setData of 100 bytes to uniform keys on the tree in shared memory, from one worker's ring to the
 * commit ring, in CPU time of the thread; no sync, no socket. One JSON line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/check.h"
#include "shm/board.h"
#include "shm/commit.h"
#include "shm/region.h"
#include "shm/ring.h"
#include "writer/ahead.h"
#include "writer/core.h"

enum { CONNS = 128, VALUE = 100, RECORD_MAX = 1 << 20, UP_BYTES = 4 << 20, DOWN_BYTES = 16 << 20 };

static const struct conf conf = {.tick_ms = 2000,
				 .session_min_ms = 4000,
				 .session_max_ms = 40000,
				 .max_buffer = 0xfffff,
				 .digest_enabled = true,
				 .close_session_txn = true,
				 .enforce_quota = true,
				 .container_check_ms = 60000,
				 .container_per_minute = 10000,
				 .server_id = 1};

static struct wtr_core core;
static struct shm_tree *tree;
static int64_t session[CONNS];
static _Atomic uint32_t heard[1024];
static uint8_t ring[DOWN_BYTES];
static uint64_t head = 64, random_state = 88172645463325252;

static uint64_t any(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void tell(void)
{
	size_t at = head % DOWN_BYTES, len = core.out.len;

	if (at + len > DOWN_BYTES)
		at = 0;
	CHECK(len <= DOWN_BYTES);
	memcpy(ring + at, core.out.bytes, len);
	core.out.len = 0;
	head += len + 64;
	shm_tree_published(tree, core.applied_zxid, head);
	while (shm_tree_reclaim(tree, UINT64_MAX, 512, NULL) == 512)
		;
}

static void commit(void)
{
	struct wtr_batch *b;

	while ((b = wtr_core_take(&core))) {
		wtr_core_durable(&core, b->last_zxid);
		while (wtr_core_apply(&core))
			tell();
		tell();
	}
}

static void push(enum msg_up_kind kind, unsigned conn, int32_t op, const struct jute_out *out,
		 uint8_t *record)
{
	struct msg_up up = {.kind = (uint8_t)kind,
			    .epoch = core.epoch,
			    .conn = conn,
			    .session = session[conn],
			    .xid = 1,
			    .op = op,
			    .len = (uint32_t)jute_size(out, record + sizeof(up))};

	memcpy(record, &up, sizeof(up));
	CHECK(!wtr_core_request(&core, 0, record, (uint32_t)sizeof(up) + up.len));
}

static void connect_all(void)
{
	uint8_t record[256];

	for (unsigned i = 0; i < CONNS; i++) {
		struct msg_connect m = {.address = {[10] = 0xff, 0xff, 127, 0, 0, 1},
					.timeout_ms = 10000,
					.password_len = -1};
		struct jute_out out =
		    jute_out_of(record + sizeof(struct msg_up), sizeof(record) - 64);
		const struct msg_down *told;

		jute_put_bytes(&out, &m, sizeof(m));
		push(UP_CONNECT, i, 0, &out, record);
		wtr_core_durable(&core, wtr_core_take(&core)->last_zxid);
		wtr_core_apply(&core);
		told = (const struct msg_down *)(const void *)(core.out.bytes + 8);
		session[i] = told->session;
		tell();
	}
}

static size_t path_of(char *to, uint64_t i)
{
	return (size_t)sprintf(to, "/bench/d%06d/node-%09d", (int)(i / 100), (int)i);
}

static void load(uint64_t nodes)
{
	static const uint8_t data[VALUE];
	struct shm_loaded n = {.acl = SHM_ACL_OPEN, .data = data, .data_len = VALUE};
	char path[64];

	n.path = path;
	n.path_len = (uint32_t)sprintf(path, "/bench");
	CHECK(!shm_tree_load(tree, &n));
	for (uint64_t i = 0; i < nodes; i++) {
		if (i % 100 == 0) {
			n.path_len = (uint32_t)sprintf(path, "/bench/d%06d", (int)(i / 100));
			CHECK(!shm_tree_load(tree, &n));
		}
		n.path_len = (uint32_t)path_of(path, i);
		n.mzxid = n.czxid = n.pzxid = 1;
		CHECK(!shm_tree_load(tree, &n));
	}
	CHECK(!shm_tree_loaded(tree, 1));
}

/* Sets that wait in a ring, as a worker pushed them. */
struct waiting {
	uint8_t *record;
	uint32_t n;
	size_t len[8192], at[8192];
};

static void make(struct waiting *w, uint64_t nodes)
{
	size_t at = 0;

	for (uint32_t i = 0; i < w->n; i++) {
		unsigned conn = i % CONNS;
		struct msg_up up = {.kind = UP_REQUEST,
				    .epoch = core.epoch,
				    .conn = conn,
				    .session = session[conn],
				    .xid = 1,
				    .op = ZK_OP_SET_DATA};
		struct jute_out out = jute_out_of(w->record + at + sizeof(up), 512);
		uint8_t value[VALUE];
		char path[64];
		size_t len = path_of(path, any(nodes));

		for (unsigned k = 0; k < VALUE; k += 4)
			le32_put(value + k, (uint32_t)any(UINT32_MAX));
		jute_put_ustring(&out, jute_buf_of(path, len));
		jute_put_buffer(&out, jute_buf_of(value, VALUE));
		jute_put_int(&out, -1);
		up.len = (uint32_t)jute_size(&out, w->record + at + sizeof(up));
		memcpy(w->record + at, &up, sizeof(up));
		w->at[i] = at;
		w->len[i] = sizeof(up) + up.len;
		at += (w->len[i] + 7) & ~(size_t)7;
	}
}

static void look_ahead(const struct waiting *w, uint32_t i)
{
	struct wtr_ahead ahead = {.n = 0};

	for (uint32_t end = i + WTR_AHEAD; i < w->n && i < end; i++)
		wtr_ahead_request(&core, &ahead, w->record + w->at[i], (uint32_t)w->len[i]);
	wtr_ahead_fetch(&core, &ahead);
}

static void take(const struct waiting *w)
{
	static uint8_t record[1024];

	for (uint32_t i = 0; i < w->n; i++) {
		if (i % WTR_AHEAD == 0)
			look_ahead(w, i);
		memcpy(record, w->record + w->at[i], w->len[i]);
		CHECK(!wtr_core_request(&core, 0, record, (uint32_t)w->len[i]));
	}
}

int main(int argc, char **argv)
{
	uint64_t nodes = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000;
	struct waiting w = {.n = argc > 2 ? (uint32_t)atoi(argv[2]) : 2048};
	double until = (argc > 3 ? atof(argv[3]) : 2) * 1e9, took[2] = {0};
	uint64_t bytes = nodes * 1200 + (256 << 20), done = 0;
	int ro_fd;

	CHECK(w.n > 0 && w.n <= 8192);
	w.record = malloc((size_t)w.n * 512);
	CHECK(w.record);
	CHECK(!shm_region_create(2, bytes, &ro_fd));
	CHECK(!shm_tree_new(&tree, 2, bytes));
	shm_tree_presize(tree, nodes);
	CHECK(!shm_tree_initial(tree));
	load(nodes);
	CHECK(!wtr_core_init(&core, &conf, tree, 1, 1, RECORD_MAX, 1000000, 1700000000000));
	core.sessions.heard[0] = heard;
	shm_tree_published(tree, 1, head);
	wtr_core_serve(&core, 1);
	connect_all();
	shm_tree_prepare_memory(tree); /* as the helper does */
	while (took[0] + took[1] < until) {
		double from, taken;

		make(&w, nodes);
		from = cpu_ns();
		take(&w);
		taken = cpu_ns();
		commit();
		took[0] += taken - from;
		took[1] += cpu_ns() - taken;
		done += w.n;
	}
	printf("{\"name\":\"writer_perf\",\"znodes\":%llu,\"in_flight\":%u,\"prepare_ns\":%.0f,"
	       "\"apply_ns\":%.0f,\"write_ns\":%.0f}\n",
	       (unsigned long long)nodes, w.n, took[0] / (double)done, took[1] / (double)done,
	       (took[0] + took[1]) / (double)done);
	return 0;
}
