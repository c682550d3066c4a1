/*
 * elector.h - the election port: connections, notifications, and Fast Leader Election on them
 *
 * The sockets around quorum/election.h. One TCP connection per pair of servers; who may keep it is
 * fle_dialled() and fle_accepted(). One message waits per peer, the newest. Dials are asynchronous,
 * never two for the same server at once; names are resolved anew at every dial, by a thread if they
 * are not addresses, so that no slow name server holds anybody (V7). Servers that no configuration
 * names are answered at the address that they give, a bounded number of them (QuorumCnxManager).
 *
 * Runs in: writer, deciding thread; all descriptors are in the caller's epoll (source.h). The
 * listening socket is open all the time, also while the server has a role.
 *
 * Bounds: PEER_ELECTOR_LINKS connections; FLE_HELLO_MAX bytes before the hello and FLE_FRAME_MAX
 * behind it for each, taken as bytes arrive; a connection that has said nothing for hello_ms is
 * closed; a peer whose socket takes nothing for hello_ms, too. One log line per peer and fault.
 *
 * Trust: peers are not believed; what can't be decoded closes the connection.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "quorum/election.h"

struct peer_elector;

struct peer_elector_options {
	struct fle_options fle;
	int epoll;
	uint32_t connect_ms; /* cnxTimeout, 5000: per dial */
	uint32_t hello_ms;   /* quorumCnxnTimeoutMs, or syncLimit ticks: until the hello is there */
	uint32_t bind_retries; /* electionPortBindRetry, 3, a second apart; 0: for ever */
	bool listen_on_all;    /* quorumListenOnAllIPs */
	bool several;          /* multiAddress.enabled */
};

/*
 * Both configurations stay where they are, unchanged, until peer_elector_config(). last_seen may
 * be NULL. A server that the configuration does not name listens nowhere, and can only observe.
 * NULL with errno: no memory; a port that can't be bound is logged and tried again.
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

/* FLE_SERVING, FLE_CONFIG, FLE_APPOINT. After a change of addresses it listens anew. */
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
const struct quorum_config *peer_elector_heard_config(struct peer_elector *e);

/* Time passes. When to call this again at the latest: peer_elector_deadline_ms(). */
void peer_elector_tick(struct peer_elector *e, uint64_t now_ms);
uint64_t peer_elector_deadline_ms(const struct peer_elector *e);

/* One line for the operator: state, round, vote, whom we hear. The length. */
size_t peer_elector_show(const struct peer_elector *e, char *to, size_t size);
