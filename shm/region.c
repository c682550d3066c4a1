#include "shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

static const uintptr_t window[SHM_WINDOWS] = {0x7e8000000000, 0x7ea000000000};

void *shm_window(uint32_t gen)
{
	return (void *)window[gen % SHM_WINDOWS];
}

static int map_nothing(void *at, uint64_t bytes, int placement)
{
	void *got = mmap(at, bytes, PROT_NONE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | placement, -1, 0);

	if (got == MAP_FAILED)
		return -errno;
	if (got == at)
		return 0;
	munmap(got, bytes); /* a kernel before 4.17 takes the address for a hint */
	return -EEXIST;
}

int shm_region_reserve(uint64_t bytes)
{
	if (bytes > SHM_WINDOW_BYTES)
		return -EINVAL;
	for (uint32_t i = 0; i < SHM_WINDOWS; i++) {
		int err = map_nothing(shm_window(i), bytes, MAP_FIXED_NOREPLACE);

		if (err)
			return err;
	}
	return 0;
}

static int open_sealable(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

/* A descriptor of the same file that was opened read-only: dup() would keep the right to write. */
static int reopen_readonly(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

void *shm_sealed_new(const char *name, void *at, uint64_t bytes, int *ro_fd)
{
	void *mem = MAP_FAILED;
	int saved, fd = open_sealable(name);

	*ro_fd = -1;
	if (fd < 0)
		return NULL;
	/* The mode is for processes of other users that find the file in our /proc/PID/fd. */
	if (fchmod(fd, 0600) == 0 && ftruncate(fd, (off_t)bytes) == 0)
		*ro_fd = reopen_readonly(fd);
	if (*ro_fd >= 0)
		mem = mmap(at, bytes, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_NORESERVE | (at ? MAP_FIXED : 0), fd, 0);
	if (mem != MAP_FAILED && madvise(mem, bytes, MADV_DONTDUMP) == 0 &&
	    fcntl(fd, F_ADD_SEALS,
		  F_SEAL_FUTURE_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0) {
		close(fd);
		return mem;
	}
	saved = errno;
	if (mem != MAP_FAILED && (!at || map_nothing(at, bytes, MAP_FIXED) < 0))
		munmap(mem, bytes);
	if (*ro_fd >= 0)
		close(*ro_fd);
	*ro_fd = -1;
	close(fd);
	errno = saved;
	return NULL;
}

int shm_sealed_map_readonly(void *at, uint64_t bytes, int ro_fd)
{
	struct stat st;

	/* Pages beyond the end of a file are a SIGBUS later; a short file is refused now. */
	if (fstat(ro_fd, &st) < 0)
		return -errno;
	if ((uint64_t)st.st_size < bytes)
		return -EINVAL;
	if (mmap(at, bytes, PROT_READ, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, ro_fd, 0) ==
	    MAP_FAILED)
		return -errno;
	return madvise(at, bytes, MADV_DONTDUMP) < 0 ? -errno : 0;
}

int shm_region_create(uint32_t gen, uint64_t bytes, int *ro_fd)
{
	if (bytes == 0 || bytes > SHM_WINDOW_BYTES)
		return -EINVAL;
	return shm_sealed_new("paddock-tree", shm_window(gen), bytes, ro_fd) ? 0 : -errno;
}

int shm_region_map_readonly(uint32_t gen, uint64_t bytes, int ro_fd)
{
	if (bytes == 0 || bytes > SHM_WINDOW_BYTES)
		return -EINVAL;
	return shm_sealed_map_readonly(shm_window(gen), bytes, ro_fd);
}

void shm_region_drop(uint32_t gen, uint64_t bytes)
{
	CHECK(bytes <= SHM_WINDOW_BYTES);
	CHECK(map_nothing(shm_window(gen), bytes, MAP_FIXED) == 0);
}
