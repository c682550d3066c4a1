#include "writer/quota.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static const char quota_root[] = "/zookeeper/quota";
static const char limits_name[] = "/zookeeper_limits";
static const char stats_name[] = "/zookeeper_stats";
static const char system_root[] = "/zookeeper";

struct quota {
	struct wtr_link link;
	int64_t nodes, bytes;           /* in use */
	int64_t nodes_hard, bytes_hard; /* -1: no limit */
	bool has_limits, has_stats;
	uint32_t len;
	char path[]; /* Q */
};

enum role { ROLE_NONE, ROLE_LIMITS, ROLE_STATS };

static bool starts_with(const char *path, uint32_t len, const char *with)
{
	return len >= strlen(with) && !memcmp(path, with, strlen(with));
}

static bool ends_with(const char *path, uint32_t len, const char *with)
{
	return len >= strlen(with) && !memcmp(path + len - strlen(with), with, strlen(with));
}

/* Is this a limits or a stats node, and of which Q? */
static enum role role_of(const char *path, uint32_t len, const char **q_path, uint32_t *q_len)
{
	const uint32_t root = sizeof(quota_root) - 1;
	enum role role = ROLE_NONE;
	uint32_t name = 0;

	if (!starts_with(path, len, quota_root))
		return ROLE_NONE;
	if (ends_with(path, len, limits_name)) {
		role = ROLE_LIMITS;
		name = sizeof(limits_name) - 1;
	} else if (ends_with(path, len, stats_name)) {
		role = ROLE_STATS;
		name = sizeof(stats_name) - 1;
	}
	if (!role || len <= root + name || path[root] != '/')
		return ROLE_NONE;
	*q_path = path + root;
	*q_len = len - root - name;
	return role;
}

bool wtr_quota_forbidden(const char *path, uint32_t len)
{
	return starts_with(path, len, system_root) && ends_with(path, len, limits_name) &&
	       len - (sizeof(limits_name) - 1) <= sizeof(quota_root) - 1;
}

static struct quota *find(const struct wtr_quota *q, const char *path, uint32_t len)
{
	struct wtr_link *l = wtr_table_find(&q->table, shm_tree_hash(q->tree, path, len));
	struct quota *e = l ? WTR_OBJECT(l, struct quota, link) : NULL;

	return e && e->len == len && !memcmp(e->path, path, len) ? e : NULL;
}

/* The deepest active quota that path is in. */
static struct quota *deepest(const struct wtr_quota *q, const char *path, uint32_t len)
{
	while (q->table.count && len > 1) {
		struct quota *e = find(q, path, len);

		if (e && e->has_limits)
			return e;
		do
			len--;
		while (len && path[len] != '/');
	}
	return NULL;
}

static struct quota *find_or_add(struct wtr_quota *q, const char *path, uint32_t len)
{
	uint64_t key = shm_tree_hash(q->tree, path, len);
	struct quota *e = find(q, path, len);

	if (e || wtr_table_find(&q->table, key))
		return e;
	e = calloc(1, sizeof(*e) + len);
	CHECK(e != NULL);
	e->link.key = key;
	e->nodes_hard = e->bytes_hard = -1;
	e->len = len;
	memcpy(e->path, path, len);
	wtr_table_add(&q->table, &e->link);
	return e;
}

static struct shm_node *node_of(struct wtr_quota *q, const struct quota *e, const char *name)
{
	const size_t root = sizeof(quota_root) - 1, rest = strlen(name), len = root + e->len + rest;
	char small[512], *path = len <= sizeof(small) ? small : malloc(len);
	struct shm_node *n;

	CHECK(path != NULL);
	memcpy(path, quota_root, root);
	memcpy(path + root, e->path, e->len);
	memcpy(path + root + e->len, name, rest);
	n = shm_tree_get(q->tree, path, len);
	if (path != small)
		free(path);
	return n;
}

static void write_stats(struct wtr_quota *q, struct quota *e, int64_t zxid)
{
	struct shm_node *n = e->has_stats ? node_of(q, e, stats_name) : NULL;
	char text[64];
	int len = snprintf(text, sizeof(text), "count=%lld,bytes=%lld", (long long)e->nodes,
			   (long long)e->bytes);

	/* Without memory the text is late; the counters are right. */
	if (n)
		(void)shm_tree_put_data(q->tree, n, text, len, zxid);
}

/* The number behind "key=" in a limits text; -1: none. */
static int64_t limit_of(const char *text, size_t len, const char *key)
{
	const char *end = text + len;

	while (text < end) {
		const char *next = text;
		int64_t value = -1;

		while (next < end && *next != ',' && *next != ';')
			next++;
		if ((size_t)(next - text) > strlen(key) && !memcmp(text, key, strlen(key))) {
			for (text += strlen(key); text < next && *text >= '0' && *text <= '9';
			     text++) {
				if (value > INT64_MAX / 10 - 1)
					return -1;
				value = (value < 0 ? 0 : value * 10) + (*text - '0');
			}
			return value;
		}
		text = next + 1;
	}
	return -1;
}

static void read_limits(struct wtr_quota *q, struct quota *e)
{
	struct shm_node *n = node_of(q, e, limits_name);
	const char *text;
	int32_t len;

	e->nodes_hard = e->bytes_hard = -1;
	if (!n)
		return;
	text = shm_version_data(shm_node_version(n, SHM_LATEST), &len);
	if (len <= 0)
		return;
	e->nodes_hard = limit_of(text, (size_t)len, "countHardLimit=");
	e->bytes_hard = limit_of(text, (size_t)len, "byteHardLimit=");
}

static int64_t bytes_of(const struct shm_node *n)
{
	int32_t len;

	shm_version_data(shm_node_version(n, SHM_LATEST), &len);
	return len > 0 ? len : 0;
}

