#include "storage/zkput.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "jute/codes.h"
#include "storage/zksnap.h"

enum { BUFFER_BYTES = 256 << 10, END_SIZE = 5 };

struct sto_zk_list {
	uint32_t len;
	int64_t id;
	uint8_t bytes[];
};

/* --- bytes ----------------------------------------------------------------------------------- */

int sto_zk_out_flush(struct sto_zk_out *o)
{
	int err = o->len ? o->flush(o->arg, o->buffer, o->len) : 0;

	o->len = 0;
	return err;
}

int sto_zk_out_room(struct sto_zk_out *o, size_t n, struct jute_out *out)
{
	int err = o->len + n > o->cap ? sto_zk_out_flush(o) : 0;

	if (!err && n > o->cap) {
		size_t cap = n > BUFFER_BYTES ? n : BUFFER_BYTES;

		free(o->buffer);
		o->buffer = malloc(cap);
		o->cap = o->buffer ? cap : 0;
	}
	if (err || !o->buffer)
		return err ? err : -ENOMEM;
	*out = jute_out_of(o->buffer + o->len, n);
	o->len += n;
	return 0;
}

void sto_zk_out_free(struct sto_zk_out *o)
{
	free(o->buffer);
	o->buffer = NULL;
	o->len = o->cap = 0;
}

/* --- ACL lists ------------------------------------------------------------------------------- */

static int compare_lists(const void *a, const void *b)
{
	const struct sto_zk_list *x = a, *y = b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->bytes, y->bytes, x->len);
}

static struct sto_zk_list *list_new(const uint8_t *bytes, uint32_t len)
{
	struct sto_zk_list *l = malloc(sizeof(*l) + len);

	if (!l)
		return NULL;
	*l = (struct sto_zk_list){.len = len};
	memcpy(l->bytes, bytes, len);
	return l;
}

/* A list that we don't have is one without entries: nobody is kept out. */
static const uint8_t no_entries[4];

static const uint8_t *list_of(const struct sto_snap_node *n, uint32_t *len)
{
	*len = n->acl_len ? n->acl_len : sizeof(no_entries);
	return n->acl_len ? n->acl : no_entries;
}

