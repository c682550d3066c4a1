/*
 * zksnap.h - ZooKeeper's snapshots, a piece at a time: as files, and as a leader sends them
 *
 * The bytes are those of jute/snap.h, for both directions. No file, no socket, no tree in here.
 *
 * Reading: whoever has the bytes gives them in pieces of any size; as many whole records as there
 * are go to the sink, the rest is kept by the caller, who comes again with more behind it. Memory
 * is taken for ACL lists, and for what comes behind SNAP for the places of nodes, as they arrive.
 *
 * Trust: the bytes may be anything. What the sink gets has paths that begin with "/", "/" first.
 * Behind SNAP each node's parent came before it, and none comes twice: what is whole can be made a
 * tree. Of a file's nodes that is for the sink to see, and its checksum comes at its end: who must
 * not believe it before reads twice, first without a sink.
 */
#pragma once

#include <stdbool.h>

#include "jute/snap.h"
#include "storage/places.h"
#include "storage/snap.h"

struct sto_zk_acl {
	int64_t id;
	size_t at;
	uint32_t len;
};

struct sto_zk_reader {
	const struct sto_sink *sink; /* NULL: only check */
	struct sto_snap_head head;   /* counts, and the digest if it is as of the zxid given */
	const char *what;            /* after -EBADMSG: why */
	int sunk;                    /* what the sink said, if it was not 0 */
	/* The reader's own. */
	int state;
	int32_t left; /* sessions or ACLs still to come */
	size_t record_max;
	uint32_t adler;
	struct sto_zk_acl *acl;
	size_t n_acls, acls_cap;
	uint8_t *lists;
	size_t lists_len, lists_cap;
	struct sto_places places; /* of what comes behind SNAP */
};

/* A file of that zxid, from its head on. The sink's begin() and loaded() are the caller's. */
void sto_zk_reader_file(struct sto_zk_reader *r, const struct sto_sink *sink, int64_t zxid);

/* What follows a SNAP packet, up to the signature. No record is longer than record_max bytes. */
void sto_zk_reader_stream(struct sto_zk_reader *r, const struct sto_sink *sink, int64_t zxid,
			  size_t record_max);

/*
 * Take whole records from the front; *used bytes are done with. 1: the stream has ended, and what
 * is behind *used belongs to others; 0: go on with more; -EBADMSG; -ENOMEM; r->sunk.
 */
int sto_zk_read(struct sto_zk_reader *r, const uint8_t *bytes, size_t n, size_t *used);

/* The file ends here, `rest` bytes were not used. 0; -EBADMSG: it must not. */
int sto_zk_read_end(struct sto_zk_reader *r, size_t rest);

void sto_zk_reader_fini(struct sto_zk_reader *r);

/* Writing a node under the number of its ACL: how many bytes, and these. */
size_t sto_zk_node_size(const struct sto_snap_node *n);
void sto_zk_node_put(struct jute_out *out, const struct sto_snap_node *n, int64_t acl);

/* Is this list the one with the number ZK_SNAP_ACL_OPEN? */
bool sto_zk_acl_is_open(const uint8_t *list, uint32_t len);
