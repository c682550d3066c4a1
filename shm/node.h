/*
 * node.h - how the tree lies in memory; for shm/ alone, everybody else includes tree.h
 *
 * All of it is written by the writer alone. Pointers are plain addresses: the region has the same
 * address in every process. What readers follow or load while the writer may change it is marked
 * R and goes through the macros below; the rest is constant once published, or the writer's own.
 *
 *	tree -> index: directory -> segments of 64 buckets -> node   (index.c)
 *	node -> version -> older versions; node -> chunks of children (children.c)
 *	tree -> session slots -> session -> chunks of ephemerals      (session.c)
 *	tree -> ACL table -> ACL list                                 (acl.c)
 *	tree -> queue of what was replaced and waits for readers      (reclaim.c)
 *
 * Publication pair: stores here -> board->head (release) | board->head (acquire) -> loads here.
 * Inside one publication readers may see a pointer early: what it leads to is complete (release,
 * consume), and its zxid tells them to pass it over.
 */
#pragma once

#include <string.h>

#include "base/hash.h"
#include "shm/arena.h"
#include "shm/tree.h"

/* liburcu's pointers; the thread sanitizer knows the compiler's atomics, not volatile stores. */
#ifdef __SANITIZE_THREAD__
#define RCU_GET(pointer_)         __atomic_load_n(&(pointer_), __ATOMIC_ACQUIRE)
#define RCU_SET(pointer_, value_) __atomic_store_n(&(pointer_), value_, __ATOMIC_RELEASE)
#else
#include <urcu/pointer.h>
#define RCU_GET(pointer_)         rcu_dereference(pointer_)
#define RCU_SET(pointer_, value_) rcu_assign_pointer(pointer_, value_)
#endif
/* Words beside them: relaxed, for the pointer or the head brings the order. */
#define SHARED_GET(word_)         __atomic_load_n(&(word_), __ATOMIC_RELAXED)
#define SHARED_SET(word_, value_) __atomic_store_n(&(word_), value_, __ATOMIC_RELAXED)

#define SHM_TREE_MAGIC 0x3145455254444450 /* "PDDTREE1" */

enum {
	DATA_INLINE = 184, /* bytes: a version of 256; more lies in a blob that versions share */
	BUCKET_SLOTS = 7,
	SEGMENT_BUCKETS = 64,
	SEGMENT_BYTES = 4096,
	CHUNK_MAX = 4096, /* bytes */
};

struct shm_version {
	int64_t zxid;              /* R: this and later, until a newer version's */
	struct shm_version *older; /* not followed, and maybe freed, when zxid <= S of all */
	int64_t mzxid, mtime, pzxid;
	int32_t version, cversion, aversion, children;
	uint32_t acl;
	uint32_t crc;      /* share in the digest; 0 if none */
	uint32_t crc_data; /* CRC of path and data, with which the share begins */
	int32_t data_len;
	uint8_t data[]; /* or the blob's address, when data_len > DATA_INLINE */
};

struct shm_node {
	struct shm_node *parent;
	struct shm_version *version; /* R: newest */
	int64_t czxid, last; /* R last: zxid of deletion - 1; INT64_MAX as long as it lives */
	int64_t ctime;
	struct shm_chunk *children; /* R */
	uint64_t place;             /* in the parent's chunks: index << 48 | chunk */
	uint32_t path_len : 31, extra : 1;
	char path[];
};

/* In front of a node with an owner, or of one whose path still had a dead node in the index. */
struct shm_extra {
	int64_t owner;
	uint64_t place; /* in its session's chunks, or among the extended nodes; 0 = none */
	struct shm_session *session; /* whose list that is */
	struct shm_node *older_life; /* R: dead node of this path; followed only when czxid > S */
	struct shm_node *newer_life;
	struct shm_node
	    *oldest_heir; /* of the newest life: the one whose older_life is the oldest */
};

