#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/recover.h"

/* Make `path`; when it was not there, its name in the directory above is durable then. */
static int make_one(const char *path)
{
	char above[4096];
	char *slash;
	int err, fd;

	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : -errno;
	snprintf(above, sizeof(above), "%s", path);
	slash = strrchr(above, '/');
	if (slash)
		slash[slash == above] = '\0';
	fd = open(slash ? above : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fsync(fd) < 0 ? -errno : 0;
	close(fd);
	return err;
}

int sto_dir_make(const char *dir, char *out_version2, unsigned cap)
{
	char path[4096];
	int len = snprintf(path, sizeof(path), "%s/version-2", dir), err = 0;

	if (len < 0 || (unsigned)len >= sizeof(path) || (unsigned)len >= cap)
		return -ENAMETOOLONG;
	for (char *at = path + 1; !err && *at; at++) {
		if (*at != '/' || at[-1] == '/')
			continue;
		*at = '\0';
		err = make_one(path);
		*at = '/';
	}
	if (!err)
		err = make_one(path);
	if (!err)
		memcpy(out_version2, path, (size_t)len + 1);
	return err;
}
