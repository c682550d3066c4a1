/*
 * main.h - entry of a worker process: called in a freshly forked child of the supervisor,
 * returns the exit status
 */
#pragma once
#include "shm/board.h"

int worker_main(const struct shm_heritage *h, unsigned index);
