/*
 * places.h - is each node of a state, as it comes, where a tree can have it?
 *
 * Parents come before children, in whatever order else. Kept is a hash of each path, no path: up to
 * 22 bytes a node, for nodes that came. Two paths that share one would have a good state refused,
 * or let a bad node by: 1 in 10^5 for ten million nodes, with a secret key that is another each
 * time, so trying again helps.
 *
 * Runs in: any thread; one at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

struct sto_places {
	struct hash_key key; /* zeros: not drawn yet */
	uint64_t *slot;      /* 0: free */
	size_t n, cap;       /* cap: a power of two */
};

/*
 * The next node; "/" is the root. All zero is a good start. 0; -EINVAL: the path can't be; -ENOENT:
 * its parent did not come; -EEXIST: it came before; -ENOMEM.
 */
int sto_places_add(struct sto_places *p, const char *path, size_t len);

void sto_places_fini(struct sto_places *p);
