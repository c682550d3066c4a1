/*
 * conn.h - one client connection: a plain struct, its bytes in and out, its unanswered requests
 *
 * HANDSHAKE: the next frame is a ConnectRequest, or four letters. SETUP: the writer makes or
 * resumes the session; nothing is read. WORD: a four-letter word that other processes add to. OPEN:
 * frames are requests. LAST: nothing more is read, what is owed is still sent. GONE: the socket is
 * closed; what the client had sent is still done, then the place is free. A connection never moves
 * back.
 *
 * Order (V5). The queue holds what was received and not yet answered, in order. A request that the
 * writer answers is handed to it as soon as no unanswered read stands before it; reads are run when
 * they are first in the queue, or at once when it is empty. So a read never sees a later write of
 * its own session, and zxids in replies do not fall.
 *
 * Memory (V8): a connection owns an input buffer only while it holds part of a frame or is held
 * back, an output buffer only while the socket does not take it, queue entries only for what is
 * unanswered. Buffers grow with bytes received, never by what a length announces; before the
 * handshake there are at most WRK_HANDSHAKE_MAX of them.
 *
 * Output of a turn lies in the worker's arena while one connection after the other is served, and
 * in memory of its own when it must wait.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "jute/records.h"
#include "workers/link.h"

struct worker;
struct msg_down;

enum { WRK_HANDSHAKE_MAX = 1024 };
enum wrk_state {
	WRK_FREE,
	WRK_HANDSHAKE,
	WRK_SETUP,
	WRK_WORD,
	WRK_OPEN,
	WRK_LAST,
	WRK_GONE,
};
enum wrk_kind { WRK_READ, WRK_CONNECT, WRK_WRITE, WRK_AUTH, WRK_SYNC };

/* A frame, seen in place. */
struct wrk_frame {
	int32_t xid, op;
	const uint8_t *body;
	uint32_t len;
	uint64_t hash; /* 0: not hashed */
};

/* A request that waits. */
struct wrk_request {
	struct wrk_request *next;
	uint64_t at_us;
	int32_t xid, op;
	uint32_t len;
	int32_t err;
	uint8_t kind;
	bool done; /* err is the answer, and what stands before it is still awaited */
	uint8_t body[];
};

struct wrk_conn {
	int fd; /* -1: none (tests, GONE) */
	uint32_t place, generation;
	uint8_t state;
	bool attached;      /* the writer holds the session to be ours */
	bool has_read_only; /* of the ConnectRequest */
	bool read_only;     /* reads alone are answered, for as long as it lives */
	bool need_attach, need_detach;
	bool close_after; /* everything is sent: close */
	bool deaf;        /* the last request has been read */
	bool mapped;      /* found by its session */
	bool out_owned;
	bool ready;      /* has input that this turn will come to */
	uint32_t events; /* what epoll watches */

	uint8_t address[16];
	uint32_t scope;
	uint16_t port;

	int64_t session;
	uint32_t session_next; /* in the bucket: place + 1 */
	uint32_t slot;
	int32_t timeout_ms;
	uint32_t heard_ms;
	uint8_t *ids; /* vector<Id> */
	uint32_t ids_len;

	uint32_t in_len, in_cap;
	uint8_t *in;
	uint8_t *out;
	size_t out_len, out_sent, out_cap;

	struct wrk_request *head, *tail;
	struct wrk_request *next_push; /* first that the writer has not got */
	struct wrk_request *auths;     /* answered auth packets, for UP_ATTACH; newest first */
	uint32_t queued, queued_bytes; /* unanswered */
	uint32_t queued_reads;
	uint32_t n_auths;

	struct wrk_link timed, paused, run, flush, gone;
	uint64_t deadline_ms; /* while in `timed` */
	int32_t word;         /* report kind that is awaited */
	bool word_begun;

	/* For cons and stat. */
	int64_t received, sent, established_ms, latency_sum_ms, latency_count;
	int64_t last_zxid, last_cxid, last_response_ms;
	uint32_t latency_last_ms, latency_min_ms, latency_max_ms;
	int32_t last_op;
};

_Static_assert(sizeof(struct wrk_conn) <= 512, "10,000 idle sessions of at most 2 KiB each");

/* --- conn_table.c ----------------------------------------------------------------------------- */

/* A connection in HANDSHAKE; NULL: no memory, or no place. fd becomes ours. */
struct wrk_conn *wrk_conn_new(struct worker *w, int fd, const uint8_t address[16], uint32_t scope,
			      uint16_t port);
/* NULL where there is none. */
struct wrk_conn *wrk_conn_at(const struct worker *w, uint32_t place);
struct wrk_conn *wrk_conn_named(const struct worker *w, uint64_t name);
struct wrk_conn *wrk_conn_of_session(const struct worker *w, int64_t session);
uint64_t wrk_conn_name(const struct worker *w, const struct wrk_conn *c);
/* Found by that session from now on, until it closes. */
void wrk_conn_set_session(struct worker *w, struct wrk_conn *c, int64_t session);
void wrk_conn_forget_session(struct worker *w, struct wrk_conn *c);
/* Its place is another's. It owns nothing any more. */
void wrk_conn_free(struct worker *w, struct wrk_conn *c);
/* Connections by place, for walks: *place is 0 at first. */
struct wrk_conn *wrk_conn_next(const struct worker *w, uint32_t *place);

