#include "storage/log.h"

#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bug.h"
#include "base/check.h"
#include "base/clock.h"
#include "storage/segment.h"
#include "storage/stage.h"

enum {
	ZERO_BYTES = 1 << 20,
	FIRST_SEGMENT_BYTES = 4 << 20, /* each that follows is twice as long, up to the option */
	RESERVE_BYTES = 2 << 20,
	SEGMENT_MIN_BYTES = 3 * STO_PAGE_BYTES /* head, a block, a seal */
};

/* A file of zeros, to become a segment. */
struct spare {
	int fd; /* -1: none */
	bool direct;
	uint64_t size;
	char name[STO_NAME_MAX];
};

struct sto_log {
	const struct sto_fs *fs;
	struct sto_log_options options;
	int dir;

	/* The appending thread's. */
	int fd; /* -1: no segment yet */
	bool direct, roll, sealed;
	int error; /* sticky */
	uint32_t number;
	uint64_t id;
	int64_t last_zxid;
	size_t window_used;
	uint8_t *window, *block;
	LZ4_stream_t *lz4;

	/* Stored by the appending thread alone; relaxed, as they are figures for people and for
	 * decisions that leave a margin. */
	_Atomic uint64_t size, at, bytes; /* at <= size, of the open segment */

	pthread_mutex_t lock; /* the members below */
	pthread_cond_t prepared;
	bool preparing;
	bool scant;      /* the disk had no room for a whole spare; a smaller one may be there */
	unsigned spares; /* made so far: each has a name of its own */
	uint64_t spare_size; /* of the last one */
	struct spare spare;
};

static void close_fd(const struct sto_fs *fs, int *fd)
{
	if (*fd >= 0)
		fs->close(fs->self, *fd);
	*fd = -1;
}

/* Every page is written once, so that later writes find allocated, initialised extents. */
static int fill_zeros(const struct sto_fs *fs, int fd, uint64_t size)
{
	uint64_t piece = size < ZERO_BYTES ? sto_pages(size) : ZERO_BYTES;
	uint8_t *zeros = aligned_alloc(STO_PAGE_BYTES, piece);
	int err = zeros ? fs->allocate(fs->self, fd, 0, (off_t)size) : -ENOMEM;

	if (err == -EOPNOTSUPP)
		err = 0;
	if (zeros)
		memset(zeros, 0, piece);
	for (uint64_t at = 0; !err && at < size; at += piece) {
		uint64_t n = size - at < piece ? size - at : piece;

		err = sto_write(fs, fd, zeros, n, at);
	}
	free(zeros);
	return err;
}

static int spare_try(struct sto_log *log, bool direct, struct spare *s)
{
	const struct sto_fs *fs = log->fs;
	int flags = O_RDWR | O_CREAT | O_TRUNC;
	int err;

	if (direct)
		flags |= O_DIRECT | (log->options.force_sync ? O_DSYNC : 0);
	s->direct = direct;
	s->fd = fs->open(fs->self, log->dir, s->name, flags, 0600);
	if (s->fd < 0)
		return s->fd;
	err = fill_zeros(fs, s->fd, s->size);
	if (!err && log->options.force_sync)
		err = fs->sync(fs->self, s->fd);
	if (err) {
		close_fd(fs, &s->fd);
		fs->unlink(fs->self, log->dir, s->name);
	}
	return err;
}

/* The file system says EINVAL, at open or at the first write, when it has no O_DIRECT. */
static int spare_make(struct sto_log *log, uint64_t size, struct spare *s)
{
	int err = -EINVAL;

	*s = (struct spare){.fd = -1, .size = size};
	pthread_mutex_lock(&log->lock);
	snprintf(s->name, sizeof(s->name), STO_LOG_PREFIX "next-%u" STO_TMP_SUFFIX, log->spares++);
	log->spare_size = size;
	pthread_mutex_unlock(&log->lock);
	if (log->options.direct)
		err = spare_try(log, true, s);
	if (err == -EINVAL)
		err = spare_try(log, false, s);
	return err == -EDQUOT ? -ENOSPC : err;
}

static void spare_drop(struct sto_log *log, struct spare *s)
{
	if (s->fd >= 0)
		log->fs->unlink(log->fs->self, log->dir, s->name);
	close_fd(log->fs, &s->fd);
}

