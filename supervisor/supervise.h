/*
 * supervise.h - the first process: makes the memory and the sockets, forks the others, and forks
 * again whoever died
 *
 * After the start it touches shared memory only where the board names it as writer, and in
 * shm_board_reader_gone(). It holds no thread, reads no client's byte and no data file.
 *
 * A worker that died is replaced at once; one that dies again within a second waits, longer each
 * time, up to SUP_DELAY_MAX_MS. So does the writer, which gets a new region in the window that is
 * not being read; workers learn of it by note. Three ends in a row with a data error (exit status
 * 3 or 10), each within SUP_DATA_LIVED_MS of its start, stop the server with that status.
 * Whoever stands still is killed: a worker that is neither asleep nor turning, or does not answer
 * its bell, for SUP_WORKER_STALL_MS, the writer for SUP_WRITER_STALL_MS, a worker that does not
 * leave an old generation within SUP_SWITCH_MS. Only time in which we ran ourselves counts.
 *
 * SIGTERM, SIGINT: board->stopping; then all end by themselves. The second one, or
 * SUP_STOP_MS: SIGKILL. SIGHUP is ignored.
 */
#pragma once

#include "base/conf.h"
#include "supervisor/spawn.h"

enum {
	SUP_LIVED_MS = 1000,
	SUP_SERVED_MS = 200, /* for a writer that came into service in that time */
	SUP_DELAY_MIN_MS = 50,
	SUP_DELAY_MAX_MS = 5000,
	SUP_WORKER_STALL_MS = 10 * 1000,
	SUP_WRITER_STALL_MS = 60 * 1000,
	SUP_SWITCH_MS = 5 * 1000,
	SUP_PROBE_MS = 5 * 1000,
	SUP_STOP_MS = 20 * 1000,
	SUP_DATA_ERRORS_MAX = 3,
	SUP_DATA_LIVED_MS = 60 * 1000,
	SUP_EXIT_CONF = 2,
};

/* Run the server until it is stopped. The exit status of the program. */
int sup_run(const struct conf *conf, const struct sup_entries *entries);
