/*
 * stopfs.h - a file layer that ends soon when it is told to stop
 *
 * Calls go to the real layer; once `stop` is set those that read, write or make durable fail with
 * -ECANCELED. What is written is synced every PEER_STOPFS_SYNC bytes, so that no single sync at
 * the end takes long: the caller of a stop waits for one of them at most.
 *
 * Runs in: the one thread that uses it; `stop` is set by another.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/fs.h"

enum { PEER_STOPFS_SYNC = 32 << 20 };

struct peer_stopfs {
	struct sto_fs fs; /* give this to storage/; self is the struct */
	const struct sto_fs *real;
	const _Atomic bool *stop;
	uint64_t unsynced;
};

void peer_stopfs_init(struct peer_stopfs *s, const struct sto_fs *real, const _Atomic bool *stop);
