/*
 * quota.h - limits on subtrees: usage kept in counters of our own, limits parsed once
 *
 * A quota on Q is /zookeeper/quota + Q + /zookeeper_limits (client.md 14). Usage of Q counts Q and
 * all below it, except what a deeper quota counts. It is written into Q's zookeeper_stats node in
 * place: no transaction, no stat field moves, no watch fires, the digest leaves it out. The text of
 * a stats node is never parsed; a limit that can't be parsed is no limit.
 *
 * Runs in: writer, deciding thread, while it applies (created, deleted, changed) and while it
 * prepares (permits: against applied numbers, as ZooKeeper does).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/tree.h"
#include "writer/table.h"

struct wtr_quota {
	struct shm_tree *tree;
	struct wtr_table table; /* by hash of the path */
};

int wtr_quota_init(struct wtr_quota *q, struct shm_tree *tree);
void wtr_quota_fini(struct wtr_quota *q);

/* Find all limits in the tree and count: after loading. */
void wtr_quota_recount(struct wtr_quota *q, int64_t zxid);

/* The tree has just changed by transaction zxid. grew: the difference in bytes of data. */
void wtr_quota_created(struct wtr_quota *q, const char *path, uint32_t len, int32_t data_len,
		       int64_t zxid);
void wtr_quota_deleted(struct wtr_quota *q, const char *path, uint32_t len, int32_t data_len,
		       int64_t zxid);
void wtr_quota_changed(struct wtr_quota *q, const char *path, uint32_t len, int64_t grew,
		       int64_t zxid);

/* Would that many nodes and bytes more at path stay within the hard limits? */
bool wtr_quota_permits(const struct wtr_quota *q, const char *path, uint32_t len, int64_t nodes,
		       int64_t bytes);

/* Would a node of this path be one that limits a quota nobody can have? (client.md 19) */
bool wtr_quota_forbidden(const char *path, uint32_t len);
