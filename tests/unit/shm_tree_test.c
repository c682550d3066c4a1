#include "tests/t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "shm/node.h"
#include "shm/region.h"
#include "shm/tree.h"

struct tree_fx {
	struct shm_tree *t;
	int64_t zxid;
	uint64_t head;
};

static void tree_up(struct tree_fx *f)
{
	REQUIRE(EXPECT_I(shm_tree_new_private(&f->t, 0), ==, 0));
	REQUIRE(EXPECT_I(shm_tree_initial(f->t), ==, 0));
	EXPECT_I(shm_tree_loaded(f->t, 0), ==, 0);
	f->head = 8;
	shm_tree_published(f->t, 0, f->head);
}

static void tree_down(struct tree_fx *f)
{
	if (!f->t)
		return;
	shm_tree_check(f->t);
	shm_tree_free_private(f->t);
}

static void publish(struct tree_fx *f)
{
	f->head += 8;
	shm_tree_published(f->t, f->zxid, f->head);
}

static struct shm_node *create(struct tree_fx *f, const char *path, const char *data, int64_t owner)
{
	struct shm_node *n = NULL;
	struct shm_new new = {.path = path,
			      .path_len = (uint32_t)strlen(path),
			      .data = data,
			      .data_len = data ? (int32_t)strlen(data) : -1,
			      .acl = SHM_ACL_OPEN,
			      .parent_cversion = -1,
			      .owner = owner,
			      .zxid = ++f->zxid,
			      .time_ms = 1000 + f->zxid};

	EXPECT_I(shm_tree_create(f->t, &new, &n), ==, 0);
	return n;
}

static const struct shm_node *find(struct tree_fx *f, const char *path, int64_t zxid,
				   const struct shm_version **v)
{
	size_t len = strlen(path);

	return shm_tree_find(f->t, shm_tree_hash(f->t, path, len), path, len, zxid, v);
}

TEST_F(shm_tree, the_initial_tree_is_that_of_zookeeper, struct tree_fx, tree_up, tree_down)
{
	const struct shm_version *v;
	const struct shm_node *n = find(f, "/", SHM_LATEST, &v);
	uint8_t stat[SHM_STAT_BYTES], want[SHM_STAT_BYTES] = {0};
	uint32_t len;

	EXPECT_U(shm_tree_digest(f->t), ==, 1371985504);
	EXPECT_I(shm_tree_count(f->t), ==, 5);
	EXPECT_U(shm_tree_data_bytes(f->t), ==, 44);
	REQUIRE(EXPECT_TRUE(n != NULL));
	EXPECT_TRUE(find(f, "", SHM_LATEST, NULL) == n);
	shm_node_stat(n, v, stat);
	be32_put(want + 36, (uint32_t)-1);
	be32_put(want + 56, 1);
	EXPECT_MEM(stat, want, sizeof(want));
	n = find(f, "/zookeeper", SHM_LATEST, &v);
	shm_node_stat(n, v, stat);
	be32_put(want + 36, (uint32_t)-2);
	be32_put(want + 56, 2);
	EXPECT_MEM(stat, want, sizeof(want));
	n = find(f, "/zookeeper/config", SHM_LATEST, &v);
	REQUIRE(EXPECT_TRUE(n != NULL));
	shm_node_stat(n, v, stat);
	EXPECT_U(be32_get(stat + 40), ==, UINT32_MAX); /* aversion -1 */
	EXPECT_MEM(shm_acl_bytes(f->t, shm_version_acl(v), &len),
		   "\0\0\0\1\0\0\0\1\0\0\0\5world\0\0\0\6anyone", 27);
	EXPECT_U(len, ==, 27);
	EXPECT_TRUE(find(f, "/zookeeper/quota", SHM_LATEST, NULL) != NULL);
}

