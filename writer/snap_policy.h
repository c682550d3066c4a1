/*
 * snap_policy.h - when a snapshot is made, and when one that is being made has to stop
 *
 * After snapCount/2 changes and a random part of the other half (so that members of an ensemble
 * don't all write at once), or after as much of snapSizeLimitInKb of log, the supervisor is asked
 * for a snapshotter. A multi counts its members, for what matters is how long a replay takes. One
 * that failed is tried again a minute later, or two seconds if somebody waits for one.
 *
 * Between two there is a rest of a second: under a heavy load one would follow the other. There is
 * none once twice snapCount changes more have come, for they would have to be replayed. Versions
 * retained for a snapshot are bounded: beyond a quarter of the heap the snapshotter is killed.
 */
#pragma once

#include <stdint.h>

struct wtr_loop;

/* Once per turn. */
void wtr_snap_policy(struct wtr_loop *l);

/* At the start, after a recovery that replayed so many transactions: they count, or a writer that
 * dies again and again would have more and more of them. */
void wtr_snap_begin(struct wtr_loop *l, uint64_t replayed, uint64_t now_ms);
