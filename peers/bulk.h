/*
 * bulk.h - one thread that sends what is large to a peer, or receives a state from a leader
 *
 * A job has one direction of a socket to itself from peer_job_send() or peer_job_receive() until
 * its end was fetched. It never waits but in poll(), for the socket or for being stopped, and for
 * the disk: a stop takes effect within a piece of PEER_BULK_BYTES, or within one sync of what was
 * written since the last one (stopfs.h).
 *
 * Ordering: everything is handed over by pthread_create() and given back by `done` (release,
 * acquire), then the bell rings: an eventfd of the caller. Moved bytes are a counter for people.
 *
 * Runs in: writer; the calls in the deciding thread, which opens and closes the socket.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peers/queue.h"
#include "storage/fs.h"

enum { PEER_BULK_BYTES = 256 << 10 };

struct peer_bulk {
	const struct sto_fs *fs;
	const char *snap_dir, *log_dir;
	uint32_t data_max, stall_ms;
	int bell;
};

struct peer_job;

/*
 * Send the items of `work`, none of them PEER_ITEM_CLOSE, PROPOSALs and INFORMs from the log. Work
 * is the job's then, or gone. NULL: no memory, no thread.
 */
struct peer_job *peer_job_send(const struct peer_bulk *b, struct peer_pool *pool, int fd,
			       struct peer_queue *work);

struct peer_received {
	uint8_t *in; /* malloc()ed; what came behind the state is in [in_start, in_end) */
	size_t in_cap, in_start, in_end;
};

/*
 * Receive a state as of zxid, which begins with what is in `from`, and stage it (storage/member.h).
 * from->in is the job's then, or freed. NULL: no memory, no thread.
 */
struct peer_job *peer_job_receive(const struct peer_bulk *b, int fd, int64_t zxid,
				  const struct peer_received *from);

/* End soon. Shutting the socket down as well makes it sooner. */
void peer_job_stop(struct peer_job *job);
bool peer_job_is_done(struct peer_job *job);

/* "state" or "history", and how many bytes wait and went. */
const char *peer_job_progress(const struct peer_job *job, uint64_t *queued, uint64_t *moved);

/*
 * Wait for the end, free the job, add what it moved. NULL: all is done; else why not, which was
 * logged where the fault is ours. `got`: of a receiving job; got->in is the caller's then.
 */
const char *peer_job_end(struct peer_job *job, struct peer_pool *pool, uint64_t *moved,
			 struct peer_received *got);
