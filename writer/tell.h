/*
 * tell.h - what the core has to say, into the commit ring and published
 *
 * One store publishes everything that was told since the last (V4); workers that sleep are woken
 * once. While the ring has no room nothing more is applied or taken; a worker that does not move
 * then, or comes nearer too slowly, is given to the supervisor to be killed.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include <stdbool.h>

struct wtr_loop;

/* All that is in core.out. False: the ring is full. */
bool wtr_tell(struct wtr_loop *l);

/* The commit ring is full: publish, wake everybody; after a while who lags most has to go. */
void wtr_tell_make_room(struct wtr_loop *l);
