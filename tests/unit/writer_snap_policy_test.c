#include <stdlib.h>

#include "tests/t.h"
#include "writer/loop.h"
#include "writer/snap_policy.h"

enum { SNAP_COUNT = 1000 };

/* As much of a loop as the policy looks at. */
struct policy_fx {
	struct conf conf;
	struct shm_board *board;
	struct shm_heritage heritage;
	struct wtr_loop *l;
};

static void policy_up(struct policy_fx *f)
{
	f->conf = (struct conf){.snap_count = SNAP_COUNT, .heap_max = 1 << 30};
	f->board = aligned_alloc(64, (sizeof(*f->board) + 63) & ~(size_t)63);
	memset(f->board, 0, sizeof(*f->board));
	f->l = calloc(1, sizeof(*f->l));
	f->heritage =
	    (struct shm_heritage){.conf = &f->conf, .board = f->board, .wake_supervisor = -1};
	f->l->heritage = &f->heritage;
	f->l->board = f->board;
	f->l->turn_ms = 10000;
	REQUIRE(EXPECT_I(shm_tree_new_private(&f->l->tree, 0), ==, 0));
	wtr_snap_begin(f->l, 0, f->l->turn_ms - 10000);
}

static void policy_down(struct policy_fx *f)
{
	shm_tree_free_private(f->l->tree);
	free(f->l);
	free(f->board);
}

/* `ms` later, `changes` more. Is a snapshot wanted that was not before? */
static bool asks(struct policy_fx *f, uint64_t ms, uint64_t changes)
{
	uint32_t before = atomic_load(&f->board->snap_wanted);

	f->l->turn_ms += ms;
	f->l->core.changes += changes;
	wtr_snap_policy(f->l);
	return atomic_load(&f->board->snap_wanted) != before;
}

static void snapshot_ends(struct policy_fx *f, uint64_t ms)
{
	f->l->turn_ms += ms;
	atomic_store(&f->board->snap_done, f->l->snap_asked);
	wtr_snap_policy(f->l);
}

TEST_F(writer_snap_policy, the_first_one_comes_when_it_is_due, struct policy_fx, policy_up,
       policy_down)
{
	EXPECT_TRUE(!asks(f, 1, SNAP_COUNT / 2 - 1));
	EXPECT_TRUE(asks(f, 1, SNAP_COUNT / 2 + 1));
}

TEST_F(writer_snap_policy, after_a_snapshot_there_is_a_second_of_rest, struct policy_fx, policy_up,
       policy_down)
{
	EXPECT_TRUE(asks(f, 1, SNAP_COUNT));
	snapshot_ends(f, 3000);
	EXPECT_TRUE(!asks(f, 999, SNAP_COUNT));
	EXPECT_TRUE(asks(f, 1, 0));
}

TEST_F(writer_snap_policy, there_is_no_rest_when_too_much_would_be_replayed, struct policy_fx,
       policy_up, policy_down)
{
	EXPECT_TRUE(asks(f, 1, SNAP_COUNT));
	snapshot_ends(f, 3000);
	EXPECT_TRUE(!asks(f, 1, 2 * SNAP_COUNT));
	EXPECT_TRUE(asks(f, 1, SNAP_COUNT));
}

TEST_F(writer_snap_policy, what_is_to_be_replayed_counts_from_where_the_last_whole_one_began,
       struct policy_fx, policy_up, policy_down)
{
	EXPECT_TRUE(asks(f, 1, SNAP_COUNT));
	f->l->core.changes += 7;
	EXPECT_U(f->l->snap_base, ==, 0);
	snapshot_ends(f, 10);
	EXPECT_U(f->l->snap_base, ==, SNAP_COUNT);
	EXPECT_TRUE(asks(f, 1000, SNAP_COUNT));
	atomic_store(&f->board->snap_status, 1); /* failed */
	snapshot_ends(f, 10);
	EXPECT_U(f->l->snap_base, ==, SNAP_COUNT);
}

TEST_F(writer_snap_policy, it_hurries_while_somebody_waits, struct policy_fx, policy_up,
       policy_down)
{
	EXPECT_TRUE(asks(f, 1, SNAP_COUNT));
	EXPECT_TRUE(!atomic_load(&f->board->snap_urgent));
	f->l->snap_now = true; /* for one of now: this one, and the next */
	EXPECT_TRUE(!asks(f, 1, 0));
	EXPECT_TRUE(atomic_load(&f->board->snap_urgent));
	snapshot_ends(f, 10);
	EXPECT_TRUE(asks(f, 1, 0));
	EXPECT_TRUE(atomic_load(&f->board->snap_urgent));
	snapshot_ends(f, 10);
	EXPECT_TRUE(asks(f, 1000, SNAP_COUNT));
	EXPECT_TRUE(!atomic_load(&f->board->snap_urgent));
}

TEST_F(writer_snap_policy, one_that_failed_is_tried_again_soon_only_if_somebody_waits,
       struct policy_fx, policy_up, policy_down)
{
	atomic_store(&f->board->snap_status, 1);
	EXPECT_TRUE(asks(f, 1, SNAP_COUNT));
	snapshot_ends(f, 10);
	EXPECT_TRUE(!asks(f, 50000, SNAP_COUNT));
	f->l->snap_now = true;
	EXPECT_TRUE(asks(f, 1, 0));
	EXPECT_TRUE(!f->l->snap_now);
	snapshot_ends(f, 10); /* in vain */
	EXPECT_TRUE(!asks(f, 1000, 0));
	atomic_store(&f->board->snap_status, 0);
	EXPECT_TRUE(asks(f, 1000, 0));
	snapshot_ends(f, 10);
	EXPECT_TRUE(!f->l->snap_now);
	EXPECT_TRUE(!asks(f, 500, 0));
}

TEST_F(writer_snap_policy, one_at_a_time, struct policy_fx, policy_up, policy_down)
{
	EXPECT_TRUE(asks(f, 1, SNAP_COUNT));
	EXPECT_TRUE(!asks(f, 100000, 100 * SNAP_COUNT));
}

TEST_F(writer_snap_policy, what_was_replayed_at_the_start_counts, struct policy_fx, policy_up,
       policy_down)
{
	wtr_snap_begin(f->l, SNAP_COUNT / 2 - 10, f->l->turn_ms);
	EXPECT_U(f->l->core.changes - f->l->snap_base, ==, SNAP_COUNT / 2 - 10);
	EXPECT_TRUE(!asks(f, 1000, 9));
	EXPECT_TRUE(asks(f, 0, SNAP_COUNT / 2 + 1));
}

TEST_F(writer_snap_policy, a_long_replay_is_followed_by_a_rest_and_a_snapshot, struct policy_fx,
       policy_up, policy_down)
{
	wtr_snap_begin(f->l, 2 * SNAP_COUNT, f->l->turn_ms);
	EXPECT_TRUE(!asks(f, 999, 1));
	EXPECT_TRUE(asks(f, 1, 0));
}

TEST_F(writer_snap_policy, there_is_no_rest_after_too_long_a_replay, struct policy_fx, policy_up,
       policy_down)
{
	wtr_snap_begin(f->l, 3 * SNAP_COUNT, f->l->turn_ms);
	EXPECT_TRUE(asks(f, 1, 1));
}
