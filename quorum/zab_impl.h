/*
 * zab_impl.h - what the files of the ZAB core share: zab.c (events, log, publication), leader.c,
 * learner.c, relay.c (a follower as a master of observers), peer.c (connections of learners, at
 * either), sync.c (what a learner lacks). Within quorum/ only.
 */
#pragma once

#include "base/check.h"
#include "quorum/bug.h"
#include "quorum/zab.h"

enum {
	ZAB_COUNTER_MAX = 0xfffffffe,
	ZAB_EPOCH_MAX = INT32_MAX - 1,
	ZAB_EPOCH_LEAP = 1 << 16,
	ZAB_REJOIN_MS = 60000
};

static inline uint64_t zab_ticks(const struct zab *z, uint32_t n)
{
	return (uint64_t)z->opt.tick_ms * n;
}

/* The zxid that stands for the start of this leadership's epoch: NEWLEADER's. */
static inline int64_t zab_start_of(const struct zab *z)
{
	return zab_zxid(z->epoch, 0);
}

/* --- zab.c --- */

struct zab_send *zab_put(struct zab *z, int32_t peer, enum zab_send_kind kind, int32_t type,
			 int64_t zxid);
void zab_put_range(struct zab *z, int32_t peer, int32_t type, int64_t first, int64_t last);
void zab_become(struct zab *z, struct zab_out *out, enum zab_role next);
void zab_to_looking(struct zab *z, struct zab_out *out, const char *why);

/* Append zxid, which must follow, to the log. */
void zab_append(struct zab *z, struct zab_out *out, int64_t zxid);

/* Commit what is decided and durable, if in service. */
void zab_publish(struct zab *z);

/* It is agreed on: the committed configuration, if it is newer than that. */
void zab_activate(struct zab *z, struct zab_out *out, const struct quorum_config *config);

/* Does the committed configuration give this server another role than it has? A server that is not
 * in it keeps its role, without a vote. */
bool zab_role_differs(const struct zab *z);

/* --- leader.c --- */

void zab_lead(struct zab *z, struct zab_out *out);
void zab_serve_alone(struct zab *z, struct zab_out *out);
int zab_leader_submit(struct zab *z, struct zab_out *out, const struct zab_event *event);
void zab_leader_receive(struct zab *z, struct zab_out *out, int32_t peer,
			const struct zab_packet *packet);
int zab_leader_sync(struct zab *z, int32_t peer);
void zab_leader_advance(struct zab *z, struct zab_out *out);
void zab_leader_state(struct zab *z, struct zab_out *out);
void zab_leader_timeout(struct zab *z, struct zab_out *out);
uint64_t zab_leader_deadline(const struct zab *z);
void zab_leader_check(const struct zab *z);

/* --- peer.c --- */

void zab_peer_connected(struct zab *z, int32_t peer);
/* Close it; its connection is gone by itself. */
void zab_peer_drop(struct zab *z, int32_t peer, const char *why);
void zab_peer_lost(struct zab *z, int32_t peer);

/* Its first packet. False: it is dropped. */
bool zab_peer_info(struct zab *z, int32_t peer, const struct zab_packet *in);
void zab_peer_put_leaderinfo(struct zab *z, int32_t peer);

/* All that it lacks up to `upto` is queued, or, false, it waits for a state. */
bool zab_peer_sync(struct zab *z, struct zab_out *out, int32_t peer, int64_t upto);
void zab_peer_put_uptodate(struct zab *z, int32_t peer);

/* In sync, or in service: its deadline; what is the caller's. */
void zab_peer_heard(struct zab *z, int32_t peer, const struct zab_packet *in);
void zab_peer_deliver(struct zab *z, struct zab_out *out, int32_t peer,
		      const struct zab_packet *in);

/* To all: first..last is decided; so is zxid, a reconfiguration by which sid leads. */
void zab_peers_tell(struct zab *z, int64_t first, int64_t last);
void zab_peers_tell_activate(struct zab *z, int64_t zxid, int64_t sid);

void zab_peers_ping(struct zab *z);
void zab_peers_drop_late(struct zab *z);
/* The next deadline of any, or `at` if that is earlier. */
uint64_t zab_peers_deadline(const struct zab *z, uint64_t at);

/* --- relay.c --- */

/* Are observers served here, now? */
bool zab_relays(const struct zab *z);
int zab_relay_connected(struct zab *z, int32_t peer);
void zab_relay_receive(struct zab *z, struct zab_out *out, int32_t peer,
		       const struct zab_packet *in);
/* More is committed; there is a newer snapshot; time passed. */
void zab_relay_advance(struct zab *z, struct zab_out *out);
void zab_relay_state(struct zab *z, struct zab_out *out);
void zab_relay_timeout(struct zab *z);
void zab_relay_check(const struct zab *z);

/* --- sync.c --- */

/* Queue what the learner lacks, up to `upto`, behind DIFF, TRUNC or SNAP. False, and nothing is
 * queued: that takes a newer state than there is. */
bool zab_sync_peer(struct zab *z, int32_t peer, int64_t upto);

/* --- learner.c --- */

void zab_follow(struct zab *z, struct zab_out *out, int64_t sid);
void zab_learner_connected(struct zab *z);
int zab_learner_receive(struct zab *z, struct zab_out *out, const struct zab_packet *packet);
void zab_learner_durable(struct zab *z, struct zab_out *out);
void zab_learner_check(const struct zab *z);