int sto_log_prepare(struct sto_log *log)
{
	struct spare spare;
	uint64_t size;
	bool wanted;
	int err;

	pthread_mutex_lock(&log->lock);
	size = log->spare_size * 2;
	if (size > log->options.segment_size || log->scant)
		size = log->options.segment_size;
	wanted = (log->spare.fd < 0 || log->scant) && !log->preparing;
	log->preparing |= wanted;
	pthread_mutex_unlock(&log->lock);
	if (!wanted)
		return 0;
	err = spare_make(log, size, &spare);
	pthread_mutex_lock(&log->lock);
	if (!err) {
		spare_drop(log, &log->spare); /* a small one */
		log->spare = spare;
	}
	log->scant = err == -ENOSPC;
	log->preparing = false;
	pthread_cond_signal(&log->prepared);
	pthread_mutex_unlock(&log->lock);
	return err;
}

/* Take the prepared file, or wait for it, or make one, so that `need` bytes of blocks fit; and a
 * seal, without which the last of them could rot unnoticed, unless the disk is full. */
static int spare_take(struct sto_log *log, uint64_t need, struct spare *out)
{
	uint64_t size = log->options.segment_size, sealed = need + 2 * STO_PAGE_BYTES;
	struct spare larger;
	int err;

	pthread_mutex_lock(&log->lock);
	while (log->preparing)
		pthread_cond_wait(&log->prepared, &log->lock);
	*out = log->spare;
	log->spare.fd = -1;
	pthread_mutex_unlock(&log->lock);
	if (out->fd >= 0 && out->size >= sealed)
		return 0;
	if (out->size < need + STO_PAGE_BYTES)
		spare_drop(log, out);
	err = spare_make(log, sealed > size ? sealed : size, &larger);
	if (err == -ENOSPC && out->fd >= 0)
		return 0;
	spare_drop(log, out);
	*out = larger;
	return err;
}

static int random_id(uint64_t *id)
{
	do {
		if (getrandom(id, sizeof(*id), 0) != (ssize_t)sizeof(*id))
			return -errno;
	} while (!*id);
	return 0;
}

static int write_durable(struct sto_log *log, int fd, bool direct, size_t n, uint64_t at)
{
	int err = sto_write(log->fs, fd, log->block, n, at);

	if (!err && !direct && log->options.force_sync && !WRONG(APPEND_NOT_SYNCED))
		err = log->fs->datasync(log->fs->self, fd);
	return err;
}

/* The head is durable before the name is, and the name before any block. */
static int segment_begin(struct sto_log *log, const struct spare *spare, int64_t first_zxid)
{
	const struct sto_fs *fs = log->fs;
	struct sto_seg_head head = {
	    .prev_id = log->id,
	    .first_zxid = first_zxid,
	    .prev_zxid = log->last_zxid,
	    .created_ms = clock_wall_ms(),
	    .size = spare->size,
	};
	char name[STO_NAME_MAX];
	int err = random_id(&head.id);

	if (err)
		return err;
	sto_seg_head_put(log->block, &head);
	err = write_durable(log, spare->fd, spare->direct, STO_PAGE_BYTES, 0);
	if (err)
		return err;
	sto_name(name, STO_LOG_PREFIX, first_zxid);
	err = fs->rename(fs->self, log->dir, spare->name, name);
	if (!err && log->options.force_sync)
		err = fs->sync(fs->self, log->dir);
	if (err)
		return err;
	close_fd(fs, &log->fd);
	log->fd = spare->fd;
	log->direct = spare->direct;
	atomic_store_explicit(&log->size, spare->size, memory_order_relaxed);
	log->id = head.id;
	log->number = 0;
	log->roll = false;
	atomic_store_explicit(&log->at, STO_PAGE_BYTES, memory_order_relaxed);
	return 0;
}

/* Do `bytes` of blocks fit into the open segment? */
static bool fits(struct sto_log *log, uint64_t bytes)
{
	uint64_t at = atomic_load_explicit(&log->at, memory_order_relaxed);

	return log->fd >= 0 && at + bytes <= atomic_load_explicit(&log->size, memory_order_relaxed);
}

static int fail(struct sto_log *log)
{
	return log->error = -EIO;
}

static int rotate(struct sto_log *log, uint64_t need, int64_t first_zxid)
{
	struct spare spare;
	int err = spare_take(log, need, &spare);

	if (err)
		return err == -ENOSPC ? err : fail(log);
	err = segment_begin(log, &spare, first_zxid);
	if (err) {
		close_fd(log->fs, &spare.fd);
		return fail(log);
	}
	return 0;
}

