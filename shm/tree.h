/*
 * tree.h - the DataTree in shared memory: one writer, wait-free readers, each as of its S
 *
 * Runs in: the writer (all of it, one thread; shm_tree_prepare_memory: its helper thread), workers
 * and the snapshotter (the readers' part). Lives at the start of a region (region.h); the same code
 * runs on private memory in tests and in the simulator (arena.h).
 *
 * Layout: one index by full path, keyed hash -> node (identity: path, parent, czxid, zxid of its
 * deletion, children) -> chain of immutable versions, newest first (zxid, older, stat, ACL id,
 * data). A reader as of S takes the newest version with zxid <= S; a node is there when czxid <= S
 * and it was not deleted by S. A path that was deleted and created again has several nodes for a
 * while. The writer sees the newest state: zxid = SHM_LATEST.
 *
 * S must be a published zxid: between two publications there is nothing to see. What a batch does
 * to one node makes one version, so that 256 creates copy their parent's stat once.
 *
 * Ordering: reads take no lock, store nothing, allocate nothing, and their walks are bounded.
 * Publication pair: changes -> board->head (release) | board->head (acquire) -> reads. Pointers are
 * published by rcu_assign_pointer and read by rcu_dereference; grace periods are those of board.h,
 * for liburcu's own end at the process boundary. What the writer replaces is retired, sealed with
 * the head of its publication, and freed a bounded number at a time (V6).
 *
 * Ownership: what a reader gets is valid until its turn ends (it goes offline, or announces
 * another head). What the writer gets is valid until it reclaims.
 *
 * Bounds: heap_max. shm_tree_room() is asked before a write is accepted; after that running out is
 * our bug. -ENOMEM leaves everything as it was.
 *
 * Before the first shm_tree_published() a tree has no readers: versions are changed in place and
 * nothing waits. So that call comes before board->gen names the region.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SHM_STAT_BYTES = 68,
	SHM_ACL_NONE = 0,
	SHM_ACL_OPEN = 1, /* world:anyone, all permissions: interned at birth */
};
#define SHM_LATEST          INT64_MAX
#define SHM_OWNER_CONTAINER ((int64_t)0x8000000000000000ull)

struct shm_tree;
struct shm_arena;
struct shm_version;
struct shm_node;

/* ---- readers (and the writer) ---- */

const struct shm_tree *
shm_tree_of(uint32_t gen); /* in its window; checks magic and gen; NULL if not built */
int64_t shm_tree_zxid(const struct shm_tree *t);  /* last applied: for the generation switch */
int64_t shm_tree_count(const struct shm_tree *t); /* nodes, as ZooKeeper counts ("" and "/" both) */

uint64_t shm_tree_hash(const struct shm_tree *t, const void *path, size_t len);
/* For groups of lookups: bucket of all, node of all, version of all, then find; or the first few of
 * these. Each brings into the cache what the next one needs. */
void shm_tree_prefetch(const struct shm_tree *t, uint64_t hash);
void shm_tree_prefetch_node(const struct shm_tree *t, uint64_t hash);
void shm_tree_prefetch_version(const struct shm_tree *t, uint64_t hash);
/* Node and its version as of zxid, or NULL. "" is "/" (ZooKeeper's alias); callers that must tell
 * them apart do so. */
const struct shm_node *shm_tree_find(const struct shm_tree *t, uint64_t hash, const void *path,
				     size_t len, int64_t zxid, const struct shm_version **version);
const struct shm_version *shm_node_version(const struct shm_node *n,
					   int64_t zxid); /* NULL: not there as of zxid */

const char *shm_node_path(const struct shm_node *n, uint32_t *len); /* "/" for the root */
const char *shm_node_name(const struct shm_node *n, uint32_t *len); /* last component */
const struct shm_node *shm_node_parent(const struct shm_node *n);   /* NULL for the root */
int64_t shm_node_owner(const struct shm_node *n); /* internal ephemeralOwner, client.md 5.4 */
void shm_node_stat(const struct shm_node *n, const struct shm_version *v,
		   uint8_t out[SHM_STAT_BYTES]);                         /* as on the wire */
const void *shm_version_data(const struct shm_version *v, int32_t *len); /* -1 = null data */
uint32_t shm_version_acl(const struct shm_version *v);
int32_t shm_version_cversion(const struct shm_version *v); /* internal: creates so far */
int32_t shm_version_children(const struct shm_version *v);
int64_t shm_version_mzxid(const struct shm_version *v);
int64_t shm_version_mtime(const struct shm_version *v);
int64_t shm_version_pzxid(const struct shm_version *v);

