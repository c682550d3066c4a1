/*
 * jute_path_fuzz.c - input: a path
 *
 * Properties: a valid path is plain text and so are its parent and name, which put together give
 * it; an echo is no longer than 3 bytes per byte; repaired text is repaired.
 */

#include "jute/path.h"
#include "tests/fuzz/round.h"

static void check_valid(struct jute_buf path)
{
	struct jute_buf parent, name;

	CHECK(path.data[0] == '/');
	CHECK(zk_text_is_plain(path));
	CHECK(!zk_path_has_nul(path));
	CHECK(zk_path_split(path, &parent, &name));
	CHECK(zk_path_is_valid(parent));
	CHECK(parent.len + name.len + (parent.len > 1) == path.len);
}

static size_t repair(uint8_t *dst, size_t size, struct jute_buf in)
{
	size_t done = 0, left;

	while (in.len > 0) {
		left = size - done;
		done += zk_text_repair_some(dst + done, left < 7 ? left : 7, &in);
	}
	return done;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jute_buf path = jute_buf_of(data, size);
	size_t room = 3 * size + 4, len;
	uint8_t *once = round_memory(room), *twice = round_memory(room);

	if (zk_path_is_valid(path))
		check_valid(path);
	CHECK(zk_text_echo(once, 3 * size, path) <= 3 * size);
	len = repair(once, room, path);
	CHECK(repair(twice, room, jute_buf_of(once, len)) == len);
	CHECK(!memcmp(once, twice, len));
	free(once);
	free(twice);
	return 0;
}
