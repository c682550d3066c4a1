/*
 * datadir.h - the data directories belong to one server
 *
 * The lock is that of base/dirlock.h; writer and snapshotter keep it, too.
 */
#pragma once

#include "shm/board.h"

enum { SUP_EXIT_DATA = 3 };

/*
 * Make dataDir and dataLogDir with what lacks above them (mode 0700) and lock them into
 * h->lock_fd[]. 0; -1: logged, with the holder's pid if another server has it.
 */
int sup_datadir_lock(struct shm_heritage *h);