/* Compress behind what the window holds; raw when that does not shrink. Returns stored bytes. */
static uint32_t pack(struct sto_log *log, const uint8_t *raw, uint32_t n, uint32_t *flags)
{
	uint8_t *in, *out = log->block + STO_BLOCK_HEAD_BYTES;
	int packed;

	if (!log->number || log->window_used >= STO_WINDOW_BYTES) {
		*flags |= STO_BLOCK_RESTART;
		log->window_used = 0;
		LZ4_resetStream_fast(log->lz4);
	}
	if (!n)
		return 0;
	in = log->window + log->window_used;
	memcpy(in, raw, n);
	log->window_used += n;
	packed = LZ4_compress_fast_continue(log->lz4, (const char *)in, (char *)out, (int)n,
					    LZ4_COMPRESSBOUND(STO_BLOCK_RAW_MAX), 1);
	CHECK(packed > 0);
	if ((uint32_t)packed < n) {
		*flags |= STO_BLOCK_LZ4;
		return (uint32_t)packed;
	}
	memcpy(out, in, n);
	return n;
}

static int put_block(struct sto_log *log, const uint8_t *raw, uint32_t n,
		     struct sto_block_head *head)
{
	uint64_t at = atomic_load_explicit(&log->at, memory_order_relaxed), used, padded;

	head->id = log->id;
	head->position = at;
	head->raw_len = n;
	head->stored_len = pack(log, raw, n, &head->flags);
	head->number = log->number++;
	used = STO_BLOCK_HEAD_BYTES + head->stored_len;
	padded = sto_pages(used);
	CHECK(fits(log, padded));
	memset(log->block + used, 0, padded - used);
	sto_block_put(log->block, head);
	if (write_durable(log, log->fd, log->direct, padded, at))
		return fail(log);
	atomic_store_explicit(&log->at, at + padded, memory_order_relaxed);
	atomic_fetch_add_explicit(&log->bytes, padded, memory_order_relaxed);
	return 0;
}

/* Bytes of blocks that a batch takes at most. */
static uint64_t batch_room(uint64_t len)
{
	uint64_t whole = len / STO_BLOCK_RAW_MAX, rest = len % STO_BLOCK_RAW_MAX;

	return whole * sto_pages(STO_BLOCK_HEAD_BYTES + STO_BLOCK_RAW_MAX) +
	       sto_pages(STO_BLOCK_HEAD_BYTES + rest);
}

static bool has_spare(struct sto_log *log)
{
	bool has;

	pthread_mutex_lock(&log->lock);
	has = log->spare.fd >= 0;
	pthread_mutex_unlock(&log->lock);
	return has;
}

int sto_log_append(struct sto_log *log, const uint8_t *entries, uint64_t len, int64_t first_zxid,
		   int64_t last_zxid)
{
	uint64_t need = batch_room(len);
	int err = log->error;

	CHECK(len >= 4 + STO_ENTRY_MIN);
	CHECK(first_zxid <= last_zxid);
	CHECK(sto_zxid_follows(log->last_zxid, first_zxid));
	/* The last page is kept for a seal, as long as there is another segment to be had. */
	if (!err && (!fits(log, need + STO_PAGE_BYTES) || (log->roll && has_spare(log)))) {
		err = rotate(log, need, first_zxid);
		if (err == -ENOSPC && fits(log, need))
			err = 0;
	}
	while (!err && len) {
		uint32_t n = len < STO_BLOCK_RAW_MAX ? (uint32_t)len : STO_BLOCK_RAW_MAX;
		struct sto_block_head head = {
		    .flags = n < len ? STO_BLOCK_MORE : 0,
		    .first_zxid = first_zxid,
		    .last_zxid = last_zxid,
		};

		err = put_block(log, entries, n, &head);
		entries += n;
		len -= n;
	}
	if (err)
		return err;
	log->last_zxid = last_zxid;
	log->sealed = false;
	return 0;
}

int sto_log_seal(struct sto_log *log)
{
	struct sto_block_head head = {.first_zxid = log->last_zxid, .last_zxid = log->last_zxid};
	int err;

	if (log->error || log->sealed || !fits(log, STO_PAGE_BYTES))
		return log->error;
	err = put_block(log, NULL, 0, &head);
	log->sealed = !err;
	return err;
}

void sto_log_roll(struct sto_log *log)
{
	log->roll = log->fd >= 0;
}

