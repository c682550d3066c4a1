/*
 * fs.h - the file layer: every system call of storage/ goes through this table
 *
 * The real one is sto_fs_posix; tests and the simulator bring their own (faults, crash images,
 * the n-th call fails). Each call returns 0 or a count, or -errno; none is tried again after an
 * error of a sync. Names are relative to a directory that was opened with open(); one of a file in
 * a directory below it has a slash.
 *
 * A table is used by several threads at once when its callers are (log.h says which).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sto_fs {
	void *self;
	int (*open)(void *self, int dir, const char *name, int flags, mode_t mode);
	int (*close)(void *self, int fd);
	ssize_t (*pread)(void *self, int fd, void *buf, size_t n, off_t at);
	ssize_t (*pwrite)(void *self, int fd, const void *buf, size_t n, off_t at);
	int (*allocate)(void *self, int fd, off_t at, off_t n); /* -EOPNOTSUPP is fine */
	int (*datasync)(void *self, int fd);
	int (*sync)(void *self, int fd);  /* also of a directory */
	int (*drop)(void *self, int fd);  /* forget cached pages: what is read next is the disk's */
	int (*ahead)(void *self, int fd); /* begin to read all of it into the cache */
	int (*rename)(void *self, int dir, const char *from, const char *to);
	int (*unlink)(void *self, int dir, const char *name);
	int (*mkdir)(void *self, int dir, const char *name, mode_t mode);
	int (*truncate)(void *self, int fd, off_t size);
	off_t (*size)(void *self, int fd);
	/* Call each() for every name of the directory until it returns other than 0; return that.
	 */
	int (*list)(void *self, int dir, int (*each)(void *arg, const char *name), void *arg);
};

extern const struct sto_fs sto_fs_posix;

/* The same, but nothing changes: files are opened for reading, creating fails with -EROFS, and
 * writing too; what would sync, rename, cut or delete says 0 and does nothing. For looking at a
 * data directory with the code that recovers it. */
extern const struct sto_fs sto_fs_readonly;
