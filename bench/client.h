/*
 * client.h - many client connections driven by one thread
 *
 * Speaks the client protocol at the level of frames: connects, shakes hands, keeps a FIFO of the
 * requests in flight per connection, checks that replies come back in that order and that zxids
 * never fall, resumes its sessions after a disconnect. What to ask, and whether an answer is right,
 * is the business of the handler. No allocation per request once the buffers have grown.
 * Runs in: the load generator only.
 *
 * Ownership: the loop owns its connections and their buffers. Pointers given to the handler are
 * valid during the call.
 * Trust: the server's lengths are bounded by BENCH_FRAME_MAX; a reply that is out of order closes
 * its connection and is counted.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BENCH_FRAME_MAX = 16 * 1024 * 1024, /* bytes of a reply; a larger one is an error */
	BENCH_ADDRS_MAX = 16,               /* servers that connections are spread over */
	BENCH_OPENING_MAX = 32,             /* handshakes at once: Apache's backlog is 50 */
	BENCH_HEADER_LEN = 16,              /* ReplyHeader: xid, zxid, err */
	BENCH_STAT_LEN = 68,
};

enum bench_state {
	BENCH_DOWN,      /* no socket */
	BENCH_HANDSHAKE, /* connecting, or ConnectRequest on its way */
	BENCH_OPEN,
	BENCH_CLOSING, /* closeSession sent: the server's close is expected */
};

/* One request in flight. */
struct bench_slot {
	uint64_t sent_ns;
	uint64_t key; /* the handler's, as is op */
	uint32_t op;
	int32_t xid;
};

struct bench_conn {
	int fd;
	uint32_t index;
	enum bench_state state;
	bool queued_down; /* waits in the loop's list for its next attempt to connect */
	bool want_out;    /* EPOLLOUT is armed */
	int32_t xid;      /* last one used */
	int64_t zxid;     /* largest seen in a reply header */
	int64_t session;  /* 0: none yet */
	uint8_t passwd[16];
	uint8_t *tail; /* beginning of a frame whose rest has not come */
	size_t tail_len, tail_cap;
	uint8_t *out; /* bytes not yet sent */
	size_t out_len, out_cap;
	struct bench_slot *slots; /* ring of loop->depth */
	uint32_t slot_head, in_flight;
	uint64_t connect_ns; /* when the last attempt began */
	uint64_t ping_ns;    /* when the last ping was sent */
	uint64_t made, gone; /* the handler's: range of nodes of its own that exist */
};

/* Everything that went wrong, and everything the server did unasked. */
struct bench_faults {
	uint64_t err_replies; /* replies whose err is not what was expected */
	uint64_t bad_order;   /* xid is not that of the oldest request */
	uint64_t bad_zxid;    /* zxid fell */
	uint64_t bad_length;  /* frame or reply of an impossible length */
	uint64_t bad_data;    /* the answer is not what was written */
	uint64_t disconnects;
	uint64_t refused; /* attempts to connect that failed */
	uint64_t expired; /* sessions that the server no longer knew */
	uint64_t unknown; /* requests without answer when the connection broke */
	int32_t last_err; /* of err_replies */
};

struct bench_loop;

/* Called by bench_loop_turn(). Members may be NULL, reply only while nothing is asked. */
struct bench_handler {
	/* The session is open (again). */
	void (*open)(struct bench_loop *l, struct bench_conn *c);
	/* A reply: header checked, err as it came; body and len without the header. */
	void (*reply)(struct bench_loop *l, struct bench_conn *c, const struct bench_slot *slot,
		      int32_t err, const uint8_t *body, size_t len);
	/* A notification; body is a WatcherEvent. */
	void (*event)(struct bench_loop *l, struct bench_conn *c, const uint8_t *body, size_t len);
	/* All replies that were there are handled: time to send more. */
	void (*ready)(struct bench_loop *l, struct bench_conn *c);
	/*
	 * The connection broke, its requests unanswered, and will be opened again if
	 * loop->reconnect; or it was closed as expected.
	 */
	void (*down)(struct bench_loop *l, struct bench_conn *c);
};

struct bench_loop {
	int epfd;
	struct sockaddr_in addrs[BENCH_ADDRS_MAX]; /* connection i: address i modulo n_addrs */
	uint32_t n_addrs;
	uint32_t timeout_ms; /* session timeout to ask for */
	uint32_t depth;      /* requests in flight per connection at most */
	struct bench_conn *conns;
	uint32_t n_conns;
	uint32_t n_open, n_opening;
	bool reconnect; /* a broken connection is opened again */
	uint32_t *down; /* stack of connections that wait to be opened */
	uint32_t n_down;
	uint64_t retry_ns; /* no attempt to connect before this */
	uint64_t stuck_ns; /* next look for handshakes that hang */
	uint64_t now_ns;   /* clock_mono_ns(), refreshed once per connection and turn */
	uint64_t bytes_in, bytes_out;
	struct bench_faults faults;
	const struct bench_handler *handler;
	void *ctx; /* the handler's */
	uint8_t *buf;
	size_t buf_cap;
};

/*
 * Prepare n_conns closed connections to host:port (IPv4 address or name), or to several, by comma.
 * depth: see above. 0 or a negative errno.
 */
int bench_loop_init(struct bench_loop *l, const char *hosts, uint32_t n_conns, uint32_t depth,
		    uint32_t timeout_ms);
void bench_loop_fini(struct bench_loop *l);

/* Let a closed connection be opened, soon: at most BENCH_OPENING_MAX are in a handshake. */
void bench_conn_open(struct bench_loop *l, struct bench_conn *c);

/* Open all; turns until they are or `seconds` have passed. 0 or -ETIMEDOUT. */
int bench_loop_open_all(struct bench_loop *l, uint32_t seconds);

/*
 * Queue a request: frame is a whole one (length word, xid, type, body), its xid is filled in.
 * The caller sees to it that in_flight < depth. Sent at the end of the connection's turn or by
 * bench_flush().
 */
void bench_send(struct bench_loop *l, struct bench_conn *c, const uint8_t *frame, size_t len,
		uint32_t op, uint64_t key);

/* Queue a ping; no slot, the loop recognises its answer. */
void bench_ping(struct bench_loop *l, struct bench_conn *c);

/* Send what is queued, as far as the socket takes it. */
void bench_flush(struct bench_loop *l, struct bench_conn *c);

/* Close the socket, forget the session; no fault is counted. */
void bench_conn_drop(struct bench_loop *l, struct bench_conn *c);

/* The server is about to close: that is no fault, and is told by handler->down. */
void bench_conn_expect_close(struct bench_loop *l, struct bench_conn *c);

/* Wait up to timeout_ms for something to happen, and handle what did. */
void bench_loop_turn(struct bench_loop *l, int timeout_ms);

/* Turn until no request is in flight or `seconds` have passed; what is left counts as unknown. */
void bench_loop_drain(struct bench_loop *l, uint32_t seconds);
