/*
 * membership.h - the configurations of an ensemble: ZAB's, the files', the elector's
 *
 * The rules are in ensemble.h. e->committed and e->last_seen are what the disk has, as far as it
 * can be written.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include "writer/ensemble.h"

/* At the start: zoo.cfg's, or what was activated or proposed since. 0 or -errno, after a line. */
int wtr_membership_load(struct wtr_ensemble *e, const struct conf *conf);

/* DataTree's config node is written by each server itself (quorum.md 1.4). */
int wtr_membership_write(struct wtr_ensemble *e, const struct wtr_recovery *r);

/* Our role at the start: that of the configuration, or, outside of it, what zoo.cfg says. */
bool wtr_membership_observes(const struct wtr_ensemble *e);

/* ZAB has other configurations: store them. True: another one is in force. */
bool wtr_membership_take(struct wtr_ensemble *e);

/* Tell the elector, if it does not know. */
void wtr_membership_tell(struct wtr_ensemble *e);

/* Peers of an ensemble that went on without us told a newer one, while we look. */
void wtr_membership_hear(struct wtr_ensemble *e);

/* The leader that the activated configuration names: no election. False: there is none. */
bool wtr_membership_appoint(struct wtr_ensemble *e);

/*
 * A configuration that ZAB has to know of: *to, if it is not older than the one in force. 0;
 * -EBADMSG.
 */
int wtr_membership_parse(struct wtr_ensemble *e, struct jute_buf text,
			 const struct quorum_config **to);
