/*
 * tree.h - the DataTree in shared memory: one writer, wait-free readers, each as of its S
 *
 * Lives at the start of a region (region.h); the same code runs on private memory in tests and in the simulator (shm_arena, arena.h).
 *
 * Index (one table by full path, keyed hash) -> node (identity: path, parent, czxid, dzxid, children) -> chain of immutable versions, newest first
 * (zxid, older, stat, ACL id, data). A reader as of S takes the newest version with zxid <= S; a node is there when czxid <= S < dzxid.
 * A path that was deleted and created again has two nodes for a while: find goes on past a match that S does not see.
 * The writer sees the newest state: zxid = INT64_MAX.
 *
 * Reads take no lock, store nothing, allocate nothing. Publication of pointers by rcu_assign_pointer / rcu_dereference; grace periods are those of
 * board.h (liburcu's own end at the process boundary). What the writer replaces is retired, sealed with the head of its publication, and freed a bounded number at a time.
 * A version whose zxid is not published yet is changed in place, so a batch of creates makes one version of the parent.
 *
 * Bounds: heap_max. shm_tree_room() is asked before a write is accepted; after that running out is our bug.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHM_STAT_BYTES = 68, SHM_ACL_NONE = 0, SHM_ACL_OPEN = 1 /* world:anyone all: interned at birth */ };
#define SHM_LATEST INT64_MAX
#define SHM_OWNER_CONTAINER ((int64_t)0x8000000000000000ull)

struct shm_tree;
struct shm_arena;
struct shm_version;
struct shm_node;    /* the two structs are defined in shm/node.h for inlining; fields are read through these functions */

/* ---- readers (and the writer) ---- */

const struct shm_tree *shm_tree_of(uint32_t gen);   /* in its window; checks magic and gen; NULL if not built */
int64_t shm_tree_zxid(const struct shm_tree *t);    /* last applied: for the generation switch */
int64_t shm_tree_count(const struct shm_tree *t);   /* nodes, as ZooKeeper counts ("" and "/" both) */

uint64_t shm_tree_hash(const struct shm_tree *t, const void *path, size_t len);
void shm_tree_prefetch(const struct shm_tree *t, uint64_t hash);       /* bucket */
void shm_tree_prefetch_node(const struct shm_tree *t, uint64_t hash);  /* after it: node(s) behind the tags */
/* Node and its version as of zxid, or NULL. "" is "/" (ZooKeeper's alias); callers that must tell them apart do so. */
const struct shm_node *shm_tree_find(const struct shm_tree *t, uint64_t hash, const void *path, size_t len, int64_t zxid,
				     const struct shm_version **version);
const struct shm_version *shm_node_version(const struct shm_node *n, int64_t zxid); /* NULL: not there as of zxid */

const char *shm_node_path(const struct shm_node *n, uint32_t *len);  /* "/" for the root */
const char *shm_node_name(const struct shm_node *n, uint32_t *len);  /* last component */
const struct shm_node *shm_node_parent(const struct shm_node *n);    /* NULL for the root */
int64_t shm_node_owner(const struct shm_node *n);                    /* internal ephemeralOwner, client.md 5.4 */
int64_t shm_node_czxid(const struct shm_node *n);
void shm_node_stat(const struct shm_node *n, const struct shm_version *v, uint8_t out[SHM_STAT_BYTES]); /* as on the wire */
const void *shm_version_data(const struct shm_version *v, int32_t *len); /* -1 = null data */
uint32_t shm_version_acl(const struct shm_version *v);
int32_t shm_version_version(const struct shm_version *v);
int32_t shm_version_aversion(const struct shm_version *v);
int32_t shm_version_cversion(const struct shm_version *v);   /* internal: creates so far */
int32_t shm_version_children(const struct shm_version *v);
int64_t shm_version_mzxid(const struct shm_version *v);
int64_t shm_version_mtime(const struct shm_version *v);
int64_t shm_version_pzxid(const struct shm_version *v);

struct shm_iter { const void *chunk; uint32_t index; int64_t zxid; };  /* on the reader's stack */
void shm_children_begin(struct shm_iter *it, const struct shm_node *n, int64_t zxid);
const struct shm_node *shm_children_next(struct shm_iter *it);

/* ACL lists, interned: vector<ACL> as jute bytes. Valid as long as the reader's turn. NULL: unknown id or SHM_ACL_NONE. */
const uint8_t *shm_acl_bytes(const struct shm_tree *t, uint32_t acl, uint32_t *len);

/* Sessions by slot. */
struct shm_session;
const struct shm_session *shm_session_at(const struct shm_tree *t, uint32_t slot, int64_t zxid); /* NULL: none as of zxid */
uint32_t shm_session_slots(const struct shm_tree *t);                    /* slots ever used: the bound of a walk */
int64_t shm_session_id(const struct shm_session *s);
int32_t shm_session_timeout(const struct shm_session *s);                /* as persisted by createSession */
uint32_t shm_session_slot(const struct shm_session *s);
void shm_ephemerals_begin(struct shm_iter *it, const struct shm_session *s, int64_t zxid);
const struct shm_node *shm_ephemerals_next(struct shm_iter *it);

/* ---- the writer alone ---- */

