/*
 * reclaim.h - memory back from what no reader can see any more
 *
 * Nothing is freed that a reader could reach (V6), so one that does not move is bounded: beyond an
 * eighth of the heap, or when nothing can be accepted for want of memory, it is given to the
 * supervisor to be killed.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

struct wtr_loop;

/* Once per turn: a bounded number of objects. Readers that have nothing to do are made to move on
 * by a DOWN_NOP. */
void wtr_reclaim(struct wtr_loop *l);

/*
 * Once per turn: was something refused, though memory is idle, in pieces that can't be promised to
 * anybody? Then a successor builds the tree anew in one piece, from a snapshot: the log leads
 * through the same disorder again.
 */
void wtr_reclaim_look_at_heap(struct wtr_loop *l);
