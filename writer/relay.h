/*
 * relay.h - what observers of this follower ask (quorum/relay.c), on its way to the leader and back
 *
 * To the leader they are clients of ours: their requests, syncs, questions and touches go where our
 * own go, in the order in which they come, and the leader holds their sessions to be ours. So whose
 * a session is among us, an observer by its number or a connection here, is kept here: who asked
 * for it last has it, and who has lost it is not to be heard any more (V5), be it that who has it
 * is gone meanwhile; that one has it still when it comes again. Answers to syncs and
 * questions find their observer as ours find their client (learn.h); to a request there is none
 * but its transaction, which all observers are told.
 *
 * Bounds: learn.h's; touches wait for the leader's next PING, up to WTR_TOUCHES_BYTES.
 *
 * Runs in: writer, deciding thread, in service as a follower. Trust: an observer's packet may hold
 * anything; it is decoded before anything changes.
 */
#pragma once

#include "quorum/packet.h"
#include "writer/core.h"

enum { WTR_TOUCHES_BYTES = 256 << 10 };

/* Is there room for one more packet of any kind? Else it stays where it is. */
bool wtr_relay_ready(const struct wtr_core *c);

/*
 * A REQUEST. One for a session that is another's by now is not done: the leader would do it, so it
 * is given one that fails in its place, and whoever waits for it is answered.
 */
void wtr_relay_request(struct wtr_core *c, int32_t peer, const struct quorum_request *r,
		       const struct jute_vec *ids);

/* A REVALIDATE; one session heard of, as a PING tells. */
void wtr_relay_ask(struct wtr_core *c, int32_t peer, struct quorum_touch session);
void wtr_relay_touch(struct wtr_core *c, struct quorum_touch session);

/* It is gone: answers to it go nowhere, and its sessions are its own or whose who asks for them. */
void wtr_relay_lost(struct wtr_core *c, int32_t peer);