/* Pointers to nodes. A list is a chain of chunks, newest first; new slots come from the head. */
struct shm_chunk {
	struct shm_chunk *next; /* R */
	struct shm_chunk *prev;
	struct shm_chunk *room_next, *room_prev; /* chunks with free slots, behind the head */
	uint16_t used;                           /* R: slots beyond were never used */
	uint16_t size, live, hint;               /* hint: no free slot below */
	struct shm_node *slot[];                 /* R */
};

struct shm_bucket {
	uint64_t tags; /* R: a byte for each slot, 0 = free; the last: nodes that went past */
	struct shm_node *slot[BUCKET_SLOTS]; /* R */
};
struct shm_directory {
	uint64_t depth;      /* bits of the hash, from the top, that choose the segment */
	uintptr_t segment[]; /* R: address | local depth in the low 6 bits */
};

struct shm_acl {
	uint32_t id, len, references, hash;
	uint32_t idle, pad;   /* stands in the row of idle ones */
	struct shm_acl *next; /* of its hash chain */
	struct shm_acl
	    *idle_next; /* without references, in the order in which they were given up */
	uint64_t idle_head;
	uint8_t bytes[];
};
struct shm_session {
	int64_t id, czxid, last; /* R last: as node's */
	int32_t timeout;         /* R */
	uint32_t slot;
	struct shm_chunk *ephemerals; /* R */
	struct shm_session *next;     /* of its hash chain */
};
/* A table of pointers that readers index. */
struct shm_table {
	uint32_t size;
	void *item[]; /* R */
};

enum retired_kind {
	RETIRED_MEMORY = 1, /* one grace period, then free */
	RETIRED_NODE,       /* one, then unlink, and again as: */
	RETIRED_NODE_MEMORY,
	RETIRED_SESSION, /* likewise */
	RETIRED_SESSION_MEMORY,
	RETIRED_ACL, /* a reference given back */
};
struct retired {
	void *p;
	uint32_t size; /* bytes that will be free */
	uint32_t kind;
	uint64_t head; /* publication that made it unreachable for new readers; 0 = not sealed */
};
struct retired_block;

struct shm_tree {
	uint64_t magic; /* stored last */
	uint32_t gen;
	uint32_t pad0;
	struct hash_key key;
	struct shm_directory *directory;   /* R */
	struct shm_table *acls, *sessions; /* R */
	uint32_t session_slots;            /* R */
	uint32_t pad1;
	int64_t zxid, count; /* R */
	uint8_t pad2[48];

	/* The writer's own. */
	struct shm_arena arena;
	int64_t published; /* zxid; versions beyond are changed in place */
	uint64_t head;     /* of the last publication; 0 = no reader yet */
	uint64_t digest, data_bytes;
	int64_t ephemerals;
	struct shm_node *root, *last_parent; /* last_parent: of the last node loaded */
	struct shm_chunk *extended;
	uint32_t digest_on, pad5;

	uint64_t acl_linger; /* bytes of commit ring that a dead ACL list outlives */
	struct shm_acl **acl_chains, *acl_idle_first, *acl_idle_last;
	uint32_t acl_chains_size, acl_count, acl_ids, acl_free_count;
	uint32_t *acl_free; /* ids to use again: as many entries as the table */

	struct shm_session **session_chains;
	uint32_t session_chains_size, session_count, session_free_count, pad3;
	uint32_t *session_free; /* slots to use again: as many entries as the table */

	struct retired_block *retired_first, *retired_last, *retired_spare, *retired_seal;
	uint32_t retired_at, retired_end, retired_sealed, pad4;
	uint64_t retired_count, retired_bytes;
};

