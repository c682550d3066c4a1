/*
 * ring.h - records from one worker to the writer through shared memory
 *
 * One producer, one consumer, no locks, no system calls. A record arrives whole, in order.
 * Sleeping and waking are the caller's business (wake.h).
 *
 * Layout: the data and the head lie in the producer's seat (board.h: up_head, shm_seat_up), the
 * tail in the board (reader[i].up_tail): each word in memory that its one writer alone can write.
 * head and tail only grow; a byte's place is count & (size - 1).
 * A record: u32 length, u32 zero, payload, padding to 8; none straddles the end of the data (a
 * length of ~0 skips to the end). At every instant: tail <= head <= tail + size.
 *
 * Ordering, two pairs and nothing else:
 *	publish  payload stores -> store-release head | load-acquire head -> payload loads
 *	reclaim  payload loads  -> store-release tail | load-acquire tail -> payload stores
 *
 * Death: a producer killed at any instruction leaves no half record, as head had not moved. Its
 * successor starts at reader[i].up_start, further on than any count that the dead one could leave
 * behind, and the consumer goes there by itself: what the dead one left is skipped. The successor
 * finds no room until that has happened. A new writer attaches at the tail and goes on: records
 * pushed for another writer are told by their epoch (msg.h); one killed between shm_ring_pop() and
 * shm_ring_consumed() leaves its records to the next.
 *
 * Trust: the consumer believes nothing: it bounds head and length, and copies a record out before
 * it looks into it. A head that is behind the tail is an empty ring.
 */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include "shm/board.h"

struct shm_ring_tx {
	struct shm_seat *seat;
	const _Atomic uint64_t *tail;
	uint8_t *data;
	uint64_t size, head, tail_seen; /* head is private: shm_ring_publish() stores it */
};
struct shm_ring_rx {
	const struct shm_seat *seat;
	struct shm_reader *reader;
	const uint8_t *data;
	uint64_t size, tail, head_seen; /* tail is private: shm_ring_consumed() stores it */
};

void shm_ring_tx_attach(struct shm_ring_tx *tx, const struct shm_heritage *h, unsigned i);
void shm_ring_rx_attach(struct shm_ring_rx *rx, const struct shm_heritage *h, unsigned i);

/* Longest payload that is always accepted by an empty ring. */
uint32_t shm_ring_record_max(uint64_t ring_size);

/*
 * Append a record gathered from iov (copied). Not visible until shm_ring_publish(). Wait-free.
 * 0; -EAGAIN: no room until the consumer moves; -EMSGSIZE: never fits. A record of no bytes is
 * the caller's bug and aborts.
 */
int shm_ring_pushv(struct shm_ring_tx *tx, const struct iovec *iov, int n);
/* Make all records pushed so far visible: one store. */
void shm_ring_publish(struct shm_ring_tx *tx);

/*
 * Copy the oldest record to buf (cap bytes). Wait-free. Its length; 0: empty; -EBADMSG: the
 * producer's head or a length is impossible; -EMSGSIZE: over cap. After an error the worker has
 * to go (reader[i].kill); until its successor is there, calls go on failing.
 */
int64_t shm_ring_pop(struct shm_ring_rx *rx, void *buf, uint32_t cap);
/*
 * Copy the first bytes of a record that pop will give later, at most cap: a hint, for its bytes
 * may change until then. *at: 0 for the oldest record, then as it was left. The bytes; 0: none is
 * known.
 */
uint32_t shm_ring_glance(struct shm_ring_rx *rx, uint64_t *at, void *buf, uint32_t cap);
/* Give the space of all popped records back: one store. */
void shm_ring_consumed(struct shm_ring_rx *rx);
