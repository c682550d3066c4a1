#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dirlock.h"
#include "ctl/ctl.h"
#include "storage/recover.h"

enum { PROMISE_MAX = 4096 };

static int version2(char to[CTL_PATH_MAX], const char *dir)
{
	struct stat st;

	if (snprintf(to, CTL_PATH_MAX, "%s/version-2", dir) >= CTL_PATH_MAX)
		return ctl_fail(CTL_DIR, "%s: %s", dir, strerror(ENAMETOOLONG));
	if (stat(to, &st) < 0)
		return ctl_fail(CTL_DIR, "%s: %s", to, strerror(errno));
	return S_ISDIR(st.st_mode) ? 0 : ctl_fail(CTL_DIR, "%s: %s", to, strerror(ENOTDIR));
}

int ctl_dirs_find(struct ctl_dirs *d, const char *data, const char *log)
{
	int status = version2(d->snap, data);

	d->lock_fd[0] = d->lock_fd[1] = -1;
	return status ? status : version2(d->log, log ? log : data);
}

/* Names in dir for which is() says yes; -errno. */
static int count_names(const char *dir, bool (*is)(const char *name, const char *arg),
		       const char *arg)
{
	DIR *stream = opendir(dir);
	struct dirent *entry;
	int n = 0;

	if (!stream)
		return -errno;
	while (errno = 0, (entry = readdir(stream)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			n += is(entry->d_name, arg);
	if (errno)
		n = -errno;
	closedir(stream);
	return n;
}

static bool has_prefix(const char *name, const char *prefix)
{
	return !strncmp(name, prefix, strlen(prefix));
}

int ctl_dirs_need_log(const struct ctl_dirs *d, const char *prefix, bool named)
{
	int n = count_names(d->log, has_prefix, prefix);

	if (n < 0)
		return ctl_fail(CTL_DIR, "%s: %s", d->log, strerror(-n));
	if (n || named)
		return 0;
	return ctl_fail(CTL_DIR,
			"%s has no log: if dataLogDir is another directory, name it; if there is "
			"none, name this one twice",
			d->log);
}

static int lock_one(const char *dir, int *fd)
{
	long holder;

	*fd = dirlock_take(dir, NULL, &holder);
	if (*fd >= 0)
		return 0;
	if (*fd == -EBUSY)
		return ctl_fail(CTL_DIR, "%s is in use by process %ld: stop it first", dir, holder);
	return ctl_fail(CTL_DIR, "%s/paddock.lock: %s", dir, strerror(-*fd));
}

int ctl_dirs_lock(struct ctl_dirs *d, const char *data, const char *log)
{
	int status = lock_one(data, &d->lock_fd[0]);

	if (status || !log || dirlock_same(data, log) == 1)
		return status;
	return lock_one(log, &d->lock_fd[1]);
}

/* Not what a file system or this tool put there. */
static bool is_content(const char *name, const char *arg)
{
	(void)arg;
	return strcmp(name, "lost+found") && strcmp(name, "paddock.lock") &&
	       strcmp(name, "version-2");
}

static int need_empty(const char *dir)
{
	int n = count_names(dir, is_content, NULL);

	if (n == -ENOENT)
		return 0;
	if (n < 0)
		return ctl_fail(CTL_DIR, "%s: %s", dir, strerror(-n));
	return n ? ctl_fail(CTL_DIR, "%s is not empty: give a new directory", dir) : 0;
}

int ctl_dirs_make(struct ctl_dirs *d, const char *data)
{
	int err, status = need_empty(data);

	if (status)
		return status;
	err = sto_dir_make(data, d->snap, sizeof(d->snap));
	if (err)
		return ctl_fail(CTL_DIR, "%s: %s", data, strerror(-err));
	memcpy(d->log, d->snap, sizeof(d->log));
	d->lock_fd[0] = d->lock_fd[1] = -1;
	status = need_empty(d->snap);
	return status ? status : ctl_dirs_lock(d, data, NULL);
}

/* Durable under its name, or not there. 0 or -errno. */
static int put_file(const char *path, const char *text, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, n) != (ssize_t)n || fsync(fd) < 0)
		err = errno ? -errno : -EIO;
	close(fd);
	if (err)
		unlink(path);
	return err;
}

static int copy_one(const char *from_dir, const char *to_dir, const char *name)
{
	char from[CTL_PATH_MAX], to[CTL_PATH_MAX], text[PROMISE_MAX];
	ssize_t n;
	int fd, err;

	if (snprintf(from, sizeof(from), "%s/%s", from_dir, name) >= CTL_PATH_MAX ||
	    snprintf(to, sizeof(to), "%s/%s", to_dir, name) >= CTL_PATH_MAX)
		return ctl_fail(CTL_DIR, "%s: %s", from_dir, strerror(ENAMETOOLONG));
	fd = open(from, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : ctl_fail(CTL_DIR, "%s: %s", from, strerror(errno));
	n = read(fd, text, sizeof(text));
	err = n < 0 ? -errno : n == sizeof(text) ? -EFBIG : 0;
	close(fd);
	if (err)
		return ctl_fail(CTL_FAILED, "%s: %s", from, strerror(-err));
	err = put_file(to, text, (size_t)n);
	return err ? ctl_fail(CTL_FAILED, "%s: %s", to, strerror(-err)) : 0;
}

int ctl_copy_promises(const char *from, const char *to)
{
	static const char *const names[] = {"version-2/acceptedEpoch", "version-2/currentEpoch",
					    "myid"};
	int status = 0;

	for (size_t i = 0; !status && i < sizeof(names) / sizeof(names[0]); i++)
		status = copy_one(from, to, names[i]);
	return status;
}
