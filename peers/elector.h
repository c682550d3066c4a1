/*
 * elector.h - the election port: connections, notifications, and Fast Leader Election on them
 *
 * The sockets around quorum/election.h. One TCP connection per pair of servers; who may keep it is
 * fle_dialled() and fle_accepted(). One message waits per peer, the newest. Dials are asynchronous,
 * never two for the same server at once and 200 ms apart, more while they fail; but a server with a
 * smaller id that calls is called back at once (QuorumCnxManager.receiveConnection), at the address
 * that it gives, or else at the configured one. Addresses of a server are tried one after the
 * other, the one that last answered first. Names are resolved anew at every dial, by a thread
 * (resolve.h), so that no slow name server holds anybody (V7).
 *
 * Servers that no configuration names are answered, too, a bounded number of them. Such a server
 * itself listens nowhere: it can only observe, and only voters with smaller ids can answer it.
 *
 * Runs in: writer, deciding thread; all descriptors are in the caller's epoll (source.h). The
 * listening sockets are open all the time, also while the server has a role. Times are those of
 * clock_mono_ms(), which is also read here when a descriptor is ready.
 *
 * Bounds: two connections per member (one in use, one dialled), and the same for
 * PEER_ELECTOR_STRANGERS others; PEER_ELECTOR_GREETINGS that have not said yet who they are (one
 * more closes the oldest). For each, FLE_FRAME_MAX bytes of what it sends, taken as bytes arrive,
 * and the rest of one notification of ours. A connection that has not said who it is within
 * hello_ms is closed, so is one that takes nothing for hello_ms; one that is silent is probed by
 * TCP. One log line per peer and election for what is wrong with it, one a second for unknown ones.
 *
 * Trust: peers are not believed; what can't be decoded closes the connection.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "quorum/election.h"

enum { PEER_ELECTOR_STRANGERS = 64, PEER_ELECTOR_GREETINGS = 64 };

struct peer_elector;

struct peer_elector_options {
	struct fle_options fle;
	int epoll;
	uint32_t connect_ms;   /* cnxTimeout, 5000: per dial of one address */
	uint32_t hello_ms;     /* quorumCnxnTimeoutMs, or syncLimit ticks */
	uint32_t bind_retries; /* electionPortBindRetry, 3, a second apart; 0: for ever */
	bool listen_on_all;    /* quorumListenOnAllIPs */
	bool several;          /* multiAddress.enabled */
	/*
	 * For tests and for the curious, or NULL: each step of the election, as fle_trace() has it;
	 * received: the notification that it is about, or NULL.
	 */
	void (*trace)(void *arg, const char *line, const struct jute_buf *received);
	void *arg;
};

/*
 * Both configurations stay where they are, unchanged, until peer_elector_config(). last_seen may
 * be NULL. NULL with errno: no memory; a port that can't be bound is logged and tried again.
 */
struct peer_elector *peer_elector_new(const struct peer_elector_options *options,
				      const struct quorum_config *committed,
				      const struct quorum_config *last_seen, uint64_t now_ms);
void peer_elector_free(struct peer_elector *e);

/* Look for a leader, from now on or anew (FLE_LOOK). */
void peer_elector_look(struct peer_elector *e, uint64_t now_ms, int64_t last_zxid,
		       int64_t current_epoch);

/* Whom the election names, once for each that ended; false: nobody yet. */
bool peer_elector_decided(struct peer_elector *e, int64_t *sid);

/*
 * FLE_SERVING, FLE_CONFIG, FLE_APPOINT. With another configuration all connections are made anew,
 * and it listens anew if our own addresses changed.
 */
void peer_elector_serving(struct peer_elector *e, uint64_t now_ms, int64_t epoch);
void peer_elector_config(struct peer_elector *e, uint64_t now_ms,
			 const struct quorum_config *committed,
			 const struct quorum_config *last_seen, enum quorum_role role);
void peer_elector_appoint(struct peer_elector *e, uint64_t now_ms, enum fle_state state,
			  int64_t leader, int64_t zxid);

/*
 * A newer configuration that a peer told while we look, or NULL. The caller stores it and calls
 * peer_elector_config() with a copy; until then nothing of that peer is taken.
 */
const struct quorum_config *peer_elector_heard_config(const struct peer_elector *e);

/*
 * 0; -errno: an election port could not be bound in bind_retries tries. It is tried further; the
 * caller may rather end the process, as Apache's server does.
 */
int peer_elector_fault(const struct peer_elector *e);

/*
 * Time passes; what was closed is freed. Once per turn, after its events; at the latest at
 * peer_elector_deadline_ms().
 */
void peer_elector_tick(struct peer_elector *e, uint64_t now_ms);
uint64_t peer_elector_deadline_ms(const struct peer_elector *e);

/* One line for the operator: state, round, vote, whom we hear. The length. */
size_t peer_elector_show(const struct peer_elector *e, char *to, size_t size);
