/*
 * zkput.h - the body of a snapshot in ZooKeeper's bytes, from two passes over one of ours
 *
 * Within storage/ only. The body is what a file has between its head and its first seal, and what a
 * leader sends behind SNAP before the signature: sessions, ACL lists, nodes, "/". Lists stand
 * before the nodes, and counts before both; so the first pass counts and collects the lists, the
 * second writes. Memory is taken for the ACL lists and one buffer. Both are fed by a sink of the
 * caller.
 */
#pragma once

#include <stdbool.h>

#include "jute/snap.h"
#include "storage/snap.h"

/* Bytes on their way out: flush() gets them in pieces; what it returns other than 0 is passed on.
 */
struct sto_zk_out {
	int (*flush)(void *arg, const void *bytes, size_t n);
	void *arg;
	uint8_t *buffer;
	size_t len, cap;
};

/* Room for exactly n bytes, to be filled at once. 0, -ENOMEM, or what flush() returned. */
int sto_zk_out_room(struct sto_zk_out *o, size_t n, struct jute_out *out);
int sto_zk_out_flush(struct sto_zk_out *o);
void sto_zk_out_free(struct sto_zk_out *o);

struct sto_zk_list; /* an ACL list */

/* The first pass. Zeroed at the beginning; sto_zk_survey_free() makes it so again. */
struct sto_zk_survey {
	uint64_t nodes, sessions, ttl_nodes;
	/* ACL lists: by their bytes, by number less one, and the one found last. */
	void *by_bytes;
	struct sto_zk_list **list;
	size_t n_lists, lists_cap;
	const struct sto_zk_list *recent;
};

/* 0 or -errno, as all below. */
int sto_zk_survey_node(struct sto_zk_survey *s, const struct sto_snap_node *n);
void sto_zk_survey_free(struct sto_zk_survey *s);

/* The second pass over the same: begin, sessions, nodes, end. -EIO: it was not the same. */
struct sto_zk_put {
	struct sto_zk_survey *survey;
	struct sto_zk_out *out;
	uint64_t nodes, sessions;
};

int sto_zk_put_begin(struct sto_zk_put *p, struct sto_zk_survey *survey, struct sto_zk_out *out);
int sto_zk_put_session(struct sto_zk_put *p, int64_t id, int32_t timeout_ms);
int sto_zk_put_node(struct sto_zk_put *p, const struct sto_snap_node *n);
int sto_zk_put_end(struct sto_zk_put *p);

/* What a server without a snapshot begins with, as ZooKeeper does (DataTree's constructor). What
 * node() returned, if not 0. */
int sto_zk_initial_nodes(void *self, int (*node)(void *self, const struct sto_snap_node *n));