struct shm_iter { /* on the reader's stack */
	const void *chunk;
	uint32_t index;
	int64_t zxid;
};
void shm_children_begin(struct shm_iter *it, const struct shm_node *n, int64_t zxid);
const struct shm_node *shm_children_next(struct shm_iter *it);

/* ACL lists, interned: vector<ACL> as jute bytes. NULL: unknown id, or SHM_ACL_NONE. */
const uint8_t *shm_acl_bytes(const struct shm_tree *t, uint32_t acl, uint32_t *len);

/* Sessions by slot. */
struct shm_session;
const struct shm_session *shm_session_at(const struct shm_tree *t, uint32_t slot,
					 int64_t zxid); /* NULL: none as of zxid */
uint32_t shm_session_slots(const struct shm_tree *t);   /* slots ever used: the bound of a walk */
int64_t shm_session_id(const struct shm_session *s);
int32_t shm_session_timeout(const struct shm_session *s); /* as persisted by createSession */
uint32_t shm_session_slot(const struct shm_session *s);
void shm_ephemerals_begin(struct shm_iter *it, const struct shm_session *s, int64_t zxid);
const struct shm_node *shm_ephemerals_next(struct shm_iter *it);

/* ---- the writer alone ---- */

/*
 * Make a tree without any node in the region of gen, which has heap_max bytes, or in private memory
 * (heap_max 0: no limit). A second call for the same region begins anew. -ENOMEM.
 */
int shm_tree_new(struct shm_tree **t, uint32_t gen, uint64_t heap_max);
int shm_tree_new_private(struct shm_tree **t, uint64_t heap_max);
void shm_tree_free_private(struct shm_tree *t);
/* Before the first node: index and pages for that many. A hint; it grows by itself. */
void shm_tree_presize(struct shm_tree *t, uint64_t nodes);
/* /, /zookeeper, /zookeeper/quota, /zookeeper/config, as far as they are missing: a new server's
 * tree, and what an old snapshot may lack. -ENOMEM. */
int shm_tree_initial(struct shm_tree *t);
/* Would one node of that many bytes of path and data fit, with the reserve for deletions untouched?
 * For several: bytes of all + 512 for each further one. The reserve grows with the ephemerals: all
 * sessions may end before a reader has gone on. */
bool shm_tree_room(const struct shm_tree *t, uint64_t bytes);
/* Would `n` changes that need no room of their own (deletions, most of all) find what they take
 * until readers have gone on? If not, only reclaiming helps. */
bool shm_tree_room_to_shrink(const struct shm_tree *t, uint64_t n);
/* No room any more, though a quarter of the memory is idle: only a new generation, built by a
 * restarted writer, puts it together again. */
bool shm_tree_is_torn(const struct shm_tree *t);
uint64_t shm_tree_used(const struct shm_tree *t);
uint64_t shm_tree_data_bytes(const struct shm_tree *t); /* approximate_data_size */
int64_t shm_tree_ephemerals(const struct shm_tree *t);
uint64_t shm_tree_digest(const struct shm_tree *t);         /* version 2; 0 when digests are off */
void shm_tree_set_digest(struct shm_tree *t, bool enabled); /* on at birth; counts all anew */
/* One node's share in it, of the newest version; 0 for a node below /zookeeper/. */
uint32_t shm_version_crc(const struct shm_version *v);

struct shm_new {
	const char *path;
	uint32_t path_len;
	int32_t data_len; /* -1 = null */
	const void *data;
	uint32_t acl;
	/* The parent's new internal cversion; -1 = add one. Applied, with its pzxid, only if larger
	 * than the present one (DataTree.createNode). */
	int32_t parent_cversion;
	int64_t owner, zxid, time_ms;
};
/*
 * All: 0, or -ENOMEM (nothing changed), -ENOENT no parent, -EEXIST. Each sets shm_tree_zxid() to
 * zxid. An ephemeral node is entered with its session, if that is known. zxid never goes back, and
 * is larger than the published one.
 */
int shm_tree_create(struct shm_tree *t, const struct shm_new *n, struct shm_node **out);
int shm_tree_delete(struct shm_tree *t, struct shm_node *n, int64_t zxid); /* -ENOTEMPTY */
int shm_tree_set_data(struct shm_tree *t, struct shm_node *n, const void *data, int32_t len,
		      int32_t version, int64_t zxid, int64_t time_ms);
