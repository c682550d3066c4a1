/*
 * msg.h - what workers and the writer say to each other: the records of the up rings and of the commit ring
 *
 * Host byte order, never on disk, no pointers. Every record begins with its kind and is bounded by its ring record's length. Bodies hold
 * jute bytes as the client sent them, or as it will get them, so that nothing is converted twice.
 *
 * A connection is named by a u64 that its worker makes: incarnation of the worker (16 bits) | generation of the place (24) | place (24). A stale
 * name never meets a new connection.
 *
 * Order is the contract. The writer takes a worker's records in the order pushed. A worker takes the commit ring in order; so an answer
 * that stands behind a transaction there is given by a state that has it.
 *
 * Writer restart. The worker keeps each request until it is answered. A record carries the writer_epoch for which it was pushed; a writer
 * drops records of another epoch. When a worker meets DOWN_EPOCH, it pushes, for every connection that holds a session, UP_ATTACH (with all its auth packets, in
 * order) and then the connection's unanswered requests, in order: what the dead writer had logged was answered by the DOWN_TXN records
 * that stand before DOWN_EPOCH (the new writer publishes the tail of the log first), so nothing is applied twice (V1).
 */
#pragma once
#include <stdint.h>

/* ---- up: worker -> writer ---------------------------------------------------------------------------------------------- */

enum msg_up_kind {
	UP_CONNECT = 1, /* ConnectRequest that passed the worker's checks; body: struct msg_connect + password bytes. session 0 = new */
	UP_REQUEST,     /* a write (create*, delete, setData, setACL, multi, reconfig, closeSession): op, xid, body = request record */
	UP_AUTH,        /* body = AuthPacket record; answered by DOWN_AUTH, also when it failed */
	UP_SYNC,        /* body empty (the worker keeps the path); answered by DOWN_SYNC */
	UP_DETACH,      /* the connection is gone; the session lives on */
	UP_ATTACH,      /* after DOWN_EPOCH: session, conn; body: struct msg_connect (timeout = negotiated); no answer unless refused: DOWN_CLOSE */
	UP_REPORT,      /* four-letter word that needs every process: xid = word's report kind; conn asks */
	UP_REPORT_TEXT, /* this worker's share of report `xid` (token): body = text for `conn`; op = 1 with the last piece */
};

struct msg_up {
	uint8_t kind;
	uint8_t pad[3];
	uint32_t epoch;   /* board->writer_epoch known to the worker */
	uint64_t conn;
	int64_t session;
	int32_t xid, op;
	uint32_t received_ms; /* low 32 bits of monotonic ms: for throttled_op_wait_time and latency */
	uint32_t len;     /* bytes of body that follow */
};

struct msg_connect {
	uint8_t address[16]; /* remote address, IPv4 as ::ffff:a.b.c.d */
	uint32_t scope;      /* IPv6 scope id, 0 if none */
	int32_t timeout_ms;  /* already clamped */
	int64_t last_zxid_seen;
	int32_t password_len; /* -1 = null; bytes follow (at most 64: a longer one can't be right and is sent as length -1) */
	uint32_t pad;
};

/* ---- down: commit ring, writer -> all workers ---------------------------------------------------------------------------- */

enum msg_down_kind {
	DOWN_EVENTS = 1, /* more events of the transaction whose DOWN_TXN follows; no reply, does not move S */
	DOWN_TXN,        /* a whole transaction: moves S to its zxid */
	DOWN_CONNECTED,  /* answer to UP_CONNECT: resumed, or refused (timeout_ms 0). A new session's is a DOWN_TXN of type createSession */
	DOWN_AUTH,       /* answer to UP_AUTH and to UP_ATTACH: err, and the connection's whole id list */
	DOWN_SYNC,       /* answer to UP_SYNC */
	DOWN_REFUSED,    /* answer to UP_REQUEST that made no transaction: err (-127 throttled or out of room, ...), zxid = last published */
	DOWN_CLOSE,      /* close this connection without a word (expired, moved, resumed elsewhere, unknown session) */
	DOWN_EPOCH,      /* a new writer is in service, its tail is published: attach and send again */
	DOWN_REPORT,     /* worker: add your share of report `xid` (kind) for `conn`, by UP_REPORT_TEXT */
	DOWN_REPORT_TEXT,/* text for `conn`'s report; err = 1 with the last piece of all */
	DOWN_NOP,        /* moves head, so that a grace period can end */
};

enum { MSG_NO_WORKER = 0xffff };

/* Header of every record of the commit ring. `worker`, `conn`: who asked, MSG_NO_WORKER if none is known (expiry, replay after a writer restart,
 * peers): then the worker that holds `session` answers its oldest unanswered write. */
struct msg_down {
	uint8_t kind;
	uint8_t pad;
	uint16_t worker;
	int32_t err;         /* DOWN_TXN: the reply header's err */
	uint64_t conn;
	int64_t session;
	int64_t zxid;
	int32_t xid;         /* DOWN_TXN: cxid */
	int32_t type;        /* DOWN_TXN: transaction type (txn.h); tells createSession and closeSession */
	uint32_t events_len; /* DOWN_TXN, DOWN_EVENTS: bytes of events first, each struct msg_event + path, padded to 8 */
	uint32_t reply_len;  /* then the reply's body, ready to send: jute bytes behind the ReplyHeader. Other kinds: see below */
};
/*
 * reply bytes by kind:
 *	DOWN_TXN createSession: struct msg_session (the worker makes the ConnectResponse)
 *	DOWN_CONNECTED:	 struct msg_session; timeout_ms 0 = refused
 *	DOWN_AUTH:	      vector<Id> as jute bytes: the connection's ids, `ip` first
 *	DOWN_REPORT_TEXT:       text
 *	others:		 none
 */
struct msg_session {
	int64_t session;
	int32_t timeout_ms;
	uint32_t slot;       /* session slot: index of seat->heard[] */
	uint8_t password[16];
	/* the connection's ids follow: vector<Id> as jute bytes, to the end of the reply */
};

struct msg_event {
	uint8_t type;        /* 1 created, 2 deleted, 3 data changed; child events follow from the path: created and deleted also fire */
	uint8_t pad[3];      /* the parent's ChildrenChanged (client.md 9.4) */
	uint32_t acl;	/* of the node, for the READ filter (acl.h) */
	uint32_t parent_acl;
	uint32_t path_len;   /* path bytes follow, padded to 8 */
};
