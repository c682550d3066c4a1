/*
 * source.h - descriptors in the writer's epoll, and who looks after each
 *
 * epoll_data.ptr is a struct wtr_source, embedded in what owns the descriptor. NULL is the bell of
 * the writer itself. Level-triggered. ready() does a bounded amount of work, never blocks, and may
 * close and free its own source only when no other event of the same epoll_wait() can name it:
 * owners therefore free late (at their next tick), not in ready().
 */
#pragma once

#include <stdint.h>

struct peer_source {
	void (*ready)(struct peer_source *source, uint32_t events);
};