/* Visit n and all below it, each node before its children. */
static void walk(const struct shm_node *n, void (*visit)(void *arg, const struct shm_node *n),
		 void *arg)
{
	size_t depth = 0, cap = 64;
	struct shm_iter *stack = malloc(cap * sizeof(*stack));

	CHECK(stack != NULL);
	visit(arg, n);
	shm_children_begin(&stack[0], n, SHM_LATEST);
	for (;;) {
		const struct shm_node *child = shm_children_next(&stack[depth]);

		if (!child) {
			if (!depth--)
				break;
			continue;
		}
		visit(arg, child);
		if (++depth == cap) {
			cap *= 2;
			stack = realloc(stack, cap * sizeof(*stack));
			CHECK(stack != NULL);
		}
		shm_children_begin(&stack[depth], child, SHM_LATEST);
	}
	free(stack);
}

static void count_node(void *arg, const struct shm_node *n)
{
	struct quota *e = arg;

	e->nodes++;
	e->bytes += bytes_of(n);
}

static void count(struct wtr_quota *q, struct quota *e, int64_t zxid)
{
	struct shm_node *n = shm_tree_get(q->tree, e->path, e->len);

	e->nodes = e->bytes = 0;
	if (n)
		walk(n, count_node, e);
	write_stats(q, e, zxid);
}

static void update(struct wtr_quota *q, const char *path, uint32_t len, int64_t nodes,
		   int64_t bytes, int64_t zxid)
{
	struct quota *e = deepest(q, path, len);

	if (!e || !e->has_stats)
		return;
	e->nodes += nodes;
	e->bytes += bytes;
	write_stats(q, e, zxid);
}

void wtr_quota_created(struct wtr_quota *q, const char *path, uint32_t len, int32_t data_len,
		       int64_t zxid)
{
	const char *q_path;
	uint32_t q_len;
	enum role role = role_of(path, len, &q_path, &q_len);
	struct quota *e = role ? find_or_add(q, q_path, q_len) : NULL;

	if (e && role == ROLE_LIMITS) {
		e->has_limits = true;
		read_limits(q, e);
	} else if (e) {
		e->has_stats = true;
	}
	if (e && e->has_stats)
		count(q, e, zxid);
	update(q, path, len, 1, data_len > 0 ? data_len : 0, zxid);
}

void wtr_quota_deleted(struct wtr_quota *q, const char *path, uint32_t len, int32_t data_len,
		       int64_t zxid)
{
	const char *q_path;
	uint32_t q_len;
	enum role role = role_of(path, len, &q_path, &q_len);
	struct quota *e = role ? find(q, q_path, q_len) : NULL;

	if (e && role == ROLE_LIMITS)
		e->has_limits = false;
	else if (e)
		e->has_stats = false;
	if (e && !e->has_limits && !e->has_stats) {
		wtr_table_remove(&q->table, &e->link);
		free(e);
	}
	update(q, path, len, -1, data_len > 0 ? -data_len : 0, zxid);
}

void wtr_quota_changed(struct wtr_quota *q, const char *path, uint32_t len, int64_t grew,
		       int64_t zxid)
{
	const char *q_path;
	uint32_t q_len;
	struct quota *e;

	if (!q->table.count)
		return;
	if (role_of(path, len, &q_path, &q_len) == ROLE_LIMITS) {
		e = find(q, q_path, q_len);
		if (e)
			read_limits(q, e);
	}
	if (grew)
		update(q, path, len, 0, grew, zxid);
}

bool wtr_quota_permits(const struct wtr_quota *q, const char *path, uint32_t len, int64_t nodes,
		       int64_t bytes)
{
	const struct quota *e = deepest(q, path, len);

	if (!e || !e->has_stats)
		return true;
	if (nodes && e->nodes_hard > -1 && e->nodes + nodes > e->nodes_hard)
		return false;
	return !bytes || e->bytes_hard < 0 || e->bytes + bytes <= e->bytes_hard;
}

int wtr_quota_init(struct wtr_quota *q, struct shm_tree *tree)
{
	q->tree = tree;
	return wtr_table_init(&q->table);
}

static void forget_all(struct wtr_quota *q)
{
	struct wtr_link *l;

	while ((l = wtr_table_any(&q->table))) {
		wtr_table_remove(&q->table, l);
		free(WTR_OBJECT(l, struct quota, link));
	}
}

void wtr_quota_fini(struct wtr_quota *q)
{
	if (!q->table.chain)
		return;
	forget_all(q);
	wtr_table_fini(&q->table);
}

static void find_role(void *arg, const struct shm_node *n)
{
	struct wtr_quota *q = arg;
	uint32_t len, q_len;
	const char *path = shm_node_path(n, &len), *q_path;
	enum role role = role_of(path, len, &q_path, &q_len);
	struct quota *e = role ? find_or_add(q, q_path, q_len) : NULL;

	if (e && role == ROLE_LIMITS)
		e->has_limits = true;
	else if (e)
		e->has_stats = true;
}

struct recounting {
	struct wtr_quota *q;
	int64_t zxid;
};

static void recount_one(void *arg, struct wtr_link *l)
{
	struct recounting *r = arg;
	struct quota *e = WTR_OBJECT(l, struct quota, link);

	if (e->has_limits)
		read_limits(r->q, e);
	if (e->has_stats)
		count(r->q, e, r->zxid);
}

void wtr_quota_recount(struct wtr_quota *q, int64_t zxid)
{
	struct shm_node *root = shm_tree_get(q->tree, quota_root, sizeof(quota_root) - 1);

	forget_all(q);
	if (root)
		walk(root, find_role, q);
	wtr_table_each(&q->table, recount_one, &(struct recounting){q, zxid});
}
