/*
 * state.h - the supervisor's own memory, for its source files alone
 */
#pragma once

#include "shm/board.h"
#include "supervisor/spawn.h"

struct sup_child {
	pid_t pid;           /* 0: not running */
	uint64_t started_ms; /* monotonic */
	uint64_t due_ms;     /* fork it then, if it is not running; UINT64_MAX: not wanted */
	uint32_t delay_ms;   /* the wait after its next quick death */
	uint32_t last_turn;  /* the stamp last seen, and for how long it has been the same */
	uint32_t still_ms;
	bool killed; /* SIGKILL is on its way: say it once */
	bool served; /* the writer: it came into service before it died */
	int socket;  /* our end of a worker's socket, -1 */
};

struct sup {
	struct shm_heritage h;
	const struct sup_entries *entries;
	struct sup_user user;
	struct sup_child writer, snapshotter, worker[CONF_WORKERS_MAX];
	int signal_fd;
	uint32_t gen_counter;
	uint32_t switch_ms;    /* how long ago the generation in service changed */
	uint32_t probe_ms;     /* how long ago all bells were rung to see who answers */
	uint32_t snap_started; /* the snap_wanted that the last snapshotter was forked for */
	uint32_t epoch_before; /* board->writer_epoch when the writer was forked */
	unsigned data_errors;  /* of the writer, in a row */
	uint64_t looked_ms;    /* when we last looked at the clock */
	uint64_t stop_ms;      /* when to use SIGKILL; 0: not stopping */
	bool announced;        /* READY=1 was said */
	int status;            /* exit status */
};

/* --- generation.c --- */

/* A region for the writer that is to be forked: in the window that nobody reads. 0 or -errno. */
int sup_generation_new(struct sup *s);
/* Take note that the newest region is in service now, if it is; give up the older one. */
void sup_generation_look(struct sup *s);
/* Tell worker i of the region that is being built, if one is. */
void sup_generation_tell(struct sup *s, unsigned i);

/* --- watch.c --- */

/* `ms` of running time have passed: kill who stands still, or whom the writer wants gone. */
void sup_watch(struct sup *s, uint32_t ms);
/* SIGKILL, with the reason in the log. `who` as "worker 3". */
void sup_kill(struct sup_child *c, const char *who, const char *why);
