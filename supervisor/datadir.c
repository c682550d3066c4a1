#include "supervisor/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

enum { LOCK_WAIT_MS = 10000, LOCK_LOOK_MS = 5 };

static int make_with_parents(const char *dir)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	for (char *c = path + 1; *c; c++) {
		if (*c != '/')
			continue;
		*c = '\0';
		if (mkdir(path, 0700) < 0 && errno != EEXIST)
			return -errno;
		*c = '/';
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int open_lock(const char *dir)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/paddock.lock", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

/* 0; 1: another server has it, *holder is the pid that it wrote; -errno. */
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
	return 1;
}

static bool is_gone(long pid)
{
	return pid > 0 && pid <= INT_MAX && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

/*
 * As take_lock(). The children of a supervisor that was killed hold its lock until they are gone,
 * which a sync under way in the kernel delays: that is waited for, a living server is not.
 */
static int take_lock_patiently(int fd, const char *dir, long *holder)
{
	int err = take_lock(fd, holder);

	if (err == 1 && is_gone(*holder))
		LOG_W("%s: waiting for the last of process %ld to end", dir, *holder);
	for (int ms = 0; err == 1 && ms < LOCK_WAIT_MS && is_gone(*holder); ms += LOCK_LOOK_MS) {
		const struct timespec look = {.tv_nsec = LOCK_LOOK_MS * 1000000L};

		nanosleep(&look, NULL);
		err = take_lock(fd, holder);
	}
	return err;
}

static int lock_one(const char *dir, int *fd)
{
	long holder = 0;
	int err = make_with_parents(dir);

	if (!err) {
		*fd = open_lock(dir);
		err = *fd < 0 ? *fd : take_lock_patiently(*fd, dir, &holder);
	}
	if (!err)
		return 0;
	if (err > 0)
		LOG_E("%s is in use by the server of process %ld", dir, holder);
	else
		LOG_E("%s: %s", dir, strerror(-err));
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return -1;
}

static bool are_one(const char *a, const char *b)
{
	struct stat sa, sb;

	return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

int sup_datadir_lock(struct shm_heritage *h)
{
	const char *data = h->conf->data_dir, *log = h->conf->data_log_dir;

	if (lock_one(data, &h->lock_fd[0]) < 0)
		return -1;
	return are_one(data, log) ? 0 : lock_one(log, &h->lock_fd[1]);
}
