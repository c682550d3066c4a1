#include "tests/t.h"

#include <fcntl.h>
#include <stdlib.h>

#include "storage/committed.h"
#include "storage/file.h"
#include "tests/memfs.h"

#define FILE_ "dir/paddock.committed"
enum { BYTES = 24 };

struct committed_fx {
	struct memfs *m;
	uint8_t bytes[BYTES];
};

static int64_t load(struct committed_fx *f)
{
	return sto_committed_load(&f->m->fs, "dir");
}

/* The file has these bytes, and no others. */
static void put(struct committed_fx *f, const uint8_t *bytes, size_t n)
{
	const struct sto_fs *fs = &f->m->fs;
	int dir = sto_dir_open(fs, "dir");
	int fd = fs->open(fs->self, dir, "paddock.committed", O_RDWR | O_CREAT | O_TRUNC, 0600);

	EXPECT_I(sto_write(fs, fd, bytes, n, 0), ==, 0);
	fs->close(fs->self, fd);
	fs->close(fs->self, dir);
}

static void up(struct committed_fx *f)
{
	const struct sto_fs *fs;
	int dir, fd;

	f->m = malloc(sizeof(*f->m));
	memfs_init(f->m);
	fs = &f->m->fs;
	fs->mkdir(fs->self, AT_FDCWD, "dir", 0700);
	EXPECT_I(sto_committed_store(fs, "dir", 0x300000007), ==, 0);
	dir = sto_dir_open(fs, "dir");
	fd = fs->open(fs->self, dir, "paddock.committed", O_RDONLY, 0);
	EXPECT_I(sto_read(fs, fd, f->bytes, BYTES, 0), ==, BYTES);
	fs->close(fs->self, fd);
	fs->close(fs->self, dir);
}

static void down(struct committed_fx *f)
{
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
	memfs_fini(f->m);
	free(f->m);
}

TEST_F(storage_committed, the_last_number_stored_is_loaded, struct committed_fx, up, down)
{
	EXPECT_I(load(f), ==, 0x300000007);
	EXPECT_I(sto_committed_store(&f->m->fs, "dir", 0x400000001), ==, 0);
	EXPECT_I(load(f), ==, 0x400000001);
}

TEST_F(storage_committed, what_is_not_there_says_nothing, struct committed_fx, up, down)
{
	EXPECT_I(sto_committed_load(&f->m->fs, "elsewhere"), ==, 0);
}

TEST_F(storage_committed, a_file_cut_anywhere_says_nothing, struct committed_fx, up, down)
{
	for (size_t n = 0; n < BYTES; n++) {
		put(f, f->bytes, n);
		EXPECT_I(load(f), ==, 0);
	}
}

TEST_F(storage_committed, a_flipped_bit_says_nothing, struct committed_fx, up, down)
{
	for (size_t bit = 0; bit < 8 * BYTES; bit++) {
		f->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		put(f, f->bytes, BYTES);
		EXPECT_I(load(f), ==, 0);
		f->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	put(f, f->bytes, BYTES);
	EXPECT_I(load(f), ==, 0x300000007);
}
