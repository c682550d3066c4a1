/*
 * The tree against a naive copy of it: random operations, publications, reclamation with pinned
 * readers, and at any moment the whole tree compared as of each pinned zxid.
 */
#include "tests/t.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "shm/node.h"
#include "shm/tree.h"

enum { NODES = 160, PINS = 3, DATA_MAX = 300, SESSIONS = 4 };

/* One path: "/zookeeper" and root are left out of the model. */
struct model_node {
	bool alive;
	int parent; /* index; -1 = root */
	int32_t version, cversion, aversion, children, data_len;
	uint32_t acl;
	int64_t czxid, mzxid, pzxid, owner, ctime, mtime;
	uint8_t data[DATA_MAX];
};
struct model {
	struct model_node node[NODES];
	int64_t zxid;
};
struct model_fx {
	struct shm_tree *t;
	struct model *now, pinned[PINS];
	uint64_t pinned_head[PINS];
	char path[NODES][64];
	uint64_t head, random;
	int64_t zxid;
	int64_t acl[3];
};

static uint64_t any(struct model_fx *f, uint64_t below)
{
	f->random = f->random * 6364136223846793005 + 1442695040888963407;
	return (f->random >> 33) % below;
}

/* Node i hangs below node i / 5 - 1. */
static int parent_index(int i)
{
	return i / 5 - 1;
}

static void model_up(struct model_fx *f)
{
	static const uint8_t acls[3][31] = {"\0\0\0\1\0\0\0\1\0\0\0\5world\0\0\0\6anyone",
					    "\0\0\0\1\0\0\0\3\0\0\0\5world\0\0\0\6anyone",
					    "\0\0\0\1\0\0\0\7\0\0\0\5world\0\0\0\6anyone"};

	f->random = t_seed();
	f->now = calloc(1, sizeof(*f->now));
	for (int i = 0; i < NODES; i++)
		snprintf(f->path[i], sizeof(f->path[i]), "%s/n%d",
			 parent_index(i) < 0 ? "" : f->path[parent_index(i)], i);
	REQUIRE(EXPECT_I(shm_tree_new_private(&f->t, 0), ==, 0));
	REQUIRE(EXPECT_I(shm_tree_initial(f->t), ==, 0));
	EXPECT_I(shm_tree_loaded(f->t, 0), ==, 0);
	for (int i = 0; i < 3; i++)
		f->acl[i] = shm_acl_intern(f->t, acls[i], 27);
	for (int i = 0; i < SESSIONS; i++)
		EXPECT_I(shm_session_add(f->t, 100 + i, 3000, ++f->zxid, NULL), ==, 0);
	f->head = 8;
	shm_tree_published(f->t, f->zxid, f->head);
	f->now->zxid = f->zxid;
	for (int i = 0; i < PINS; i++) {
		f->pinned[i] = *f->now;
		f->pinned_head[i] = f->head;
	}
}

static void model_down(struct model_fx *f)
{
	if (f->t)
		shm_tree_free_private(f->t);
	free(f->now);
}

static struct shm_node *node(struct model_fx *f, int i)
{
	return shm_tree_get(f->t, f->path[i], strlen(f->path[i]));
}

static void child_changed(struct model_fx *f, int i, int by)
{
	int p = parent_index(i);

	if (p < 0)
		return;
	f->now->node[p].children += by;
	f->now->node[p].pzxid = f->zxid;
	f->now->node[p].cversion += by > 0;
}

static uint32_t take_acl(struct model_fx *f)
{
	uint32_t len;
	const uint8_t *bytes = shm_acl_bytes(f->t, (uint32_t)f->acl[any(f, 3)], &len);

	return (uint32_t)shm_acl_intern(f->t, bytes, len);
}

static int32_t take_data(struct model_fx *f, uint8_t *data)
{
	int32_t len = (int32_t)any(f, DATA_MAX + 2) - 1;

	for (int32_t i = 0; i < len; i++)
		data[i] = (uint8_t)any(f, 256);
	return len;
}

static void do_create(struct model_fx *f, int i)
{
	struct model_node *m = &f->now->node[i], was = *m;
	int p = parent_index(i);
	uint64_t kind = any(f, 6);
	int want = p >= 0 && !f->now->node[p].alive ? -ENOENT : was.alive ? -EEXIST : 0;
	struct shm_new new = {.path = f->path[i],
			      .path_len = (uint32_t)strlen(f->path[i]),
			      .data = m->data,
			      .acl = take_acl(f),
			      .parent_cversion = -1,
			      .zxid = ++f->zxid,
			      .time_ms = f->zxid * 3};

	*m = (struct model_node){.alive = true, .parent = p, .acl = new.acl};
	new.data_len = m->data_len = take_data(f, m->data);
	new.owner = m->owner = kind == 0   ? 100 + (int64_t)any(f, SESSIONS)
			       : kind == 1 ? SHM_OWNER_CONTAINER
					   : 0;
	m->czxid = m->mzxid = m->pzxid = f->zxid;
	m->ctime = m->mtime = new.time_ms;
	EXPECT_I(shm_tree_create(f->t, &new, NULL), ==, want);
	if (want) {
		*m = was;
		shm_acl_release(f->t, new.acl);
		return;
	}
	child_changed(f, i, 1);
}

