/*
 * conn_table.c - the connections of a worker: by place, by name, by session
 *
 * Structs stand in slabs that never move and are never given back; a place that is free is on a
 * list. A name is a place with the incarnation of the worker and the generation of the place, so
 * that an answer to somebody who is gone finds nobody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "workers/worker.h"

enum { SLAB = 64 };

struct wrk_conn *wrk_conn_at(const struct worker *w, uint32_t place)
{
	struct wrk_conn *c;

	if (place >= w->n_slabs * SLAB)
		return NULL;
	c = &w->slab[place / SLAB][place % SLAB];
	return c->state == WRK_FREE ? NULL : c;
}

struct wrk_conn *wrk_conn_next(const struct worker *w, uint32_t *place)
{
	while (*place < w->n_slabs * SLAB) {
		struct wrk_conn *c = wrk_conn_at(w, (*place)++);

		if (c)
			return c;
	}
	return NULL;
}

uint64_t wrk_conn_name(const struct worker *w, const struct wrk_conn *c)
{
	return (uint64_t)(w->incarnation & 0xffff) << 48 |
	       (uint64_t)(c->generation & 0xffffff) << 24 | c->place;
}

struct wrk_conn *wrk_conn_named(const struct worker *w, uint64_t name)
{
	struct wrk_conn *c = wrk_conn_at(w, (uint32_t)name & 0xffffff);

	return c && wrk_conn_name(w, c) == name ? c : NULL;
}

static int add_slab(struct worker *w)
{
	struct wrk_conn **slabs, *slab;

	if ((w->n_slabs + 1) * SLAB > 0xffffff)
		return -ENOMEM;
	slabs = realloc(w->slab, (w->n_slabs + 1) * sizeof(*slabs));
	if (!slabs)
		return -ENOMEM;
	w->slab = slabs;
	slab = calloc(SLAB, sizeof(*slab));
	if (!slab)
		return -ENOMEM;
	for (uint32_t i = SLAB; i-- > 0;) {
		slab[i].place = w->n_slabs * SLAB + i;
		slab[i].session_next = w->free_place;
		w->free_place = slab[i].place + 1;
	}
	w->slab[w->n_slabs++] = slab;
	return 0;
}

struct wrk_conn *wrk_conn_new(struct worker *w, int fd, const uint8_t address[16], uint32_t scope,
			      uint16_t port)
{
	struct wrk_conn *c;
	uint32_t place, generation;

	if (!w->free_place && add_slab(w))
		return NULL;
	place = w->free_place - 1;
	c = &w->slab[place / SLAB][place % SLAB];
	w->free_place = c->session_next;
	generation = c->generation + 1;
	*c = (struct wrk_conn){.fd = fd,
			       .place = place,
			       .generation = generation,
			       .state = WRK_HANDSHAKE,
			       .events = EPOLLIN,
			       .scope = scope,
			       .port = port,
			       .established_ms = clock_wall_ms(),
			       .last_cxid = -1};
	memcpy(c->address, address, sizeof(c->address));
	w->count.connections++;
	wrk_conn_deadline(w, c, w->conf->sessionless_timeout_ms);
	return c;
}

void wrk_conn_free(struct worker *w, struct wrk_conn *c)
{
	*c = (struct wrk_conn){
	    .place = c->place, .generation = c->generation, .session_next = w->free_place};
	w->free_place = c->place + 1;
}

static uint32_t *session_bucket(const struct worker *w, int64_t session)
{
	return &w->session_bucket[(uint32_t)hash_fold((uint64_t)session ^ w->key.word[0],
						      w->key.word[1] | 1) &
				  w->session_mask];
}

struct wrk_conn *wrk_conn_of_session(const struct worker *w, int64_t session)
{
	uint32_t at = *session_bucket(w, session);

	while (at) {
		struct wrk_conn *c = wrk_conn_at(w, at - 1);

		if (c->session == session)
			return c;
		at = c->session_next;
	}
	return NULL;
}

static void grow_sessions(struct worker *w)
{
	uint32_t *old = w->session_bucket, mask = w->session_mask, *bucket;

	if (w->count.sessions <= mask || mask >= 1 << 22 ||
	    !(bucket = calloc((size_t)mask * 4 + 4, sizeof(*bucket))))
		return;
	w->session_bucket = bucket;
	w->session_mask = mask * 4 + 3;
	for (uint32_t i = 0; i <= mask; i++)
		for (uint32_t at = old[i], next; at; at = next) {
			struct wrk_conn *c = wrk_conn_at(w, at - 1);

			next = c->session_next;
			c->session_next = *session_bucket(w, c->session);
			*session_bucket(w, c->session) = at;
		}
	free(old);
}

void wrk_conn_set_session(struct worker *w, struct wrk_conn *c, int64_t session)
{
	CHECK(!c->mapped);
	w->count.sessions++;
	grow_sessions(w);
	c->session = session;
	c->mapped = true;
	c->session_next = *session_bucket(w, session);
	*session_bucket(w, session) = c->place + 1;
}

void wrk_conn_forget_session(struct worker *w, struct wrk_conn *c)
{
	uint32_t *at = session_bucket(w, c->session);

	if (!c->mapped)
		return;
	while (*at != c->place + 1)
		at = &wrk_conn_at(w, *at - 1)->session_next;
	*at = c->session_next;
	c->mapped = false;
	w->count.sessions--;
}
