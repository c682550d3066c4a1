/*
 * memfs.h - a directory in memory behind struct sto_fs: faults, and every image a crash may leave
 *
 * The directory "d" is always there, and so is any other without a slash; below them directories
 * are made. Names are kept with their path: what is in "d" without "d/", so that tests of one
 * directory name its files alone. The n-th call fails as asked. With `record` on, each change is
 * kept in order, so that memfs_crash() can make the directory as it would be had the power failed
 * between two calls, or within one: a write counts by sectors of 512 bytes, each of which is there
 * or not unless it was synced; the same for each create, rename and unlink, for which the directory
 * counts. Of a rename from one directory to another it may be, too, that the name is in both. One
 * thread at a time.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/fs.h"

/* Files ever made, names at a time: who needs more says so before it includes this. */
#ifndef MEMFS_FILES_MAX
#define MEMFS_FILES_MAX 256
#define MEMFS_NAMES_MAX 64
#endif

enum {
	MEMFS_FILES = MEMFS_FILES_MAX,
	MEMFS_NAMES = MEMFS_NAMES_MAX,
	MEMFS_FDS = 64,
	MEMFS_DIR = 1000, /* the first descriptor of a directory */
	MEMFS_DIRS = 8,
	MEMFS_SECTOR = 512
};
enum memfs_kind {
	MEMFS_WRITE,
	MEMFS_TRUNCATE,
	MEMFS_SYNC,
	MEMFS_DIRSYNC,
	MEMFS_LINK,
	MEMFS_RENAME,
	MEMFS_UNLINK
};

struct memfs_op {
	enum memfs_kind kind;
	int file;
	bool durable;      /* O_DSYNC */
	int dir, from_dir; /* of the name; synced */
	uint64_t at, len;
	uint8_t *data;
	char from[80], to[80];
	size_t safe_from, gone_from; /* see memfs_settle() */
};

struct memfs_file {
	uint8_t *data;
	uint64_t size, cap;
	bool is_dir;
};

struct memfs {
	struct sto_fs fs;
	struct memfs_file file[MEMFS_FILES];
	int files;
	struct {
		char name[80];
		int file; /* -1: free */
	} name[MEMFS_NAMES];
	struct {
		int file, flags; /* file -1: closed */
	} fd[MEMFS_FDS];
	char dir[MEMFS_DIRS]
		[80]; /* paths with a slash at the end, "" is "d"; as they were opened first */
	int dirs, open_dirs;

	bool no_direct;   /* O_DIRECT is refused at open */
	uint64_t calls;   /* so far */
	uint64_t fail_at; /* that call fails (from 1); 0: none */
	int fail_errno;
	bool fail_on;   /* and all later ones */
	uint64_t space; /* bytes that files may take; 0: any */

	bool record;
	struct memfs_op *op;
	size_t ops, ops_cap, settled;
};

static inline struct memfs *memfs_of(void *self)
{
	return self;
}

static inline int memfs_fault(struct memfs *m)
{
	m->calls++;
	if (!m->fail_at || (m->fail_on ? m->calls < m->fail_at : m->calls != m->fail_at))
		return 0;
	return -m->fail_errno;
}

static inline struct memfs_op *memfs_note(struct memfs *m, enum memfs_kind kind, int file)
{
	static struct memfs_op nowhere;

	if (!m->record)
		return &nowhere;
	if (m->ops == m->ops_cap) {
		m->ops_cap = m->ops_cap ? m->ops_cap * 2 : 64;
		m->op = realloc(m->op, m->ops_cap * sizeof(*m->op));
	}
	m->op[m->ops] = (struct memfs_op){.kind = kind, .file = file};
	return &m->op[m->ops++];
}

static inline void memfs_set(char to[80], const char *from)
{
	snprintf(to, 80, "%s", from);
}

static inline int memfs_find(struct memfs *m, const char *name)
{
	for (int i = 0; i < MEMFS_NAMES; i++)
		if (m->name[i].file >= 0 && !strcmp(m->name[i].name, name))
			return i;
	return -1;
}

static inline void memfs_link(struct memfs *m, const char *name, int file)
{
	int at = memfs_find(m, name);

	for (int i = 0; at < 0; i++) {
		if (i == MEMFS_NAMES)
			abort();
		if (m->name[i].file < 0)
			at = i;
	}
	m->name[at].file = file;
	memfs_set(m->name[at].name, name);
}

