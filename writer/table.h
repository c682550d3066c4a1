/*
 * table.h - from a 64-bit key to the object that holds the link: chains, doubled as they fill
 *
 * Runs in: writer, deciding thread. The link lies in the object, which the caller owns; keys are
 * unique. Nothing is allocated but the array of chains.
 *
 * Keys may be an attacker's choice (a worker names its connections): where they go depends on a
 * secret of the table.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wtr_link {
	struct wtr_link *next;
	uint64_t key;
};

struct wtr_table {
	struct wtr_link **chain;
	uint64_t secret; /* odd */
	uint32_t bits, count;
	size_t first; /* chains before it are empty */
};

#define WTR_OBJECT(link_, type_, member_)                                                          \
	((type_ *)(void *)((char *)(link_)-offsetof(type_, member_)))

/* -ENOMEM, -EIO: no random numbers. */
int wtr_table_init(struct wtr_table *t);
void wtr_table_fini(struct wtr_table *t);
struct wtr_link *wtr_table_find(const struct wtr_table *t, uint64_t key);
void wtr_table_add(struct wtr_table *t, struct wtr_link *link);
void wtr_table_remove(struct wtr_table *t, struct wtr_link *link);

/* Any one link, NULL when empty: for emptying a table. */
struct wtr_link *wtr_table_any(struct wtr_table *t);

/* All links, in no order; neither adding nor removing meanwhile. */
void wtr_table_each(const struct wtr_table *t, void (*each)(void *arg, struct wtr_link *l),
		    void *arg);