/* --- bytes ------------------------------------------------------------------------------------ */

/* Bytes that the client sent. The only entry of untrusted input; c may be GONE afterwards. */
void wrk_conn_feed(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len);
/* Do what can be done by now: queued reads, requests for the writer, input that was held back. */
void wrk_conn_run(struct worker *w, struct wrk_conn *c);
/* There is input, and it has to wait: do not report it again. */
void wrk_conn_ignore(struct worker *w, struct wrk_conn *c);
/* May more input be taken? */
bool wrk_conn_wants_input(const struct worker *w, const struct wrk_conn *c);

/*
 * A reply: room for a body of `body_max` bytes behind its header, then the end. When there is no
 * memory, or the client takes nothing and WRK_UNSENT_BYTES wait, the connection is closed and the
 * cursor has no room: puts fail and the end does nothing.
 */
struct jute_out wrk_reply_begin(struct worker *w, struct wrk_conn *c, size_t body_max, int32_t xid,
				int64_t zxid, int32_t err);
void wrk_reply_end(struct worker *w, struct wrk_conn *c, const struct jute_out *out);
/* A reply that is its header alone. */
void wrk_reply(struct worker *w, struct wrk_conn *c, int32_t xid, int64_t zxid, int32_t err);
/* Whole frames, or text. */
void wrk_out_bytes(struct worker *w, struct wrk_conn *c, const void *bytes, size_t len);

void wrk_conn_flush(struct worker *w, struct wrk_conn *c);
/* Close the socket now; unsent bytes are lost. The struct stays until the end of the turn. */
void wrk_conn_close(struct worker *w, struct wrk_conn *c);
/* Send what is owed, then close; nothing more is read. */
void wrk_conn_last(struct worker *w, struct wrk_conn *c);
/* A deadline from now on; 0: none. */
void wrk_conn_deadline(struct worker *w, struct wrk_conn *c, uint64_t in_ms);
void wrk_conn_deadlines(struct worker *w);
/* Free the places of connections that are gone and owe nothing. End of turn. */
void wrk_conn_sweep(struct worker *w);

/* --- requests.c ------------------------------------------------------------------------------- */

/* A frame of an OPEN connection. */
void wrk_request(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f);
/* An identity is asked for that it has not got: it was told so, and ends. */
bool wrk_refuse_unauthenticated(struct worker *w, struct wrk_conn *c, int32_t op, int32_t xid);
/* Append a request; false: no memory, and the connection is closed. */
bool wrk_enqueue(struct worker *w, struct wrk_conn *c, enum wrk_kind kind,
		 const struct wrk_frame *f);
/* Hand over what may be handed over. */
void wrk_push(struct worker *w, struct wrk_conn *c);
/* The first request if it is with the writer and of this kind, else NULL. */
struct wrk_request *wrk_awaited(const struct wrk_conn *c, enum wrk_kind kind);
/* The oldest of this kind that is with the writer and not done; for writes, with this xid. */
struct wrk_request *wrk_undone(const struct wrk_conn *c, enum wrk_kind kind, int32_t xid);
/* Its answer is encoded: count it, drop it, and let what waited behind it run at the end of the
 * drain. */
void wrk_answered(struct worker *w, struct wrk_conn *c, int64_t zxid);
/* A new writer is in service: attach, and hand over again what is unanswered. */
void wrk_resend(struct worker *w, struct wrk_conn *c);
/* Drop the whole queue without an answer. */
void wrk_queue_drop(struct worker *w, struct wrk_conn *c);
void wrk_conn_detach(struct worker *w, uint64_t name, int64_t session);
/* For cons: a request was answered. */
void wrk_conn_count(struct worker *w, struct wrk_conn *c, int32_t op, int32_t xid, int64_t zxid,
		    uint64_t took_us);

/* --- handshake.c ------------------------------------------------------------------------------ */

/* How many bytes were taken; the state says what became of them. */
size_t wrk_handshake(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len);
/* The writer's answer. */
void wrk_connected(struct worker *w, struct wrk_conn *c, const struct msg_down *d,
		   const uint8_t *reply, size_t len);

/* The identities, as the writer says. */
void wrk_set_ids(struct worker *w, struct wrk_conn *c, const uint8_t *ids, size_t len);

/* --- reads.c, watching.c ---------------------------------------------------------------------- */

/* Find the path of a read in its body and hash it, so that its bucket is on the way. */
void wrk_read_prepare(struct worker *w, struct wrk_frame *f);
/* Answer as of S: every request that the writer does not answer. */
void wrk_read(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f);
/* May this connection do `mask` by that list? */
bool wrk_permits(const struct worker *w, const struct wrk_conn *c, uint32_t acl, int32_t mask);
/* setWatches, setWatches2, addWatch, checkWatches, removeWatches. */
void wrk_watching(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f);
/* Register a watch; false: no memory, the connection is closed. */
bool wrk_watch(struct worker *w, struct wrk_conn *c, int table, const void *path, size_t len,
	       unsigned modes);
