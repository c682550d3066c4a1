#include "writer/table.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/check.h"

enum { BITS_FIRST = 8, BITS_MAX = 24 };

static size_t place_of(const struct wtr_table *t, uint64_t key)
{
	/* The high bits of a product with an odd number depend on all bits of the key; with one
	 * that is secret, any two keys meet as rarely as by chance (multiply-shift hashing). */
	return (key * t->secret) >> (64 - t->bits);
}

static struct wtr_link **chain_of(const struct wtr_table *t, uint64_t key)
{
	return &t->chain[place_of(t, key)];
}

int wtr_table_init(struct wtr_table *t)
{
	*t = (struct wtr_table){.bits = BITS_FIRST};
	if (getrandom(&t->secret, sizeof(t->secret), 0) != sizeof(t->secret))
		return -EIO;
	t->secret |= 1;
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
	struct wtr_table wide = {.secret = t->secret, .bits = t->bits + 1, .count = t->count};

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
	if (place_of(t, link->key) < t->first)
		t->first = place_of(t, link->key);
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

struct wtr_link *wtr_table_any(struct wtr_table *t)
{
	if (!t->count)
		return NULL;
	while (!t->chain[t->first])
		t->first++;
	return t->chain[t->first];
}

void wtr_table_each(const struct wtr_table *t, void (*each)(void *arg, struct wtr_link *l),
		    void *arg)
{
	for (size_t i = 0; i < (size_t)1 << t->bits; i++)
		for (struct wtr_link *l = t->chain[i]; l; l = l->next)
			each(arg, l);
}
