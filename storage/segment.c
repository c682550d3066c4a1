#include "storage/segment.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/check.h"

enum {
	BUFFER_BYTES = 2 * STO_BLOCK_RAW_MAX,
	SEG_VERSION = 1,
	BLOCK_MAGIC = 0x4b4c4250 /* "PBLK" */
};
#define SEG_MAGIC 0x0a474f4c4b434450 /* "PDCKLOG\n" */

#ifdef FUZZING
enum { HASHES_COUNT = false };
#else
enum { HASHES_COUNT = true };
#endif

static_assert(BUFFER_BYTES >= STO_BLOCK_RAW_MAX + 2 * STO_PAGE_BYTES, "a block fits the buffer");

bool sto_hash_ok(uint64_t got, uint64_t stored)
{
	return got == stored || !HASHES_COUNT;
}

void sto_seg_head_put(uint8_t page[STO_PAGE_BYTES], const struct sto_seg_head *h)
{
	memset(page, 0, STO_PAGE_BYTES);
	le64_put(page + 8, SEG_MAGIC);
	le32_put(page + 16, SEG_VERSION);
	le64_put(page + 24, h->id);
	le64_put(page + 32, h->prev_id);
	le64_put(page + 40, (uint64_t)h->first_zxid);
	le64_put(page + 48, (uint64_t)h->prev_zxid);
	le64_put(page + 56, (uint64_t)h->created_ms);
	le64_put(page + 64, h->size);
	le64_put(page, XXH3_64bits(page + 8, STO_SEG_HEAD_BYTES - 8));
}

bool sto_seg_head_get(const uint8_t *page, size_t len, struct sto_seg_head *h)
{
	if (len < STO_SEG_HEAD_BYTES || le64_get(page + 8) != SEG_MAGIC ||
	    le32_get(page + 16) != SEG_VERSION)
		return false;
	if (!sto_hash_ok(XXH3_64bits(page + 8, STO_SEG_HEAD_BYTES - 8), le64_get(page)))
		return false;
	*h = (struct sto_seg_head){
	    .id = le64_get(page + 24),
	    .prev_id = le64_get(page + 32),
	    .first_zxid = (int64_t)le64_get(page + 40),
	    .prev_zxid = (int64_t)le64_get(page + 48),
	    .created_ms = (int64_t)le64_get(page + 56),
	    .size = le64_get(page + 64),
	};
	return h->prev_zxid >= 0 && sto_zxid_follows(h->prev_zxid, h->first_zxid);
}

void sto_block_put(uint8_t *block, const struct sto_block_head *h)
{
	le32_put(block + 8, BLOCK_MAGIC);
	le32_put(block + 12, h->flags);
	le64_put(block + 16, h->id);
	le64_put(block + 24, h->position);
	le32_put(block + 32, h->number);
	le32_put(block + 36, h->raw_len);
	le32_put(block + 40, h->stored_len);
	le32_put(block + 44, 0);
	le64_put(block + 48, (uint64_t)h->first_zxid);
	le64_put(block + 56, (uint64_t)h->last_zxid);
	le64_put(block, XXH3_64bits(block + 8, STO_BLOCK_HEAD_BYTES - 8 + h->stored_len));
}

bool sto_block_head_get(const uint8_t *from, size_t len, uint64_t id, uint64_t position,
			struct sto_block_head *h)
{
	if (len < STO_BLOCK_HEAD_BYTES || le32_get(from + 8) != BLOCK_MAGIC)
		return false;
	*h = (struct sto_block_head){
	    .flags = le32_get(from + 12),
	    .id = le64_get(from + 16),
	    .position = le64_get(from + 24),
	    .number = le32_get(from + 32),
	    .raw_len = le32_get(from + 36),
	    .stored_len = le32_get(from + 40),
	    .first_zxid = (int64_t)le64_get(from + 48),
	    .last_zxid = (int64_t)le64_get(from + 56),
	};
	return h->id == id && h->position == position;
}

static bool block_head_possible(const struct sto_seg_reader *r, const struct sto_block_head *h)
{
	bool lz4 = h->flags & STO_BLOCK_LZ4, restart = h->flags & STO_BLOCK_RESTART;

	if (h->flags & ~(uint32_t)STO_BLOCK_FLAGS || h->number != r->number)
		return false;
	if (h->raw_len > STO_BLOCK_RAW_MAX || h->first_zxid > h->last_zxid)
		return false;
	if (lz4 ? h->stored_len >= h->raw_len : h->stored_len != h->raw_len)
		return false;
	return restart || (h->number && r->window_used < STO_WINDOW_BYTES);
}

