/*
 * codes.h - the numbers of ZooKeeper's protocol, and their names
 *
 * Values are ZooKeeper's (ZooDefs.OpCode, KeeperException.Code, Watcher.Event, CreateMode, ..);
 * clients and logs know them, none may change.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum zk_op {
	ZK_OP_NOTIFICATION = 0,
	ZK_OP_CREATE = 1,
	ZK_OP_DELETE = 2,
	ZK_OP_EXISTS = 3,
	ZK_OP_GET_DATA = 4,
	ZK_OP_SET_DATA = 5,
	ZK_OP_GET_ACL = 6,
	ZK_OP_SET_ACL = 7,
	ZK_OP_GET_CHILDREN = 8,
	ZK_OP_SYNC = 9,
	ZK_OP_PING = 11,
	ZK_OP_GET_CHILDREN2 = 12,
	ZK_OP_CHECK = 13,
	ZK_OP_MULTI = 14,
	ZK_OP_CREATE2 = 15,
	ZK_OP_RECONFIG = 16,
	ZK_OP_CHECK_WATCHES = 17,
	ZK_OP_REMOVE_WATCHES = 18,
	ZK_OP_CREATE_CONTAINER = 19,
	ZK_OP_DELETE_CONTAINER = 20, /* made by servers only */
	ZK_OP_CREATE_TTL = 21,
	ZK_OP_MULTI_READ = 22,
	ZK_OP_AUTH = 100,
	ZK_OP_SET_WATCHES = 101,
	ZK_OP_SASL = 102,
	ZK_OP_GET_EPHEMERALS = 103,
	ZK_OP_GET_ALL_CHILDREN_NUMBER = 104,
	ZK_OP_SET_WATCHES2 = 105,
	ZK_OP_ADD_WATCH = 106,
	ZK_OP_WHO_AM_I = 107,
	ZK_OP_CREATE_SESSION = -10, /* made by servers only */
	ZK_OP_CLOSE_SESSION = -11,
	ZK_OP_ERROR = -1, /* type of the transaction of a failed write, and of error results */
};

/* Answers to clients; not errors of ours. */
enum zk_code {
	ZOK = 0,
	ZSYSTEMERROR = -1,
	ZRUNTIMEINCONSISTENCY = -2,
	ZDATAINCONSISTENCY = -3,
	ZCONNECTIONLOSS = -4,
	ZMARSHALLINGERROR = -5,
	ZUNIMPLEMENTED = -6,
	ZOPERATIONTIMEOUT = -7,
	ZBADARGUMENTS = -8,
	ZUNKNOWNSESSION = -12,
	ZNEWCONFIGNOQUORUM = -13,
	ZRECONFIGINPROGRESS = -14,
	ZAPIERROR = -100,
	ZNONODE = -101,
	ZNOAUTH = -102,
	ZBADVERSION = -103,
	ZNOCHILDRENFOREPHEMERALS = -108,
	ZNODEEXISTS = -110,
	ZNOTEMPTY = -111,
	ZSESSIONEXPIRED = -112,
	ZINVALIDCALLBACK = -113,
	ZINVALIDACL = -114,
	ZAUTHFAILED = -115,
	ZSESSIONMOVED = -118, /* never sent: the connection is closed instead */
	ZNOTREADONLY = -119,
	ZEPHEMERALONLOCALSESSION = -120,
	ZNOWATCHER = -121,
	ZRECONFIGDISABLED = -123,
	ZSESSIONCLOSEDREQUIRESASLAUTH = -124,
	ZQUOTAEXCEEDED = -125,
	ZTHROTTLEDOP = -127,
};

/* xids with a meaning. Clients choose the others. */
enum { ZK_XID_NOTIFICATION = -1, ZK_XID_PING = -2, ZK_XID_AUTH = -4, ZK_XID_SET_WATCHES = -8 };

enum zk_event {
	ZK_EVENT_CREATED = 1,
	ZK_EVENT_DELETED = 2,
	ZK_EVENT_DATA_CHANGED = 3,
	ZK_EVENT_CHILDREN_CHANGED = 4,
};
enum { ZK_STATE_SYNC_CONNECTED = 3 }; /* the only state that servers send */

enum zk_perm {
	ZK_PERM_READ = 1,
	ZK_PERM_WRITE = 2,
	ZK_PERM_CREATE = 4,
	ZK_PERM_DELETE = 8,
	ZK_PERM_ADMIN = 16,
	ZK_PERM_ALL = 31,
};

/* `flags` of the create requests. */
enum zk_mode {
	ZK_MODE_PERSISTENT = 0,
	ZK_MODE_EPHEMERAL = 1,
	ZK_MODE_PERSISTENT_SEQUENTIAL = 2,
	ZK_MODE_EPHEMERAL_SEQUENTIAL = 3,
	ZK_MODE_CONTAINER = 4,
	ZK_MODE_TTL = 5,
	ZK_MODE_TTL_SEQUENTIAL = 6,
	ZK_MODE_MAX = 6,
};

static inline bool zk_mode_is_ephemeral(int32_t mode)
{
	return mode == ZK_MODE_EPHEMERAL || mode == ZK_MODE_EPHEMERAL_SEQUENTIAL;
}

static inline bool zk_mode_is_sequential(int32_t mode)
{
	return mode == ZK_MODE_PERSISTENT_SEQUENTIAL || mode == ZK_MODE_EPHEMERAL_SEQUENTIAL ||
	       mode == ZK_MODE_TTL_SEQUENTIAL;
}

static inline bool zk_mode_is_ttl(int32_t mode)
{
	return mode == ZK_MODE_TTL || mode == ZK_MODE_TTL_SEQUENTIAL;
}

/*
 * Internal ephemeral owners that are no session: containers, and TTL nodes with the ttl in ms in
 * the low 40 bits (EphemeralType). Clients see 0 for both.
 */
#define ZK_OWNER_CONTAINER INT64_MIN
#define ZK_OWNER_TTL       ((int64_t)0xff00000000000000)
#define ZK_TTL_MAX         0xffffffffff

/* mode of addWatch. */
enum zk_add_watch { ZK_ADD_PERSISTENT = 0, ZK_ADD_PERSISTENT_RECURSIVE = 1 };

/* type of checkWatches and removeWatches (Watcher.WatcherType). */
enum zk_watcher {
	ZK_WATCHER_CHILDREN = 1,
	ZK_WATCHER_DATA = 2,
	ZK_WATCHER_ANY = 3,
	ZK_WATCHER_PERSISTENT = 4,
	ZK_WATCHER_PERSISTENT_RECURSIVE = 5,
};

/* The short name of an opcode in the four-letter words ("GETD"); "????" for what has none. */
const char *zk_op_lop(int32_t op);

/* The name of a code in ZooKeeper's spelling ("NONODE"); "?" for what has none. For log lines. */
const char *zk_code_name(int32_t code);

/* Is this a request that a client may send outside of a multi? */
bool zk_op_is_known(int32_t op);

/* Does this request make a transaction (multi included, closeSession included)? */
bool zk_op_is_write(int32_t op);
