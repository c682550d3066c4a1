#include "supervisor/datadir.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/dirlock.h"
#include "base/log.h"

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

static void tell_waiting(const char *dir, long holder)
{
	LOG_W("%s: waiting for the last of process %ld to end", dir, holder);
}

static int lock_one(const char *dir, int *fd)
{
	long holder = 0;
	int err = make_with_parents(dir);

	if (!err) {
		*fd = dirlock_take(dir, tell_waiting, &holder);
		err = *fd < 0 ? *fd : 0;
	}
	if (!err)
		return 0;
	if (err == -EBUSY)
		LOG_E("%s is in use by the server of process %ld", dir, holder);
	else
		LOG_E("%s: %s", dir, strerror(-err));
	*fd = -1;
	return -1;
}

int sup_datadir_lock(struct shm_heritage *h)
{
	const char *data = h->conf->data_dir, *log = h->conf->data_log_dir;

	if (lock_one(data, &h->lock_fd[0]) < 0)
		return -1;
	return dirlock_same(data, log) == 1 ? 0 : lock_one(log, &h->lock_fd[1]);
}
