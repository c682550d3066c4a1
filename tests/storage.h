/*
 * storage.h - what the tests of storage/ share: entries made from their zxid, a sink that keeps
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "storage/recover.h"

/* What came out of a recovery, with a running checksum of every byte. */
struct kept {
	int64_t snapshot_zxid, last_zxid;
	uint64_t txns, nodes, sessions, sum, begins;
	struct sto_snap_head loaded;
	bool wrong;           /* an entry is not what entry_put() made, or out of order */
	uint32_t entry_bytes; /* as given to entry_put(); 0: don't compare */
	int fail_after;       /* calls until the sink fails; 0: never */
	int fail_errno;
};

static inline uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* An entry as the log has it, its length in front: half of it compressible. Returns the bytes. */
static inline size_t entry_put(uint8_t *to, int64_t zxid, uint32_t bytes)
{
	uint32_t n = 32 + bytes;

	le32_put(to, n);
	to += 4;
	be64_put(to, 0x0100000000000001);
	be32_put(to + 8, (uint32_t)zxid);
	be64_put(to + 12, (uint64_t)zxid);
	be64_put(to + 20, 1700000000000 + (uint64_t)zxid);
	be32_put(to + 28, 5);
	for (uint32_t i = 0; i < bytes; i += 16) {
		uint64_t words[2] = {mix((uint64_t)zxid * 131 + i), i};

		memcpy(to + 32 + i, words, bytes - i < 16 ? bytes - i : 16);
	}
	return 4 + n;
}

static inline int kept_call(struct kept *k)
{
	return k->fail_after && !--k->fail_after ? -k->fail_errno : 0;
}

static inline void kept_sum(struct kept *k, const void *bytes, size_t n)
{
	k->sum = XXH3_64bits_withSeed(bytes, n, k->sum);
}

static inline int kept_begin(void *self, const struct sto_snap_head *head)
{
	struct kept *k = self;
	struct kept empty = {
	    .entry_bytes = k->entry_bytes,
	    .fail_after = k->fail_after,
	    .fail_errno = k->fail_errno,
	    .begins = k->begins + 1,
	};

	*k = empty;
	k->last_zxid = k->snapshot_zxid = head->zxid;
	return kept_call(k);
}

static inline int kept_session(void *self, int64_t id, int32_t timeout_ms)
{
	struct kept *k = self;

	k->sessions++;
	kept_sum(k, &id, sizeof(id));
	kept_sum(k, &timeout_ms, sizeof(timeout_ms));
	return kept_call(k);
}

static inline int kept_node(void *self, const struct sto_snap_node *n)
{
	struct kept *k = self;
	int64_t stat[] = {n->owner, n->czxid,   n->mzxid,    n->ctime,    n->mtime,
			  n->pzxid, n->version, n->cversion, n->aversion, n->data_len};

	k->nodes++;
	kept_sum(k, n->path, n->path_len);
	kept_sum(k, n->data, n->data_len < 0 ? 0 : (size_t)n->data_len);
	kept_sum(k, n->acl, n->acl_len);
	kept_sum(k, stat, sizeof(stat));
	return kept_call(k);
}

static inline int kept_loaded(void *self, const struct sto_snap_head *head)
{
	struct kept *k = self;

	k->loaded = *head;
	return kept_call(k);
}

static inline int kept_txn(void *self, int64_t zxid, const uint8_t *entry, uint32_t len)
{
	struct kept *k = self;

	k->txns++;
	k->wrong |= zxid != k->last_zxid + 1;
	k->last_zxid = zxid;
	if (k->entry_bytes) {
		uint8_t want[4096];
		size_t n = entry_put(want, zxid, k->entry_bytes);

		k->wrong |= n != len + 4u || memcmp(want + 4, entry, len) != 0;
	} else {
		kept_sum(k, entry, len);
	}
	return kept_call(k);
}

static inline struct sto_sink kept_sink(struct kept *k)
{
	return (struct sto_sink){
	    .self = k,
	    .begin = kept_begin,
	    .session = kept_session,
	    .node = kept_node,
	    .loaded = kept_loaded,
	    .txn = kept_txn,
	};
}

/* Put a snapshot of `nodes` nodes made from their number. 0 or -errno. */
static inline int snapshot_put(const struct sto_fs *fs, const char *dir, int64_t zxid,
			       uint64_t nodes)
{
	static const uint8_t acl[2][4] = {{0, 0, 0, 1}, {0, 0, 0, 2}};
	struct sto_snap_head head = {.zxid = zxid, .nodes = nodes, .sessions = 2, .digest = 7};
	struct sto_snap_writer *w;
	uint8_t data[100];
	char path[64];
	int err = sto_snap_begin(&w, fs, dir, &head);

	if (err)
		return err;
	for (int64_t id = 0; id < 2; id++)
		sto_snap_session(w, 0x0100000000000000 + id, 30000);
	for (uint64_t i = 0; i < nodes; i++) {
		struct sto_snap_node n = {
		    .path = path,
		    .data = data,
		    .data_len = i % 7 ? (int32_t)(i % 100) : -1,
		    .acl = acl[i % 5 == 0],
		    .acl_len = i % 11 ? 4 : 0,
		    .czxid = (int64_t)(mix(i) % (uint64_t)(zxid + 1)),
		    .ctime = 1700000000000 + (int64_t)i,
		    .owner = i % 13 ? 0 : 0x0100000000000001,
		};

		n.mzxid = i % 3 ? n.czxid : zxid;
		n.mtime = i % 3 ? n.ctime : n.ctime + 5;
		n.pzxid = i % 4 ? n.czxid : zxid;
		n.cversion = i % 4 ? 0 : -(int32_t)i;
		n.version = i % 3 ? 0 : (int32_t)i;
		n.path_len = (uint32_t)(i ? snprintf(path, sizeof(path), "/dir-%d/node-%010d",
						     (int)(i / 64), (int)i)
					  : snprintf(path, sizeof(path), "/"));
		for (size_t k = 0; k < sizeof(data); k++)
			data[k] = (uint8_t)mix(i * 100 + k);
		sto_snap_put(w, &n);
	}
	return sto_snap_commit(w, &head);
}
