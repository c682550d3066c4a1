#include "jute/jute.h"

const struct jute_buf jute_null = {NULL, -1};

static void skip_ustring(struct jute_in *in)
{
	jute_get_ustring(in);
}

static void skip_acl(struct jute_in *in)
{
	jute_get_int(in);
	jute_get_ustring(in);
	jute_get_ustring(in);
}

/* However many are announced: an element takes 4 bytes or more, so this ends with the input. */
static struct jute_vec get_vec(struct jute_in *in, void (*skip)(struct jute_in *))
{
	struct jute_vec v = {in->next, 0, jute_get_count(in)};

	for (int32_t i = 0; i < v.count && !in->failed; i++)
		skip(in);
	if (in->failed)
		return (struct jute_vec){NULL, 0, -1};
	v.size = (uint32_t)(in->next - v.data);
	return v;
}

struct jute_vec jute_get_ustrings(struct jute_in *in)
{
	return get_vec(in, skip_ustring);
}

struct jute_vec jute_get_acls(struct jute_in *in)
{
	return get_vec(in, skip_acl);
}
