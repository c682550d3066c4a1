/*
 * board_fx.h - a board with its seats for the tests of shm/, and children that are reaped
 */
#pragma once

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shm/board.h"
#include "tests/t.h"

enum { BOARD_FX_WORKERS = 2 };

struct board_fx {
	struct conf conf;
	struct shm_heritage h;
};

static inline void board_up(struct board_fx *f)
{
	f->conf.workers = BOARD_FX_WORKERS;
	f->conf.max_buffer = 0xfffff;
	f->h.conf = &f->conf;
	EXPECT_I(shm_board_create(&f->h), ==, 0);
}

static inline void board_down(struct board_fx *f)
{
	shm_board_destroy(&f->h);
}

/* The exit status of a child, 128 + signal if it was killed. */
static inline int board_reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
