/*
 * spawn.h - the children: forked, stripped of what is not theirs, named
 *
 * Runs in: supervisor, and the first steps of each child, up to its entry. No exec: pointers into
 * shared memory stay valid.
 *
 * A worker is another user where the server was started as root (conf->worker_user), else the same
 * user in processes that can't look into each other (not dumpable). It holds the listening sockets,
 * its socket and bells, its seat; the rest of the board and the tree read-only. The writer holds
 * the board, the new region and the locks. No child can gain privileges, none outlives the
 * supervisor.
 */
#pragma once

#include <sys/types.h>

#include "shm/board.h"

/* The three processes: each returns its exit status. As in writer/main.h and workers/main.h. */
struct sup_entries {
	int (*writer)(const struct shm_heritage *h);
	int (*snapshotter)(const struct shm_heritage *h);
	int (*worker)(const struct shm_heritage *h, unsigned index);
};

enum sup_kind { SUP_WRITER, SUP_SNAPSHOTTER, SUP_WORKER };

struct sup_user {
	bool change;
	uid_t uid;
	gid_t gid;
};

/* Who the workers are to be. 0; -1: logged. */
int sup_user_find(struct sup_user *user, const char *name);

/*
 * Fork a child of this kind (index: of the worker, or of the snapshotter's seat). In the child it
 * does not return. Its pid, or -errno.
 */
pid_t sup_spawn(struct shm_heritage *h, const struct sup_entries *entries, enum sup_kind kind,
		unsigned index, const struct sup_user *user);