/* Make an empty tree (no nodes but what shm_tree_format_initial makes) in the region of gen, or (base NULL) in private memory. */
int shm_tree_new(struct shm_tree **t, uint32_t gen, uint64_t heap_max);
int shm_tree_new_private(struct shm_tree **t, uint64_t heap_max);
void shm_tree_free_private(struct shm_tree *t);
void shm_tree_presize(struct shm_tree *t, uint64_t nodes);
int shm_tree_initial(struct shm_tree *t);            /* /, /zookeeper, /zookeeper/quota, /zookeeper/config: client.md 5.6 */
bool shm_tree_room(const struct shm_tree *t, uint64_t bytes); /* would that many bytes of paths and data fit, with our reserve untouched? */
uint64_t shm_tree_used(const struct shm_tree *t);
uint64_t shm_tree_data_bytes(const struct shm_tree *t);       /* approximate_data_size */
int64_t shm_tree_ephemerals(const struct shm_tree *t);
uint64_t shm_tree_digest(const struct shm_tree *t);           /* client.md 11.4; 0 work when digests are off (shm_tree_set_digest) */
void shm_tree_set_digest(struct shm_tree *t, bool enabled);
uint32_t shm_node_crc(const char *path, size_t path_len, const void *data, int32_t data_len, const uint8_t persisted[60]); /* one node's share: the preparation needs it for pending changes */
uint32_t shm_version_crc(const struct shm_version *v);        /* the share of the present version */

struct shm_new {
	const char *path;
	uint32_t path_len;
	int32_t data_len;            /* -1 = null */
	const void *data;
	uint32_t acl;
	int32_t parent_cversion;     /* the parent's new internal cversion; -1 = add one; applied only if larger (client.md 11.1) */
	int64_t owner, zxid, time_ms;
};
/* All: 0, or -ENOMEM (nothing changed), -ENOENT no parent, -EEXIST. Each sets shm_tree_zxid to zxid. Ephemerals are entered with their session, if it is known. */
int shm_tree_create(struct shm_tree *t, const struct shm_new *n, struct shm_node **out);
int shm_tree_delete(struct shm_tree *t, struct shm_node *n, int64_t zxid);   /* -ENOTEMPTY */
int shm_tree_set_data(struct shm_tree *t, struct shm_node *n, const void *data, int32_t len, int32_t version, int64_t zxid, int64_t time_ms);
int shm_tree_set_acl(struct shm_tree *t, struct shm_node *n, uint32_t acl, int32_t aversion, int64_t zxid);
int shm_tree_put_data(struct shm_tree *t, struct shm_node *n, const void *data, int32_t len, int64_t zxid); /* quota usage: no stat field moves */
int shm_tree_put_config(struct shm_tree *t, const void *data, int32_t len, int64_t mzxid, int64_t mtime_ms); /* /zookeeper/config */
struct shm_node *shm_tree_get(struct shm_tree *t, const void *path, size_t len);  /* newest state, for change; NULL */
void shm_tree_touch(struct shm_tree *t, int64_t zxid);  /* a transaction without effect on the tree (error, ...) was applied */

/* Loading a snapshot: nodes in any order in which parents come first; stats as they were. Children lists and counts are made from the nodes. */
struct shm_loaded {
	const char *path;
	uint32_t path_len;
	int32_t data_len;
	const void *data;
	uint32_t acl;                /* interned by the loader */
	int32_t version, cversion /* internal */, aversion;
	int64_t owner, czxid, mzxid, ctime, mtime, pzxid;
};
int shm_tree_load(struct shm_tree *t, const struct shm_loaded *n);
int shm_tree_loaded(struct shm_tree *t, int64_t zxid);  /* ends loading; everything is as of zxid */

/* ACL lists: intern takes a reference for one node (create, set_acl and load consume it; a deleted or changed node gives its reference back by itself). -ENOMEM. */
int64_t shm_acl_intern(struct shm_tree *t, const uint8_t *bytes, uint32_t len);

/* Sessions. add: slot by the table; -EEXIST: it is there (timeout updated), -ENOSPC. */
int shm_session_add(struct shm_tree *t, int64_t id, int32_t timeout_ms, int64_t zxid, struct shm_session **out);
struct shm_session *shm_session_find(struct shm_tree *t, int64_t id);
void shm_session_remove(struct shm_tree *t, struct shm_session *s, int64_t zxid); /* its ephemerals have been deleted */
uint32_t shm_session_count(const struct shm_tree *t);

/* Publication and reclamation. */
void shm_tree_published(struct shm_tree *t, int64_t zxid, uint64_t head); /* after shm_commit_publish: seals what was retired until now with head */
/* Free what no reader can see any more (min = shm_readers_min), at most `budget` objects. *wants_head set when a grace period waits for head to move (publish a DOWN_NOP). */
unsigned shm_tree_reclaim(struct shm_tree *t, uint64_t min, unsigned budget, bool *wants_head);
uint64_t shm_tree_retired_bytes(const struct shm_tree *t);

/* Nodes with an extended owner (containers, TTL): for the reaper. Order unspecified. */
struct shm_node *shm_extended_first(struct shm_tree *t);
struct shm_node *shm_extended_next(struct shm_tree *t, struct shm_node *n);

/* Bring memory in 2 MiB granules ahead of need; called by the writer's helper thread only. */
void shm_tree_prepare_memory(struct shm_tree *t);

/* Check every invariant of the structure (tests, debug builds). Aborts. */
void shm_tree_check(const struct shm_tree *t);