static inline struct shm_extra *node_extra(const struct shm_node *n)
{
	return n->extra ? (struct shm_extra *)(uintptr_t)n - 1 : NULL;
}
static inline void *version_blob(const struct shm_version *v)
{
	void *blob;

	memcpy(&blob, v->data, sizeof(blob));
	return blob;
}
static inline bool seen(int64_t from, int64_t last, int64_t zxid)
{
	return from <= zxid && zxid <= last;
}
static inline bool owner_is_extended(int64_t owner) /* container or TTL node */
{
	return owner == SHM_OWNER_CONTAINER || (uint64_t)owner >> 56 == 0xff;
}

/* index.c. The life found is the newest that is not younger than zxid, or NULL. */
int shm_index_init(struct shm_tree *t);
struct shm_node *shm_index_newest(const struct shm_tree *t, uint64_t hash, const char *path,
				  size_t len);
int shm_index_reserve(struct shm_tree *t, uint64_t hash); /* room for one more there; -ENOMEM */
void shm_index_insert(struct shm_tree *t, uint64_t hash, struct shm_node *n);
void shm_index_replace(struct shm_tree *t, uint64_t hash, struct shm_node *old, struct shm_node *n);
void shm_index_remove(struct shm_tree *t, uint64_t hash, struct shm_node *n);
/* Every node in the index, each path's newest life. */
void shm_index_walk(const struct shm_tree *t, void (*each)(struct shm_node *n, void *arg),
		    void *arg);

/* children.c. reserve: the next add can't fail. */
int shm_list_reserve(struct shm_tree *t, struct shm_chunk **list);
uint64_t shm_list_add(struct shm_chunk **list, struct shm_node *n);
void shm_list_remove(struct shm_tree *t, struct shm_chunk **list, uint64_t place);
void shm_list_free(struct shm_tree *t, struct shm_chunk *list);
struct shm_node *shm_list_next(const struct shm_chunk *list, uint64_t place);

/* reclaim.c. reserve: the next n retirements can't fail. */
enum { RETIRE_RESERVE_MAX = 64 };
int shm_retire_reserve(struct shm_tree *t, unsigned n);
void shm_retire(struct shm_tree *t, enum retired_kind kind, void *p, size_t size);
void shm_retire_private(struct shm_tree *t); /* free at once what no reader can know */

/* tree.c. new: complete but for the stat; not linked. reserve: the following enter can't fail. */
struct shm_version *shm_version_new(struct shm_tree *t, int32_t data_len, const void *data);
void shm_version_free(struct shm_tree *t, struct shm_version *v);
size_t shm_version_bytes(int32_t data_len);
struct shm_node *shm_node_new(struct shm_tree *t, const char *path, uint32_t path_len, bool extra);
void shm_node_drop(struct shm_tree *t, struct shm_node *n); /* one that was never entered */
int shm_node_reserve(struct shm_tree *t, uint64_t hash, struct shm_node *parent, int64_t owner);
void shm_node_enter(struct shm_tree *t, uint64_t hash, struct shm_node *n, struct shm_node *dead);
void shm_node_unlink(struct shm_tree *t, struct shm_node *n);
size_t shm_node_bytes(const struct shm_node *n);

/* digest.c. Put n's share as of v into the digest, for `was`; data_changed: its CRC is made anew,
 * else a new child does not cost a pass over its parent's data. */
void shm_node_share(struct shm_tree *t, const struct shm_node *n, struct shm_version *v,
		    uint32_t was, bool data_changed);

/* acl.c, session.c */
int shm_acl_init(struct shm_tree *t);
int64_t shm_acl_intern_world(struct shm_tree *t, uint32_t perms);
void shm_acl_unref(struct shm_tree *t, struct shm_acl *a);
void shm_acl_reclaim(struct shm_tree *t);
int shm_session_init(struct shm_tree *t);
void shm_session_unlink(struct shm_tree *t, struct shm_session *s);
void shm_session_free(struct shm_tree *t, struct shm_session *s);
/* A table of twice the size (or of the first), published; the old one retired. -ENOMEM. */
int shm_table_grow(struct shm_tree *t, struct shm_table **table, uint32_t **free_ids,
		   uint32_t first_size);
