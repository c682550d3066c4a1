/*
 * link.h - doubly linked rings of members that know how to leave
 *
 * A head and its links form a ring; a link that is in no list points nowhere. Plain private memory.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct wrk_link {
	struct wrk_link *next, *prev;
};

#define WRK_OF(link_, type_, member_) ((type_ *)(void *)((char *)(link_)-offsetof(type_, member_)))

static inline void wrk_list_init(struct wrk_link *head)
{
	head->next = head->prev = head;
}

static inline bool wrk_list_empty(const struct wrk_link *head)
{
	return head->next == head;
}

static inline void wrk_link_del(struct wrk_link *link)
{
	if (!link->next)
		return;
	link->next->prev = link->prev;
	link->prev->next = link->next;
	link->next = link->prev = NULL;
}

/* To the end of the list, unless it is in one already. */
static inline void wrk_link_add(struct wrk_link *head, struct wrk_link *link)
{
	if (link->next)
		return;
	link->next = head;
	link->prev = head->prev;
	head->prev->next = link;
	head->prev = link;
}

/* Take the first; NULL when there is none. */
static inline struct wrk_link *wrk_list_pop(struct wrk_link *head)
{
	struct wrk_link *link = head->next;

	if (link == head)
		return NULL;
	wrk_link_del(link);
	return link;
}

/* Move all of `from` into `to`, which is made new: for a walk that may put members back. */
static inline void wrk_list_take(struct wrk_link *to, struct wrk_link *from)
{
	wrk_list_init(to);
	if (wrk_list_empty(from))
		return;
	*to = *from;
	to->next->prev = to->prev->next = to;
	wrk_list_init(from);
}
