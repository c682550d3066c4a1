/*
 * links.h - the quorum port: connections between a leader and its learners
 *
 * As leader: listens, takes learners as peers 0..PEER_LINKS_MAX-1. As learner: dials the leader,
 * which is peer 0. What is to be sent to a peer stands in one queue and leaves in that order;
 * packets come in whole, decoded (quorum/packet.h), in order. Nothing here decides.
 *
 * Large things do not wait in memory, nor does anybody wait for them. A piece of history and a
 * state are sent by a thread for that peer, from the files to its socket, while what is queued
 * behind them waits, pings too; a state that a leader sends is received by a thread, into a staged
 * snapshot (storage/member.h). A range of transactions stands as its two ends while much is queued
 * before it; then it is made of what the caller still has in memory, or by that thread from the
 * log. So a peer that lags behind costs no memory, until it is closed: when its queue is longer
 * than queue_max bytes, or when its socket takes nothing for stall_ms.
 *
 * Runs in: writer, deciding thread, but for those threads; descriptors are in the caller's epoll
 * (source.h). Threads report by an eventfd there. Ordering: a job is handed over by pthread_create
 * and given back by its `done` flag (release, acquire); one direction of the socket is the thread's
 * meanwhile (bulk.h). The caller's turn: tick, sources, next until it says false, flush.
 *
 * Memory: taken for bytes received, at most twice as much, and one packet per peer; it is read no
 * further while the caller does not take (peer_links_next) what is there.
 *
 * Trust: peers are not believed; what can't be decoded closes that connection. Each connection that
 * ends otherwise than by the caller's will makes one log line, with its address.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "quorum/config.h"
#include "quorum/packet.h"
#include "storage/fs.h"

enum { PEER_LINKS_MAX = 128 };

struct peer_links;

struct peer_links_options {
	int epoll;
	const struct sto_fs *fs;
	const char *snap_dir, *log_dir; /* version-2 directories; fs and names outlive the links */
	uint32_t data_max;              /* bytes of a packet's data: jute.maxbuffer and extrasize */
	uint64_t queue_max;             /* bytes */
	uint32_t stall_ms;              /* syncLimit ticks */
	bool listen_on_all;             /* quorumListenOnAllIPs */
	/*
	 * TxnHeader, record and digest of a transaction that is not applied yet, or NULL: then it
	 * is in the log. Called in the deciding thread.
	 */
	const uint8_t *(*entry)(void *arg, int64_t zxid, uint32_t *len);
	void *arg;
};

struct peer_links *peer_links_new(const struct peer_links_options *options); /* NULL: errno */
void peer_links_free(struct peer_links *l);

/*
 * Leader: listen at `me`'s quorum ports, until peer_links_reset(), at once but for names that must
 * be asked for. Tried again every 100 ms if a port is not free yet; 0, or -errno of the first try,
 * which is logged. A connection of which no packet comes within stall_ms is closed.
 */
int peer_links_listen(struct peer_links *l, const struct quorum_config *c,
		      const struct quorum_member *me, uint64_t now_ms);

/*
 * Learner: dial that member's quorum port: five tries, retry_ms apart, all within limit_ms; names
 * are resolved anew at each. Of several addresses the next is dialled, too, when those before have
 * failed or had 250 ms. CONNECTED or LOST of peer 0 comes of it.
 */
void peer_links_dial(struct peer_links *l, const struct quorum_config *c,
		     const struct quorum_member *leader, uint32_t retry_ms, uint32_t limit_ms,
		     uint64_t now_ms);

/*
 * Close all connections and the listening sockets, forget what was put and received. Threads are
 * told to end, and are waited for: some milliseconds, or one sync of at most 32 MiB. A state that
 * was not whole is no longer staged. Nobody is told LOST.
 */
void peer_links_reset(struct peer_links *l);

enum peer_link_event_type {
	PEER_LINK_CONNECTED,
	PEER_LINK_LOST,   /* nothing more comes of it; why: static text, logged already */
	PEER_LINK_PACKET, /* packet: views, valid until the next call of next or receive_state */
	PEER_LINK_STATE,  /* the state that peer_links_receive_state() asked for is staged, durable,
			     its parents and children not compared */
};

struct peer_link_event {
	enum peer_link_event_type type;
	int32_t peer;
	struct quorum_packet packet;
	const char *why;
};

/* What came, one by one, fair among peers; false: nothing more is there now. */
bool peer_links_next(struct peer_links *l, struct peer_link_event *event);

/* Do not take packets of this peer for now, or again: back-pressure. LOST comes nevertheless. */
void peer_links_hold(struct peer_links *l, int32_t peer, bool hold);

/*
 * To send, in order. bytes: one or more whole packets. range: a packet of that type for each zxid
 * first..last, of one epoch; PROPOSAL and INFORM with the transaction's bytes, COMMIT and ACK
 * without. history: PROPOSAL and COMMIT of all that the log has in (after, last], which is durable.
 * state: the SNAP packet of the snapshot file `zxid`, which is on the disk, and its stream. close:
 * behind all that was put before; from this call on nothing is told of that peer, not even LOST,
 * and its number goes to another when all is sent and the peer has closed, too, or had a second to.
 * A peer that is not there is no error: its LOST is on the way.
 */
void peer_links_put(struct peer_links *l, int32_t peer, const void *bytes, size_t n);
void peer_links_put_range(struct peer_links *l, int32_t peer, int32_t type, int64_t first,
			  int64_t last);
void peer_links_put_history(struct peer_links *l, int32_t peer, int64_t after, int64_t last);
void peer_links_put_state(struct peer_links *l, int32_t peer, int64_t zxid);
void peer_links_close(struct peer_links *l, int32_t peer);

/*
 * Learner, on the SNAP packet, before peer_links_next() is called again: what follows it goes into
 * the stage, which is made empty; then STATE, or LOST, and nothing is staged.
 */
void peer_links_receive_state(struct peer_links *l, int64_t zxid);

/* Send what was put, as far as sockets take it; once per turn. */
void peer_links_flush(struct peer_links *l);

/* Time passes: stalls, dials. Once per turn, and at the deadline at the latest. */
void peer_links_tick(struct peer_links *l, uint64_t now_ms);
uint64_t peer_links_deadline_ms(const struct peer_links *l);

/* For the operator. */
struct peer_link_view {
	bool there;
	char address[64];
	uint64_t queued, sent, received; /* bytes */
	const char *busy;                /* NULL, "state" or "history" */
};
void peer_links_view(const struct peer_links *l, int32_t peer, struct peer_link_view *view);
