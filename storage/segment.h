/*
 * segment.h - the bytes of a log segment: coding, reading, looking for traces
 *
 * Within storage/ only. README.md draws the layout. A segment is a page with its head, then blocks
 * that begin at pages. A block holds a batch of entries, or with STO_BLOCK_MORE a part of one.
 *
 * Compression is linked: the bytes before compression of consecutive blocks lie one behind the
 * other in a window, in the writer as in the reader, and each block may refer to what is before
 * it. A block with STO_BLOCK_RESTART begins a new window; the first of a segment does, and each
 * that would begin beyond STO_WINDOW_BYTES.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/file.h"

enum {
	STO_PAGE_BYTES = 4096,
	STO_SEG_HEAD_BYTES = 80,
	STO_BLOCK_HEAD_BYTES = 64,
	STO_ENTRY_MIN = 32, /* a TxnHeader */
	STO_ENTRY_ZXID_AT = 12,
};

/* Fuzzers build small ones, so that limits are met. */
#ifdef FUZZING
enum { STO_BLOCK_RAW_MAX = 16 << 10, STO_WINDOW_BYTES = 8 << 10 };
#else
enum { STO_BLOCK_RAW_MAX = 1 << 20, STO_WINDOW_BYTES = 512 << 10 };
#endif

enum { STO_BLOCK_LZ4 = 1, STO_BLOCK_RESTART = 2, STO_BLOCK_MORE = 4, STO_BLOCK_FLAGS = 7 };

struct sto_seg_head {
	uint64_t id;      /* random: what this file held before can't look valid */
	uint64_t prev_id; /* the segment before, 0 = the first after an open */
	int64_t first_zxid;
	int64_t prev_zxid; /* the last entry before this segment: it continues exactly that */
	int64_t created_ms;
	uint64_t size;
};

struct sto_block_head {
	uint64_t id, position;
	uint32_t flags, number, raw_len, stored_len;
	int64_t first_zxid, last_zxid; /* of the batch; both the last one logged if it is empty */
};

/* May `next` be the zxid behind `prev`? */
static inline bool sto_zxid_follows(int64_t prev, int64_t next)
{
	return (uint64_t)next == (uint64_t)prev + 1 ||
	       (next >> 32 > prev >> 32 && (uint32_t)next == 1);
}

/* Do `got` and the checksum stored agree? Fuzzers build pass, so that they get any further. */
bool sto_hash_ok(uint64_t got, uint64_t stored);

static inline uint64_t sto_pages(uint64_t bytes)
{
	return (bytes + STO_PAGE_BYTES - 1) / STO_PAGE_BYTES * STO_PAGE_BYTES;
}

void sto_seg_head_put(uint8_t page[STO_PAGE_BYTES], const struct sto_seg_head *h);
bool sto_seg_head_get(const uint8_t *page, size_t len, struct sto_seg_head *h);

/* Put the head in front of the payload, which stands at block + STO_BLOCK_HEAD_BYTES. */
void sto_block_put(uint8_t *block, const struct sto_block_head *h);

/* Is there the head of a block of segment `id` at `position`? The payload is not looked at. */
bool sto_block_head_get(const uint8_t *from, size_t len, uint64_t id, uint64_t position,
			struct sto_block_head *h);

struct sto_seg_reader {
	const struct sto_fs *fs;
	int fd;
	struct sto_seg_head head;
	uint64_t file_size;
	uint64_t at;        /* behind the last batch returned */
	uint64_t bad_at;    /* when next() gave 0 or -EBADMSG: what could not be read */
	int64_t last_zxid;  /* of the last entry returned, prev_zxid at the start */
	uint32_t number;    /* of the next block */
	uint64_t buffer_at; /* the piece of the file that is in memory */
	size_t buffer_len, window_used, batch_len, batch_cap;
	uint8_t *buffer, *window, *batch;
};

/* Open (flags: O_RDONLY, O_RDWR) and check the head. 0; -EBADMSG: the head is bad, or not of
 * `first_zxid`; -errno. */
int sto_seg_open(struct sto_seg_reader *r, const struct sto_fs *fs, int dir, int64_t first_zxid,
		 int flags);

/*
 * The next batch: *entries and *len are valid until the next call; every entry's length and zxid
 * have been checked. 1; 0: there is no whole batch here; -EBADMSG: a block that checks out has
 * entries that don't; -errno.
 */
int sto_seg_next(struct sto_seg_reader *r, const uint8_t **entries, size_t *len);

/*
 * After sto_seg_next() gave 0: 1 when a page behind the bad block carries this segment's id and its
 * own position: something was written after it, so it was durable once. *dirty: not only zeros
 * are there, from `at` on. 0, -errno.
 */
int sto_seg_traces(struct sto_seg_reader *r, bool *dirty);

void sto_seg_close(struct sto_seg_reader *r);

/*
 * Heads alone, one after the other: no payload is read, so no checksum either. For a segment that
 * was verified, or for a guess that is verified later.
 */
struct sto_seg_walk {
	uint64_t at; /* of the next head */
	uint32_t number;
	bool more;      /* the batch goes on there */
	int64_t before; /* the last zxid before the batch of the head returned */
	int64_t last;   /* .. and the last one of that batch */
};

void sto_seg_walk_begin(const struct sto_seg_reader *r, struct sto_seg_walk *w);

/* The next head, which was at *at. 1; 0: there is none that continues the one before; -errno. */
int sto_seg_walk(const struct sto_seg_reader *r, struct sto_seg_walk *w, struct sto_block_head *h,
		 uint64_t *at);

/* Let sto_seg_next() go on with a batch before which nothing is above `after`: near to where
 * entries above it begin. What was read from the file is forgotten. 0 or -errno. */
int sto_seg_seek(struct sto_seg_reader *r, int64_t after);

/* The file may have grown since it was read: read again. */
void sto_seg_forget(struct sto_seg_reader *r);