int shm_tree_set_acl(struct shm_tree *t, struct shm_node *n, uint32_t acl, int32_t aversion,
		     int64_t zxid);
/* Quota usage: no field of the stat moves. */
int shm_tree_put_data(struct shm_tree *t, struct shm_node *n, const void *data, int32_t len,
		      int64_t zxid);
/* A parent's counters when a create is replayed whose node is there already (import of a fuzzy
 * snapshot; DataTree.setCversionPzxid): raised, never lowered. */
int shm_tree_raise_cversion(struct shm_tree *t, struct shm_node *n, int32_t cversion, int64_t zxid);
/* /zookeeper/config: version -1; visible from `zxid` on, whatever its mzxid says. -ENOENT. */
int shm_tree_put_config(struct shm_tree *t, const void *data, int32_t len, int64_t mzxid,
			int64_t mtime_ms, int64_t zxid);
/* Newest state, for change; NULL. */
struct shm_node *shm_tree_get(struct shm_tree *t, const void *path, size_t len);
void shm_tree_touch(struct shm_tree *t, int64_t zxid); /* a transaction that changes no node */

/*
 * Loading a snapshot, before the first publication: nodes in any order in which parents come first,
 * sessions before their ephemerals; stats as they were. Lists and counts of children are made from
 * the nodes. -ENOENT no parent, -EEXIST, -EINVAL no path, -ENOMEM.
 */
struct shm_loaded {
	const char *path;
	uint32_t path_len;
	int32_t data_len;
	const void *data;
	uint32_t acl; /* interned by the loader */
	int32_t version, cversion /* internal */, aversion;
	int64_t owner, czxid, mzxid, ctime, mtime, pzxid;
};
int shm_tree_load(struct shm_tree *t, const struct shm_loaded *n);
int shm_tree_loaded(struct shm_tree *t, int64_t zxid); /* ends loading; everything is as of zxid */

/*
 * ACL lists. intern: the id, with a reference for one node: create, set_acl and load take it over
 * when they succeed; a node that is deleted or changed gives it back by itself. -ENOMEM.
 */
int64_t shm_acl_intern(struct shm_tree *t, const uint8_t *bytes, uint32_t len);
int shm_acl_release(struct shm_tree *t, uint32_t acl); /* one that no node took over; -ENOMEM */
/* board->commit_size: an ACL list that no node has any more stays readable until as many bytes of
 * the ring went by, for events in it name ACLs. */
void shm_tree_set_ring(struct shm_tree *t, uint64_t commit_size);

/* Sessions. add: 0; -EEXIST: it is there (*out; timeout updated); -ENOSPC: no slot; -ENOMEM. */
int shm_session_add(struct shm_tree *t, int64_t id, int32_t timeout_ms, int64_t zxid,
		    struct shm_session **out);
struct shm_session *shm_session_find(struct shm_tree *t, int64_t id);
/* After its ephemerals have been deleted. */
void shm_session_remove(struct shm_tree *t, struct shm_session *s, int64_t zxid);
uint32_t shm_session_count(const struct shm_tree *t);

/*
 * Publication and reclamation.
 * published: after shm_commit_publish(), with the zxid and head that it stored: seals what was
 * retired until now with head. A head that has not moved seals nothing.
 * reclaim: free what no reader can see any more (min: shm_readers_min()), at most `budget` objects.
 * How many were. *wants_head: something waits for a head to be sealed with (publish a DOWN_NOP).
 */
void shm_tree_published(struct shm_tree *t, int64_t zxid, uint64_t head);
unsigned shm_tree_reclaim(struct shm_tree *t, uint64_t min, unsigned budget, bool *wants_head);
uint64_t shm_tree_retired_bytes(const struct shm_tree *t);

/* Nodes with an extended owner (containers, TTL), for the reaper; order unspecified. NULL: no more.
 */
struct shm_node *shm_extended_first(struct shm_tree *t);
struct shm_node *shm_extended_next(struct shm_tree *t, struct shm_node *n);

/* Bring memory in pages of 2 MiB ahead of need; called now and then by the writer's helper thread.
 */
void shm_tree_prepare_memory(struct shm_tree *t);
/* Likewise, small pages, while a tree of announced size is loaded. False: it is ahead enough. */
bool shm_tree_touch_memory(struct shm_tree *t);

/* Check every invariant of the structure, in time proportional to the tree. Aborts. For tests. */
void shm_tree_check(const struct shm_tree *t);
