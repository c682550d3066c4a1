#include "workers/watches.h"

#include <errno.h>
#include <stdlib.h>

#include "base/check.h"

enum { NONE = 0 }; /* index 0 of the watches is never used */

struct path {
	struct path *next; /* in its bucket */
	uint32_t first;    /* watch */
	uint32_t data;     /* watches with data modes */
	uint32_t len;
	char text[];
};

struct watch {
	struct path *path; /* NULL: free, hash_next links the free list */
	uint32_t connection;
	uint32_t path_next, path_prev;
	uint32_t own_next, own_prev; /* of the connection */
	uint32_t hash_next;
	uint8_t modes[2];
};

struct owner {
	uint32_t first; /* watch */
	uint32_t data;  /* watches with data modes */
	uint32_t told;  /* the firing that reached it last */
};

struct wrk_watches {
	struct hash_key key;
	struct path **path_bucket;
	uint32_t *watch_bucket;
	struct watch *watch;
	struct owner *owner;
	uint32_t *hit;
	uint32_t path_mask, paths, watch_mask, watch_cap, watch_used, watches, free, owner_cap,
	    hit_cap;
	uint32_t firing, recursive; /* recursive: entries with that mode */
	struct wrk_watch_totals totals;
};

struct wrk_watches *wrk_watches_new(const struct hash_key *key)
{
	struct wrk_watches *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->key = *key;
	w->path_mask = w->watch_mask = 63;
	w->watch_used = 1;
	w->path_bucket = calloc(w->path_mask + 1, sizeof(*w->path_bucket));
	w->watch_bucket = calloc(w->watch_mask + 1, sizeof(*w->watch_bucket));
	if (w->path_bucket && w->watch_bucket)
		return w;
	wrk_watches_free(w);
	return NULL;
}

void wrk_watches_free(struct wrk_watches *w)
{
	if (!w)
		return;
	for (uint32_t i = 0; w->path_bucket && i <= w->path_mask; i++)
		for (struct path *p = w->path_bucket[i], *next; p; p = next) {
			next = p->next;
			free(p);
		}
	free(w->path_bucket);
	free(w->watch_bucket);
	free(w->watch);
	free(w->owner);
	free(w->hit);
	free(w);
}

/* --- tables ---------------------------------------------------------------------------------- */

static uint32_t path_slot(const struct wrk_watches *w, const void *path, size_t len, uint32_t mask)
{
	return (uint32_t)hash_bytes(&w->key, path, len) & mask;
}

static uint32_t watch_slot(const struct wrk_watches *w, const struct path *p, uint32_t connection,
			   uint32_t mask)
{
	return (uint32_t)hash_fold((uint64_t)(uintptr_t)p ^ w->key.word[0],
				   connection * 0x9e3779b97f4a7c15 ^ w->key.word[1]) &
	       mask;
}

static struct path *path_find(const struct wrk_watches *w, const void *path, size_t len)
{
	struct path *p = w->path_bucket[path_slot(w, path, len, w->path_mask)];

	while (p && (p->len != len || memcmp(p->text, path, len)))
		p = p->next;
	return p;
}

static uint32_t watch_find(const struct wrk_watches *w, const struct path *p, uint32_t connection)
{
	uint32_t i = w->watch_bucket[watch_slot(w, p, connection, w->watch_mask)];

	while (i && (w->watch[i].path != p || w->watch[i].connection != connection))
		i = w->watch[i].hash_next;
	return i;
}

/* Growth is for speed alone: without memory the chains become longer. */
static void grow_paths(struct wrk_watches *w)
{
	uint32_t mask = w->path_mask * 2 + 1;
	struct path **bucket;

	if (w->paths <= w->path_mask || !(bucket = calloc((size_t)mask + 1, sizeof(*bucket))))
		return;
	for (uint32_t i = 0; i <= w->path_mask; i++)
		for (struct path *p = w->path_bucket[i], *next; p; p = next) {
			uint32_t slot = path_slot(w, p->text, p->len, mask);

			next = p->next;
			p->next = bucket[slot];
			bucket[slot] = p;
		}
	free(w->path_bucket);
	w->path_bucket = bucket;
	w->path_mask = mask;
}

static void grow_watch_buckets(struct wrk_watches *w)
{
	uint32_t mask = w->watch_mask * 2 + 1, *bucket;

	if (w->watches <= w->watch_mask || !(bucket = calloc((size_t)mask + 1, sizeof(*bucket))))
		return;
	for (uint32_t i = 1; i < w->watch_used; i++) {
		struct watch *e = &w->watch[i];
		uint32_t slot;

		if (!e->path)
			continue;
		slot = watch_slot(w, e->path, e->connection, mask);
		e->hash_next = bucket[slot];
		bucket[slot] = i;
	}
	free(w->watch_bucket);
	w->watch_bucket = bucket;
	w->watch_mask = mask;
}

