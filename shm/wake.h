/*
 * wake.h - sleeping and waking without a lost wake-up and without a system call too many
 *
 * The two correct orders, and no other:
 *	sleeper: shm_sleep_begin(flag); look for work once more; sleep in epoll_wait (its eventfd is
 *		 in the set); shm_sleep_end(flag)
 *	waker:   make the work visible; shm_wake_..(): full fence; if the flag is set, store
 *nothing, write 1 to the eventfd The flag lies in memory of the sleeper (seat->sleeping,
 *board->writer_sleeping). One wake per published batch. A worker whose interest is 0 (no session,
 *nothing unanswered, no watch) is not woken, unless the commit ring is half full for it.
 */
#pragma once

#include "shm/board.h"

/* Sleeper: store the flag, full fence. Look for work after it. */
void shm_sleep_begin(_Atomic uint32_t *flag);
void shm_sleep_end(_Atomic uint32_t *flag);

/* Writer: after shm_commit_publish(). Wakes sleepers with interest (all = every sleeper). */
void shm_wake_workers(const struct shm_heritage *h, int all);
/* Worker: after shm_ring_publish(). Any: after a change that the writer looks for. */
void shm_wake_writer(const struct shm_heritage *h);
/* Any: tell the supervisor to look at the board. */
void shm_wake_supervisor(const struct shm_heritage *h);
/* Supervisor: ring every bell, whoever sleeps or not. */
void shm_wake_all(const struct shm_heritage *h);
/* Drain an eventfd after epoll reported it. */
void shm_wake_drain(int eventfd);

/*
 * QSBR of a reader (board.h). online returns the head to drain to; called again without an offline
 * between, it announces a new turn. offline is cheap and idempotent.
 */
uint64_t shm_reader_online(struct shm_seat *seat, const struct shm_board *board);
void shm_reader_offline(struct shm_seat *seat);

/*
 * Writer, after shm_commit_publish(): what was retired under a head h is free when h < the value
 * returned. The smallest slot of all readers that are online; but for a worker with interest no
 * more than its cursor + 1: it has yet to look at the ACLs that records of the commit ring name.
 * UINT64_MAX: nobody holds anything.
 */
uint64_t shm_readers_min(const struct shm_heritage *h);
/* Who holds that; -1: nobody. */
int shm_readers_holder(const struct shm_heritage *h);
