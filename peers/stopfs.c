#include "peers/stopfs.h"

#include <errno.h>

static struct peer_stopfs *of(void *self)
{
	return self;
}

static bool stopped(void *self)
{
	return atomic_load_explicit(of(self)->stop, memory_order_relaxed);
}

static int fs_open(void *self, int dir, const char *name, int flags, mode_t mode)
{
	const struct sto_fs *real = of(self)->real;

	return real->open(real->self, dir, name, flags, mode);
}

static int fs_close(void *self, int fd)
{
	const struct sto_fs *real = of(self)->real;

	return real->close(real->self, fd);
}

static ssize_t fs_pread(void *self, int fd, void *buf, size_t n, off_t at)
{
	const struct sto_fs *real = of(self)->real;

	return stopped(self) ? -ECANCELED : real->pread(real->self, fd, buf, n, at);
}

static ssize_t fs_pwrite(void *self, int fd, const void *buf, size_t n, off_t at)
{
	struct peer_stopfs *s = of(self);
	ssize_t put;
	int err = 0;

	if (stopped(self))
		return -ECANCELED;
	put = s->real->pwrite(s->real->self, fd, buf, n, at);
	if (put > 0)
		s->unsynced += (uint64_t)put;
	if (s->unsynced >= PEER_STOPFS_SYNC) {
		s->unsynced = 0;
		err = s->real->datasync(s->real->self, fd);
	}
	return err ? err : put;
}

static int fs_allocate(void *self, int fd, off_t at, off_t n)
{
	const struct sto_fs *real = of(self)->real;

	return stopped(self) ? -ECANCELED : real->allocate(real->self, fd, at, n);
}

static int fs_datasync(void *self, int fd)
{
	const struct sto_fs *real = of(self)->real;

	return stopped(self) ? -ECANCELED : real->datasync(real->self, fd);
}

static int fs_sync(void *self, int fd)
{
	const struct sto_fs *real = of(self)->real;

	return stopped(self) ? -ECANCELED : real->sync(real->self, fd);
}

static int fs_drop(void *self, int fd)
{
	const struct sto_fs *real = of(self)->real;

	return real->drop(real->self, fd);
}

static int fs_ahead(void *self, int fd)
{
	const struct sto_fs *real = of(self)->real;

	return real->ahead(real->self, fd);
}

static int fs_rename(void *self, int dir, const char *from, const char *to)
{
	const struct sto_fs *real = of(self)->real;

	return stopped(self) ? -ECANCELED : real->rename(real->self, dir, from, to);
}

static int fs_unlink(void *self, int dir, const char *name)
{
	const struct sto_fs *real = of(self)->real;

	return real->unlink(real->self, dir, name);
}

static int fs_mkdir(void *self, int dir, const char *name, mode_t mode)
{
	const struct sto_fs *real = of(self)->real;

	return real->mkdir(real->self, dir, name, mode);
}

static int fs_truncate(void *self, int fd, off_t size)
{
	const struct sto_fs *real = of(self)->real;

	return real->truncate(real->self, fd, size);
}

static off_t fs_size(void *self, int fd)
{
	const struct sto_fs *real = of(self)->real;

	return real->size(real->self, fd);
}

static int fs_list(void *self, int dir, int (*each)(void *arg, const char *name), void *arg)
{
	const struct sto_fs *real = of(self)->real;

	return real->list(real->self, dir, each, arg);
}

void peer_stopfs_init(struct peer_stopfs *s, const struct sto_fs *real, const _Atomic bool *stop)
{
	*s = (struct peer_stopfs){.real = real, .stop = stop};
	s->fs = (struct sto_fs){
	    .self = s,
	    .open = fs_open,
	    .close = fs_close,
	    .pread = fs_pread,
	    .pwrite = fs_pwrite,
	    .allocate = fs_allocate,
	    .datasync = fs_datasync,
	    .sync = fs_sync,
	    .drop = fs_drop,
	    .ahead = fs_ahead,
	    .rename = fs_rename,
	    .unlink = fs_unlink,
	    .mkdir = fs_mkdir,
	    .truncate = fs_truncate,
	    .size = fs_size,
	    .list = fs_list,
	};
}