/* Room for one watch of this connection, and for telling everybody. */
static int reserve(struct wrk_watches *w, uint32_t connection)
{
	void *mem;
	uint32_t cap;

	if (connection >= w->owner_cap) {
		cap = connection + connection / 2 + 64;
		if (!(mem = realloc(w->owner, cap * sizeof(*w->owner))))
			return -ENOMEM;
		w->owner = mem;
		memset(w->owner + w->owner_cap, 0, (cap - w->owner_cap) * sizeof(*w->owner));
		w->owner_cap = cap;
	}
	if (w->hit_cap < w->owner_cap) {
		if (!(mem = realloc(w->hit, w->owner_cap * sizeof(*w->hit))))
			return -ENOMEM;
		w->hit = mem;
		w->hit_cap = w->owner_cap;
	}
	if (!w->free && w->watch_used >= w->watch_cap) {
		cap = w->watch_cap + w->watch_cap / 2 + 64;
		if (!(mem = realloc(w->watch, cap * sizeof(*w->watch))))
			return -ENOMEM;
		w->watch = mem;
		w->watch_cap = cap;
	}
	return 0;
}

static struct path *path_new(struct wrk_watches *w, const void *text, size_t len)
{
	struct path *p = malloc(sizeof(*p) + len);
	uint32_t slot;

	if (!p)
		return NULL;
	grow_paths(w);
	slot = path_slot(w, text, len, w->path_mask);
	*p = (struct path){.next = w->path_bucket[slot], .len = (uint32_t)len};
	memcpy(p->text, text, len);
	w->path_bucket[slot] = p;
	w->paths++;
	return p;
}

static void path_free(struct wrk_watches *w, struct path *p)
{
	struct path **at = &w->path_bucket[path_slot(w, p->text, p->len, w->path_mask)];

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	w->paths--;
	free(p);
}

static uint32_t watch_new(struct wrk_watches *w, struct path *p, uint32_t connection)
{
	struct owner *o = &w->owner[connection];
	uint32_t i = w->free ? w->free : w->watch_used, slot;
	struct watch *e = &w->watch[i];

	grow_watch_buckets(w);
	slot = watch_slot(w, p, connection, w->watch_mask);
	if (w->free)
		w->free = e->hash_next;
	else
		w->watch_used++;
	*e = (struct watch){.path = p,
			    .connection = connection,
			    .path_next = p->first,
			    .own_next = o->first,
			    .hash_next = w->watch_bucket[slot]};
	if (p->first)
		w->watch[p->first].path_prev = i;
	if (o->first)
		w->watch[o->first].own_prev = i;
	p->first = o->first = w->watch_bucket[slot] = i;
	w->watches++;
	return i;
}

static void watch_free(struct wrk_watches *w, uint32_t i)
{
	struct watch *e = &w->watch[i];
	struct path *p = e->path;
	uint32_t *at = &w->watch_bucket[watch_slot(w, p, e->connection, w->watch_mask)];

	while (*at != i)
		at = &w->watch[*at].hash_next;
	*at = e->hash_next;
	*(e->path_prev ? &w->watch[e->path_prev].path_next : &p->first) = e->path_next;
	if (e->path_next)
		w->watch[e->path_next].path_prev = e->path_prev;
	*(e->own_prev ? &w->watch[e->own_prev].own_next : &w->owner[e->connection].first) =
	    e->own_next;
	if (e->own_next)
		w->watch[e->own_next].own_prev = e->own_prev;
	e->path = NULL;
	e->hash_next = w->free;
	w->free = i;
	w->watches--;
	if (!p->first)
		path_free(w, p);
}

/* The one place where modes change, and with them every count. Frees a watch that has none left. */
static void set_modes(struct wrk_watches *w, uint32_t i, enum wrk_watch_table table, unsigned modes)
{
	struct watch *e = &w->watch[i];
	unsigned old = e->modes[table];

	e->modes[table] = (uint8_t)modes;
	if (!old != !modes) {
		uint32_t step = modes ? 1 : UINT32_MAX;

		if (table == WRK_DATA) {
			w->totals.data += modes ? 1 : UINT64_MAX;
			w->totals.data_paths += !e->path->data && modes;
			w->totals.data_connections += !w->owner[e->connection].data && modes;
			e->path->data += step;
			w->owner[e->connection].data += step;
			w->totals.data_paths -= !e->path->data;
			w->totals.data_connections -= !w->owner[e->connection].data;
		} else {
			w->totals.child += modes ? 1 : UINT64_MAX;
		}
	}
	w->recursive += !(old & WRK_RECURSIVE) && modes & WRK_RECURSIVE;
	w->recursive -= old & WRK_RECURSIVE && !(modes & WRK_RECURSIVE);
	if (!e->modes[WRK_DATA] && !e->modes[WRK_CHILD])
		watch_free(w, i);
}

/* --- calls ----------------------------------------------------------------------------------- */

