#include "tests/t.h"

#include <sched.h>
#include <stdlib.h>

#include "storage/recover.h"
#include "tests/memfs.h"
#include "tests/storage.h"
#include "tests/unit/board_fx.h"
#include "writer/log_thread.h"

enum { BATCHES = 64, EACH = 10, ENTRY = 100 };

struct wtr_log_fx {
	struct board_fx board;
	struct memfs *m;
	struct sto_log *sto;
	struct wtr_log log;
};

static void log_up(struct wtr_log_fx *f)
{
	static const struct sto_log_options options = {
	    .segment_size = 64 << 10, .force_sync = true, .direct = true};

	board_up(&f->board);
	f->board.conf.fsync_warn_ms = 1000;
	f->m = malloc(sizeof(*f->m));
	memfs_init(f->m);
	EXPECT_I(sto_log_open(&f->sto, &f->m->fs, "d", 0, &options), ==, 0);
	EXPECT_I(wtr_log_start(&f->log, f->sto, &f->board.h, 0), ==, 0);
}

static void log_down(struct wtr_log_fx *f)
{
	memfs_fini(f->m);
	free(f->m);
	board_down(&f->board);
}

/* The n-th batch: its entries follow those of the one before. */
static struct wtr_batch *batch(int n)
{
	struct wtr_batch *b = calloc(1, sizeof(*b));

	b->bytes = malloc((size_t)EACH * (36 + ENTRY));
	b->first_zxid = 1 + (int64_t)n * EACH;
	b->last_zxid = b->first_zxid + EACH - 1;
	for (int i = 0; i < EACH; i++)
		b->len += entry_put(b->bytes + b->len, b->first_zxid + i, ENTRY);
	return b;
}

static void batch_free(struct wtr_batch *b)
{
	free(b->bytes);
	free(b);
}

TEST_F(writer_log, loop_and_thread_append_by_turns, struct wtr_log_fx, log_up, log_down)
{
	struct kept kept = {.entry_bytes = ENTRY};
	struct sto_sink sink = kept_sink(&kept);
	struct sto_recovered found;

	for (int n = 0; n < BATCHES; n++) {
		struct wtr_batch *b = batch(n);

		if (n % 3)
			EXPECT_TRUE(wtr_log_commit(&f->log, b));
		else
			wtr_log_give(&f->log, b);
		while (wtr_log_busy(&f->log))
			sched_yield();
		EXPECT_I(wtr_log_durable(&f->log), ==, b->last_zxid);
		batch_free(b);
	}
	EXPECT_U(atomic_load(&f->board.h.board->stats.fsyncs), ==, BATCHES);
	wtr_log_stop(&f->log);
	EXPECT_I(sto_log_close(f->sto), ==, 0);
	EXPECT_I(sto_recover(&f->m->fs, "d", "d", false, &sink, &found), ==, 0);
	EXPECT_I(found.last_zxid, ==, BATCHES * EACH);
	EXPECT_U(kept.txns, ==, BATCHES * EACH);
	EXPECT_TRUE(!kept.wrong);
}

TEST_F(writer_log, full_disk_is_left_to_the_thread, struct wtr_log_fx, log_up, log_down)
{
	struct wtr_batch *b = batch(0);
	int64_t last = 0;

	/* What was zero-filled is used up; more is not to be had. */
	f->m->space = 1;
	while (wtr_log_commit(&f->log, b)) {
		last = b->last_zxid;
		batch_free(b);
		b = batch((int)(last / EACH));
	}
	EXPECT_I(last, >, 0);
	EXPECT_I(wtr_log_durable(&f->log), ==, last);
	f->m->space = 0;
	wtr_log_give(&f->log, b);
	while (wtr_log_busy(&f->log))
		sched_yield();
	EXPECT_I(wtr_log_durable(&f->log), ==, last + EACH);
	wtr_log_stop(&f->log);
	EXPECT_I(sto_log_close(f->sto), ==, 0);
	batch_free(b);
}