static void do_delete(struct model_fx *f, int i)
{
	struct model_node *m = &f->now->node[i];
	struct shm_node *n = node(f, i);

	EXPECT_I(n != NULL, ==, m->alive);
	if (!n)
		return;
	++f->zxid;
	EXPECT_I(shm_tree_delete(f->t, n, f->zxid), ==, m->children ? -ENOTEMPTY : 0);
	if (m->children)
		return;
	m->alive = false;
	child_changed(f, i, -1);
}

static void do_change(struct model_fx *f, int i)
{
	struct model_node *m = &f->now->node[i];
	struct shm_node *n = node(f, i);

	EXPECT_I(n != NULL, ==, m->alive);
	if (!n)
		return;
	++f->zxid;
	switch (any(f, 4)) {
	case 0:
		m->acl = take_acl(f);
		EXPECT_I(shm_tree_set_acl(f->t, n, m->acl, ++m->aversion, f->zxid), ==, 0);
		break;
	case 1:
		m->data_len = take_data(f, m->data);
		EXPECT_I(shm_tree_put_data(f->t, n, m->data, m->data_len, f->zxid), ==, 0);
		break;
	default:
		m->data_len = take_data(f, m->data);
		m->mzxid = f->zxid;
		m->mtime = f->zxid * 5;
		EXPECT_I(shm_tree_set_data(f->t, n, m->data, m->data_len, ++m->version, f->zxid,
					   m->mtime),
			 ==, 0);
	}
}

static void stat_of(const struct model_node *m, uint8_t out[SHM_STAT_BYTES])
{
	bool is_ephemeral = m->owner > 0;

	be64_put(out, (uint64_t)m->czxid);
	be64_put(out + 8, (uint64_t)m->mzxid);
	be64_put(out + 16, (uint64_t)m->ctime);
	be64_put(out + 24, (uint64_t)m->mtime);
	be32_put(out + 32, (uint32_t)m->version);
	be32_put(out + 36, (uint32_t)(2 * m->cversion - m->children));
	be32_put(out + 40, (uint32_t)m->aversion);
	be64_put(out + 44, is_ephemeral ? (uint64_t)m->owner : 0);
	be32_put(out + 52, m->data_len < 0 ? 0 : (uint32_t)m->data_len);
	be32_put(out + 56, (uint32_t)m->children);
	be64_put(out + 60, (uint64_t)m->pzxid);
}

static void compare_node(struct model_fx *f, const struct model *m, int i)
{
	const struct model_node *want = &m->node[i];
	const struct shm_version *v;
	size_t len = strlen(f->path[i]);
	const struct shm_node *n =
	    shm_tree_find(f->t, shm_tree_hash(f->t, f->path[i], len), f->path[i], len, m->zxid, &v);
	uint8_t stat[SHM_STAT_BYTES], want_stat[SHM_STAT_BYTES];
	uint32_t acl_len, path_len;
	int32_t data_len, children = 0;
	struct shm_iter it;

	REQUIRE(EXPECT_I(n != NULL, ==, want->alive));
	if (!n)
		return;
	shm_node_stat(n, v, stat);
	stat_of(want, want_stat);
	REQUIRE(EXPECT_MEM(stat, want_stat, sizeof(stat)));
	REQUIRE(EXPECT_U(shm_version_acl(v), ==, want->acl));
	EXPECT_TRUE(shm_acl_bytes(f->t, want->acl, &acl_len) != NULL);
	const void *data = shm_version_data(v, &data_len);

	REQUIRE(EXPECT_I(data_len, ==, want->data_len));
	EXPECT_MEM(data, want->data, data_len > 0 ? (size_t)data_len : 0);
	shm_children_begin(&it, n, m->zxid);
	for (const struct shm_node *c; (c = shm_children_next(&it)); children++) {
		EXPECT_TRUE(shm_node_parent(c) == n);
		EXPECT_MEM(shm_node_path(c, &path_len), f->path[i], len);
		EXPECT_U(path_len, >, len);
	}
	EXPECT_I(children, ==, want->children);
}