TEST_F(shm_tree, a_reader_sees_its_own_zxid_and_nothing_later, struct tree_fx, tree_up, tree_down)
{
	const struct shm_version *v;
	struct shm_node *a = create(f, "/a", "one", 0);
	struct shm_iter it;
	int32_t len;

	publish(f);
	EXPECT_TRUE(find(f, "/a", 0, NULL) == NULL);
	EXPECT_TRUE(find(f, "/a", 1, NULL) == a);
	EXPECT_I(shm_tree_set_data(f->t, a, "two", 3, 1, ++f->zxid, 7), ==, 0);
	publish(f);
	EXPECT_I(shm_tree_delete(f->t, a, ++f->zxid), ==, 0);
	publish(f);
	struct shm_node *b = create(f, "/a", "three", 0);

	publish(f);
	EXPECT_TRUE(find(f, "/a", 1, &v) == a);
	EXPECT_MEM(shm_version_data(v, &len), "one", 3);
	EXPECT_TRUE(find(f, "/a", 2, &v) == a);
	EXPECT_MEM(shm_version_data(v, &len), "two", 3);
	EXPECT_TRUE(find(f, "/a", 3, &v) == NULL);
	EXPECT_TRUE(find(f, "/a", 4, &v) == b);
	EXPECT_TRUE(shm_tree_get(f->t, "/a", 2) == b);
	for (int64_t zxid = 0; zxid <= 4; zxid++) {
		int children = 0;

		shm_children_begin(&it, find(f, "/", zxid, &v), zxid);
		while (shm_children_next(&it))
			children++;
		EXPECT_I(children, ==, zxid == 0 || zxid == 3 ? 1 : 2);
		EXPECT_I(children, ==, shm_version_children(v));
	}
	shm_tree_check(f->t);
}

/* A reader pinned before them all; the path's lives hang off one entry of the index. */
TEST_F(shm_tree, a_path_may_live_many_times_within_one_grace_period, struct tree_fx, tree_up,
       tree_down)
{
	enum { LIVES = 5000 };
	uint64_t pinned = f->head;
	bool wants_head;

	for (int i = 0; i < LIVES; i++) {
		struct shm_node *n = create(f, "/lock", NULL, 0);

		publish(f);
		EXPECT_I(shm_tree_delete(f->t, n, ++f->zxid), ==, 0);
		publish(f);
		shm_tree_reclaim(f->t, pinned + 1, 100, &wants_head);
	}
	for (int64_t zxid = 0; zxid <= f->zxid; zxid += LIVES / 10 + 1) {
		const struct shm_version *v;
		const struct shm_node *n = find(f, "/lock", zxid, &v);
		uint8_t stat[SHM_STAT_BYTES];

		EXPECT_I(n != NULL, ==, zxid % 2);
		if (!n)
			continue;
		shm_node_stat(n, v, stat);
		EXPECT_U(be64_get(stat), ==, (uint64_t)zxid); /* czxid */
	}
	shm_tree_check(f->t);
	do {
		publish(f);
		shm_tree_reclaim(f->t, UINT64_MAX, LIVES / 3, &wants_head);
		shm_tree_check(f->t);
	} while (wants_head || shm_tree_retired_bytes(f->t));
	EXPECT_TRUE(find(f, "/lock", SHM_LATEST, NULL) == NULL);
}

TEST_F(shm_tree, nothing_is_freed_before_its_grace_period, struct tree_fx, tree_up, tree_down)
{
	struct shm_node *n = create(f, "/a", "x", 0);
	bool wants_head;

	publish(f);
	EXPECT_I(shm_tree_set_data(f->t, n, "y", 1, 1, ++f->zxid, 0), ==, 0);
	EXPECT_U(shm_tree_reclaim(f->t, UINT64_MAX, 10, &wants_head), ==, 1); /* root's version */
	EXPECT_TRUE(wants_head);
	shm_tree_published(f->t, f->zxid, f->head); /* the head has not moved: nothing is sealed */
	EXPECT_U(shm_tree_reclaim(f->t, UINT64_MAX, 10, &wants_head), ==, 0);
	EXPECT_TRUE(wants_head);
	publish(f);
	EXPECT_U(shm_tree_reclaim(f->t, f->head, 10, &wants_head), ==, 0);
	EXPECT_TRUE(!wants_head);
	EXPECT_U(shm_tree_reclaim(f->t, f->head + 1, 10, &wants_head), ==, 1);
	EXPECT_I(shm_tree_delete(f->t, n, ++f->zxid), ==, 0);
	publish(f);
	EXPECT_U(shm_tree_reclaim(f->t, f->head + 1, 10, &wants_head), ==, 2);
	EXPECT_TRUE(wants_head); /* unlinked; its memory waits for a second grace period */
	EXPECT_U(shm_tree_retired_bytes(f->t), >, 0);
	publish(f);
	EXPECT_U(shm_tree_reclaim(f->t, f->head + 1, 10, &wants_head), ==, 1);
	EXPECT_U(shm_tree_retired_bytes(f->t), ==, 0);
}

