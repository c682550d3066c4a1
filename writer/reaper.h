/*
 * reaper.h - removal of containers and TTL nodes that nobody needs (ZooKeeper's ContainerManager)
 *
 * Every znode.container.checkIntervalMs all nodes with an extended owner are looked at: a container
 * goes when it has no child and once had one (or was never used for too long), a TTL node when it
 * has no child and was not written for longer than its ttl. Deletions are ordinary transactions
 * (deleteContainer, session 0), at most znode.container.maxPerMinute. Age goes by the wall clock; a
 * backward jump deletes nothing.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include <stdint.h>

#include "writer/buf.h"

struct wtr_core;

struct wtr_reaper {
	uint64_t check_ms, delete_ms; /* when to look next; when the next deletion may go */
	struct wtr_buf found;         /* paths to delete: u32 length, bytes */
	size_t done;                  /* bytes of `found` dealt with */
};

/* Look, or delete what was found, as the time has come and wtr_core_ready() allows. */
void wtr_reaper_tick(struct wtr_core *c);
uint64_t wtr_reaper_deadline_ms(const struct wtr_core *c);