static inline void memfs_resize(struct memfs_file *f, uint64_t size)
{
	if (size > f->cap) {
		f->cap = size * 2;
		f->data = realloc(f->data, f->cap);
	}
	if (size > f->size)
		memset(f->data + f->size, 0, size - f->size);
	f->size = size;
}

static inline void memfs_store(struct memfs_file *f, const void *from, uint64_t n, uint64_t at)
{
	if (at + n > f->size)
		memfs_resize(f, at + n);
	if (n)
		memcpy(f->data + at, from, n);
}

static inline int memfs_add(struct memfs *m, const char *name, const void *data, uint64_t n)
{
	int file = m->files++;

	if (file >= MEMFS_FILES)
		abort();
	m->file[file].size = 0;
	m->file[file].is_dir = false;
	memfs_store(&m->file[file], data, n, 0);
	memfs_link(m, name, file);
	return file;
}

static inline int memfs_fd(struct memfs *m, int file, int flags)
{
	for (int i = 0; i < MEMFS_FDS; i++)
		if (m->fd[i].file < 0) {
			m->fd[i].file = file;
			m->fd[i].flags = flags;
			return i;
		}
	return -EMFILE;
}

/* The path of `name` in the open directory `dir`. */
static inline const char *memfs_path(struct memfs *m, int dir, const char *name, char path[80])
{
	const char *above = dir >= MEMFS_DIR ? m->dir[dir - MEMFS_DIR] : "";

	if (dir < MEMFS_DIR && !strncmp(name, "d/", 2))
		name += 2;
	snprintf(path, 80, "%.17s%.62s", above, name);
	return path;
}

/* The number of the directory that this path is in. */
static inline int memfs_dir_of(struct memfs *m, const char *path)
{
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) + 1 : 0;
	int i = 0;

	while (i < m->dirs && (strlen(m->dir[i]) != n || strncmp(m->dir[i], path, n)))
		i++;
	if (i == MEMFS_DIRS)
		abort();
	if (i == m->dirs)
		memcpy(m->dir[m->dirs++], path, n < 79 ? n : 79);
	return i;
}

static inline int memfs_open_dir(struct memfs *m, int dir, const char *name)
{
	char path[80], inside[84];
	int at;

	memfs_path(m, dir, name, path);
	at = memfs_find(m, path);
	if (strchr(path, '/') || dir >= MEMFS_DIR) {
		if (at < 0)
			return -ENOENT;
		if (!m->file[m->name[at].file].is_dir)
			return -ENOTDIR;
	}
	snprintf(inside, sizeof(inside), "%s/", path);
	m->open_dirs++;
	return MEMFS_DIR + memfs_dir_of(m, strcmp(inside, "d/") ? inside : "");
}

static inline int memfs_open(void *self, int dir, const char *name, int flags, mode_t mode)
{
	struct memfs *m = memfs_of(self);
	int err = memfs_fault(m), at;
	struct memfs_op *op;
	char path[80];

	(void)mode;
	if (err)
		return err;
	if (flags & O_DIRECTORY)
		return memfs_open_dir(m, dir, name);
	if (m->no_direct && (flags & O_DIRECT))
		return -EINVAL;
	name = memfs_path(m, dir, name, path);
	at = memfs_find(m, name);
	if (at < 0) {
		if (!(flags & O_CREAT))
			return -ENOENT;
		memfs_add(m, name, NULL, 0);
		at = memfs_find(m, name);
		op = memfs_note(m, MEMFS_LINK, m->name[at].file);
		memfs_set(op->to, name);
		op->dir = op->from_dir = memfs_dir_of(m, name);
	} else if (flags & O_EXCL) {
		return -EEXIST;
	} else if (flags & O_TRUNC) {
		memfs_note(m, MEMFS_TRUNCATE, m->name[at].file)->len = 0;
		memfs_resize(&m->file[m->name[at].file], 0);
	}
	return memfs_fd(m, m->name[at].file, flags);
}

static inline int memfs_close(void *self, int fd)
{
	if (fd >= MEMFS_DIR)
		memfs_of(self)->open_dirs--;
	else
		memfs_of(self)->fd[fd].file = -1;
	return 0;
}

