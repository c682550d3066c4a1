/*
 * records.h - what clients and servers say to each other
 *
 * One list per record, in ZooKeeper's field order; record.h says what is made of it: struct
 * zk_create_request, zk_create_request_decode(), zk_create_request_encode(). Pure; whether a null
 * path or vector is allowed is the caller's business.
 *
 * A frame is an int length and that many bytes. The first one holds a ConnectRequest and is
 * answered by a ConnectResponse; after that requests are RequestHeader + record, replies
 * ReplyHeader + record.
 */
#pragma once

#include "jute/codes.h"
#include "jute/jute.h"
#include "jute/record.h"

/* Stat of a znode as clients see it. On the wire ZK_STAT_SIZE bytes, in this order. */
enum { ZK_STAT_SIZE = 68, ZK_REQUEST_HEADER_SIZE = 8, ZK_REPLY_HEADER_SIZE = 16 };
enum { ZK_PASSWORD_SIZE = 16 };

struct zk_stat {
	int64_t czxid, mzxid, ctime, mtime;
	int32_t version, cversion, aversion;
	int64_t ephemeral_owner;
	int32_t data_length, num_children;
	int64_t pzxid;
};

static inline void zk_stat_encode(struct jute_out *out, const struct zk_stat *s)
{
	uint8_t *at = jute_reserve(out, ZK_STAT_SIZE);

	if (!at)
		return;
	be64_put(at, (uint64_t)s->czxid);
	be64_put(at + 8, (uint64_t)s->mzxid);
	be64_put(at + 16, (uint64_t)s->ctime);
	be64_put(at + 24, (uint64_t)s->mtime);
	be32_put(at + 32, (uint32_t)s->version);
	be32_put(at + 36, (uint32_t)s->cversion);
	be32_put(at + 40, (uint32_t)s->aversion);
	be64_put(at + 44, (uint64_t)s->ephemeral_owner);
	be32_put(at + 52, (uint32_t)s->data_length);
	be32_put(at + 56, (uint32_t)s->num_children);
	be64_put(at + 60, (uint64_t)s->pzxid);
}

struct zk_stat jute_get_stat(struct jute_in *in);

/* Every reply and notification begins with it. */
struct zk_reply_header {
	int32_t xid;
	int64_t zxid;
	int32_t err; /* enum zk_code */
};

static inline void zk_reply_header_encode(struct jute_out *out, const struct zk_reply_header *h)
{
	uint8_t *at = jute_reserve(out, ZK_REPLY_HEADER_SIZE);

	if (!at)
		return;
	be32_put(at, (uint32_t)h->xid);
	be64_put(at + 4, (uint64_t)h->zxid);
	be32_put(at + 12, (uint32_t)h->err);
}

int zk_reply_header_decode(struct jute_in *in, struct zk_reply_header *to);

/*
 * The handshake. read_only is the one optional field: clients of 3.4 and before leave it away, and
 * choke on a response that has it. Hence `has_read_only`: decoded from what was there, and copied
 * into the response by the caller. A response always carries ZK_PASSWORD_SIZE bytes.
 */
struct zk_connect_request {
	int32_t protocol_version;
	int64_t last_zxid_seen;
	int32_t timeout_ms;
	int64_t session_id; /* 0: a new session */
	struct jute_buf passwd;
	bool has_read_only, read_only;
};

struct zk_connect_response {
	int32_t protocol_version;
	int32_t timeout_ms; /* 0: the session is no more */
	int64_t session_id;
	struct jute_buf passwd;
	bool has_read_only, read_only;
};

int zk_connect_request_decode(struct jute_in *in, struct zk_connect_request *to);
void zk_connect_request_encode(struct jute_out *out, const struct zk_connect_request *from);
int zk_connect_response_decode(struct jute_in *in, struct zk_connect_response *to);
void zk_connect_response_encode(struct jute_out *out, const struct zk_connect_response *from);

/* clang-format off */

#define ZK_REQUEST_HEADER(F)	F(int, xid) F(int, type)
#define ZK_WATCHER_EVENT(F)	F(int, type) F(int, state) F(ustring, path)

