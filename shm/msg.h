/*
 * msg.h - what workers and the writer say to each other: records of the up and commit rings
 *
 * Host byte order, never on disk, no pointers. Every record begins with its kind and is bounded by
 * its ring record's length. Bodies hold jute bytes as the client sent them, or as it will get
 * them, so that nothing is converted twice.
 *
 * A connection is named by a u64 that its worker makes: incarnation of the worker (16 bits) |
 * generation of the place (24) | place (24). A stale name never meets a new connection.
 *
 * Order is the contract. The writer takes a worker's records in the order pushed. A worker takes
 * the commit ring in order; so an answer that stands behind a transaction there is given by a
 * state that has it.
 *
 * Writer restart. The worker keeps each request until it is answered. A record carries the
 * writer_epoch for which it was pushed; a writer drops records of another epoch. When a worker
 * meets DOWN_EPOCH with an epoch that it does not know yet, it pushes, for every connection that
 * holds a session, UP_ATTACH (with all its auth packets, in order) and then the connection's
 * unanswered requests, in order: what the dead writer had logged was answered by the DOWN_TXN
 * records that stand before DOWN_EPOCH (the new writer publishes the tail of the log first), so
 * nothing is applied twice (V1). The writer stores writer_epoch before it publishes DOWN_EPOCH; a
 * fresh worker loads it after it has taken its place in the commit ring: so it knows every epoch
 * whose record it will not meet.
 */
#pragma once

#include <stdint.h>

/* ---- up: worker -> writer ------------------------------------------------------------------- */

enum msg_up_kind {
	/* ConnectRequest that passed the worker's checks; body: struct msg_connect + password
	 * bytes. session 0 = new. */
	UP_CONNECT = 1,
	/* A write (create*, delete, setData, setACL, multi, reconfig, closeSession): op, xid,
	 * body = request record. */
	UP_REQUEST,
	/* Body = AuthPacket record; answered by DOWN_AUTH, also when it failed. op = 1: repeated
	 * behind UP_ATTACH, its answer is not for the client. */
	UP_AUTH,
	UP_SYNC,   /* body empty (the worker keeps the path); answered by DOWN_SYNC */
	UP_DETACH, /* the connection is gone; the session lives on */
	/* After DOWN_EPOCH: session, conn; body: struct msg_connect (timeout = negotiated).
	 * Answered by DOWN_AUTH (type -1), or by DOWN_CLOSE when refused. */
	UP_ATTACH,
	UP_REPORT, /* four-letter word that needs every process: xid = report kind; conn asks */
	/* This worker's share of report kind `xid` for `conn`, who asked; body = text, whole
	 * lines; op = 1 with the last piece. */
	UP_REPORT_TEXT,
};

struct msg_up {
	uint8_t kind;
	uint8_t pad[3];
	uint32_t epoch; /* board->writer_epoch known to the worker */
	uint64_t conn;
	int64_t session;
	int32_t xid, op;
	uint32_t received_ms; /* low 32 bits of monotonic ms: for throttling and latency */
	uint32_t len;         /* bytes of body that follow */
};

struct msg_connect {
	uint8_t address[16]; /* remote address, IPv4 as ::ffff:a.b.c.d */
	uint32_t scope;      /* IPv6 scope id, 0 if none */
	int32_t timeout_ms;  /* already clamped */
	int64_t last_zxid_seen;
	/* -1 = null; bytes follow (at most 64: a longer one can't be right and is sent as -1). */
	int32_t password_len;
	uint32_t pad;
};

/* ---- down: commit ring, writer -> all workers ----------------------------------------------- */

enum msg_down_kind {
	/* More events of the transaction whose DOWN_TXN follows; no reply, does not move S. */
	DOWN_EVENTS = 1,
	DOWN_TXN, /* a whole transaction: moves S to its zxid */
	/* Answer to UP_CONNECT: resumed, new and local, or refused (timeout_ms 0). A new session's
	 * is a DOWN_TXN of type createSession; that of a connection which is open tells the slot
	 * that its session has as a global one. */
	DOWN_CONNECTED,
	/* Answer to UP_AUTH (xid as there, type = its op) and to UP_ATTACH (type -1): err, and the
	 * connection's whole id list. */
	DOWN_AUTH,
	DOWN_SYNC, /* answer to UP_SYNC */
	/* Answer to UP_REQUEST that made no transaction: err (-127 throttled or out of room, ...;
	 * 0: closeSession of a local session), zxid = last published. */
	DOWN_REFUSED,
	/* Close this connection without a word (expired, moved, resumed elsewhere, unknown). */
	DOWN_CLOSE,
	/* A new writer is in service, its tail is published: attach and send again. xid = the
	 * writer_epoch. err: what was sent before may be done, or not: such connections are closed
	 * instead (a leader's epoch goes on, and the connection to it was lost). */
	DOWN_EPOCH,
	DOWN_REPORT,      /* worker: add your share of report kind `xid` for `conn` */
	DOWN_REPORT_TEXT, /* text for `conn`'s report; err = 1 with the last piece of all */
	/* Moves head, so that a grace period can end. xid = a generation: from here on ACL ids of
	 * events are that generation's; else 0. */
	DOWN_NOP,
};

enum { MSG_NO_WORKER = 0xffff };

/*
 * Header of every record of the commit ring. `worker`, `conn`: who asked; MSG_NO_WORKER if none is
 * known (expiry, replay after a writer restart, peers): then the worker that holds `session`
 * answers its oldest unanswered write. Records without a transaction carry the last published
 * zxid.
 */
struct msg_down {
	uint8_t kind;
	uint8_t pad;
	uint16_t worker;
	int32_t err; /* DOWN_TXN: the reply header's err */
	uint64_t conn;
	int64_t session;
	int64_t zxid;
	int32_t xid;  /* DOWN_TXN: cxid */
	int32_t type; /* DOWN_TXN: transaction type (txn.h); tells createSession and closeSession */
	/* DOWN_TXN, DOWN_EVENTS: bytes of events first, each struct msg_event + path, padded to
	 * 8. */
	uint32_t events_len;
	/* Then the reply's body, ready to send: jute bytes behind the ReplyHeader. By kind:
	 *	DOWN_TXN createSession   struct msg_session (the worker makes the ConnectResponse)
	 *	DOWN_CONNECTED           struct msg_session; timeout_ms 0 = refused
	 *	DOWN_AUTH                vector<Id> as jute bytes: the connection's ids, `ip` first
	 *	DOWN_REPORT_TEXT         text
	 *	others                   none */
	uint32_t reply_len;
};

struct msg_session {
	int64_t session;
	int32_t timeout_ms;
	uint32_t slot; /* session slot: index of seat->heard[] */
	uint8_t password[16];
	/* the connection's ids follow: vector<Id> as jute bytes, to the end of the reply */
};

struct msg_event {
	/* 1 created, 2 deleted, 3 data changed; child events follow from the path: created and
	 * deleted also fire the parent's ChildrenChanged. */
	uint8_t type;
	uint8_t pad[3];
	uint32_t acl; /* of the node, for the READ filter */
	uint32_t parent_acl;
	uint32_t path_len; /* path bytes follow, padded to 8 */
};
