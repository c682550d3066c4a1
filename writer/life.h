/*
 * life.h - a writer from its recovery to its end
 *
 * begin settles what was decided about the files, recovers, and publishes the generation; then the
 * caller turns the loop (loop.h): writer_main() until it is told to stop, the simulator turn by
 * turn. A member of an ensemble whose history can't be read gives it up there, unless something was
 * published before: storage/member.h, ensemble.h.
 *
 * A writer that dies meanwhile is not ended: its successor begins.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include "writer/ensemble.h"
#include "writer/loop.h"
#include "writer/recovery.h"

struct wtr_life {
	struct wtr_recovery recovery;
	struct wtr_loop loop;
	struct wtr_ensemble ensemble;
};

/* 0; else the exit status (main.h), after a line in the log, and there is nothing to end. */
int wtr_life_begin(struct wtr_life *w, const struct shm_heritage *h, const struct sto_fs *fs);

/* The loop has ended with `status`. The exit status. */
int wtr_life_end(struct wtr_life *w, int status);
