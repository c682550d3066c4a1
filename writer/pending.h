/*
 * pending.h - what was accepted and is not applied yet (ZooKeeper's outstandingChanges)
 *
 * Requests are checked against the newest tree as these changes will leave it. For each path that
 * a transaction in flight touches there is one struct wtr_change with the state that the next
 * request must see; what has no record is as the tree says. A record is dropped when the last
 * transaction that touched it is applied. Also kept here: the digest that the tree will have.
 *
 * Runs in: writer, deciding thread. Memory: records come from a free list that grows; nothing is
 * allocated per request in the steady state. Records are valid until the next call that may drop
 * them (wtr_pending_applied, wtr_pending_rollback).
 *
 * Rollback: between mark and commit every record that is about to change is saved first; a multi
 * that fails leaves no trace, not even in the counters of its parents.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shm/tree.h"

enum { WTR_PATH_INLINE = 72 };

/* A znode as the next request must see it. Without `exists` nothing but share (0) counts. */
struct wtr_state {
	int64_t czxid, mzxid, pzxid, ctime, mtime, owner;
	int64_t acl_zxid;         /* > applied: acl_bytes holds; else the tree's node has it */
	const uint8_t *acl_bytes; /* vector<ACL>, in the transaction's entry */
	int32_t version, cversion, aversion, children, data_len; /* cversion: internal */
	uint32_t acl_len, acl; /* acl: id in the tree, unless acl_zxid != 0 */
	uint32_t share;        /* CRC-32 that this node adds to the digest */
	uint32_t prefix;       /* CRC-32 of path and data; if has_prefix */
	bool exists, has_prefix;
};

struct wtr_change {
	struct wtr_change *next; /* in its bucket, or on the free list */
	uint64_t hash;
	int64_t zxid; /* the last transaction that touched it; 0 = a look, not a record */
	const char *path;
	uint32_t path_len;
	bool excluded; /* not part of the digest: below /zookeeper/ */
	struct wtr_state now;
	char inline_path[WTR_PATH_INLINE];
};

struct wtr_slab;

struct wtr_touch {
	int64_t zxid;
	struct wtr_change *change;
};

struct wtr_undo {
	struct wtr_change *change;
	int64_t zxid; /* before; 0: the record did not exist */
	struct wtr_state then;
};

struct wtr_pending {
	struct shm_tree *tree;
	struct wtr_change **bucket, *spare;
	struct wtr_slab *slabs;
	struct wtr_touch *touch; /* ring, oldest first: who was touched by which transaction */
	uint64_t touch_head, touch_tail, touch_cap;
	struct wtr_undo *undo;
	size_t n_undo, undo_cap;
	bool saving;
	uint64_t mark_head, mark_digest;
	int64_t applied;
	uint64_t digest, count; /* digest once all is applied; records alive */
	bool digests;
};

int wtr_pending_init(struct wtr_pending *p, struct shm_tree *tree, bool digests, int64_t applied);
void wtr_pending_fini(struct wtr_pending *p);

/*
 * The znode at `path`: its record, or `look` filled from the tree. Never NULL; see now.exists.
 * `path` must outlive the result.
 */
struct wtr_change *wtr_pending_find(struct wtr_pending *p, const char *path, uint32_t len,
				    struct wtr_change *look);

/* Hints: find will be asked for this hash; the next n touched records will be dropped. */
void wtr_pending_prefetch(const struct wtr_pending *p, uint64_t hash);
void wtr_pending_prefetch_touched(const struct wtr_pending *p, unsigned n);

/* Make what find returned a record that transaction `zxid` may change through ->now. */
struct wtr_change *wtr_pending_touch(struct wtr_pending *p, struct wtr_change *c, int64_t zxid);

/* Bring share and digest up to date with c->now. data: the new data, if that changed too. */
void wtr_pending_reckon(struct wtr_pending *p, struct wtr_change *c);
void wtr_pending_reckon_data(struct wtr_pending *p, struct wtr_change *c, const void *data);

/* ACL list of a znode that exists; id SHM_ACL_OPEN, or bytes. */
uint32_t wtr_pending_acl(struct wtr_pending *p, struct wtr_change *c, const uint8_t **bytes,
			 uint32_t *len);

/* A multi: mark, then commit or rollback. They do not nest. */
void wtr_pending_mark(struct wtr_pending *p);
void wtr_pending_commit(struct wtr_pending *p);
void wtr_pending_rollback(struct wtr_pending *p);

/* The tree has everything up to zxid: drop what only that transaction and older ones touched. */
void wtr_pending_applied(struct wtr_pending *p, int64_t zxid);

/* Call each(arg, record) for the records that transactions after `zxid` touched; may repeat one. */
void wtr_pending_each_after(struct wtr_pending *p, int64_t zxid,
			    void (*each)(void *arg, struct wtr_change *c), void *arg);
