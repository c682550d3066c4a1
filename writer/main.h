/*
 * main.h - entries of the processes that this folder is: the writer, and the snapshotter, a reader
 *
 * Both are called in a freshly forked child of the supervisor and return the exit status: 0, an
 * orderly end (board->stopping), else the reason, as ZooKeeper's codes have it: 1 unexpected, 3
 * data directory refused, 4 the heap has to be built anew, 10 log or snapshot could not be written.
 */
#pragma once

#include "shm/board.h"

int writer_main(const struct shm_heritage *h);
int snapshotter_main(const struct shm_heritage *h);