static inline ssize_t memfs_pread(void *self, int fd, void *buf, size_t n, off_t at)
{
	struct memfs *m = memfs_of(self);
	struct memfs_file *f = &m->file[m->fd[fd].file];
	int err = memfs_fault(m);

	if (err)
		return err;
	if ((uint64_t)at >= f->size)
		return 0;
	if (n > f->size - (uint64_t)at)
		n = f->size - (uint64_t)at;
	memcpy(buf, f->data + at, n);
	return (ssize_t)n;
}

static inline ssize_t memfs_pwrite(void *self, int fd, const void *buf, size_t n, off_t at)
{
	struct memfs *m = memfs_of(self);
	struct memfs_file *f = &m->file[m->fd[fd].file];
	int err = memfs_fault(m);
	struct memfs_op *op;

	if (!err && m->space && (uint64_t)at + n > f->size && (uint64_t)at + n > m->space)
		err = -ENOSPC;
	if (err)
		n /= 2; /* a failed write has written something */
	op = memfs_note(m, MEMFS_WRITE, m->fd[fd].file);
	op->at = (uint64_t)at;
	op->len = n;
	op->durable = !err && (m->fd[fd].flags & O_DSYNC);
	if (m->record) {
		op->data = malloc(n ? n : 1);
		memcpy(op->data, buf, n);
	}
	memfs_store(f, buf, n, (uint64_t)at);
	return err ? err : (ssize_t)n;
}

static inline int memfs_allocate(void *self, int fd, off_t at, off_t n)
{
	struct memfs *m = memfs_of(self);
	int err = memfs_fault(m);

	(void)fd;
	if (!err && m->space && (uint64_t)(at + n) > m->space)
		err = -ENOSPC;
	return err ? err : -EOPNOTSUPP;
}

static inline int memfs_sync(void *self, int fd)
{
	struct memfs *m = memfs_of(self);
	int err = memfs_fault(m);

	if (!err && fd >= MEMFS_DIR)
		memfs_note(m, MEMFS_DIRSYNC, -1)->dir = fd - MEMFS_DIR;
	else if (!err)
		memfs_note(m, MEMFS_SYNC, m->fd[fd].file);
	return err;
}

static inline int memfs_drop(void *self, int fd)
{
	(void)self, (void)fd;
	return 0;
}

static inline int memfs_rename_names(struct memfs *m, const char *from, const char *to)
{
	int at = memfs_find(m, from), file;

	if (at < 0)
		return -ENOENT;
	file = m->name[at].file;
	m->name[at].file = -1;
	memfs_link(m, to, file);
	return 0;
}

static inline int memfs_rename(void *self, int dir, const char *from, const char *to)
{
	struct memfs *m = memfs_of(self);
	char path[80], to_path[80];
	int err = memfs_fault(m), at;
	struct memfs_op *op;

	from = memfs_path(m, dir, from, path);
	to = memfs_path(m, dir, to, to_path);
	at = memfs_find(m, from);
	if (err || at < 0)
		return err ? err : -ENOENT;
	/* Two names of one file: POSIX keeps both. */
	if (memfs_find(m, to) >= 0 && m->name[memfs_find(m, to)].file == m->name[at].file)
		return 0;
	op = memfs_note(m, MEMFS_RENAME, m->name[at].file);
	op->dir = memfs_dir_of(m, to);
	op->from_dir = memfs_dir_of(m, from);
	memfs_set(op->from, from);
	memfs_set(op->to, to);
	return memfs_rename_names(m, from, to);
}

static inline int memfs_unlink(void *self, int dir, const char *name)
{
	struct memfs *m = memfs_of(self);
	int err = memfs_fault(m), at;
	struct memfs_op *op;
	char path[80];

	name = memfs_path(m, dir, name, path);
	at = memfs_find(m, name);
	if (err || at < 0)
		return err ? err : -ENOENT;
	if (m->file[m->name[at].file].is_dir)
		return -EISDIR;
	op = memfs_note(m, MEMFS_UNLINK, m->name[at].file);
	memfs_set(op->from, name);
	op->dir = op->from_dir = memfs_dir_of(m, name);
	m->name[at].file = -1;
	return 0;
}

static inline int memfs_mkdir(void *self, int dir, const char *name, mode_t mode)
{
	struct memfs *m = memfs_of(self);
	int err = memfs_fault(m), file;
	struct memfs_op *op;
	char path[80];

	(void)mode;
	if (err)
		return err;
	name = memfs_path(m, dir, name, path);
	if (memfs_find(m, name) >= 0)
		return -EEXIST;
	file = memfs_add(m, name, NULL, 0);
	m->file[file].is_dir = true;
	op = memfs_note(m, MEMFS_LINK, file);
	memfs_set(op->to, name);
	op->dir = op->from_dir = memfs_dir_of(m, name);
	return 0;
}

