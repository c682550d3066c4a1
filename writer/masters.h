/*
 * masters.h - observers at followers (observerMasterPort): a follower's port for them, and an
 * observer's choice
 *
 * Follower. While it is in service it listens at observerMasterPort of its quorum addresses, with
 * links of its own: link i is ZAB's peer i + 1 (quorum/relay.c). What is queued for one observer is
 * bounded by observerMaster.sizeLimit. When the leader is lost all of it closes, and the observers
 * look for another master.
 *
 * Observer. It connects to that port of a voter: all of them in an order that is drawn when the
 * configuration changes, the next one after each end of a connection
 * (QuorumPeer.findLearnerMaster). The leader has no such port and is passed over. When none of the
 * others took it in a row under one leader, it goes to the leader's quorum port once, as observers
 * without this key do.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include "writer/ensemble.h"

/* 0 or -errno. Nothing, where the key is not set. */
int wtr_masters_start(struct wtr_ensemble *e, const struct peer_links_options *options);

/* Follower: take observers, until wtr_masters_reset(). */
void wtr_masters_listen(struct wtr_ensemble *e);
void wtr_masters_reset(struct wtr_ensemble *e);

/* What came of them. True: something was done. */
bool wtr_masters_take(struct wtr_ensemble *e);

/* Is there something that had no room before, and has now? */
bool wtr_masters_wait(const struct wtr_ensemble *e);

/* The leader's answer to what an observer asked. */
void wtr_masters_synced(struct wtr_ensemble *e, int32_t peer);
void wtr_masters_answered(struct wtr_ensemble *e, int32_t peer, int64_t zxid,
			  const struct quorum_revalidated *answer);

/* Whom to dial, whatever this learner is: in *at, a copy with the port; false: nobody is known. */
bool wtr_masters_choose(struct wtr_ensemble *e, struct quorum_member *at);

/* An observer came into service where it is. */
void wtr_masters_found(struct wtr_ensemble *e);
