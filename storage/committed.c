#include "storage/committed.h"

#include <fcntl.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "storage/file.h"
#include "storage/segment.h"

#define COMMITTED       "paddock.committed"
#define COMMITTED_MAGIC 0x0a4d4f4343434450 /* "PDCCCOM\n" */
enum { COMMITTED_BYTES = 24 };

/* The file, or -errno. */
static int open_file(const struct sto_fs *fs, const char *snap_dir, int flags)
{
	int dir = sto_dir_open(fs, snap_dir), fd;

	if (dir < 0)
		return dir;
	fd = fs->open(fs->self, dir, COMMITTED, flags, 0600);
	fs->close(fs->self, dir);
	return fd;
}

int64_t sto_committed_load(const struct sto_fs *fs, const char *snap_dir)
{
	uint8_t bytes[COMMITTED_BYTES + 1];
	int fd = open_file(fs, snap_dir, O_RDONLY);
	ssize_t got;
	int64_t zxid;

	if (fd < 0)
		return 0;
	got = sto_read(fs, fd, bytes, sizeof(bytes), 0);
	fs->close(fs->self, fd);
	if (got != COMMITTED_BYTES || le64_get(bytes + 8) != COMMITTED_MAGIC ||
	    !sto_hash_ok(XXH3_64bits(bytes + 8, COMMITTED_BYTES - 8), le64_get(bytes)))
		return 0;
	zxid = (int64_t)le64_get(bytes + 16);
	return zxid > 0 ? zxid : 0;
}

int sto_committed_store(const struct sto_fs *fs, const char *snap_dir, int64_t zxid)
{
	int fd = open_file(fs, snap_dir, O_RDWR | O_CREAT), err;
	uint8_t bytes[COMMITTED_BYTES];

	if (fd < 0)
		return fd;
	le64_put(bytes + 8, COMMITTED_MAGIC);
	le64_put(bytes + 16, (uint64_t)zxid);
	le64_put(bytes, XXH3_64bits(bytes + 8, COMMITTED_BYTES - 8));
	err = sto_write(fs, fd, bytes, sizeof(bytes), 0);
	fs->close(fs->self, fd);
	return err;
}
