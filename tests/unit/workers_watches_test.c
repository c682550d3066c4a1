#include <stdio.h>
#include <stdlib.h>

#include "tests/t.h"
#include "workers/watches.h"

static const struct hash_key key = {{1, 2}};

static uint32_t fire(struct wrk_watches *w, enum wrk_watch_table table, const char *path,
		     bool again)
{
	const uint32_t *hit;
	uint32_t n = wrk_watches_fire(w, table, path, strlen(path), again, &hit), bits = 0;

	for (uint32_t i = 0; i < n; i++) {
		EXPECT_U(bits & 1u << hit[i], ==, 0);
		bits |= 1u << hit[i];
	}
	return bits;
}

static void add(struct wrk_watches *w, enum wrk_watch_table table, const char *path,
		uint32_t connection, unsigned modes)
{
	EXPECT_I(wrk_watch_add(w, table, path, strlen(path), connection, modes), ==, 0);
}

TEST(workers_watches, modes_of_one_entry_live_side_by_side)
{
	struct wrk_watches *w = wrk_watches_new(&key);

	add(w, WRK_DATA, "/a", 1, WRK_PERSISTENT);
	add(w, WRK_DATA, "/a", 1, WRK_STANDARD);
	EXPECT_U(fire(w, WRK_DATA, "/a", false), ==, 2);
	EXPECT_U(wrk_watch_has(w, WRK_DATA, "/a", 2, 1, WRK_ANY), ==, WRK_PERSISTENT);
	EXPECT_U(fire(w, WRK_DATA, "/a", false), ==, 2);
	wrk_watches_free(w);
}

TEST(workers_watches, recursive_reach_down_from_the_root_and_skip_child_events)
{
	struct wrk_watches *w = wrk_watches_new(&key);

	add(w, WRK_DATA, "/", 1, WRK_RECURSIVE);
	add(w, WRK_DATA, "/a", 2, WRK_RECURSIVE);
	add(w, WRK_DATA, "/a/b", 3, WRK_PERSISTENT);
	EXPECT_U(fire(w, WRK_DATA, "/a/b/c", false), ==, 1 << 1 | 1 << 2);
	EXPECT_U(fire(w, WRK_DATA, "/ab", false), ==, 1 << 1);
	EXPECT_U(fire(w, WRK_DATA, "/", false), ==, 1 << 1);
	EXPECT_U(fire(w, WRK_CHILD, "/a", false), ==, 0);
	wrk_watches_free(w);
}

TEST(workers_watches, second_table_leaves_out_who_was_told)
{
	struct wrk_watches *w = wrk_watches_new(&key);

	add(w, WRK_DATA, "/a", 1, WRK_STANDARD);
	add(w, WRK_CHILD, "/a", 1, WRK_STANDARD);
	add(w, WRK_CHILD, "/a", 2, WRK_STANDARD);
	EXPECT_U(fire(w, WRK_DATA, "/a", false), ==, 1 << 1);
	EXPECT_U(fire(w, WRK_CHILD, "/a", true), ==, 1 << 2);
	EXPECT_TRUE(wrk_watches_empty(w));
	wrk_watches_free(w);
}

/* --- against a naive model ------------------------------------------------------------------- */

enum { PATHS = 9, CONNECTIONS = 7, STEPS = 200000 };
static const char *const paths[PATHS] = {"/",      "/a",     "/b", "/a/a", "/a/b",
					 "/a/a/a", "/a/a/b", "",   "odd"};

struct model {
	uint8_t modes[PATHS][CONNECTIONS][2];
};

static bool is_above(const char *above, const char *path)
{
	size_t len = strlen(above);

	if (path[0] != '/' || !strcmp(above, path))
		return false;
	return !strcmp(above, "/") || (len && !strncmp(above, path, len) && path[len] == '/');
}

