/*
 * ensemble.h - a member of an ensemble: where ZAB's outputs meet the disk and the other servers
 *
 * Carries out what zab_step() says, in its order (zab.h), and feeds back what happened: packets of
 * peers, results of elections, what became durable. Decides nothing that quorum/ or the core
 * decide. Standalone servers have none of this.
 *
 * Service. The loop enters it when all that was committed before is applied and told
 * (service.h); then workers send again what is unanswered. While a leader is looked for
 * workers go on serving what is published, until serve_until_ms: syncLimit ticks after the last
 * packet of the leader, the staleness that ZooKeeper itself allows. Requests that were forwarded
 * to a leader whose epoch goes on, by a connection that is gone, may have been proposed or not:
 * those clients are disconnected (DOWN_EPOCH with err), all others never notice.
 *
 * Read-only service (readonlymode.enabled) is for the time in which no leader is found: it begins
 * when the bound above has passed, and ends, with all its connections, as soon as one is elected.
 * Reads are as of what was published; a member that has just started has published its snapshot,
 * or what a successor of its own kind was told was committed. A writer's death does not end it.
 *
 * Membership. With reconfigEnabled ZAB's configurations are written to the files of members.h
 * before anything that rests on them is sent, and read from there when the process starts. A member
 * that cannot write them says so and goes on, as Apache's servers do: its next start begins with an
 * older one and is told the newer by its peers. When an activation changes the leader, or this
 * server's role, the members go on with the leader that it names, without an election; if it names
 * none that votes, they look for one. A changed client port takes effect at the next start.
 *
 * A state that replaces ours (SNAP) can't be applied to this tree: when it is installed the process
 * ends, and its successor builds a new generation from it. Clients are disconnected before, for the
 * events between are not known (V3).
 *
 * A history that can't be read (V11). At its first recovery the member gives it up (life.h), and is
 * then like one with an empty disk, but without a vote: it tells the elector so, counts in no
 * ACKEPOCH, and takes nothing but SNAP. With its installation that is over.
 *
 * A tree that is not the leader's (V10): a digest says so, or a transaction that does not fit.
 * Clients are disconnected before they are told of it, and the process ends. Its successor builds
 * the tree anew from the disk, which helps if memory was at fault, and asks the next leader once
 * for its state, which helps if an older transaction was. Its log is whole, so it votes as before;
 * only for the epoch in which it asks it does not count. When a digest differs again, before one
 * has agreed or within an hour, that is counted and said, and service goes on: either all members
 * have what the leader announces wrongly, or nothing that could be asked for helps.
 *
 * Runs in: writer, deciding thread. Files are written in place of the caller: epochs, cuts and
 * installs are rare and short. Death: at any instruction; storage/member.h.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "peers/elector.h"
#include "peers/links.h"
#include "storage/member.h"
#include "writer/core.h"
#include "writer/helper.h"
#include "writer/log_thread.h"
#include "writer/marks.h"
#include "writer/recovery.h"

enum { WTR_INBOX_BYTES = 256 << 20 };

/* Observers at followers (masters.h). */
struct wtr_masters {
	struct peer_links *links; /* follower: to its observers; NULL: never */
	bool relays;              /* .. and it takes them now */
	bool parked;              /* `event` could not be taken */
	struct peer_link_event event;

	/* Observer: the voters of that version of the configuration, drawn; whose turn is next; how
	 * many in a row did not take it, under that leader; where it is, or tries to be. */
	int64_t version, leader;
	int64_t order[QUORUM_MEMBERS_MAX];
	uint32_t n, next, failed;
	int64_t current;
};

struct wtr_ensemble {
	struct wtr_core *core;
	struct wtr_log *log;
	struct wtr_helper *helper;
	const struct shm_heritage *heritage;
	const struct sto_fs *fs;
	const char *snap_dir, *log_dir;
	struct sto_log_options log_options;
	struct peer_elector *elector;
	struct peer_links *links;
	/* As ZAB has them, and on the disk (members.h); last_seen: NULL, or newer. */
	const struct quorum_config *committed, *last_seen;
	const struct quorum_config *told[2]; /* to the elector */
	struct quorum_config *first;         /* zab.h */
	/* The leader that an activation names, in this step; and who takes it without an election.
	 */
	int64_t designated, appointed;
	struct zab_history history; /* for ZAB_START */
	struct zab_start start;
	struct sto_log *kept; /* the log in place, while a staged one is written */
	int64_t purged;       /* files, as far as the history heeds it */
	struct wtr_marks marks;

	bool look_due;  /* an election is to begin as soon as the log is drained */
	bool state_due; /* a learner waits for a snapshot of what is published */
	bool enters;    /* to come into service when enters_zxid is applied */
	bool ready_due; /* ZAB_READY is to be told */
	bool installed; /* the process has to end */
	bool delivered; /* the last step's packet is ours to deal with */
	int64_t enters_zxid;
	uint64_t zab_deadline_ms, served_ms, role_since_ms, remind_ms;
	int32_t digest_differs; /* of the core's counters, what was said */
	int64_t digest_agrees;
	struct jute_buf incoming; /* entry of the packet that is stepped */

	/* Packets of learners for which the core has no room yet, in order (inbox.h). */
	struct wtr_buf inbox;
	size_t inbox_done, inbox_max;

	bool parked; /* `event` could not be taken: ZAB's window, or a batch, is full */
	struct peer_link_event event;

	struct wtr_masters masters;
};

static inline struct zab *wtr_zab_of(const struct wtr_ensemble *e)
{
	return &e->core->zab;
}

static inline uint64_t wtr_ticks_ms(const struct wtr_ensemble *e, uint32_t n)
{
	return (uint64_t)e->core->conf->tick_ms * n;
}

/* The links that ZAB's peer is at, and its place there. */
static inline struct peer_links *wtr_links_of(const struct wtr_ensemble *e, int32_t peer,
					      int32_t *at)
{
	bool observer = e->masters.relays && peer > 0;

	*at = observer ? peer - 1 : peer;
	return observer ? e->masters.links : e->links;
}

/*
 * A connection ends in one of three ways: ZAB closes it (ZAB_SEND_CLOSE); it is lost; we drop it,
 * for what came of it, with a line in the log. In each what that peer asked for is forgotten, and
 * ZAB knows. peer: ZAB's number.
 */
void wtr_ensemble_lost(struct wtr_ensemble *e, int32_t peer);
void wtr_ensemble_drop(struct wtr_ensemble *e, int32_t peer, const char *why);

/*
 * Epochs and history of the member that recovery found, before the generation is published: also
 * writes the membership into /zookeeper/config. 0 or -errno, after a line in the log.
 */
int wtr_ensemble_recover(struct wtr_ensemble *e, struct wtr_recovery *r,
			 const struct sto_member *member, int64_t settled_zxid);

/* Open both ports and begin to look for a leader. 0 or -errno, after a line in the log. */
int wtr_ensemble_start(struct wtr_ensemble *e, int epoll);
void wtr_ensemble_stop(struct wtr_ensemble *e);

/* Everything that came from others and by time. True: something was done. */
bool wtr_ensemble_turn(struct wtr_ensemble *e);

/* Put what the core forwards on its way, and all that was queued. */
void wtr_ensemble_flush(struct wtr_ensemble *e);

/* A snapshot was written. */
void wtr_ensemble_snapshot(struct wtr_ensemble *e);

uint64_t wtr_ensemble_deadline_ms(const struct wtr_ensemble *e);
