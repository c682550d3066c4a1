/*
 * faultdisk.c - a disk that fails on demand: preloaded into the server under test (faults.py)
 *
 * The file named by FAULT_FILE holds one rule a line, looked at with each call on a file below a
 * directory version-2:
 *
 *	CALL ERRNO DELAY_MS [PART]    CALL: write, sync, allocate, truncate, rename, open
 *
 * ERRNO 0 only delays; PART: only paths that contain it. No file, no faults. What was let pass and
 * what was not is nowhere recorded: the tests judge by what clients see.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void pause_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/* The error that `call` on `path` shall have, 0 for none; the delay is over when it returns. */
static int fault(const char *call, const char *path)
{
	char name[32], part[256], line[512];
	const char *rules = getenv("FAULT_FILE");
	FILE *f = rules && strstr(path, "version-2") ? fopen(rules, "re") : NULL;
	int error = 0, n;
	long ms = 0;

	while (f && fgets(line, sizeof(line), f)) {
		int e;
		long d;

		n = sscanf(line, "%31s %d %ld %255s", name, &e, &d, part);
		if (n < 3 || strcmp(name, call) || (n == 4 && !strstr(path, part)))
			continue;
		error = e;
		ms = d;
	}
	if (f)
		fclose(f);
	if (ms)
		pause_ms(ms);
	return error;
}

static int fault_fd(const char *call, int fd)
{
	char link[64], path[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	return fault(call, path);
}

#define REAL(name_)     ((__typeof__(&name_))dlsym(RTLD_NEXT, #name_))
#define FAIL(error_)                                                                               \
	do {                                                                                       \
		int fail_error = (error_);                                                         \
		if (fail_error) {                                                                  \
			errno = fail_error;                                                        \
			return -1;                                                                 \
		}                                                                                  \
	} while (0)

ssize_t pwrite(int fd, const void *buf, size_t n, off_t at)
{
	FAIL(fault_fd("write", fd));
	return REAL(pwrite)(fd, buf, n, at);
}

int fdatasync(int fd)
{
	FAIL(fault_fd("sync", fd));
	return REAL(fdatasync)(fd);
}

int fsync(int fd)
{
	FAIL(fault_fd("sync", fd));
	return REAL(fsync)(fd);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
	FAIL(fault_fd("allocate", fd));
	return REAL(fallocate)(fd, mode, at, n);
}

int ftruncate(int fd, off_t size)
{
	FAIL(fault_fd("truncate", fd));
	return REAL(ftruncate)(fd, size);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	FAIL(fault_fd("rename", from_dir));
	return REAL(renameat)(from_dir, from, to_dir, to);
}

int openat(int dir, const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list args;

	if (flags & O_CREAT) {
		va_start(args, flags);
		mode = va_arg(args, mode_t);
		va_end(args);
		if (dir != AT_FDCWD)
			FAIL(fault_fd("open", dir));
	}
	return REAL(openat)(dir, name, flags, mode);
}