/* Requests. create: create, create2, createContainer; create_ttl: createTTL. */
#define ZK_CREATE_REQUEST(F)	F(ustring, path) F(buffer, data) F(acls, acl) F(int, flags)
#define ZK_CREATE_TTL_REQUEST(F) ZK_CREATE_REQUEST(F) F(long, ttl)
/* delete; check, inside a multi */
#define ZK_DELETE_REQUEST(F)	F(ustring, path) F(int, version)
/* exists, getData, getChildren, getChildren2 */
#define ZK_READ_REQUEST(F)	F(ustring, path) F(boolean, watch)
#define ZK_SET_DATA_REQUEST(F)	F(ustring, path) F(buffer, data) F(int, version)
#define ZK_SET_ACL_REQUEST(F)	F(ustring, path) F(acls, acl) F(int, version)
/* getACL, sync, getAllChildrenNumber, getEphemerals; and the responses of create and sync */
#define ZK_PATH(F)		F(ustring, path)
#define ZK_SET_WATCHES(F)	F(long, relative_zxid) F(ustrings, data) F(ustrings, exist) \
				F(ustrings, child)
#define ZK_SET_WATCHES2(F)	ZK_SET_WATCHES(F) F(ustrings, persistent) \
				F(ustrings, persistent_recursive)
/* addWatch (enum zk_add_watch); checkWatches, removeWatches (enum zk_watcher) */
#define ZK_WATCH_REQUEST(F)	F(ustring, path) F(int, mode)
#define ZK_AUTH_PACKET(F)	F(int, type) F(ustring, scheme) F(buffer, auth)
/* sasl: request and response */
#define ZK_SASL_TOKEN(F)	F(buffer, token)
#define ZK_RECONFIG_REQUEST(F)	F(ustring, joining) F(ustring, leaving) F(ustring, new_members) \
				F(long, config_id)

/* Responses; of others: a Stat (exists, setData, setACL), an int, a vector. */
#define ZK_CREATE2_RESPONSE(F)	F(ustring, path) F(stat, stat)
#define ZK_GET_DATA_RESPONSE(F)	F(buffer, data) F(stat, stat)
#define ZK_GET_ACL_RESPONSE(F)	F(acls, acl) F(stat, stat)
#define ZK_CHILDREN_RESPONSE(F)	F(ustrings, children)
#define ZK_CHILDREN2_RESPONSE(F) F(ustrings, children) F(stat, stat)

/* Before each member of a multi and its results: type, then the record of that type. */
#define ZK_MULTI_HEADER(F)	F(int, type) F(boolean, done) F(int, err)

#define ZK_RECORDS(R) \
	R(zk_request_header, ZK_REQUEST_HEADER) \
	R(zk_watcher_event, ZK_WATCHER_EVENT) \
	R(zk_create_request, ZK_CREATE_REQUEST) \
	R(zk_create_ttl_request, ZK_CREATE_TTL_REQUEST) \
	R(zk_delete_request, ZK_DELETE_REQUEST) \
	R(zk_read_request, ZK_READ_REQUEST) \
	R(zk_set_data_request, ZK_SET_DATA_REQUEST) \
	R(zk_set_acl_request, ZK_SET_ACL_REQUEST) \
	R(zk_path, ZK_PATH) \
	R(zk_set_watches, ZK_SET_WATCHES) \
	R(zk_set_watches2, ZK_SET_WATCHES2) \
	R(zk_watch_request, ZK_WATCH_REQUEST) \
	R(zk_auth_packet, ZK_AUTH_PACKET) \
	R(zk_sasl_token, ZK_SASL_TOKEN) \
	R(zk_reconfig_request, ZK_RECONFIG_REQUEST) \
	R(zk_create2_response, ZK_CREATE2_RESPONSE) \
	R(zk_get_data_response, ZK_GET_DATA_RESPONSE) \
	R(zk_get_acl_response, ZK_GET_ACL_RESPONSE) \
	R(zk_children_response, ZK_CHILDREN_RESPONSE) \
	R(zk_children2_response, ZK_CHILDREN2_RESPONSE) \
	R(zk_multi_header, ZK_MULTI_HEADER)

ZK_RECORDS(ZK_RECORD_DECLARE)

/* clang-format on */

/* One member of a multi or multiRead request; `body` says which member of the union holds. */
struct zk_multi_op {
	int32_t type;
	union {
		struct zk_create_ttl_request create; /* ttl -1 where the request has none */
		struct zk_delete_request delete;     /* and check */
		struct zk_set_data_request set_data;
		struct zk_read_request read; /* getData, getChildren */
	};
};

/*
 * The next member. 1: *to holds it; 0: the end header was read; -EBADMSG: cut off, or of a type
 * that neither a multi nor a multiRead may have. Which of the two it is, and whether they are
 * mixed, is the caller's business.
 */
int zk_multi_next(struct jute_in *in, struct zk_multi_op *to);

/* The header that ends a multi, request or response. */
void zk_multi_end(struct jute_out *out);