static void compare_sessions(struct model_fx *f, const struct model *m)
{
	struct shm_iter it;

	for (uint32_t slot = 0; slot < SESSIONS; slot++) {
		const struct shm_session *s = shm_session_at(f->t, slot, m->zxid);
		int found = 0, want = 0;

		REQUIRE(EXPECT_TRUE(s != NULL));
		shm_ephemerals_begin(&it, s, m->zxid);
		while (shm_ephemerals_next(&it))
			found++;
		for (int i = 0; i < NODES; i++)
			want += m->node[i].alive && m->node[i].owner == shm_session_id(s);
		EXPECT_I(found, ==, want);
	}
}

static uint32_t crc_of(const char *path, const struct model_node *m, const uint8_t stat[60])
{
	uint32_t crc = libdeflate_crc32(0, path, strlen(path));

	if (m->data_len > 0)
		crc = libdeflate_crc32(crc, m->data, (size_t)m->data_len);
	return libdeflate_crc32(crc, stat, 60);
}

/* Root and /zookeeper by hand, the rest by the definition of the digest. */
static uint64_t digest_of(struct model_fx *f)
{
	uint64_t digest =
	    UINT64_C(1303661912) + shm_version_crc(shm_tree_get(f->t, "/", 1)->version);

	for (int i = 0; i < NODES; i++) {
		const struct model_node *m = &f->now->node[i];
		uint8_t stat[60];

		be64_put(stat, (uint64_t)m->czxid);
		be64_put(stat + 8, (uint64_t)m->mzxid);
		be64_put(stat + 16, (uint64_t)m->pzxid);
		be64_put(stat + 24, (uint64_t)m->ctime);
		be64_put(stat + 32, (uint64_t)m->mtime);
		be32_put(stat + 40, (uint32_t)m->version);
		be32_put(stat + 44, (uint32_t)m->cversion);
		be32_put(stat + 48, (uint32_t)m->aversion);
		be64_put(stat + 52, (uint64_t)m->owner);
		if (m->alive)
			digest += crc_of(f->path[i], m, stat);
	}
	return digest;
}

static void compare(struct model_fx *f, const struct model *m)
{
	for (int i = 0; i < NODES && !t_failed(); i++)
		compare_node(f, m, i);
	compare_sessions(f, m);
}

static void publish_and_reclaim(struct model_fx *f)
{
	uint64_t min = UINT64_MAX;
	bool wants_head;

	f->head += 8;
	shm_tree_published(f->t, f->zxid, f->head);
	f->now->zxid = f->zxid;
	uint64_t pin = any(f, 2 * PINS);

	if (pin < PINS) {
		f->pinned[pin] = *f->now;
		f->pinned_head[pin] = f->head;
	}
	for (int i = 0; i < PINS; i++)
		min = f->pinned_head[i] + 1 < min ? f->pinned_head[i] + 1 : min;
	shm_tree_reclaim(f->t, min, (unsigned)any(f, 100), &wants_head);
}

TEST_F(shm_tree_model, readers_at_older_zxids_see_what_was, struct model_fx, model_up, model_down)
{
	for (int step = 0; step < 20000 && !t_failed(); step++) {
		int i = (int)any(f, NODES);

		switch (any(f, 4)) {
		case 0:
			do_delete(f, i);
			break;
		case 1:
			do_change(f, i);
			break;
		default:
			do_create(f, i);
		}
		if (any(f, 4) == 0)
			publish_and_reclaim(f);
		if (step % 200 == 0) {
			shm_tree_check(f->t);
			EXPECT_U(shm_tree_digest(f->t), ==, digest_of(f));
			for (int pin = 0; pin < PINS; pin++)
				compare(f, &f->pinned[pin]);
		}
	}
}

/* All retired memory comes back: after everything is deleted and every reader has moved on. Only
 * the head chunks of the lists that are left may have grown. */
TEST_F(shm_tree_model, nothing_stays_behind, struct model_fx, model_up, model_down)
{
	uint64_t used = 0;
	bool wants_head = true;

	for (int round = 0; round < 3 && !t_failed(); round++) {
		for (int step = 0; step < 3000; step++) {
			do_create(f, (int)any(f, NODES));
			do_change(f, (int)any(f, NODES));
		}
		for (int i = NODES - 1; i >= 0; i--)
			if (f->now->node[i].alive)
				do_delete(f, i);
		do {
			f->head += 8;
			shm_tree_published(f->t, f->zxid, f->head);
			shm_tree_reclaim(f->t, UINT64_MAX, 100000, &wants_head);
		} while (wants_head);
		EXPECT_U(shm_tree_retired_bytes(f->t), ==, 0);
		EXPECT_I(shm_tree_count(f->t), ==, 5);
		EXPECT_TRUE(shm_extended_first(f->t) == NULL);
		if (!round)
			used = shm_tree_used(f->t);
		EXPECT_U(shm_tree_used(f->t), <=, used + 8192);
		shm_tree_check(f->t);
	}
}
