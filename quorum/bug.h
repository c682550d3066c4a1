/*
 * bug.h - known mistakes, for the proof that the simulator finds them
 *
 * BUG(NAME) is 0 in every build but the simulator's (tests/sim), which compiles this folder with
 * SIM_BUGS and switches on one of these at a time. A line stands where the rule is kept, so that
 * the rule and what breaks without it are read together. "disk" ones are in tests/sim/disk.c.
 */
#pragma once

#define BUG_LIST(X)                                                                                \
	X(ACK_BEFORE_DURABLE, "a follower acknowledges a proposal that is not durable")            \
	X(LEADER_ACK_BEFORE_DURABLE, "the leader counts itself before its log is durable")         \
	X(NEWLEADER_BEFORE_DURABLE, "NEWLEADER is acknowledged before the history is durable")     \
	X(EPOCH_BEFORE_HISTORY, "currentEpoch is stored before the history is durable")            \
	X(PROMISE_NOT_STORED, "acceptedEpoch is promised and not stored")                          \
	X(OLD_LEADER_ACCEPTED, "a leader of an epoch below the promise is followed")               \
	X(SAME_EPOCH_COUNTS, "a promise given before is given again")                              \
	X(AHEAD_IGNORED, "a leader leads voters that have a newer history")                        \
	X(EPOCH_REUSED, "a new leader takes the epoch of the promise, not the next")               \
	X(OBSERVER_COUNTED, "observers' acknowledgements count")                                   \
	X(HALF_IS_QUORUM, "half of the voters are taken for a quorum")                             \
	X(EARLY_ACK_COUNTS, "ACKs are sent, and counted, before the one of NEWLEADER")             \
	X(SERVE_WITHOUT_QUORUM, "a leader serves before the quorum for NEWLEADER")                 \
	X(COMMIT_TOO_FAR, "the proposal behind the one that a quorum has is committed, too")       \
	X(TRUNC_SKIPPED, "TRUNC is not carried out")                                               \
	X(DIFF_TOO_LATE, "DIFF leaves out the first transaction that the learner lacks")           \
	X(DIFF_FOR_ALL, "a learner with an unknown history gets DIFF")                             \
	X(PUBLISH_BEFORE_DURABLE, "a follower publishes what its own log does not have yet")       \
	X(TAIL_PUBLISHED, "a recovered tail is published before a leader has spoken")              \
	X(SYNC_PUBLISHED, "a learner publishes during synchronisation")                            \
	X(VOTE_BEFORE_DRAINED, "a vote names a tail that is not durable")                          \
	X(MUST_SYNC_VOTES, "a member that lost its log promises as if it had it")                  \
	X(SNAP_IN_PLACE, "SNAP replaces the history before the rest is durable")                   \
	X(LEADER_STAYS, "a leader stays that has lost its quorum")                                 \
	X(SYNC_AT_ONCE, "a sync is answered before what was proposed is committed")                \
	X(UPTODATE_EARLY, "UPTODATE is sent before the quorum for NEWLEADER")                      \
	X(JOIN_AT_ACK, "proposals go to a learner only after its ACK of NEWLEADER")                \
	X(AHEAD_NOT_HELD, "a master takes what an observer has more for a tail that nobody needs") \
	X(INFORM_TOO_EARLY, "a master tells observers what is only proposed")                      \
	X(INFORM_LEFT_OUT, "a master leaves out what is decided and not durable there yet")        \
	X(PROMISE_FORGOTTEN, "disk: acceptedEpoch is currentEpoch after a restart")                \
	X(SYNC_ERROR_IGNORED, "disk: a failed sync is taken for a good one")                       \
	X(TORN_TAIL_KEPT, "disk: recovery goes on behind a record that is torn")                   \
	X(SNAPSHOT_TENTATIVE, "disk: snapshots hold what is not committed")                        \
	X(TAIL_KEPT_AFTER_SNAP, "disk: records above SNAP's zxid outlive it")                      \
	X(LOSS_NOT_NOTICED, "disk: a log that lost its end is taken for whole")                    \
	X(CUT_NOT_DURABLE, "disk: TRUNC is told before it is durable")

enum bug {
	BUG_NONE,
#define BUG_ENUM(name_, text_) BUG_##name_,
	BUG_LIST(BUG_ENUM)
#undef BUG_ENUM
	    BUG_COUNT
};

#ifdef SIM_BUGS
extern enum bug sim_bug;
#define BUG(name_) (sim_bug == BUG_##name_)
#else
#define BUG(name_) 0
#endif
