#include "writer/tell.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/wake.h"
#include "writer/loop.h"

enum {
	STUCK_MS = 500,     /* a full ring that nobody empties .. */
	STUCK_TURNS = 100,  /* .. while we ran: all wait for it */
	CRAWL_TURNS = 1000, /* full again and again */
};

/* Move core.out into the commit ring. False: there was no room for all. */
static bool flush(struct wtr_loop *l)
{
	struct wtr_buf *out = &l->core.out;

	while (l->out_done < out->len) {
		uint8_t *frame = out->bytes + l->out_done;
		struct msg_down head;
		uint32_t len;

		memcpy(&len, frame, sizeof(len));
		memcpy(&head, frame + 8, sizeof(head));
		if (shm_commit_appendv(&l->tx, &(struct iovec){frame + 8, len}, 1))
			return false;
		l->out_done += 8 + ((len + 7) & ~7u);
		l->unpublished = true;
		/* A DOWN_NOP may tell of the start of an epoch. */
		if (head.kind == DOWN_TXN || (head.kind == DOWN_NOP && head.zxid > l->told_zxid))
			l->told_zxid = head.zxid;
		if (head.kind == DOWN_REPORT)
			l->wake_all = true;
	}
	out->len = l->out_done = 0;
	return true;
}

static void publish(struct wtr_loop *l)
{
	if (!l->unpublished)
		return;
	shm_commit_publish(&l->tx, l->told_zxid);
	shm_tree_published(l->tree, l->told_zxid, l->tx.head);
	shm_wake_workers(l->heritage, l->wake_all);
	l->unpublished = l->wake_all = false;
}

void wtr_tell_make_room(struct wtr_loop *l)
{
	uint64_t behind, now = clock_mono_ms();
	int lag;

	l->wake_all = true;
	publish(l);
	shm_wake_workers(l->heritage, 1);
	lag = shm_commit_laggard(&l->tx, &behind);
	if (lag < 0)
		return;
	if (!l->stuck_ms || behind != l->stuck_behind) {
		l->stuck_ms = now;
		l->stuck_behind = behind;
		l->stuck_turns = 0;
	}
	l->stuck_turns++;
	l->crawl_turns++;
	if ((now - l->stuck_ms < STUCK_MS || l->stuck_turns < STUCK_TURNS) &&
	    l->crawl_turns < CRAWL_TURNS)
		return;
	l->stuck_ms = l->crawl_turns = 0;
	LOG_W("worker %d is %llu bytes behind and does not move: to be killed", lag,
	      (unsigned long long)behind);
	atomic_store(&l->board->reader[lag].kill, atomic_load(&l->board->reader[lag].incarnation));
	shm_wake_supervisor(l->heritage);
}

/* There was room. The ring counts as emptied only when the laggard has come a good part nearer. */
static void had_room(struct wtr_loop *l)
{
	uint64_t behind;

	l->stuck_ms = 0;
	if (!l->crawl_turns)
		return;
	if (shm_commit_laggard(&l->tx, &behind) < 0 || behind < l->board->commit_size / 2)
		l->crawl_turns = 0;
}

bool wtr_tell(struct wtr_loop *l)
{
	if (!flush(l)) {
		wtr_tell_make_room(l);
		return false;
	}
	had_room(l);
	publish(l);
	return true;
}
