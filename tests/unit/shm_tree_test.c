#include "tests/t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "shm/node.h"
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
	EXPECT_I(shm_version_aversion(v), ==, -1);
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
