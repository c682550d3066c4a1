/*
 * snapshot.h - the tree as of one zxid, streamed to a file
 *
 * The snapshotter is a process of its own, a reader of the tree like a worker: it comes online at
 * one S, walks depth first, and goes offline when the last node is put. So the snapshot is exact,
 * and the writer only pays with versions that it must keep meanwhile; it bounds those by having
 * the snapshotter killed (loop.c). The status tells how it went; the file counts once renamed.
 */
#pragma once

#include <stdint.h>

#include "shm/tree.h"
#include "storage/fs.h"

struct wtr_pace;

/*
 * Write the snapshot of the tree as of zxid into the version-2 directory `dir`. The caller is
 * online, or nobody changes the tree. done(arg), if given, is called when the tree is not needed
 * any more. pace: NULL, or it rests on the way. 0 or -errno.
 */
int wtr_snapshot_write(const struct shm_tree *t, int64_t zxid, const struct sto_fs *fs,
		       const char *dir, struct wtr_pace *pace, void (*done)(void *arg), void *arg);