TEST_F(shm_tree, a_session_and_its_ephemerals_are_there_until_it_closes, struct tree_fx, tree_up,
       tree_down)
{
	struct shm_session *s, *again;
	struct shm_iter it;
	bool wants_head;
	uint32_t len;

	EXPECT_I(shm_session_add(f->t, 77, 4000, ++f->zxid, &s), ==, 0);
	EXPECT_I(shm_session_add(f->t, 77, 5000, ++f->zxid, &again), ==, -EEXIST);
	EXPECT_TRUE(again == s);
	EXPECT_I(shm_session_timeout(s), ==, 5000);
	struct shm_node *e = create(f, "/e", NULL, 77), *stray = create(f, "/stray", NULL, 78);

	publish(f);
	int64_t open = f->zxid;

	EXPECT_I(shm_tree_ephemerals(f->t), ==, 2);
	EXPECT_I(shm_tree_delete(f->t, e, ++f->zxid), ==, 0);
	shm_session_remove(f->t, s, f->zxid);
	publish(f);
	EXPECT_TRUE(shm_session_find(f->t, 77) == NULL);
	EXPECT_TRUE(shm_session_at(f->t, 0, f->zxid) == NULL);
	REQUIRE(EXPECT_TRUE(shm_session_at(f->t, 0, open) == s));
	shm_ephemerals_begin(&it, s, open);
	EXPECT_MEM(shm_node_name(shm_ephemerals_next(&it), &len), "e", 1);
	EXPECT_TRUE(shm_ephemerals_next(&it) == NULL);
	shm_ephemerals_begin(&it, s, f->zxid);
	EXPECT_TRUE(shm_ephemerals_next(&it) == NULL);
	EXPECT_I(shm_session_add(f->t, 79, 1, ++f->zxid, &again), ==, 0);
	EXPECT_U(shm_session_slot(again), ==, 1); /* the first slot is not free yet */
	publish(f);
	shm_tree_reclaim(f->t, UINT64_MAX, 100, &wants_head);
	EXPECT_I(shm_session_add(f->t, 80, 1, ++f->zxid, &again), ==, 0);
	EXPECT_U(shm_session_slot(again), ==, 0);
	EXPECT_U(shm_session_slots(f->t), ==, 2);
	EXPECT_I(shm_node_owner(stray), ==, 78);
	EXPECT_I(shm_tree_delete(f->t, stray, ++f->zxid), ==, 0);
}

TEST_F(shm_tree, a_session_may_close_before_its_ephemerals_go, struct tree_fx, tree_up, tree_down)
{
	struct shm_session *s;
	bool wants_head = true;

	EXPECT_I(shm_session_add(f->t, 77, 4000, ++f->zxid, &s), ==, 0);
	struct shm_node *e = create(f, "/e", NULL, 77);

	shm_session_remove(f->t, s, ++f->zxid);
	while (wants_head) {
		publish(f);
		shm_tree_reclaim(f->t, UINT64_MAX, 100, &wants_head);
	}
	EXPECT_I(shm_tree_delete(f->t, e, ++f->zxid), ==, 0);
	publish(f);
	shm_tree_reclaim(f->t, UINT64_MAX, 100, &wants_head);
	publish(f);
	shm_tree_reclaim(f->t, UINT64_MAX, 100, &wants_head);
	EXPECT_U(shm_tree_retired_bytes(f->t), ==, 0);
}

