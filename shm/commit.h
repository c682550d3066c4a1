/*
 * commit.h - the commit ring: what the writer tells all workers, once
 *
 * Written by the writer alone; workers map it read-only and keep their cursors in their seats. Records (msg.h) are framed as in ring.h:
 * u32 length, u32 zero, payload, padding to 8, none straddles the end.
 *
 * The writer appends records privately and makes them visible with shm_commit_publish(): publish pair = payload, board->zxid, store-release board->head |
 * load-acquire head -> payload. A record of a transaction larger than a quarter of the ring is split by the caller with DOWN_EVENTS; so a
 * transaction may become visible in the ring piece by piece, but S moves with its DOWN_TXN only.
 *
 * Flow control: the writer never overwrites what an online cursor has not consumed (reclaim pair: seat->cursor). When there is no room, shm_commit_append
 * says -EAGAIN; the writer publishes what it has, wakes everybody, and tries later. Workers that don't move are killed by the supervisor (reader[i].kill).
 * A reader of the board that is not there (pid 0) does not hold the ring.
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
	uint64_t size, head;      /* private head */
	uint64_t room_seen;       /* no cursor was behind this when last looked */
};

/* Writer: begin at the published head (a predecessor's unpublished bytes are overwritten). */
void shm_commit_tx_attach(struct shm_commit_tx *tx, const struct shm_heritage *h);
uint32_t shm_commit_record_max(uint64_t ring_size); /* a quarter of the ring, less the frame */
/* 0; -EAGAIN: no room now; -EMSGSIZE. */
int shm_commit_appendv(struct shm_commit_tx *tx, const struct iovec *iov, int n);
/* Publish everything appended: zxid (release), then head (release). COMMIT. zxid: that of the last DOWN_TXN appended, or the former one. */
void shm_commit_publish(struct shm_commit_tx *tx, int64_t zxid);
/* Which worker lags most and by how many bytes: for the decision to kill it. */
int shm_commit_laggard(const struct shm_commit_tx *tx, uint64_t *behind);

struct shm_commit_rx {
	const struct shm_board *board;
	struct shm_seat *seat;
	const uint8_t *data;
	uint64_t size, cursor;
	int64_t zxid;             /* S: zxid of the last whole transaction consumed */
};

/* A fresh reader: starts at head with S = board->zxid (see board.h). */
void shm_commit_rx_attach(struct shm_commit_rx *rx, const struct shm_heritage *h, unsigned i);
/* Next record before `head`, in place (valid until shm_commit_consumed); NULL: none. *len = its payload length. Sets rx->zxid at a DOWN_TXN with a larger zxid. */
const struct msg_down *shm_commit_next(struct shm_commit_rx *rx, uint64_t head, uint32_t *len);
/* Store the cursor: one store to the own seat. */
void shm_commit_consumed(struct shm_commit_rx *rx);
