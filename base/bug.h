/*
 * bug.h - known mistakes of writer/ and storage/, for the proof that tests/simwhole finds them
 *
 * As quorum/bug.h, for the folders around it: WRONG(NAME) is 0 in every build but the one with
 * SIM_BUGS, which switches on one at a time. A line stands where the rule is kept.
 */
#pragma once

#define WRONG_LIST(X)                                                                              \
	X(INSTALL_NOT_RECORDED, "a state is installed before that is decided for good")            \
	X(CUT_NOT_SETTLED, "a start does not carry out a cut that was decided")                    \
	X(CUT_LEAVES_SEGMENTS, "a cut leaves segments above it")                                   \
	X(CUT_NOT_RECORDED, "a cut is carried out before it is decided for good")                  \
	X(EPOCH_TOLD_EARLY, "service begins before the history is applied")                        \
	X(FORWARDED_TWICE, "a request is forwarded again in the same epoch, without a doubt")      \
	X(SYNC_EARLY, "a sync is answered before what was submitted before it")                    \
	X(PENDING_KEPT, "a new leader prepares on what another one's epoch never had")             \
	X(OWNER_FORGOTTEN, "a session whose connection is gone takes what is late from another")   \
	X(OBSERVER_FORGOTTEN, "a session whose observer is gone takes what is late from another")  \
	X(SYNC_BY_MASTER, "a master of observers answers their syncs itself")                      \
	X(MOVED_ACCEPTED, "requests of a session are taken from a server that it has left")        \
	X(APPEND_NOT_SYNCED, "a batch is told durable and was not synced")                         \
	X(EPOCHS_NOT_SYNCED, "epochs are stored and not synced")                                   \
	X(TAIL_APPLIED, "a start applies the tail of the log before a leader has spoken")          \
	X(EPHEMERALS_KEPT, "closeSession leaves what it does not list")                            \
	X(EMPTY_BATCH_KEPT, "a batch of which a cut leaves nothing is applied further")            \
	X(APPLIED_BEHIND_INSTALL, "what a new state continues is applied to the old tree")         \
	X(EPOCH_START_LOGGED, "a log goes on behind the start of an epoch without transactions")   \
	X(EPOCH_START_RECOVERED, "the start of an epoch is taken for what a recovery comes to")    \
	X(WRITE_BEHIND_SYNC, "a write behind a lost sync is sent again, though it is done")        \
	X(REVALIDATE_OVERTAKES, "a session moves before requests that came earlier are taken")     \
	X(DIFFERENCE_IGNORED, "a member goes on whose tree is not the leader's")                   \
	X(RESETS_FORGOTTEN, "connections outlive a state that replaced what they saw")

enum wrong {
	WRONG_NONE,
#define WRONG_ENUM(name_, text_) WRONG_##name_,
	WRONG_LIST(WRONG_ENUM)
#undef WRONG_ENUM
	    WRONG_COUNT
};

#ifdef SIM_BUGS
extern enum wrong sim_wrong;
#define WRONG(name_) (sim_wrong == WRONG_##name_)
#else
#define WRONG(name_) 0
#endif