TEST_F(shm_tree, an_acl_list_outlives_its_last_node_by_one_commit_ring, struct tree_fx, tree_up,
       tree_down)
{
	static const uint8_t bytes[] = "\0\0\0\1\0\0\0\7\0\0\0\5world\0\0\0\6anyone";
	uint32_t len;
	bool wants_head;
	int64_t acl = shm_acl_intern(f->t, bytes, 27);
	struct shm_node *n = create(f, "/a", NULL, 0);

	shm_tree_set_ring(f->t, 64);
	EXPECT_I(acl, >, SHM_ACL_OPEN);
	EXPECT_I(shm_tree_set_acl(f->t, n, (uint32_t)acl, 1, ++f->zxid), ==, 0);
	EXPECT_I(shm_acl_intern(f->t, bytes, 27), ==, acl);
	EXPECT_I(shm_acl_release(f->t, (uint32_t)acl), ==, 0);
	publish(f);
	EXPECT_I(shm_tree_delete(f->t, n, ++f->zxid), ==, 0);
	for (int i = 0; i < 10; i++) {
		EXPECT_TRUE(shm_acl_bytes(f->t, (uint32_t)acl, &len) != NULL);
		publish(f);
		shm_tree_reclaim(f->t, UINT64_MAX, 100, &wants_head);
	}
	publish(f);
	shm_tree_reclaim(f->t, UINT64_MAX, 100, &wants_head);
	EXPECT_TRUE(shm_acl_bytes(f->t, (uint32_t)acl, &len) == NULL);
	EXPECT_TRUE(shm_acl_bytes(f->t, SHM_ACL_NONE, &len) == NULL);
	EXPECT_TRUE(shm_acl_bytes(f->t, UINT32_MAX, &len) == NULL);
	EXPECT_TRUE(shm_acl_bytes(f->t, SHM_ACL_OPEN, &len) != NULL);
}

TEST_F(shm_tree, a_parent_counts_as_in_zookeeper, struct tree_fx, tree_up, tree_down)
{
	struct shm_node *p = create(f, "/p", NULL, 0);
	struct shm_new new = {.path = "/p/a",
			      .path_len = 4,
			      .data_len = -1,
			      .acl = SHM_ACL_OPEN,
			      .parent_cversion = 7,
			      .zxid = ++f->zxid};

	EXPECT_I(shm_tree_create(f->t, &new, NULL), ==, 0);
	EXPECT_I(shm_version_cversion(p->version), ==, 7);
	EXPECT_I(shm_version_pzxid(p->version), ==, 2);
	new.path = "/p/b";
	new.parent_cversion = 7; /* not larger: neither counter moves */
	new.zxid = ++f->zxid;
	EXPECT_I(shm_tree_create(f->t, &new, NULL), ==, 0);
	EXPECT_I(shm_version_cversion(p->version), ==, 7);
	EXPECT_I(shm_version_pzxid(p->version), ==, 2);
	EXPECT_I(shm_version_children(p->version), ==, 2);
	EXPECT_I(shm_tree_create(f->t, &new, NULL), ==, -EEXIST);
	EXPECT_I(shm_tree_delete(f->t, p, 9), ==, -ENOTEMPTY);
	EXPECT_I(shm_tree_raise_cversion(f->t, p, INT32_MAX, ++f->zxid), ==, 0);
	EXPECT_I(shm_tree_raise_cversion(f->t, p, 3, ++f->zxid), ==, 0);
	EXPECT_I(shm_version_pzxid(p->version), ==, 4);
	new.path = "/p/c";
	new.parent_cversion = -1; /* one more would be negative: ignored */
	new.zxid = ++f->zxid;
	EXPECT_I(shm_tree_create(f->t, &new, NULL), ==, 0);
	EXPECT_I(shm_version_cversion(p->version), ==, INT32_MAX);
	EXPECT_I(shm_version_pzxid(p->version), ==, 4);
	new.path = "/q/c";
	EXPECT_I(shm_tree_create(f->t, &new, NULL), ==, -ENOENT);
}