static inline int memfs_truncate(void *self, int fd, off_t size)
{
	struct memfs *m = memfs_of(self);
	int err = memfs_fault(m);

	if (err)
		return err;
	memfs_note(m, MEMFS_TRUNCATE, m->fd[fd].file)->len = (uint64_t)size;
	memfs_resize(&m->file[m->fd[fd].file], (uint64_t)size);
	return 0;
}

static inline off_t memfs_size(void *self, int fd)
{
	struct memfs *m = memfs_of(self);
	int err = memfs_fault(m);

	return err ? err : (off_t)m->file[m->fd[fd].file].size;
}

static inline int memfs_list(void *self, int dir, int (*each)(void *arg, const char *name),
			     void *arg)
{
	struct memfs *m = memfs_of(self);
	int stop = memfs_fault(m);
	char name[80];

	for (int i = 0; !stop && i < MEMFS_NAMES; i++)
		if (m->name[i].file >= 0 && memfs_dir_of(m, m->name[i].name) == dir - MEMFS_DIR) {
			memfs_set(name, m->name[i].name + strlen(m->dir[dir - MEMFS_DIR]));
			stop = each(arg, name);
		}
	return stop;
}

static inline void memfs_init(struct memfs *m)
{
	memset(m, 0, sizeof(*m));
	m->fs = (struct sto_fs){
	    .self = m,
	    .open = memfs_open,
	    .close = memfs_close,
	    .pread = memfs_pread,
	    .pwrite = memfs_pwrite,
	    .allocate = memfs_allocate,
	    .datasync = memfs_sync,
	    .sync = memfs_sync,
	    .drop = memfs_drop,
	    .ahead = memfs_drop, /* nothing is cached */
	    .rename = memfs_rename,
	    .unlink = memfs_unlink,
	    .mkdir = memfs_mkdir,
	    .truncate = memfs_truncate,
	    .size = memfs_size,
	    .list = memfs_list,
	};
	for (int i = 0; i < MEMFS_NAMES; i++)
		m->name[i].file = -1;
	for (int i = 0; i < MEMFS_FDS; i++)
		m->fd[i].file = -1;
}

static inline void memfs_fini(struct memfs *m)
{
	for (int i = 0; i < MEMFS_FILES; i++) /* a former copy may have had more than there are */
		free(m->file[i].data);
	for (size_t i = 0; i < m->ops; i++)
		free(m->op[i].data);
	free(m->op);
	memset(m, 0, sizeof(*m));
}

/* Copy files and names, nothing else. `to` has been initialised, and is empty or a former copy. */
static inline void memfs_copy(struct memfs *to, const struct memfs *from)
{
	to->files = from->files;
	for (int i = 0; i < from->files; i++) {
		to->file[i].size = 0;
		memfs_store(&to->file[i], from->file[i].data, from->file[i].size, 0);
		to->file[i].is_dir = from->file[i].is_dir;
	}
	memcpy(to->name, from->name, sizeof(to->name));
	for (int i = 0; i < MEMFS_FDS; i++)
		to->fd[i].file = -1;
}

static inline int memfs_open_fds(const struct memfs *m)
{
	int n = m->open_dirs;

	for (int i = 0; i < MEMFS_FDS; i++)
		n += m->fd[i].file >= 0;
	return n;
}

static inline struct memfs_file *memfs_file(struct memfs *m, const char *name)
{
	int at = memfs_find(m, name);

	return at < 0 ? NULL : &m->file[m->name[at].file];
}

/* Which choice does the crash have for unit `unit`? A pseudo-random bit of the seed, or, with few
 * units, the bit of that number: all subsets can be walked through. */
struct memfs_choice {
	uint64_t bits; /* the subset, or the seed */
	bool random;
	unsigned units; /* counted on the way */
};

static inline bool memfs_survives(struct memfs_choice *c)
{
	unsigned unit = c->units++;
	uint64_t x = c->bits + 0x9e3779b97f4a7c15 * (unit + 1);

	if (!c->random)
		return unit >= 64 || (c->bits >> unit & 1);
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return (x ^ x >> 31) & 1;
}

