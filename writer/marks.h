/*
 * marks.h - how far behind a zxid is, in bytes of transactions
 *
 * A mark is set at each snapshot: what was applied, and how many bytes of transactions that took in
 * this process's life. Who is not even at a mark lacks at least what came since. Before a second
 * snapshot nothing can be told.
 *
 * Runs in: writer, deciding thread. Pure.
 */
#pragma once

#include <stdint.h>

enum { WTR_MARKS = 32 };

struct wtr_marks {
	uint32_t n;
	struct {
		int64_t zxid;
		uint64_t bytes;
	} at[WTR_MARKS]; /* ascending; the oldest go when more are needed */
};

/* zxid, bytes: not below those of the last mark. */
void wtr_marks_add(struct wtr_marks *m, int64_t zxid, uint64_t bytes);

/* The newest mark behind which there are more than `most` bytes; 0: none. */
int64_t wtr_marks_far(const struct wtr_marks *m, uint64_t bytes_now, uint64_t most);
