/*
 * quorum_config_fuzz.c - input: a configuration's text
 *
 * Properties: what is accepted prints within the bound, and what was printed is equal and prints
 * as itself; all voters together are a quorum, nobody is none, and a quorum's complement is none.
 */

#include "quorum/config.h"
#include "tests/fuzz/round.h"

static struct quorum_config config, again;
static char text[QUORUM_CONFIG_TEXT_MAX], twice[QUORUM_CONFIG_TEXT_MAX];

static void check_quorums(const struct quorum_config *c, uint64_t random)
{
	struct quorum_set all = {{0}}, none = {{0}}, some[2] = {{{0}}};
	int64_t total = 0;

	for (uint16_t i = 0; i < c->n_members; i++) {
		int64_t sid = c->member[i].sid;

		CHECK(quorum_config_find(c, sid) == &c->member[i]);
		if (!quorum_config_is_voter(c, sid))
			continue;
		CHECK(quorum_config_add(c, &all, sid));
		CHECK(quorum_config_add(c, &some[random >> i % 64 & 1], sid));
		total += quorum_config_weight(c, sid);
	}
	/* An observer's weight may make a group that nobody wins. */
	if (!c->hierarchical)
		CHECK(quorum_config_has_quorum(c, &all));
	if (!total)
		CHECK(!quorum_config_has_quorum(c, &all));
	CHECK(!quorum_config_has_quorum(c, &none));
	CHECK(!quorum_config_has_quorum(c, &some[0]) || !quorum_config_has_quorum(c, &some[1]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct quorum_config_error error;
	size_t len;

	if (quorum_config_parse(&config, data, size, &error)) {
		CHECK(error.why);
		return 0;
	}
	CHECK(!error.why);
	len = quorum_config_print(&config, text, sizeof(text));
	CHECK(quorum_config_parse(&again, text, len, NULL) == 0);
	CHECK(quorum_config_print(&again, twice, sizeof(twice)) == len);
	CHECK(!memcmp(text, twice, len));
	CHECK(quorum_config_equal(&config, &again));
	again.version ^= 1;
	CHECK(quorum_config_equal(&config, &again));
	check_quorums(&config, size * 0x9e3779b97f4a7c15 ^ data[size / 2]);
	return 0;
}