uint64_t sto_log_room(struct sto_log *log)
{
	uint64_t size = atomic_load_explicit(&log->size, memory_order_relaxed), room;
	uint64_t at = atomic_load_explicit(&log->at, memory_order_relaxed);

	pthread_mutex_lock(&log->lock);
	room = log->spare.fd >= 0 ? log->spare.size - STO_PAGE_BYTES : 0;
	pthread_mutex_unlock(&log->lock);
	return room + (size > at ? size - at : 0);
}

bool sto_log_is_scant(struct sto_log *log)
{
	bool scant;

	pthread_mutex_lock(&log->lock);
	scant = log->scant;
	pthread_mutex_unlock(&log->lock);
	return scant;
}

bool sto_log_is_tight(struct sto_log *log, uint64_t ahead)
{
	uint64_t reserve = log->options.segment_size / 4, room;

	if (reserve > RESERVE_BYTES)
		reserve = RESERVE_BYTES;
	pthread_mutex_lock(&log->lock);
	room = log->spare.fd >= 0 ? log->spare.size : 0;
	pthread_mutex_unlock(&log->lock);
	if (room) /* an empty segment takes one batch, however long */
		return ahead && room < ahead + reserve;
	return !fits(log, ahead + reserve);
}

uint64_t sto_log_bytes_since_open(const struct sto_log *log)
{
	return atomic_load_explicit(&log->bytes, memory_order_relaxed);
}

static void log_free(struct sto_log *log)
{
	close_fd(log->fs, &log->spare.fd);
	close_fd(log->fs, &log->fd);
	close_fd(log->fs, &log->dir);
	pthread_cond_destroy(&log->prepared);
	pthread_mutex_destroy(&log->lock);
	LZ4_freeStream(log->lz4);
	free(log->window);
	free(log->block);
	free(log);
}

int sto_log_close(struct sto_log *log)
{
	const struct sto_fs *fs = log->fs;
	int err = sto_log_seal(log);
	uint64_t at = atomic_load_explicit(&log->at, memory_order_relaxed);
	if (!err && log->fd >= 0)
		err = fs->truncate(fs->self, log->fd, (off_t)at);
	if (!err && log->fd >= 0 && log->options.force_sync)
		err = fs->sync(fs->self, log->fd);
	spare_drop(log, &log->spare);
	log_free(log);
	return err;
}

static bool log_alloc(struct sto_log *log)
{
	size_t block = sto_pages(STO_BLOCK_HEAD_BYTES + LZ4_COMPRESSBOUND(STO_BLOCK_RAW_MAX));

	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->prepared, NULL);
	log->window = malloc(STO_WINDOW_BYTES + STO_BLOCK_RAW_MAX);
	log->block = aligned_alloc(STO_PAGE_BYTES, block);
	log->lz4 = LZ4_createStream();
	if (!log->window || !log->block || !log->lz4)
		return false;
	/* No page fault later: appending is in the path of every write. */
	memset(log->window, 0, STO_WINDOW_BYTES + STO_BLOCK_RAW_MAX);
	memset(log->block, 0, block);
	return true;
}

/* On a full disk what there is, perhaps nothing: reading can be served without a segment. */
static int first_spare(struct sto_log *log)
{
	uint64_t size = log->options.segment_size;
	int err = -ENOSPC;

	if (size > FIRST_SEGMENT_BYTES)
		size = FIRST_SEGMENT_BYTES;
	for (; err == -ENOSPC && size >= SEGMENT_MIN_BYTES; size = sto_pages(size / 2)) {
		err = spare_make(log, size, &log->spare);
		log->scant |= err == -ENOSPC;
	}
	return err == -ENOSPC ? 0 : err;
}

int sto_log_open(struct sto_log **out, const struct sto_fs *fs, const char *dir, int64_t last_zxid,
		 const struct sto_log_options *options)
{
	struct sto_log *log = calloc(1, sizeof(*log));
	uint64_t size;
	int err = -ENOMEM;

	if (!log)
		return err;
	*log = (struct sto_log){.fs = fs, .options = *options, .dir = -1, .fd = -1};
	log->spare.fd = -1;
	log->last_zxid = last_zxid;
	log->sealed = true;
	size = sto_pages(options->segment_size);
	log->options.segment_size = size < SEGMENT_MIN_BYTES ? SEGMENT_MIN_BYTES : size;
	if (!log_alloc(log))
		goto err_free;
	err = log->dir = sto_dir_open(fs, dir);
	if (err < 0)
		goto err_free;
	err = first_spare(log);
	if (err)
		goto err_free;
	*out = log;
	return 0;
err_free:
	log_free(log);
	return err;
}
