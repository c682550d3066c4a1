#include "storage/places.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

enum { SLOTS_MIN = 1024 };

static uint64_t hash(const struct sto_places *p, const char *path, size_t len)
{
	return hash_bytes(&p->key, path, len) | 1;
}

/* Its slot, or the free one that it would have. The lowest bit of a hash is not one of its own. */
static uint64_t *find(const struct sto_places *p, uint64_t h)
{
	size_t i = h >> 1 & (p->cap - 1);

	while (p->slot[i] && p->slot[i] != h)
		i = (i + 1) & (p->cap - 1);
	return &p->slot[i];
}

/* At most three quarters are taken. */
static int make_room(struct sto_places *p)
{
	struct sto_places more = {.key = p->key, .n = p->n, .cap = p->cap ? 2 * p->cap : SLOTS_MIN};

	if (p->n < p->cap / 4 * 3)
		return 0;
	if (!p->cap && getrandom(&more.key, sizeof(more.key), 0) != sizeof(more.key))
		return -errno;
	more.slot = calloc(more.cap, sizeof(*more.slot));
	if (!more.slot)
		return -ENOMEM;
	for (size_t i = 0; i < p->cap; i++)
		if (p->slot[i])
			*find(&more, p->slot[i]) = p->slot[i];
	free(p->slot);
	*p = more;
	return 0;
}

int sto_places_add(struct sto_places *p, const char *path, size_t len)
{
	size_t name = len;
	uint64_t *slot;
	int err;

	if (!len || path[0] != '/' || (len > 1 && path[len - 1] == '/'))
		return -EINVAL;
	err = make_room(p);
	if (err)
		return err;
	while (path[name - 1] != '/')
		name--;
	/* "/a//b" has a parent that no node can be. */
	if (len > 1 && !*find(p, hash(p, path, name > 1 ? name - 1 : 1)))
		return -ENOENT;
	slot = find(p, hash(p, path, len));
	if (*slot)
		return -EEXIST;
	*slot = hash(p, path, len);
	p->n++;
	return 0;
}

void sto_places_fini(struct sto_places *p)
{
	free(p->slot);
	*p = (struct sto_places){.slot = NULL};
}