/* From which operation on is each surely on the disk? One behind the sync that covers it. */
static inline void memfs_settle(struct memfs *m)
{
	for (size_t i = 0; m->settled < m->ops && i < m->ops; i++) {
		struct memfs_op *op = &m->op[i];
		bool names = op->kind >= MEMFS_LINK;
		size_t k = i + 1;

		while (k < m->ops &&
		       (names ? m->op[k].kind != MEMFS_DIRSYNC || m->op[k].dir != op->dir
			      : m->op[k].kind != MEMFS_SYNC || m->op[k].file != op->file))
			k++;
		op->safe_from = op->durable ? i + 2 : k < m->ops ? k + 2 : SIZE_MAX;
		/* .. and where the name is no longer, if that is another directory. */
		op->gone_from = op->safe_from;
		if (op->kind != MEMFS_RENAME || op->dir == op->from_dir)
			continue;
		for (k = i + 1; k < m->ops &&
				(m->op[k].kind != MEMFS_DIRSYNC || m->op[k].dir != op->from_dir);)
			k++;
		op->gone_from = k < m->ops ? k + 2 : SIZE_MAX;
	}
	m->settled = m->ops;
}

static inline void memfs_redo(struct memfs *to, const struct memfs_op *op, bool durable, bool gone,
			      struct memfs_choice *choice)
{
	struct memfs_file *f = op->file >= 0 ? &to->file[op->file] : NULL;

	if (op->kind == MEMFS_WRITE) {
		for (uint64_t at = 0; at < op->len; at += MEMFS_SECTOR) {
			uint64_t n = op->len - at < MEMFS_SECTOR ? op->len - at : MEMFS_SECTOR;

			if (durable || memfs_survives(choice))
				memfs_store(f, op->data + at, n, op->at + at);
		}
		return;
	}
	if (op->kind == MEMFS_SYNC || op->kind == MEMFS_DIRSYNC)
		return;
	if (!durable && !memfs_survives(choice))
		return;
	if (op->kind == MEMFS_TRUNCATE)
		memfs_resize(f, op->len);
	else if (op->kind == MEMFS_LINK)
		memfs_link(to, op->to, op->file);
	else if (op->kind == MEMFS_RENAME) {
		/* The rename of a create that got lost brings the file into being all the same. */
		int at = memfs_find(to, op->from);

		if (op->dir == op->from_dir)
			gone = true;
		if (at >= 0 && to->name[at].file == op->file && (gone || memfs_survives(choice)))
			to->name[at].file = -1;
		memfs_link(to, op->to, op->file);
	} else if (memfs_find(to, op->from) >= 0)
		to->name[memfs_find(to, op->from)].file = -1;
}

/* What was in a directory that is not there is not there either. */
static inline void memfs_orphans(struct memfs *to)
{
	for (int i = 0; i < MEMFS_NAMES; i++) {
		char path[80], *slash;
		int at;

		memfs_set(path, to->name[i].name);
		slash = to->name[i].file < 0 ? NULL : strrchr(path, '/');
		if (!slash)
			continue;
		*slash = '\0';
		at = memfs_find(to, path);
		if (at < 0 && (strchr(path, '/') || !strcmp(path, "staged")))
			to->name[i].file = -1;
	}
}

/*
 * Make `to` (initialised) what may be left of m, recorded since it was a copy of `base` (NULL:
 * since it was empty), when the power fails after its first n operations, the n-th perhaps in part.
 * choice->units then says how many units were in doubt.
 */
static inline void memfs_crash(struct memfs *m, const struct memfs *base, size_t n,
			       struct memfs_choice *choice, struct memfs *to)
{
	choice->units = 0;
	memfs_settle(m);
	for (int i = 0; i < MEMFS_NAMES; i++)
		to->name[i].file = -1;
	if (base)
		memfs_copy(to, base);
	for (int i = base ? base->files : 0; i < m->files; i++)
		to->file[i].size = 0;
	for (int i = 0; i < m->files; i++)
		to->file[i].is_dir = m->file[i].is_dir;
	to->files = m->files;
	for (int i = 0; i < MEMFS_FDS; i++)
		to->fd[i].file = -1;
	for (size_t i = 0; i < n && i < m->ops; i++)
		memfs_redo(to, &m->op[i], n >= m->op[i].safe_from, n >= m->op[i].gone_from, choice);
	memfs_orphans(to);
}