TEST_F(shm_tree, extended_nodes_are_listed_and_have_no_owner_on_the_wire, struct tree_fx, tree_up,
       tree_down)
{
	struct shm_node *c = create(f, "/c", NULL, SHM_OWNER_CONTAINER);
	struct shm_node *ttl = create(f, "/t", NULL, (int64_t)0xff000000000003e8), *n;
	uint8_t stat[SHM_STAT_BYTES];

	n = shm_extended_first(f->t);
	EXPECT_TRUE(n == c);
	EXPECT_TRUE(shm_extended_next(f->t, n) == ttl);
	EXPECT_TRUE(shm_extended_next(f->t, ttl) == NULL);
	EXPECT_I(shm_tree_ephemerals(f->t), ==, 0);
	shm_node_stat(ttl, shm_node_version(ttl, SHM_LATEST), stat);
	EXPECT_U(be64_get(stat + 44), ==, 0);
	EXPECT_I(shm_tree_delete(f->t, c, ++f->zxid), ==, 0);
	EXPECT_TRUE(shm_extended_first(f->t) == ttl);
}

TEST_F(shm_tree, the_digest_can_be_switched_and_is_the_same_again, struct tree_fx, tree_up,
       tree_down)
{
	create(f, "/a", "data", 0);
	create(f, "/zookeeper/quota/x", "data", 0);
	uint64_t digest = shm_tree_digest(f->t);

	shm_tree_set_digest(f->t, false);
	EXPECT_U(shm_tree_digest(f->t), ==, 0);
	create(f, "/b", "data", 0);
	EXPECT_U(shm_tree_digest(f->t), ==, 0);
	EXPECT_I(shm_tree_delete(f->t, shm_tree_get(f->t, "/b", 2), ++f->zxid), ==, 0);
	shm_tree_set_digest(f->t, true);
	EXPECT_U(shm_tree_digest(f->t), !=, digest); /* the root's counters have moved */
	create(f, "/zookeeper/quota/y", "data", 0);
	EXPECT_I(shm_tree_put_config(f->t, "server.1", 8, f->zxid, 5, f->zxid), ==, 0);
	shm_tree_check(f->t);
}

/* An arena that refuses its n-th block: nothing has changed, and the same call works afterwards. */
TEST_F(shm_tree, a_failed_allocation_changes_nothing, struct tree_fx, tree_up, tree_down)
{
	static char data[1000];
	int failures = 0;

	EXPECT_I(shm_session_add(f->t, 5, 1, ++f->zxid, NULL), ==, 0);
	for (int i = 0; i < 1200; i++) {
		char path[32];
		struct shm_new new = {.path = path,
				      .path_len = (uint32_t)sprintf(path, "/n%d", i),
				      .data = data,
				      .data_len = i % 2 ? 1000 : 10,
				      .acl = SHM_ACL_OPEN,
				      .parent_cversion = -1,
				      .owner = i % 3 ? 0 : 5,
				      .zxid = ++f->zxid};
		struct shm_node *n = NULL;
		int error = 0;

		publish(f);
		for (int nth = 1; !n; nth++) {
			uint64_t digest = shm_tree_digest(f->t);

			f->t->arena.fail_in = nth;
			error = shm_tree_create(f->t, &new, &n);
			f->t->arena.fail_in = 0;
			failures += error != 0;
			EXPECT_TRUE(!error || digest == shm_tree_digest(f->t));
			if (i % 100 == 0)
				shm_tree_check(f->t);
			REQUIRE(EXPECT_TRUE(error == 0 || error == -ENOMEM));
		}
		publish(f);
		for (int nth = 1, error2 = 1; error2; nth++) {
			f->t->arena.fail_in = nth;
			error2 = shm_tree_set_data(f->t, n, data, 700, 1, f->zxid + 1, 0);
			f->t->arena.fail_in = 0;
			failures += error2 != 0;
		}
		f->zxid++;
	}
	EXPECT_I(failures, >, 1200 * 5);
}

