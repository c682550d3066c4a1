/*
 * wake.h - sleeping and waking without a lost wake-up and without a system call too many
 *
 * The two correct orders, and no other:
 *	sleeper: store sleeping = 1; full fence; look for work once more; sleep in epoll_wait (its eventfd is in the set); store sleeping = 0
 *	waker:   make the work visible; full fence; if sleeping: store nothing, write 1 to the eventfd
 * The flag lies in memory of the sleeper (seat->sleeping, board->writer_sleeping). One wake per published batch. A worker whose interest is 0 (no session, nothing
 * unanswered, no watch) is not woken, unless the commit ring is half full for it.
 */
#pragma once
#include "shm/board.h"

/* Writer: after shm_commit_publish(). Wakes sleepers with interest (all = every sleeper). */
void shm_wake_workers(const struct shm_heritage *h, int all);
/* Worker: after shm_ring_publish(). */
void shm_wake_writer(const struct shm_heritage *h);
/* Any: tell the supervisor to look at the board. */
void shm_wake_supervisor(const struct shm_heritage *h);
/* Drain an eventfd after epoll reported it. */
void shm_wake_drain(int eventfd);

/* QSBR of a reader (board.h). online returns the head to drain to; offline is cheap and idempotent. */
uint64_t shm_reader_online(struct shm_seat *seat, const struct shm_board *board);
void shm_reader_offline(struct shm_seat *seat);
/* Writer: smallest slot of all readers that are online, UINT64_MAX if none: what was retired under a head h is free when h < (this - 1) or none. */
uint64_t shm_readers_min(const struct shm_heritage *h);
