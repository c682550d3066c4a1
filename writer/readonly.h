/*
 * readonly.h - sessions while no leader is found (readonlymode.enabled)
 *
 * A member that looks for a leader lets clients in that ask for no more than reads (service
 * WTR_READS). It can neither make nor end a session of the ensemble, so
 *
 *	a new client	is lent a session: a number and a password of its own kind. Nothing is kept
 *			of it, as it owns nothing: any server in read-only service takes it up
 *			again, whoever lent it, and servers in full service say that it has
 *			expired, for its password is no session's there;
 *	a session that the published tree has  goes on here, and later where a leader is;
 *	another		may have been made where we did not see it: closed without a word, for it
 *			has not expired.
 *
 * Differs from ReadOnlyZooKeeperServer, whose validateSession() refuses the second and which has
 * nothing to lend without localSessionsEnabled. Writes and syncs never come here: workers refuse
 * them. Runs in: writer, deciding thread. Part of the core's step (core.h).
 */
#pragma once

#include "writer/core.h"

/* A client's ConnectRequest; session 0: a new one. It is answered, or closed. */
void wtr_readonly_connect(struct wtr_core *c, struct wtr_conn *conn, int64_t session,
			  int32_t timeout_ms, struct jute_buf password);
