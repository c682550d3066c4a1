/*
 * snap_policy.h - when a snapshot is made, and when one that is being made has to stop
 *
 * After snapCount/2 changes and a random part of the other half (so that members of an ensemble
 * don't all write at once), or after as much of snapSizeLimitInKb of log, the supervisor is asked
 * for a snapshotter. A multi counts its members, for what matters is how long a replay takes. One
 * that failed is tried again a minute later.
 *
 * Between two there is a rest, as long as the last one took and a second at least: under a heavy
 * load one would follow the other. There is none once five times snapCount changes more have come,
 * for they would have to be replayed. Versions retained for a snapshot are bounded: beyond a
 * quarter of the heap the snapshotter is killed.
 */
#pragma once

struct wtr_loop;

/* Once per turn. */
void wtr_snap_policy(struct wtr_loop *l);

/* The next snapshot is due a full period from now. */
void wtr_snap_schedule(struct wtr_loop *l);