TEST(shm_tree_bounds, a_full_heap_refuses_and_can_still_delete)
{
	struct tree_fx fx = {0}, *f = &fx;
	static char data[4000];
	struct shm_node *n;
	bool wants_head;
	int created = 0;

	REQUIRE(EXPECT_I(shm_tree_new_private(&f->t, 4 << 20), ==, 0));
	REQUIRE(EXPECT_I(shm_tree_initial(f->t), ==, 0));
	shm_tree_published(f->t, 0, f->head = 8);
	while (shm_tree_room(f->t, 4100)) {
		char path[32];
		struct shm_new new = {.path = path,
				      .path_len = (uint32_t)sprintf(path, "/n%d", created++),
				      .data = data,
				      .data_len = 4000,
				      .acl = SHM_ACL_OPEN,
				      .parent_cversion = -1,
				      .zxid = ++f->zxid};

		REQUIRE(EXPECT_I(shm_tree_create(f->t, &new, NULL), ==, 0));
		publish(f);
		shm_tree_reclaim(f->t, UINT64_MAX, 100, &wants_head);
	}
	EXPECT_I(created, >, 500);
	for (int i = 0; i < created; i++) {
		char path[32];

		n = shm_tree_get(f->t, path, (size_t)sprintf(path, "/n%d", i));
		REQUIRE(EXPECT_I(shm_tree_delete(f->t, n, ++f->zxid), ==, 0));
		publish(f);
	}
	shm_tree_reclaim(f->t, UINT64_MAX, 10000, &wants_head);
	publish(f);
	shm_tree_reclaim(f->t, UINT64_MAX, 10000, &wants_head);
	EXPECT_TRUE(shm_tree_room(f->t, 1 << 20));
	tree_down(f);
}

#ifndef SHM_ARENA_MALLOC

/* The server's own allocator in a small region, filled and emptied in sizes that don't match. */
TEST(shm_tree_bounds, what_room_promised_is_there_however_torn_the_heap)
{
	enum { BYTES = 48 << 20, MOST = 40000 };
	static const uint32_t sizes[] = {20, 150, 700, 5000, 90000, 1000, 300000, 64};
	static char data[300000];
	struct tree_fx fx = {0}, *f = &fx;
	uint64_t random = t_seed();
	bool wants_head;
	int ro_fd, total = 0;

	REQUIRE(EXPECT_I(shm_region_create(2, BYTES, &ro_fd), ==, 0));
	close(ro_fd);
	REQUIRE(EXPECT_I(shm_tree_new(&f->t, 2, BYTES), ==, 0));
	REQUIRE(EXPECT_I(shm_tree_initial(f->t), ==, 0));
	shm_tree_published(f->t, 0, f->head = 8);
	for (unsigned round = 0; round < 24; round++) {
		int created = 0;

		while (created < MOST) {
			char path[32];
			uint32_t len = sizes[(round + (uint32_t)(random >> 60) % 2) % 8];
			struct shm_new new = {
			    .path = path,
			    .path_len = (uint32_t)sprintf(path, "/n%u-%d", round, created++),
			    .data = data,
			    .data_len = (int32_t)len,
			    .acl = SHM_ACL_OPEN,
			    .parent_cversion = -1,
			    .zxid = ++f->zxid};

			random = random * 6364136223846793005 + 1442695040888963407;
			if (!shm_tree_room(f->t, len + new.path_len))
				break;
			REQUIRE(EXPECT_I(shm_tree_create(f->t, &new, NULL), ==, 0));
			publish(f);
			shm_tree_reclaim(f->t, UINT64_MAX, 100, &wants_head);
			total++;
		}
		for (int i = 0; i < created; i++) {
			char path[32];
			size_t len = (size_t)sprintf(path, "/n%u-%d", round, i);
			struct shm_node *n = shm_tree_get(f->t, path, len);

			random = random * 6364136223846793005 + 1442695040888963407;
			if (n && (random >> 60))
				REQUIRE(EXPECT_I(shm_tree_delete(f->t, n, ++f->zxid), ==, 0));
			publish(f);
			shm_tree_reclaim(f->t, UINT64_MAX, 100, &wants_head);
		}
		shm_tree_check(f->t);
	}
	EXPECT_I(total, >, MOST);
	EXPECT_TRUE(shm_tree_is_torn(f->t) || shm_tree_room(f->t, 100));
	munmap(f->t, BYTES);
}

#endif