static uint32_t model_fire(struct model *m, int table, int path)
{
	uint32_t bits = 0;

	for (int c = 0; c < CONNECTIONS; c++) {
		if (m->modes[path][c][table])
			bits |= 1u << c;
		m->modes[path][c][table] &= (uint8_t)~WRK_STANDARD;
		for (int p = 0; p < PATHS && table == WRK_DATA; p++)
			if (is_above(paths[p], paths[path]) &&
			    m->modes[p][c][WRK_DATA] & WRK_RECURSIVE)
				bits |= 1u << c;
	}
	return bits;
}

static struct wrk_watch_totals model_count(const struct model *m)
{
	struct wrk_watch_totals t = {0};

	for (int p = 0; p < PATHS; p++) {
		bool any = false;

		for (int c = 0; c < CONNECTIONS; c++) {
			t.data += m->modes[p][c][WRK_DATA] != 0;
			t.child += m->modes[p][c][WRK_CHILD] != 0;
			any |= m->modes[p][c][WRK_DATA] != 0;
		}
		t.data_paths += any;
	}
	for (int c = 0; c < CONNECTIONS; c++) {
		bool any = false;

		for (int p = 0; p < PATHS; p++)
			any |= m->modes[p][c][WRK_DATA] != 0;
		t.data_connections += any;
	}
	return t;
}

static void step(struct wrk_watches *w, struct model *m, unsigned r)
{
	int p = (int)(r >> 3) % PATHS, c = (int)(r >> 9) % CONNECTIONS, table = (int)(r >> 13) % 2;
	unsigned modes = 1u << (r >> 15) % 3;
	size_t len = strlen(paths[p]);
	uint8_t *have = &m->modes[p][c][table];

	switch (r % 8) {
	case 0:
	case 1:
	case 2:
		add(w, (enum wrk_watch_table)table, paths[p], (uint32_t)c, modes);
		*have |= (uint8_t)modes;
		break;
	case 3:
		EXPECT_U(wrk_watch_remove(w, (enum wrk_watch_table)table, paths[p], len,
					  (uint32_t)c, modes),
			 ==, *have & modes);
		*have &= (uint8_t)~modes;
		break;
	case 4:
		EXPECT_U(wrk_watch_has(w, (enum wrk_watch_table)table, paths[p], len, (uint32_t)c,
				       WRK_ANY),
			 ==, *have);
		break;
	case 5:
		if (r >> 20 & 7)
			break;
		wrk_watches_drop(w, (uint32_t)c);
		for (int i = 0; i < PATHS; i++)
			memset(m->modes[i][c], 0, 2);
		break;
	default:
		EXPECT_U(fire(w, (enum wrk_watch_table)table, paths[p], false), ==,
			 model_fire(m, table, p));
	}
}

TEST(workers_watches, random_calls_agree_with_a_naive_model)
{
	struct wrk_watches *w = wrk_watches_new(&key);
	struct model m = {0};
	struct wrk_watch_totals got, want;
	uint64_t x = t_seed() | 1;

	for (int i = 0; i < STEPS && !t_failed(); i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		step(w, &m, (unsigned)(x >> 20));
		wrk_watches_count(w, &got);
		want = model_count(&m);
		EXPECT_MEM(&got, &want, sizeof(got));
	}
	wrk_watches_free(w);
}

TEST(workers_watches, many_on_one_path_and_many_of_one_connection)
{
	enum { MANY = 100000 };
	struct wrk_watches *w = wrk_watches_new(&key);
	struct wrk_watch_totals t;
	const uint32_t *hit;
	char path[32];

	for (uint32_t i = 0; i < MANY; i++) {
		add(w, WRK_DATA, "/shared", i, WRK_STANDARD);
		snprintf(path, sizeof(path), "/own/%u", i);
		add(w, WRK_DATA, path, 7, WRK_STANDARD);
	}
	wrk_watches_count(w, &t);
	EXPECT_U(t.data, ==, 2 * MANY);
	EXPECT_U(wrk_watches_fire(w, WRK_DATA, "/shared", 7, false, &hit), ==, MANY);
	wrk_watches_drop(w, 7);
	EXPECT_TRUE(wrk_watches_empty(w));
	wrk_watches_free(w);
}
