/*
 * fs.h - the file layer: every system call of storage goes through this table
 *
 * The real one is sto_fs_posix. Tests and the simulator bring their own (faults, crash images, n-th call fails). All return 0 or a
 * count, or -errno; none retries after an error of fsync. Paths are relative to the directory descriptor given at open (a handle).
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
	int (*allocate)(void *self, int fd, off_t at, off_t n);   /* -EOPNOTSUPP is fine */
	int (*datasync)(void *self, int fd);
	int (*sync)(void *self, int fd);                          /* also of a directory */
	int (*rename)(void *self, int dir, const char *from, const char *to);
	int (*unlink)(void *self, int dir, const char *name);
	int (*truncate)(void *self, int fd, off_t size);
	off_t (*size)(void *self, int fd);
	int (*list)(void *self, int dir, int (*each)(void *arg, const char *name), void *arg);
};
extern const struct sto_fs sto_fs_posix;