static int lists_add(struct sto_zk_survey *s, struct sto_zk_list *l)
{
	if (s->n_lists == s->lists_cap) {
		size_t cap = s->lists_cap ? s->lists_cap * 2 : 64;
		struct sto_zk_list **more = realloc(s->list, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->list = more;
		s->lists_cap = cap;
	}
	if (!tsearch(l, &s->by_bytes, compare_lists))
		return -ENOMEM;
	s->list[s->n_lists] = l;
	l->id = (int64_t)++s->n_lists;
	return 0;
}

/* NULL, *err 0: it is not there. */
static const struct sto_zk_list *lists_find(struct sto_zk_survey *s, const uint8_t *bytes,
					    uint32_t len, int *err)
{
	struct sto_zk_list *key, *const *found;

	*err = 0;
	if (s->recent && s->recent->len == len && !memcmp(s->recent->bytes, bytes, len))
		return s->recent;
	key = list_new(bytes, len);
	*err = key ? 0 : -ENOMEM;
	found = key ? tfind(key, &s->by_bytes, compare_lists) : NULL;
	free(key);
	if (found)
		s->recent = *found;
	return found ? s->recent : NULL;
}

static int survey_list(struct sto_zk_survey *s, const struct sto_snap_node *n)
{
	uint32_t len;
	const uint8_t *list = list_of(n, &len);
	struct sto_zk_list *new;
	int err = 0;

	if (sto_zk_acl_is_open(list, len) || lists_find(s, list, len, &err) || err)
		return err;
	new = list_new(list, len);
	if (!new)
		return -ENOMEM;
	err = lists_add(s, new);
	if (err)
		free(new);
	return err;
}

int sto_zk_survey_node(struct sto_zk_survey *s, const struct sto_snap_node *n)
{
	s->nodes++;
	s->ttl_nodes += (n->owner & ~(int64_t)ZK_TTL_MAX) == ZK_OWNER_TTL;
	return survey_list(s, n);
}

void sto_zk_survey_free(struct sto_zk_survey *s)
{
	for (size_t i = 0; i < s->n_lists; i++) {
		tdelete(s->list[i], &s->by_bytes, compare_lists);
		free(s->list[i]);
	}
	free(s->list);
	*s = (struct sto_zk_survey){0};
}

/* --- the second pass ------------------------------------------------------------------------- */

static int put_count(struct sto_zk_put *p, uint64_t n)
{
	struct jute_out out;
	int err = n > INT32_MAX ? -EOVERFLOW : sto_zk_out_room(p->out, 4, &out);

	if (!err)
		jute_put_int(&out, (int32_t)n);
	return err;
}

static int put_lists(struct sto_zk_put *p)
{
	const struct sto_zk_survey *s = p->survey;
	int err = put_count(p, s->n_lists);

	for (size_t i = 0; i < s->n_lists && !err; i++) {
		const struct sto_zk_list *l = s->list[i];
		struct jute_out out;

		err = sto_zk_out_room(p->out, 8 + l->len, &out);
		if (err)
			break;
		jute_put_long(&out, l->id);
		jute_put_bytes(&out, l->bytes, l->len);
	}
	return err;
}

int sto_zk_put_begin(struct sto_zk_put *p, struct sto_zk_survey *survey, struct sto_zk_out *out)
{
	int err;

	*p = (struct sto_zk_put){.survey = survey, .out = out};
	err = put_count(p, survey->sessions);
	return !err && !survey->sessions ? put_lists(p) : err;
}

int sto_zk_put_session(struct sto_zk_put *p, int64_t id, int32_t timeout_ms)
{
	struct jute_out out;
	int err = sto_zk_out_room(p->out, ZK_SNAP_SESSION_SIZE, &out);

	if (err)
		return err;
	zk_snap_session_encode(&out, &(struct zk_snap_session){id, timeout_ms});
	return ++p->sessions == p->survey->sessions ? put_lists(p) : 0;
}

int sto_zk_put_node(struct sto_zk_put *p, const struct sto_snap_node *n)
{
	uint32_t len;
	const uint8_t *bytes = list_of(n, &len);
	const struct sto_zk_list *list = NULL;
	struct jute_out out;
	int err = 0;

	p->nodes++;
	if (!sto_zk_acl_is_open(bytes, len)) {
		list = lists_find(p->survey, bytes, len, &err);
		if (!list)
			return err ? err : -EIO;
	}
	err = sto_zk_out_room(p->out, sto_zk_node_size(n), &out);
	if (err)
		return err;
	sto_zk_node_put(&out, n, list ? list->id : ZK_SNAP_ACL_OPEN);
	CHECK(!jute_room(&out)); /* all of the room was filled */
	return 0;
}

int sto_zk_put_end(struct sto_zk_put *p)
{
	struct jute_out out;
	int err = p->nodes == p->survey->nodes && p->sessions == p->survey->sessions ? 0 : -EIO;

	if (!err)
		err = sto_zk_out_room(p->out, END_SIZE, &out);
	if (!err)
		jute_put_ustring(&out, jute_text(ZK_SNAP_END));
	return err;
}

int sto_zk_initial_nodes(void *self, int (*node)(void *self, const struct sto_snap_node *n))
{
	static const char *const paths[] = {"/", "/zookeeper", "/zookeeper/quota",
					    "/zookeeper/config"};
	static const uint8_t open[] = "\0\0\0\1\0\0\0\37\0\0\0\5world\0\0\0\6anyone";
	static const uint8_t readable[] = "\0\0\0\1\0\0\0\1\0\0\0\5world\0\0\0\6anyone";
	int err = 0;

	for (int i = 0; i < 4 && !err; i++)
		err = node(self, &(struct sto_snap_node){.path = paths[i],
							 .path_len = (uint32_t)strlen(paths[i]),
							 .data = "",
							 .acl = i == 3 ? readable : open,
							 .acl_len = sizeof(open) - 1,
							 .aversion = i == 3 ? -1 : 0});
	return err;
}
