/*
 * commit.h - the commit ring: what the writer tells all workers, once
 *
 * Written by the writer alone; workers map it read-only and keep their cursors in their seats.
 * Records (msg.h) are framed as in ring.h: u32 length, u32 zero, payload, padding to 8, none
 * straddles the end.
 *
 * The writer appends records privately and makes them visible with shm_commit_publish(): publish
 * pair = payload, board->zxid, store-release board->head | load-acquire head -> payload. A record
 * of a transaction larger than shm_commit_record_max() is split by the caller with DOWN_EVENTS; so
 * a transaction may become visible in the ring piece by piece, but S moves with its DOWN_TXN only.
 *
 * Flow control: the writer never overwrites what a worker's cursor has not consumed (reclaim pair:
 * seat->cursor). When there is no room, shm_commit_appendv() says -EAGAIN; the writer publishes
 * what it has, wakes everybody, and tries later. Workers that don't move are killed by the
 * supervisor (reader[i].kill). A worker that is not there (pid 0) does not hold the ring; one that
 * is about to be forked (pid -1) does. The snapshotter reads the tree as of one S, and not the
 * ring: it never holds it.
 *
 * Trust: a cursor is the worker's word. One that is ahead of the head, or goes back, loses its own
 * records or stalls until it is killed; nobody else's.
 */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

#include "shm/board.h"
#include "shm/msg.h"

struct shm_commit_tx {
	struct shm_board *board;
	const struct shm_heritage *heritage;
	uint8_t *data;
	uint64_t size, head; /* private head */
	uint64_t room_seen;  /* no cursor was behind this when last looked */
};

/* Writer: begin at the published head (a predecessor's unpublished bytes are overwritten). */
void shm_commit_tx_attach(struct shm_commit_tx *tx, const struct shm_heritage *h);

/* A quarter of the ring, less the frame. */
uint32_t shm_commit_record_max(uint64_t ring_size);

/* Append a record, invisible. 0; -EAGAIN: no room now; -EMSGSIZE: longer than record_max. */
int shm_commit_appendv(struct shm_commit_tx *tx, const struct iovec *iov, int n);

/*
 * Publish everything appended: board->zxid, then head (the COMMIT), then settled_zxid. zxid: that
 * of the last DOWN_TXN appended, or the former one; at least settled_zxid. board->zxid never goes
 * back, also when a new writer repeats what its predecessor had begun to publish.
 */
void shm_commit_publish(struct shm_commit_tx *tx, int64_t zxid);

/* The worker that lags most, and by how many bytes of published records; -1: none is there. */
int shm_commit_laggard(const struct shm_commit_tx *tx, uint64_t *behind);

struct shm_commit_rx {
	const struct shm_board *board;
	struct shm_seat *seat;
	const uint8_t *data;
	uint64_t size, cursor;
	int64_t zxid; /* S: zxid of the last whole transaction consumed */
};

/* A fresh reader: starts at head with S = board->zxid (see board.h). */
void shm_commit_rx_attach(struct shm_commit_rx *rx, const struct shm_heritage *h, unsigned i);

/*
 * Next record before `head`, in place (valid until shm_commit_consumed()); NULL: none. *len = its
 * payload length, at least a struct msg_down. Sets rx->zxid at a DOWN_TXN with a larger zxid: a
 * record with zxid <= the S before it is to be ignored.
 */
const struct msg_down *shm_commit_next(struct shm_commit_rx *rx, uint64_t head, uint32_t *len);

/* Give back what was consumed: one store to the own seat. */
void shm_commit_consumed(struct shm_commit_rx *rx);
