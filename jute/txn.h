/*
 * txn.h - transactions: what is logged, proposed to peers and applied
 *
 * An entry is TxnHeader, the record of its type, and, where tree digests are on, a TxnDigest. The
 * bytes are ZooKeeper's (3.6 and later), so that its servers can read ours and we theirs: paths are
 * final, ACL lists expanded, versions the new ones. Pure; decoding returns views.
 */
#pragma once

#include "jute/codes.h"
#include "jute/record.h"

enum { ZK_TXN_HEADER_SIZE = 32, ZK_TXN_DIGEST_SIZE = 12, ZK_DIGEST_VERSION = 2 };

/* clang-format off */

#define ZK_TXN_HEADER(F)	F(long, client_id) F(int, cxid) F(long, zxid) F(long, time) \
				F(int, type)
#define ZK_TXN_DIGEST(F)	F(int, version) F(long, tree_digest)

/* create, create2. parent_cversion: the parent's internal cversion afterwards */
#define ZK_CREATE_TXN(F)	F(ustring, path) F(buffer, data) F(acls, acl) \
				F(boolean, ephemeral) F(int, parent_cversion)
/* create in very old logs */
#define ZK_CREATE_TXN_V0(F)	F(ustring, path) F(buffer, data) F(acls, acl) F(boolean, ephemeral)
#define ZK_CREATE_CONTAINER_TXN(F) F(ustring, path) F(buffer, data) F(acls, acl) \
				F(int, parent_cversion)
#define ZK_CREATE_TTL_TXN(F)	F(ustring, path) F(buffer, data) F(acls, acl) \
				F(int, parent_cversion) F(long, ttl)
/* delete, deleteContainer */
#define ZK_DELETE_TXN(F)	F(ustring, path)
/* setData, reconfig */
#define ZK_SET_DATA_TXN(F)	F(ustring, path) F(buffer, data) F(int, version)
#define ZK_SET_ACL_TXN(F)	F(ustring, path) F(acls, acl) F(int, version)
#define ZK_CHECK_TXN(F)		F(ustring, path) F(int, version)
#define ZK_CREATE_SESSION_TXN(F) F(int, timeout_ms)
#define ZK_CLOSE_SESSION_TXN(F)	F(ustrings, paths)
#define ZK_ERROR_TXN(F)		F(int, err)
/* A member of a multi: the bytes of a record of that type */
#define ZK_TXN(F)		F(int, type) F(buffer, record)

#define ZK_TXNS(R) \
	R(zk_txn_header, ZK_TXN_HEADER) \
	R(zk_txn_digest, ZK_TXN_DIGEST) \
	R(zk_create_txn, ZK_CREATE_TXN) \
	R(zk_create_txn_v0, ZK_CREATE_TXN_V0) \
	R(zk_create_container_txn, ZK_CREATE_CONTAINER_TXN) \
	R(zk_create_ttl_txn, ZK_CREATE_TTL_TXN) \
	R(zk_delete_txn, ZK_DELETE_TXN) \
	R(zk_set_data_txn, ZK_SET_DATA_TXN) \
	R(zk_set_acl_txn, ZK_SET_ACL_TXN) \
	R(zk_check_txn, ZK_CHECK_TXN) \
	R(zk_create_session_txn, ZK_CREATE_SESSION_TXN) \
	R(zk_close_session_txn, ZK_CLOSE_SESSION_TXN) \
	R(zk_error_txn, ZK_ERROR_TXN) \
	R(zk_txn, ZK_TXN)

ZK_TXNS(ZK_RECORD_DECLARE)

/* clang-format on */

/* MultiTxn: a count and that many struct zk_txn, checked to be whole; read from `members`. */
struct zk_multi_txn {
	int32_t count;
	struct jute_in members;
};

/* The record of a transaction; `type`, as in the header, says which member holds. */
struct zk_txn_body {
	int32_t type;
	union {
		struct zk_create_txn create; /* create, create2 */
		struct zk_create_container_txn create_container;
		struct zk_create_ttl_txn create_ttl;
		struct zk_delete_txn delete;     /* delete, deleteContainer */
		struct zk_set_data_txn set_data; /* setData, reconfig */
		struct zk_set_acl_txn set_acl;
		struct zk_check_txn check; /* in a multi only */
		struct zk_multi_txn multi;
		struct zk_create_session_txn create_session;
		struct zk_close_session_txn close_session; /* paths.count -1: not recorded */
		struct zk_error_txn error;
	};
};

/*
 * Decode the record of a transaction of `type` that ends where `in` ends, or is followed by a
 * digest. 0; -EBADMSG: not whole, or no such type. Two old forms are understood, as by
 * SerializeUtils.deserializeTxn: a create without parent_cversion (becomes -1, "one more"), and a
 * closeSession without a record.
 */
int zk_txn_body_decode(struct jute_in *in, int32_t type, struct zk_txn_body *to);

/* Encode a record; not for multi, whose members are written one by one (zk_multi_txn_*). */
void zk_txn_body_encode(struct jute_out *out, const struct zk_txn_body *from);

/* Decode the next member of a multi, record included. 0; -EBADMSG; the caller counts to `count`. */
int zk_multi_txn_next(struct zk_multi_txn *multi, struct zk_txn_body *to);

/* Write a multi: begin, one put per member, end with begin's result and the number of members. */
static inline uint8_t *zk_multi_txn_begin(struct jute_out *out)
{
	return jute_open(out);
}

void zk_multi_txn_put(struct jute_out *out, const struct zk_txn_body *member);

static inline void zk_multi_txn_end(struct jute_out *out, uint8_t *begin, size_t members)
{
	jute_close_count(out, begin, members);
}
