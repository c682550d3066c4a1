/*
 * inbox.h - what learners ask of this server, in order, while the core has no room for it
 *
 * Up to inbox_max bytes wait. When it is more, the learner of which most waits is dropped, and what
 * it asked for with it: the others' requests stay.
 *
 * Runs in: writer, deciding thread, of a leader.
 */
#pragma once

#include "writer/ensemble.h"

/* A packet that ZAB says is ours: REQUEST, REVALIDATE, the touches of a PING. */
void wtr_inbox_deliver(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p);

/* What waited for room, as far as there is some. True: there was something. */
bool wtr_inbox_open(struct wtr_ensemble *e);

/* A peer is gone. */
void wtr_inbox_forget(struct wtr_ensemble *e, int32_t peer);
