#include "writer/table.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"

enum { BITS_FIRST = 8, BITS_MAX = 24 };

static struct wtr_link **chain_of(const struct wtr_table *t, uint64_t key)
{
	/* The high half of a product with an odd constant depends on all bits of the key. */
	return &t->chain[(key * 0x9e3779b97f4a7c15u) >> (64 - t->bits)];
}

int wtr_table_init(struct wtr_table *t)
{
	*t = (struct wtr_table){.bits = BITS_FIRST};
	t->chain = calloc((size_t)1 << t->bits, sizeof(struct wtr_link *));
	return t->chain ? 0 : -ENOMEM;
}

void wtr_table_fini(struct wtr_table *t)
{
	free(t->chain);
	*t = (struct wtr_table){0};
}

struct wtr_link *wtr_table_find(const struct wtr_table *t, uint64_t key)
{
	struct wtr_link *l = *chain_of(t, key);

	while (l && l->key != key)
		l = l->next;
	return l;
}

/* Twice the chains. Without memory for them the chains just grow longer. */
static void widen(struct wtr_table *t)
{
	struct wtr_table wide = {.bits = t->bits + 1, .count = t->count};

	wide.chain = calloc((size_t)1 << wide.bits, sizeof(struct wtr_link *));
	if (!wide.chain)
		return;
	for (size_t i = 0; i < (size_t)1 << t->bits; i++) {
		for (struct wtr_link *l = t->chain[i], *next; l; l = next) {
			struct wtr_link **to = chain_of(&wide, l->key);

			next = l->next;
			l->next = *to;
			*to = l;
		}
	}
	free(t->chain);
	*t = wide;
}

void wtr_table_add(struct wtr_table *t, struct wtr_link *link)
{
	struct wtr_link **to;

	DCHECK(!wtr_table_find(t, link->key));
	if (t->count >> t->bits && t->bits < BITS_MAX)
		widen(t);
	to = chain_of(t, link->key);
	link->next = *to;
	*to = link;
	t->count++;
}

void wtr_table_remove(struct wtr_table *t, struct wtr_link *link)
{
	struct wtr_link **at = chain_of(t, link->key);

	while (*at != link) {
		CHECK(*at != NULL);
		at = &(*at)->next;
	}
	*at = link->next;
	t->count--;
}

struct wtr_link *wtr_table_any(const struct wtr_table *t)
{
	for (size_t i = 0; t->count && i < (size_t)1 << t->bits; i++)
		if (t->chain[i])
			return t->chain[i];
	return NULL;
}

void wtr_table_each(const struct wtr_table *t, void (*each)(void *arg, struct wtr_link *l),
		    void *arg)
{
	for (size_t i = 0; i < (size_t)1 << t->bits; i++)
		for (struct wtr_link *l = t->chain[i]; l; l = l->next)
			each(arg, l);
}
