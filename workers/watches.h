/*
 * watches.h - who wants to hear of which path: ZooKeeper's two tables, in one
 *
 * Runs in: worker, plain private memory. A watch is (path, connection) with two sets of modes: data
 * and child. Modes of one entry live side by side (3.9): STANDARD fires once, PERSISTENT and
 * RECURSIVE stay. Connections are small integers, the caller's places.
 *
 * Layout: paths are found by a keyed hash, each with a list of its watches; watches are found by
 * (path, connection), and each connection has a list of its own for the day it goes. So every call
 * costs what it finds, also with 100,000 watches on one path, or 100,000 paths of one connection.
 * An idle watch takes 44 bytes, its path 24 and the text.
 *
 * Rules: client.md 9 (WatchManager, WatcherModeManager of 3.9).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

enum wrk_watch_mode { WRK_STANDARD = 1, WRK_PERSISTENT = 2, WRK_RECURSIVE = 4, WRK_ANY = 7 };
enum wrk_watch_table { WRK_DATA, WRK_CHILD };

struct wrk_watches;

/* What is counted: entries of a table are (path, connection) pairs with any mode in it. */
struct wrk_watch_totals {
	uint64_t data, child;      /* entries */
	uint64_t data_paths;       /* paths with an entry in the data table */
	uint64_t data_connections; /* connections with one */
};

/* An iteration over the data table, in no order. */
struct wrk_watch_view {
	const char *path;
	uint32_t len, connection;
};

struct wrk_watches *wrk_watches_new(const struct hash_key *key);
void wrk_watches_free(struct wrk_watches *w);

/* Add modes to the entry of (path, connection). 0, or -ENOMEM and nothing changed. */
int wrk_watch_add(struct wrk_watches *w, enum wrk_watch_table table, const void *path, size_t len,
		  uint32_t connection, unsigned modes);

/* Which of `modes` the entry has. */
unsigned wrk_watch_has(struct wrk_watches *w, enum wrk_watch_table table, const void *path,
		       size_t len, uint32_t connection, unsigned modes);

/* Take modes out; which of them were there. */
unsigned wrk_watch_remove(struct wrk_watches *w, enum wrk_watch_table table, const void *path,
			  size_t len, uint32_t connection, unsigned modes);

/* The connection is gone. */
void wrk_watches_drop(struct wrk_watches *w, uint32_t connection);

/*
 * A change of `path`: the connections to be told, each once, in an array that is good until the
 * next call; STANDARD modes at exactly this path are used up. The data table also reaches the
 * RECURSIVE entries at the ancestors. `again` goes on with the change of the call before: whoever
 * that told is left out (a deleted node: first its data watches, then its child watches).
 */
uint32_t wrk_watches_fire(struct wrk_watches *w, enum wrk_watch_table table, const void *path,
			  size_t len, bool again, const uint32_t **connections);

bool wrk_watches_empty(const struct wrk_watches *w);
void wrk_watches_count(const struct wrk_watches *w, struct wrk_watch_totals *to);
/* The next entry behind *cursor (0 at first) of the data table; false: no more. Change nothing. */
bool wrk_watches_next(const struct wrk_watches *w, uint32_t *cursor, struct wrk_watch_view *to);
