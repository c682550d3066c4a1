/*
 * packets.h - ZAB's packets on the wire: what it sends is encoded, what came is decoded
 *
 * Trust: a peer's packet may be anything. A transaction is decoded to its end before ZAB hears of
 * it: who logs what nobody can apply never starts again.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include "writer/ensemble.h"

/* Put a packet of ZAB's into its peer's queue. */
void wtr_packet_put(struct wtr_ensemble *e, const struct zab_send *s);

/*
 * 0; -EBADMSG: it is not what its type says. The transaction that it brings is e->incoming, the
 * leader that an activation names is e->designated; views into `from`.
 */
int wtr_packet_decode(struct wtr_ensemble *e, const struct quorum_packet *from,
		      struct zab_packet *to);
