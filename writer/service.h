/*
 * service.h - whom a member of an ensemble serves, from when and until when
 *
 * The rules are in ensemble.h: service, read-only service, a tree that is not the leader's. What is
 * told to workers here (serve_until_ms, resets) stands on the board.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include "writer/ensemble.h"

/* Is it time to come into service, as what? */
enum wtr_service wtr_service_enters(const struct wtr_ensemble *e);
/* It is done. */
void wtr_service_entered(struct wtr_ensemble *e);

/*
 * Has nobody led for so long that clients may be let in for reads alone (readonly.h)? Not before
 * those that were served are out of service, and max(2 s, tick) after the search began
 * (QuorumPeer.run).
 */
bool wtr_service_reads(const struct wtr_ensemble *e);

/* Behind its next transaction the tree is not the leader's: nobody is served from it any more. */
void wtr_service_doubt(struct wtr_ensemble *e);

/* The leader was heard: what is published is fresh enough for that long. */
void wtr_service_extend(struct wtr_ensemble *e);

/* No connection may see what comes next. */
void wtr_service_disconnect_all(struct wtr_ensemble *e);

/* For the operator, once a turn: what this member is, and who is connected to it. */
void wtr_service_show(struct wtr_ensemble *e);

/* For the operator: why this member does not serve; "": it does. */
void wtr_service_say(struct wtr_ensemble *e, const char *why);

/* When read-only service begins, if nothing changes. */
uint64_t wtr_service_reads_from_ms(const struct wtr_ensemble *e);

/* V10: would a digest that is not ours be heeded now? The doubt begins; once a turn, what was seen.
 */
bool wtr_service_heeds_digest(const struct wtr_ensemble *e);
void wtr_service_begin_doubt(struct wtr_ensemble *e);
void wtr_service_look_at_digest(struct wtr_ensemble *e);
