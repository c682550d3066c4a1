/*
 * writer_full_test.c - a heap that is full: what is let in can be applied, whatever comes after it
 *
 * A transaction that can't be applied ends the writer (CHECK), and each of its successors, as it
 * is in the log.
 */
#include <stdio.h>

#include "base/check.h"
#include "shm/node.h"
#include "tests/unit/writer_fx.h"

enum { HEAP = 16 << 20 };

static void full_up(struct wtr_fx *f)
{
	fx_up(f);
	f->tree->arena.limit = HEAP;
}

/* Ephemerals until there is no room, `siblings` below each parent; how many. */
static int fill_with_ephemerals(struct wtr_fx *f, int64_t session, int siblings)
{
	int made = 0;
	char path[64];

	for (int n = 0;; n++) {
		sprintf(path, "/%d", n / siblings);
		if (n % siblings == 0) {
			fx_begin(f);
			fx_create(f, path, "", 0);
			if (fx_ask(f, 1, session, ZK_OP_CREATE))
				return made;
		}
		sprintf(path + strlen(path), "/%d", n % siblings);
		fx_begin(f);
		fx_create(f, path, "", 1);
		if (fx_ask(f, 1, session, ZK_OP_CREATE))
			return made;
		fx_clear(f);
		made++;
	}
}

static void close_on_a_full_heap(struct wtr_fx *f, int siblings, int at_least)
{
	int64_t session = fx_connect(f, 1);

	EXPECT_I(fill_with_ephemerals(f, session, siblings), >, at_least);
	fx_begin(f);
	EXPECT_I(fx_ask(f, 1, session, ZK_OP_CLOSE_SESSION), ==, 0);
	EXPECT_I(shm_tree_ephemerals(f->tree), ==, 0);
	fx_clear(f);
	session = fx_connect(f, 2);
	fx_begin(f);
	fx_create(f, "/after", "", 0);
	EXPECT_I(fx_ask(f, 2, session, ZK_OP_CREATE), ==, 0);
}

TEST_F(writer_full, a_heap_of_ephemerals_below_one_parent_goes_at_once, struct wtr_fx, full_up,
       fx_down)
{
	close_on_a_full_heap(f, 1 << 30, 25000);
}

TEST_F(writer_full, a_heap_of_ephemerals_below_many_parents_goes_at_once, struct wtr_fx, full_up,
       fx_down)
{
	close_on_a_full_heap(f, 1, 14000);
}

static void put_multi(struct wtr_fx *f, int first, int count, int32_t flags)
{
	char path[32];

	fx_begin(f);
	for (int i = 0; i < count; i++) {
		sprintf(path, "/%x", first + i);
		zk_multi_header_encode(&f->out, &(struct zk_multi_header){ZK_OP_CREATE, false, -1});
		fx_create(f, path, "", flags);
	}
	zk_multi_end(&f->out);
	CHECK(!f->out.failed);
}

/* Many in flight at once; what was not refused is applied by fx_run(), or the test ends here. */
static void fill_with_multis(struct wtr_fx *f, int32_t flags, int at_least)
{
	enum { MEMBERS = 800, IN_FLIGHT = 16 };
	int64_t session = fx_connect(f, 1), before = (int64_t)shm_tree_count(f->tree);
	bool refused = false;

	for (int n = 0; !refused;) {
		for (int k = 0; k < IN_FLIGHT && wtr_core_ready(&f->core); k++, n++) {
			put_multi(f, n * MEMBERS, MEMBERS, flags);
			fx_push(f, 0, UP_REQUEST, 1, session, ZK_OP_MULTI, f->body,
				jute_size(&f->out, f->body));
		}
		fx_run(f);
		refused = fx_find(f, DOWN_REFUSED, 0) != NULL;
		fx_clear(f);
	}
	EXPECT_I((int64_t)shm_tree_count(f->tree) - before, >, at_least);
	fx_begin(f);
	EXPECT_I(fx_ask(f, 1, session, ZK_OP_CLOSE_SESSION), ==, 0);
}

TEST_F(writer_full, multis_of_many_small_members_fill_it, struct wtr_fx, full_up, fx_down)
{
	fill_with_multis(f, 0, 20000);
}

TEST_F(writer_full, multis_of_many_ephemerals_fill_it, struct wtr_fx, full_up, fx_down)
{
	fill_with_multis(f, 1, 14000);
}
