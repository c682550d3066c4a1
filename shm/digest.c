/*
 * digest.c - the digest of the tree, ZooKeeper's version 2, kept up with each change
 *
 * The sum of one CRC-32 for each node, over path, data and persisted stat. A version keeps the
 * CRC of path and data, with which its share begins.
 */
#include <libdeflate.h>

#include "base/bytes.h"
#include "shm/node.h"

enum { PERSISTED_BYTES = 60 };

/* ZooKeeper's DigestCalculator: nodes below /zookeeper/ don't count. */
static bool digest_has(const char *path, size_t len)
{
	return len < 11 || memcmp(path, "/zookeeper/", 11) != 0;
}

/* The root counts with the path "". */
static uint32_t crc_of_data(const char *path, size_t path_len, const void *data, int32_t data_len)
{
	uint32_t crc = path_len > 1 ? libdeflate_crc32(0, path, path_len) : 0;

	return data_len > 0 ? libdeflate_crc32(crc, data, (size_t)data_len) : crc;
}

static void persisted_stat(const struct shm_node *n, const struct shm_version *v,
			   uint8_t out[PERSISTED_BYTES])
{
	be64_put(out, (uint64_t)n->czxid);
	be64_put(out + 8, (uint64_t)v->mzxid);
	be64_put(out + 16, (uint64_t)v->pzxid);
	be64_put(out + 24, (uint64_t)n->ctime);
	be64_put(out + 32, (uint64_t)v->mtime);
	be32_put(out + 40, (uint32_t)v->version);
	be32_put(out + 44, (uint32_t)v->cversion);
	be32_put(out + 48, (uint32_t)v->aversion);
	be64_put(out + 52, (uint64_t)shm_node_owner(n));
}

void shm_node_share(struct shm_tree *t, const struct shm_node *n, struct shm_version *v,
		    uint32_t was, bool data_changed)
{
	uint8_t stat[PERSISTED_BYTES];
	int32_t len;

	if (!t->digest_on || !digest_has(n->path, n->path_len)) {
		v->crc = v->crc_data = 0;
		return;
	}
	const void *data = shm_version_data(v, &len);

	if (data_changed)
		v->crc_data = crc_of_data(n->path, n->path_len, data, len);
	persisted_stat(n, v, stat);
	v->crc = libdeflate_crc32(v->crc_data, stat, sizeof(stat));
	t->digest += (uint64_t)v->crc - was;
}

static void share_again(struct shm_node *n, void *tree)
{
	if (n->last == INT64_MAX)
		shm_node_share(tree, n, n->version, 0, true);
}

void shm_tree_set_digest(struct shm_tree *t, bool enabled)
{
	t->digest_on = enabled;
	t->digest = 0;
	shm_index_walk(t, share_again, t);
}

uint64_t shm_tree_digest(const struct shm_tree *t)
{
	return t->digest;
}
