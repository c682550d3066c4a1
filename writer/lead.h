/*
 * lead.h - a leader's part: what its learners forward, and which session is whose
 *
 * A session belongs to one connection of one server, who may use it alone: who asks for it last
 * has it (LearnerHandler, SessionTrackerImpl.checkSession). A request that fails becomes an error
 * transaction, always: the learner waits for exactly that (quorum.md 6.5.7). Where sessions may be
 * local, one that nobody here knows may be its member's: all but ephemerals is granted.
 *
 * Runs in: writer, deciding thread, in service as leader. Trust: a learner's packet may hold
 * anything; it is decoded before anything changes.
 */
#pragma once

#include "quorum/packet.h"
#include "writer/core.h"

/* All but sync, which is ZAB's. wtr_core_ready() has said yes. */
void wtr_leader_request(struct wtr_core *c, int32_t peer, const struct quorum_request *r,
			const struct jute_vec *ids);

/* Is the session alive? Then it is that learner's from now on. */
bool wtr_leader_revalidate(struct wtr_core *c, int32_t peer, struct quorum_touch session);
void wtr_leader_touch(struct wtr_core *c, struct quorum_touch session);

/* Its sessions are nobody's. */
void wtr_leader_lost(struct wtr_core *c, int32_t peer);