TEST(shm_tree_load, errors_are_told_and_the_rest_is_loaded)
{
	struct tree_fx fx = {0}, *f = &fx;
	struct shm_loaded n = {.path = "", .acl = SHM_ACL_OPEN, .data_len = -1, .cversion = 9};

	REQUIRE(EXPECT_I(shm_tree_new_private(&f->t, 0), ==, 0));
	shm_tree_presize(f->t, 100000);
	EXPECT_I(shm_tree_loaded(f->t, 3), ==, -ENOENT);
	EXPECT_I(shm_tree_load(f->t, &n), ==, 0);
	EXPECT_I(shm_tree_load(f->t, &n), ==, -EEXIST);
	n.path = "/a/b";
	n.path_len = 4;
	EXPECT_I(shm_tree_load(f->t, &n), ==, -ENOENT);
	n.path = "a/b";
	n.path_len = 3;
	EXPECT_I(shm_tree_load(f->t, &n), ==, -EINVAL);
	n.path = "/a/";
	EXPECT_I(shm_tree_load(f->t, &n), ==, -EINVAL);
	n.data_len = -2;
	n.path = "/ab";
	EXPECT_I(shm_tree_load(f->t, &n), ==, -EINVAL);
	n.data_len = -1;
	for (int i = 0; i < 30000; i++) {
		char path[32];

		n.path = path;
		n.path_len = (uint32_t)sprintf(path, "/n%d", i);
		REQUIRE(EXPECT_I(shm_tree_load(f->t, &n), ==, 0));
	}
	EXPECT_I(shm_tree_initial(f->t), ==, 0);
	EXPECT_I(shm_tree_loaded(f->t, 3), ==, 0);
	EXPECT_I(shm_tree_zxid(f->t), ==, 3);
	EXPECT_I(shm_tree_get(f->t, "/", 1)->version->children, ==, 30001);
	EXPECT_I(shm_tree_get(f->t, "/", 1)->version->cversion, ==, 9);
	tree_down(f);
}

TEST_F(shm_tree, sessions_and_acl_lists_come_and_go_by_the_thousand, struct tree_fx, tree_up,
       tree_down)
{
	enum { MANY = 3000 };
	uint8_t bytes[27] = "\0\0\0\1\0\0\0\0\0\0\0\5world\0\0\0\6anyon";
	uint64_t used = 0;
	bool wants_head;

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < MANY; i++) {
			int64_t acl;

			f->t->arena.fail_in = 1;
			EXPECT_I(shm_session_add(f->t, 1000 + i, i, ++f->zxid, NULL), ==, -ENOMEM);
			f->t->arena.fail_in = 0;
			EXPECT_I(shm_session_add(f->t, 1000 + i, i, ++f->zxid, NULL), ==, 0);
			be32_put(bytes + 4, (uint32_t)i + 32);
			f->t->arena.fail_in = 1;
			EXPECT_I(shm_acl_intern(f->t, bytes, 27), ==, -ENOMEM);
			f->t->arena.fail_in = 0;
			acl = shm_acl_intern(f->t, bytes, 27);
			EXPECT_I(shm_acl_intern(f->t, bytes, 27), ==, acl);
			shm_acl_release(f->t, (uint32_t)acl);
			shm_acl_release(f->t, (uint32_t)acl);
		}
		EXPECT_U(shm_session_count(f->t), ==, MANY);
		EXPECT_U(shm_session_slots(f->t), ==, MANY);
		for (int i = 0; i < MANY; i++) {
			struct shm_session *s = shm_session_find(f->t, 1000 + i);

			REQUIRE(EXPECT_TRUE(s != NULL));
			EXPECT_I(shm_session_timeout(s), ==, i);
			EXPECT_TRUE(shm_session_at(f->t, shm_session_slot(s), SHM_LATEST) == s);
			shm_session_remove(f->t, s, ++f->zxid);
		}
		for (int i = 0; i < 4; i++) {
			publish(f);
			shm_tree_reclaim(f->t, UINT64_MAX, UINT32_MAX, &wants_head);
		}
		EXPECT_U(shm_tree_retired_bytes(f->t), ==, 0);
		if (!round)
			used = shm_tree_used(f->t);
		EXPECT_U(shm_tree_used(f->t), ==, used);
	}
}