int wrk_watch_add(struct wrk_watches *w, enum wrk_watch_table table, const void *path, size_t len,
		  uint32_t connection, unsigned modes)
{
	struct path *p;
	uint32_t i;

	CHECK(modes);
	if (reserve(w, connection))
		return -ENOMEM;
	p = path_find(w, path, len);
	if (!p && !(p = path_new(w, path, len)))
		return -ENOMEM;
	i = watch_find(w, p, connection);
	if (!i)
		i = watch_new(w, p, connection);
	set_modes(w, i, table, w->watch[i].modes[table] | modes);
	return 0;
}

static uint32_t lookup(const struct wrk_watches *w, const void *path, size_t len,
		       uint32_t connection)
{
	struct path *p = path_find(w, path, len);

	return p ? watch_find(w, p, connection) : NONE;
}

unsigned wrk_watch_has(struct wrk_watches *w, enum wrk_watch_table table, const void *path,
		       size_t len, uint32_t connection, unsigned modes)
{
	uint32_t i = lookup(w, path, len, connection);

	return i ? w->watch[i].modes[table] & modes : 0;
}

unsigned wrk_watch_remove(struct wrk_watches *w, enum wrk_watch_table table, const void *path,
			  size_t len, uint32_t connection, unsigned modes)
{
	uint32_t i = lookup(w, path, len, connection);
	unsigned old = i ? w->watch[i].modes[table] : 0;

	if (old & modes)
		set_modes(w, i, table, old & ~modes);
	return old & modes;
}

void wrk_watches_drop(struct wrk_watches *w, uint32_t connection)
{
	uint32_t i, next;

	if (connection >= w->owner_cap)
		return;
	for (i = w->owner[connection].first; i; i = next) {
		next = w->watch[i].own_next;
		if (w->watch[i].modes[WRK_DATA] && w->watch[i].modes[WRK_CHILD])
			set_modes(w, i, WRK_CHILD, 0);
		set_modes(w, i, w->watch[i].modes[WRK_DATA] ? WRK_DATA : WRK_CHILD, 0);
	}
	w->owner[connection].told = 0; /* the place's next owner was told nothing */
}

/* --- firing ---------------------------------------------------------------------------------- */

static void tell(struct wrk_watches *w, uint32_t connection, uint32_t *n)
{
	if (w->owner[connection].told == w->firing)
		return;
	w->owner[connection].told = w->firing;
	w->hit[(*n)++] = connection;
}

static void tell_exact(struct wrk_watches *w, enum wrk_watch_table table, const void *path,
		       size_t len, uint32_t *n)
{
	struct path *p = path_find(w, path, len);
	uint32_t next;

	for (uint32_t i = p ? p->first : NONE; i; i = next) {
		unsigned modes = w->watch[i].modes[table];

		next = w->watch[i].path_next;
		if (!modes)
			continue;
		tell(w, w->watch[i].connection, n);
		if (modes & WRK_STANDARD)
			set_modes(w, i, table, modes & ~(unsigned)WRK_STANDARD);
	}
}

/* The recursive watches of every proper ancestor. */
static void tell_ancestors(struct wrk_watches *w, const char *path, size_t len, uint32_t *n)
{
	while (len > 1 && path[0] == '/') {
		struct path *p;

		while (path[len - 1] != '/')
			len--;
		if (len > 1)
			len--; /* the slash belongs to the root alone */
		p = path_find(w, path, len);
		for (uint32_t i = p ? p->first : NONE; i; i = w->watch[i].path_next)
			if (w->watch[i].modes[WRK_DATA] & WRK_RECURSIVE)
				tell(w, w->watch[i].connection, n);
	}
}

uint32_t wrk_watches_fire(struct wrk_watches *w, enum wrk_watch_table table, const void *path,
			  size_t len, bool again, const uint32_t **connections)
{
	uint32_t n = 0;

	if (!again && !++w->firing) {
		for (uint32_t i = 0; i < w->owner_cap; i++)
			w->owner[i].told = 0;
		w->firing = 1;
	}
	tell_exact(w, table, path, len, &n);
	if (table == WRK_DATA && w->recursive)
		tell_ancestors(w, path, len, &n);
	*connections = w->hit;
	return n;
}

/* --- counts ---------------------------------------------------------------------------------- */

bool wrk_watches_empty(const struct wrk_watches *w)
{
	return !w->watches;
}

void wrk_watches_count(const struct wrk_watches *w, struct wrk_watch_totals *to)
{
	*to = w->totals;
}

bool wrk_watches_next(const struct wrk_watches *w, uint32_t *cursor, struct wrk_watch_view *to)
{
	while (++*cursor < w->watch_used) {
		const struct watch *e = &w->watch[*cursor];

		if (!e->path || !e->modes[WRK_DATA])
			continue;
		*to = (struct wrk_watch_view){e->path->text, e->path->len, e->connection};
		return true;
	}
	return false;
}