/* Have up to n bytes of the file from `at` on in the buffer. Those there, or -errno. */
static ssize_t fill(struct sto_seg_reader *r, uint64_t at, size_t n)
{
	ssize_t got;

	if (at < r->buffer_at || at + n > r->buffer_at + r->buffer_len) {
		r->buffer_len = 0;
		r->buffer_at = at;
		got = sto_read(r->fs, r->fd, r->buffer, BUFFER_BYTES, at);
		if (got < 0)
			return got;
		r->buffer_len = (size_t)got;
	}
	got = (ssize_t)(r->buffer_at + r->buffer_len - at);
	return got < (ssize_t)n ? got : (ssize_t)n;
}

int sto_seg_open(struct sto_seg_reader *r, const struct sto_fs *fs, int dir, int64_t first_zxid,
		 int flags)
{
	char name[STO_NAME_MAX];
	off_t size;
	ssize_t got = -ENOMEM;

	*r = (struct sto_seg_reader){.fs = fs, .at = STO_PAGE_BYTES, .bad_at = STO_PAGE_BYTES};
	sto_name(name, STO_LOG_PREFIX, first_zxid);
	r->fd = fs->open(fs->self, dir, name, flags, 0);
	if (r->fd < 0)
		return r->fd;
	r->buffer = malloc(BUFFER_BYTES);
	r->window = malloc(STO_WINDOW_BYTES + STO_BLOCK_RAW_MAX);
	size = fs->size(fs->self, r->fd);
	if (size < 0)
		got = size;
	else if (r->buffer && r->window)
		got = fill(r, 0, STO_PAGE_BYTES);
	if (got >= 0 && (!sto_seg_head_get(r->buffer, (size_t)got, &r->head) ||
			 r->head.first_zxid != first_zxid))
		got = -EBADMSG;
	if (got < 0) {
		sto_seg_close(r);
		return (int)got;
	}
	r->file_size = (uint64_t)size;
	r->last_zxid = r->head.prev_zxid;
	return 0;
}

void sto_seg_close(struct sto_seg_reader *r)
{
	if (r->fd >= 0)
		r->fs->close(r->fs->self, r->fd);
	free(r->buffer);
	free(r->window);
	free(r->batch);
	*r = (struct sto_seg_reader){.fs = r->fs, .fd = -1};
}

/* Put what the block holds behind what the window holds. False: it can't be decompressed. */
static bool unpack(struct sto_seg_reader *r, const struct sto_block_head *h, const uint8_t *payload)
{
	uint8_t *to;

	if (h->flags & STO_BLOCK_RESTART)
		r->window_used = 0;
	to = r->window + r->window_used;
	if (!(h->flags & STO_BLOCK_LZ4))
		memcpy(to, payload, h->stored_len);
	else if (LZ4_decompress_safe_usingDict(
		     (const char *)payload, (char *)to, (int)h->stored_len, (int)h->raw_len,
		     (const char *)r->window, (int)r->window_used) != (int)h->raw_len)
		return false;
	r->window_used += h->raw_len;
	return true;
}

/* The block at `at`, unpacked at *raw. 1; 0: none that is whole; -errno. */
static int next_block(struct sto_seg_reader *r, uint64_t at, struct sto_block_head *h,
		      const uint8_t **raw)
{
	ssize_t got = fill(r, at, STO_BLOCK_HEAD_BYTES);
	const uint8_t *block = r->buffer + (at - r->buffer_at);
	size_t whole;

	r->bad_at = at;
	if (got < 0)
		return (int)got;
	if (!sto_block_head_get(block, (size_t)got, r->head.id, at, h) ||
	    !block_head_possible(r, h))
		return 0;
	whole = STO_BLOCK_HEAD_BYTES + h->stored_len;
	got = fill(r, at, whole);
	if (got < 0)
		return (int)got;
	block = r->buffer + (at - r->buffer_at);
	if ((size_t)got < whole || !sto_hash_ok(XXH3_64bits(block + 8, whole - 8), le64_get(block)))
		return 0;
	if (!unpack(r, h, block + STO_BLOCK_HEAD_BYTES))
		return 0;
	*raw = r->window + r->window_used - h->raw_len;
	r->number++;
	return 1;
}

static int collect(struct sto_seg_reader *r, const uint8_t *raw, size_t n)
{
	if (r->batch_cap - r->batch_len < n) {
		size_t cap = (r->batch_len + n) * 2;
		uint8_t *more = realloc(r->batch, cap);

		if (!more)
			return -ENOMEM;
		r->batch = more;
		r->batch_cap = cap;
	}
	memcpy(r->batch + r->batch_len, raw, n);
	r->batch_len += n;
	return 0;
}

