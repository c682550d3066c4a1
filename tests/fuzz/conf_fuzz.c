/* Any text is a configuration or an error with a message; nothing else happens. */
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "quorum/config.h"
#include "supervisor/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Behind a zero byte stands what the other files hold; without one they are not there. */
static const char *other;
static size_t other_size;

static ssize_t read_other(const char *path, void *to, size_t size)
{
	size_t n = other_size < size ? other_size : size;

	CHECK(path);
	if (!other)
		return -ENOENT;
	memcpy(to, other, n);
	return (ssize_t)n;
}

static void check_ensemble(const struct conf *c)
{
	static struct quorum_config q;

	CHECK(c->init_limit > 0);
	CHECK(c->sync_limit > 0);
	CHECK(c->election_hello_ms > 0);
	CHECK(c->vote_min_ms <= c->vote_max_ms);
	CHECK(c->server_id == (uint8_t)c->sid);
	CHECK(quorum_config_parse(&q, c->members, strlen(c->members), NULL) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct sup_conf_texts texts;
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	struct conf c;

	other = zero ? (const char *)zero + 1 : NULL;
	other_size = zero ? (size_t)(data + size - zero - 1) : 0;
	size = zero ? (size_t)(zero - data) : size;
	if (sup_conf_parse(&c, "zoo.cfg", (const char *)data, size, read_other, &texts) == 0) {
		CHECK(c.data_dir);
		CHECK(c.session_min_ms <= c.session_max_ms);
		CHECK(c.purge_retain >= 3);
		CHECK(!texts.error[0]);
		if (c.members)
			check_ensemble(&c);
		sup_conf_free(&c);
	} else {
		CHECK(texts.error[0]);
	}
	CHECK(!c.data_dir);
	return 0;
}
