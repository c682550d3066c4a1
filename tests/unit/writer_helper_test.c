#include "tests/t.h"

#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "shm/tree.h"
#include "tests/memfs.h"
#include "tests/storage.h"
#include "tests/unit/board_fx.h"
#include "writer/helper.h"

enum { SEGMENT = 64 << 10, ENTRY = 1000, WITHIN_MS = 20 * 1000 };

struct wtr_helper_fx {
	struct board_fx board;
	struct memfs m;
	struct sto_log *log;
	struct wtr_helper helper;
	int64_t zxid;
};

static void helper_up(struct wtr_helper_fx *f)
{
	static const struct sto_log_options options = {
	    .segment_size = SEGMENT, .force_sync = true, .direct = true};

	board_up(&f->board);
	memfs_init(&f->m);
	EXPECT_I(shm_tree_new_private(&f->helper.tree, 0), ==, 0);
	EXPECT_I(sto_log_open(&f->log, &f->m.fs, "d", 0, &options), ==, 0);
	f->helper.heritage = &f->board.h;
	f->helper.log = f->log;
	f->helper.snap_dir = f->helper.log_dir = "/nonexistent";
}

static void helper_down(struct wtr_helper_fx *f)
{
	EXPECT_I(sto_log_close(f->log), ==, 0);
	shm_tree_free_private(f->helper.tree);
	memfs_fini(&f->m);
	board_down(&f->board);
}

/* The loop asks for a segment when that is so, and takes nothing before it is there. */
static bool waits(struct wtr_helper_fx *f)
{
	return sto_log_is_tight(f->log, 0);
}

static void fill(struct wtr_helper_fx *f)
{
	uint8_t bytes[4 + 32 + ENTRY];

	while (!waits(f)) {
		size_t len = entry_put(bytes, ++f->zxid, ENTRY);

		EXPECT_I(sto_log_append(f->log, bytes, len, f->zxid, f->zxid), ==, 0);
	}
}

/* A member stops it for each log that it changes to. */
TEST_F(writer_helper, prepares_segments_however_often_it_is_started, struct wtr_helper_fx,
       helper_up, helper_down)
{
	for (int round = 0; round < 3; round++) {
		uint64_t until = clock_mono_ms() + WITHIN_MS;

		fill(f);
		EXPECT_I(wtr_helper_start(&f->helper), ==, 0);
		wtr_helper_kick(&f->helper);
		while (waits(f) && clock_mono_ms() < until)
			sched_yield();
		EXPECT_TRUE(!waits(f));
		wtr_helper_stop(&f->helper);
	}
}