/* The entries of one batch: whole, consecutive, and those that the block's head promised. */
static bool entries_ok(struct sto_seg_reader *r, const struct sto_block_head *h,
		       const uint8_t *entries, size_t len)
{
	int64_t last = r->last_zxid;
	bool first = true;

	while (len) {
		int64_t zxid;
		uint32_t n;

		if (len < 4 + STO_ENTRY_MIN)
			return false;
		n = le32_get(entries);
		if (n < STO_ENTRY_MIN || n > len - 4)
			return false;
		zxid = (int64_t)be64_get(entries + 4 + STO_ENTRY_ZXID_AT);
		if (!sto_zxid_follows(last, zxid) || (first && zxid != h->first_zxid))
			return false;
		last = zxid;
		first = false;
		entries += 4 + n;
		len -= 4 + n;
	}
	if (last != h->last_zxid)
		return false;
	r->last_zxid = last;
	return true;
}

int sto_seg_next(struct sto_seg_reader *r, const uint8_t **entries, size_t *len)
{
	struct sto_block_head first = {0}, h = {0};
	uint64_t at = r->at;
	const uint8_t *raw = NULL;
	int got;

	r->batch_len = 0;
	do {
		got = next_block(r, at, &h, &raw);
		if (got <= 0)
			return got;
		at += sto_pages(STO_BLOCK_HEAD_BYTES + h.stored_len);
		if (!r->batch_len)
			first = h;
		else if (h.first_zxid != first.first_zxid || h.last_zxid != first.last_zxid)
			return -EBADMSG;
		if (!r->batch_len && !(h.flags & STO_BLOCK_MORE)) {
			*entries = raw;
			*len = h.raw_len;
			break;
		}
		if (!h.raw_len)
			return -EBADMSG;
		got = collect(r, raw, h.raw_len);
		if (got < 0)
			return got;
		*entries = r->batch;
		*len = r->batch_len;
	} while (h.flags & STO_BLOCK_MORE);
	if (!entries_ok(r, &h, *entries, *len))
		return -EBADMSG;
	r->at = at;
	return 1;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	return !n || (!p[0] && !memcmp(p, p + 1, n - 1));
}

int sto_seg_traces(struct sto_seg_reader *r, bool *dirty)
{
	struct sto_block_head h;

	*dirty = false;
	for (uint64_t at = r->at;; at += STO_PAGE_BYTES) {
		ssize_t got = fill(r, at, STO_PAGE_BYTES);
		const uint8_t *page = r->buffer + (at - r->buffer_at);

		if (got <= 0)
			return (int)got;
		*dirty |= !all_zero(page, (size_t)got);
		if (at > r->bad_at && sto_block_head_get(page, (size_t)got, r->head.id, at, &h))
			return 1;
	}
}

void sto_seg_walk_begin(const struct sto_seg_reader *r, struct sto_seg_walk *w)
{
	*w = (struct sto_seg_walk){
	    .at = STO_PAGE_BYTES, .before = r->head.prev_zxid, .last = r->head.prev_zxid};
}

/* Does the head continue what came before it? An empty block repeats the last zxid. */
static bool walk_fits(const struct sto_seg_walk *w, const struct sto_block_head *h)
{
	if (h->number != w->number || h->flags & ~(uint32_t)STO_BLOCK_FLAGS ||
	    h->raw_len > STO_BLOCK_RAW_MAX || h->stored_len > h->raw_len)
		return false;
	if (w->more)
		return h->last_zxid == w->last;
	if (!h->raw_len)
		return h->first_zxid == w->last && h->last_zxid == w->last;
	return sto_zxid_follows(w->last, h->first_zxid) && h->last_zxid >= h->first_zxid;
}

int sto_seg_walk(const struct sto_seg_reader *r, struct sto_seg_walk *w, struct sto_block_head *h,
		 uint64_t *at)
{
	uint8_t bytes[STO_BLOCK_HEAD_BYTES];
	ssize_t got = sto_read(r->fs, r->fd, bytes, sizeof(bytes), w->at);

	if (got < 0)
		return (int)got;
	if (!sto_block_head_get(bytes, (size_t)got, r->head.id, w->at, h) || !walk_fits(w, h))
		return 0;
	if (!w->more)
		w->before = w->last;
	w->last = h->last_zxid;
	w->more = h->flags & STO_BLOCK_MORE;
	w->number++;
	*at = w->at;
	w->at += sto_pages(STO_BLOCK_HEAD_BYTES + h->stored_len);
	return 1;
}

int sto_seg_seek(struct sto_seg_reader *r, int64_t after)
{
	struct sto_seg_walk w;
	struct sto_block_head h;
	uint64_t at;
	int got;

	sto_seg_forget(r);
	sto_seg_walk_begin(r, &w);
	r->at = w.at;
	r->number = 0;
	r->last_zxid = w.last;
	do {
		bool begins = !w.more;

		got = sto_seg_walk(r, &w, &h, &at);
		if (got <= 0 || w.before > after)
			break;
		if (begins && h.flags & STO_BLOCK_RESTART) {
			r->at = at;
			r->number = h.number;
			r->last_zxid = w.before;
		}
	} while (true);
	return got < 0 ? got : 0;
}

void sto_seg_forget(struct sto_seg_reader *r)
{
	r->buffer_len = 0;
}
