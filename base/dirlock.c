#include "base/dirlock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_WAIT_MS = 10000, LOCK_LOOK_MS = 5 };

static int open_lock(const char *dir)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/paddock.lock", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

static int take_lock(int fd, long *holder)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char text[32] = "";

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
		int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

		if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)len, 0) != len)
			return errno ? -errno : -EIO;
		return 0;
	}
	if (errno != EAGAIN && errno != EACCES)
		return -errno;
	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		return -errno;
	*holder = strtol(text, NULL, 10);
	return -EBUSY;
}

static bool is_gone(long pid)
{
	return pid > 0 && pid <= INT_MAX && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

/*
 * As take_lock(). The children of a supervisor that was killed hold its lock until they are gone,
 * which a sync under way in the kernel delays: that is waited for, a living server is not.
 */
static int take_lock_patiently(int fd, const char *dir, void (*waiting)(const char *, long),
			       long *holder)
{
	int err = take_lock(fd, holder);

	if (err == -EBUSY && waiting && is_gone(*holder))
		waiting(dir, *holder);
	for (int ms = 0; err == -EBUSY && ms < LOCK_WAIT_MS && is_gone(*holder);
	     ms += LOCK_LOOK_MS) {
		const struct timespec look = {.tv_nsec = LOCK_LOOK_MS * 1000000L};

		nanosleep(&look, NULL);
		err = take_lock(fd, holder);
	}
	return err;
}

int dirlock_take(const char *dir, void (*waiting)(const char *dir, long holder), long *holder)
{
	int fd = open_lock(dir), err;

	*holder = 0;
	if (fd < 0)
		return fd;
	err = take_lock_patiently(fd, dir, waiting, holder);
	if (!err)
		return fd;
	close(fd);
	return err;
}

int dirlock_same(const char *a, const char *b)
{
	struct stat sa, sb;

	if (stat(a, &sa) < 0 || stat(b, &sb) < 0)
		return -errno;
	return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}
