/*
 * snap.h - records of ZooKeeper's snapshots and log files
 *
 * A snapshot is a head, a count and sessions, a count and ACLs, nodes with parents before their
 * children, the path "/". In a file a seal follows, then, if the writer kept digests, the digest
 * and a seal, and from 3.9 on the last zxid once more and a seal. A leader sends the same to a
 * learner without head and without what follows "/", and signs it (LearnerHandler.syncFollower).
 *
 * A log file is a head and entries, each with its head before it and ZK_LOG_END behind it; zeros
 * may follow.
 */
#pragma once

#include "jute/record.h"

enum {
	ZK_SNAP_MAGIC = 0x5a4b534e, /* "ZKSN" */
	ZK_LOG_MAGIC = 0x5a4b4c47,  /* "ZKLG" */
	ZK_FILE_VERSION = 2,
	ZK_SNAP_DBID = -1,
	ZK_SNAP_ACL_OPEN = -1, /* the number of world:anyone, all permissions, in no list */
	ZK_LOG_END = 0x42,     /* 'B' */
};
#define ZK_SNAP_END       "/"
#define ZK_SNAP_SIGNATURE "BenWasHere"

/* clang-format off */

#define ZK_SNAP_HEAD(F)		F(int, magic) F(int, version) F(long, dbid)
#define ZK_SNAP_SESSION(F)	F(long, id) F(int, timeout_ms)
#define ZK_SNAP_ACL(F)		F(long, id) F(acls, list)
/* The path of the root is "". cversion counts creates alone (StatPersisted). */
#define ZK_SNAP_NODE(F)		F(ustring, path) F(buffer, data) F(long, acl) \
				F(long, czxid) F(long, mzxid) F(long, ctime) F(long, mtime) \
				F(int, version) F(int, cversion) F(int, aversion) \
				F(long, owner) F(long, pzxid)
/* Adler32 of every byte of the file before it, and ZK_SNAP_END */
#define ZK_SNAP_SEAL(F)		F(long, adler) F(ustring, end)
/* zxid: the tree had this digest as of it */
#define ZK_SNAP_DIGEST(F)	F(long, zxid) F(int, version) F(long, digest)

#define ZK_LOG_HEAD(F)		F(int, magic) F(int, version) F(long, dbid)
/* Adler32 and length of the entry */
#define ZK_LOG_ENTRY(F)		F(long, adler) F(int, len)

#define ZK_SNAPS(R) \
	R(zk_snap_head, ZK_SNAP_HEAD) \
	R(zk_snap_session, ZK_SNAP_SESSION) \
	R(zk_snap_acl, ZK_SNAP_ACL) \
	R(zk_snap_node, ZK_SNAP_NODE) \
	R(zk_snap_seal, ZK_SNAP_SEAL) \
	R(zk_snap_digest, ZK_SNAP_DIGEST) \
	R(zk_log_head, ZK_LOG_HEAD) \
	R(zk_log_entry, ZK_LOG_ENTRY)

ZK_SNAPS(ZK_RECORD_DECLARE)

/* clang-format on */

enum {
	ZK_SNAP_HEAD_SIZE = 16,
	ZK_SNAP_SESSION_SIZE = 12,
	ZK_SNAP_ACL_SIZE_MIN = 12,
	ZK_SNAP_NODE_SIZE_MIN = 76, /* and the bytes of path and data */
	ZK_SNAP_SEAL_SIZE = 13,
	ZK_SNAP_DIGEST_SIZE = 20,
	ZK_LOG_HEAD_SIZE = 16,
	ZK_LOG_ENTRY_SIZE = 12,
};
