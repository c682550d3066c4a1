/*
 * jute_acl_fuzz.c - input: vector<ACL>, vector<Id>, ustring scheme, buffer token, as from a client
 *
 * Properties: an accepted list is whole and within bounds; nothing is written beyond the buffer;
 * identities that were added are not added again.
 */

#include "jute/acl.h"
#include "tests/fuzz/round.h"

static const struct zk_acl_rules rules = {.digest = true,
					  .super_digest = "super:lK75jTNcA+U9vtVEw5vB51mj/w4="};

static void expand(const struct jute_vec *asked, const struct jute_vec *ids, size_t room)
{
	uint8_t *once = round_memory(room), *twice = round_memory(room);
	struct jute_out out = jute_out_of(once, room), out2 = jute_out_of(twice, room);
	struct jute_vec got;
	struct jute_in in;
	size_t size;

	if (zk_acl_expand(&rules, asked, ids, &out) == ZOK) {
		size = jute_size(&out, once);
		in = jute_in_of(once, size);
		got = jute_get_acls(&in);
		CHECK(got.count > 0);
		CHECK(got.count <= ZK_ACL_MAX);
		CHECK(jute_left(&in) == 0);
		zk_acl_permits(&rules, once, size, ids, ZK_PERM_READ);
		zk_acl_put_masked(&out2, once, size);
		CHECK(out2.failed || jute_size(&out2, twice) <= size + 2 * (size_t)got.count);
	}
	free(once);
	free(twice);
}

static void authenticate(const struct jute_vec *ids, struct jute_buf scheme, struct jute_buf token,
			 size_t room)
{
	size_t more = 2 * room + 64; /* a repeated identity is made before it is dropped */
	uint8_t *once = round_memory(room), *twice = round_memory(more);
	struct jute_out out = jute_out_of(once, room), out2 = jute_out_of(twice, more);
	struct jute_vec got;

	if (zk_auth_add(&rules, scheme, token, ids, &out) == ZOK) {
		got = zk_ids_view(once, jute_size(&out, once));
		CHECK(got.count >= 0);
		CHECK(got.count >= ids->count);
		CHECK(zk_auth_add(&rules, scheme, token, &got, &out2) == ZOK);
		CHECK(jute_size(&out2, twice) == got.size);
		CHECK(!memcmp(once, twice, got.size));
		out2 = jute_out_of(twice, more);
		zk_ids_put_whoami(&out2, &rules, &got);
	}
	free(once);
	free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jute_in in = jute_in_of(data, size);
	struct jute_vec asked = jute_get_acls(&in), ids = jute_get_ids(&in);
	struct jute_buf scheme = jute_get_ustring(&in), token = jute_get_buffer(&in);

	zk_acl_permits(&rules, data, size, &ids, ZK_PERM_ALL);
	expand(&asked, &ids, size);
	expand(&asked, &ids, 16 * size + 1024);
	authenticate(&ids, scheme, token, size);
	authenticate(&ids, scheme, token, 4 * size + 1024);
	return 0;
}
