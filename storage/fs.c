#include "storage/fs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AHEAD_BYTES = 128 << 10 };

static int status(int result)
{
	return result < 0 ? -errno : result;
}

static int posix_open(void *self, int dir, const char *name, int flags, mode_t mode)
{
	(void)self;
	return status(openat(dir, name, flags | O_CLOEXEC, mode));
}

static int posix_close(void *self, int fd)
{
	(void)self;
	return status(close(fd));
}

static ssize_t posix_pread(void *self, int fd, void *buf, size_t n, off_t at)
{
	ssize_t got;

	(void)self;
	do
		got = pread(fd, buf, n, at);
	while (got < 0 && errno == EINTR);
	return got < 0 ? -errno : got;
}

static ssize_t posix_pwrite(void *self, int fd, const void *buf, size_t n, off_t at)
{
	ssize_t put;

	(void)self;
	do
		put = pwrite(fd, buf, n, at);
	while (put < 0 && errno == EINTR);
	return put < 0 ? -errno : put;
}

/* Not posix_fallocate(), which writes where the file system can't allocate. */
static int posix_allocate(void *self, int fd, off_t at, off_t n)
{
	(void)self;
	return status(fallocate(fd, 0, at, n));
}

static int posix_datasync(void *self, int fd)
{
	(void)self;
	return status(fdatasync(fd));
}

static int posix_sync(void *self, int fd)
{
	(void)self;
	return status(fsync(fd));
}

static int posix_drop(void *self, int fd)
{
	(void)self;
	return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* One call begins to read no more than the device's read-ahead, often 128 KiB, whatever it is asked
 * for. */
static int posix_ahead(void *self, int fd)
{
	struct stat st;
	int err = status(fstat(fd, &st));

	(void)self;
	for (off_t at = 0; !err && at < st.st_size; at += AHEAD_BYTES)
		err = -posix_fadvise(fd, at, AHEAD_BYTES, POSIX_FADV_WILLNEED);
	return err;
}

static int posix_rename(void *self, int dir, const char *from, const char *to)
{
	(void)self;
	return status(renameat(dir, from, dir, to));
}

static int posix_unlink(void *self, int dir, const char *name)
{
	(void)self;
	return status(unlinkat(dir, name, 0));
}

static int posix_mkdir(void *self, int dir, const char *name, mode_t mode)
{
	(void)self;
	return status(mkdirat(dir, name, mode));
}

static int posix_truncate(void *self, int fd, off_t size)
{
	(void)self;
	return status(ftruncate(fd, size));
}

static off_t posix_size(void *self, int fd)
{
	struct stat st;

	(void)self;
	return fstat(fd, &st) < 0 ? -errno : st.st_size;
}

static int posix_list(void *self, int dir, int (*each)(void *arg, const char *name), void *arg)
{
	struct dirent *entry;
	int stop = 0, fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream;

	(void)self;
	if (fd < 0)
		return -errno;
	stream = fdopendir(fd);
	if (!stream) {
		stop = -errno;
		close(fd);
		return stop;
	}
	while (errno = 0, !stop && (entry = readdir(stream)))
		stop = each(arg, entry->d_name);
	if (!stop && errno)
		stop = -errno;
	closedir(stream);
	return stop;
}

const struct sto_fs sto_fs_posix = {
    .open = posix_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .allocate = posix_allocate,
    .datasync = posix_datasync,
    .sync = posix_sync,
    .drop = posix_drop,
    .ahead = posix_ahead,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .mkdir = posix_mkdir,
    .truncate = posix_truncate,
    .size = posix_size,
    .list = posix_list,
};

static int readonly_open(void *self, int dir, const char *name, int flags, mode_t mode)
{
	if (flags & (O_CREAT | O_TRUNC))
		return -EROFS;
	return posix_open(self, dir, name, (flags & ~O_ACCMODE) | O_RDONLY, mode);
}

static ssize_t readonly_pwrite(void *self, int fd, const void *buf, size_t n, off_t at)
{
	(void)self, (void)fd, (void)buf, (void)n, (void)at;
	return -EROFS;
}

static int readonly_allocate(void *self, int fd, off_t at, off_t n)
{
	(void)self, (void)fd, (void)at, (void)n;
	return -EROFS;
}

static int readonly_sync(void *self, int fd)
{
	(void)self, (void)fd;
	return 0;
}

static int readonly_rename(void *self, int dir, const char *from, const char *to)
{
	(void)self, (void)dir, (void)from, (void)to;
	return 0;
}

static int readonly_unlink(void *self, int dir, const char *name)
{
	(void)self, (void)dir, (void)name;
	return 0;
}

static int readonly_mkdir(void *self, int dir, const char *name, mode_t mode)
{
	(void)self, (void)dir, (void)name, (void)mode;
	return -EROFS;
}

static int readonly_truncate(void *self, int fd, off_t size)
{
	(void)self, (void)fd, (void)size;
	return 0;
}

const struct sto_fs sto_fs_readonly = {
    .open = readonly_open,
    .close = posix_close,
    .pread = posix_pread,
    .pwrite = readonly_pwrite,
    .allocate = readonly_allocate,
    .datasync = readonly_sync,
    .sync = readonly_sync,
    .drop = posix_drop,
    .ahead = posix_ahead,
    .rename = readonly_rename,
    .unlink = readonly_unlink,
    .mkdir = readonly_mkdir,
    .truncate = readonly_truncate,
    .size = posix_size,
    .list = posix_list,
};
