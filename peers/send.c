/*
 * send.c - what is put for peers, and how it leaves
 *
 * Bytes are copied once, into the peer's chunks. A range becomes bytes at once while nothing but
 * bytes stands before it, and not many of them; else it stays a range, which takes no memory
 * however far the peer lags behind, and is made when its turn comes: from what the caller still
 * has in memory, or by a thread from the log.
 */
#include <errno.h>
#include <sys/socket.h>

#include "base/check.h"
#include "peers/links_impl.h"

static const char no_memory[] = "no memory";

static struct peer_link *open_link(struct peer_links *l, int32_t peer)
{
	CHECK(peer >= 0);
	CHECK(peer < PEER_LINKS_MAX);
	return l->link[peer].state == LINK_OPEN ? &l->link[peer] : NULL;
}

static void was_put(struct peer_link *p, bool done)
{
	struct peer_links *l = p->links;

	peer_set_add(&l->dirty, link_index(p));
	if (!done)
		link_break(p, no_memory);
	else if (p->out.size > l->opt.queue_max)
		link_break(p, "it does not keep up: too much is queued");
}

static bool has_body(int32_t type)
{
	CHECK(type == QUORUM_PROPOSAL || type == QUORUM_INFORM || type == QUORUM_COMMIT ||
	      type == QUORUM_ACK);
	return type == QUORUM_PROPOSAL || type == QUORUM_INFORM;
}

/*
 * Packets for *first..last at the end of q, until it has LINK_EAGER bytes or one is not in memory;
 * *first is what is left to do then. False: no memory.
 */
static bool expand(struct peer_links *l, struct peer_queue *q, int32_t type, int64_t *first,
		   int64_t last)
{
	bool body = has_body(type);

	for (; *first <= last && q->size < LINK_EAGER; ++*first) {
		const uint8_t *entry = NULL;
		uint32_t len = 0;

		if (body && !(entry = l->opt.entry(l->opt.arg, *first, &len)))
			return true;
		if (!peer_queue_packet(q, &l->pool, type, *first, entry, len))
			return false;
	}
	return true;
}

void peer_links_put(struct peer_links *l, int32_t peer, const void *bytes, size_t n)
{
	struct peer_link *p = open_link(l, peer);

	if (p)
		was_put(p, peer_queue_bytes(&p->out, &l->pool, bytes, n));
}

void peer_links_put_range(struct peer_links *l, int32_t peer, int32_t type, int64_t first,
			  int64_t last)
{
	struct peer_link *p = open_link(l, peer);
	bool done = true;

	CHECK(first <= last);
	CHECK(first >> 32 == last >> 32);
	has_body(type);
	if (!p)
		return;
	if (!p->out.n_lazy && !p->sender)
		done = expand(l, &p->out, type, &first, last);
	if (done && first <= last)
		done = peer_queue_item(&p->out, PEER_ITEM_RANGE, type, first, last);
	was_put(p, done);
}

void peer_links_put_history(struct peer_links *l, int32_t peer, int64_t after, int64_t last)
{
	struct peer_link *p = open_link(l, peer);

	if (p)
		was_put(p, peer_queue_item(&p->out, PEER_ITEM_HISTORY, 0, after, last));
}

void peer_links_put_state(struct peer_links *l, int32_t peer, int64_t zxid)
{
	struct peer_link *p = open_link(l, peer);

	if (p)
		was_put(p, peer_queue_item(&p->out, PEER_ITEM_STATE, 0, zxid, zxid));
}

void peer_links_close(struct peer_links *l, int32_t peer)
{
	struct peer_link *p = &l->link[peer];

	CHECK(peer >= 0);
	CHECK(peer < PEER_LINKS_MAX);
	peer_set_remove(&l->todo, peer);
	if (p->state == LINK_BROKEN)
		link_drop(p);
	if (p->state != LINK_OPEN)
		return;
	p->state = LINK_CLOSING;
	link_forget_in(p);
	p->paused = p->held = false;
	if (p->receiver)
		peer_job_stop(p->receiver);
	was_put(p, peer_queue_item(&p->out, PEER_ITEM_CLOSE, 0, 0, 0));
}

/* How much of a range is not in memory any more: its last such zxid, first - 1 if none. */
static int64_t logged_until(struct peer_links *l, int64_t first, int64_t last)
{
	uint32_t len;

	while (first <= last) {
		int64_t middle = first + (last - first) / 2;

		if (l->opt.entry(l->opt.arg, middle, &len))
			last = middle - 1;
		else
			first = middle + 1;
	}
	return last;
}

/*
 * The last item that a thread must make, with all before it: what follows may be made here. A range
 * of which the end is in memory is cut in two. NULL: there is nothing for a thread at the head.
 */
static struct peer_item *for_thread(struct peer_links *l, struct peer_queue *q, bool *ok)
{
	struct peer_item *found = NULL;

	*ok = true;
	for (struct peer_item *i = q->head; i && i->kind != PEER_ITEM_CLOSE; i = i->next) {
		int64_t until;

		if (i->kind == PEER_ITEM_HISTORY || i->kind == PEER_ITEM_STATE)
			found = i;
		if (i->kind != PEER_ITEM_RANGE || !has_body(i->type))
			continue;
		until = logged_until(l, i->first, i->last);
		if (until == i->last) {
			found = i;
			continue;
		}
		if (until >= i->first) {
			*ok = peer_queue_split(q, i, until);
			found = i;
		}
		break;
	}
	return found;
}

/* At the head is what is not bytes: make it, or let it be made. False: wait. */
static bool make_head(struct peer_link *p)
{
	struct peer_links *l = p->links;
	struct peer_item *item = p->out.head, *last;
	struct peer_queue made = {0};
	bool ok;

	if (item->kind == PEER_ITEM_CLOSE) {
		peer_queue_pop(&p->out, &l->pool);
		shutdown(p->fd, SHUT_WR);
		p->state = LINK_ENDING;
		p->state_ms = 0;
		return false;
	}
	if (item->kind == PEER_ITEM_RANGE) {
		ok = expand(l, &made, item->type, &item->first, item->last);
		if (item->first > item->last)
			peer_queue_pop(&p->out, &l->pool);
		peer_queue_prepend(&p->out, &made);
		if (!ok)
			link_break(p, no_memory);
		if (!ok || p->out.head->kind == PEER_ITEM_BYTES)
			return ok;
	}
	last = for_thread(l, &p->out, &ok);
	CHECK(last);
	if (ok) {
		struct peer_queue work = {0};

		peer_queue_cut(&p->out, last, &work);
		p->sender = peer_job_send(&l->bulk, &l->pool, p->fd, &work);
	}
	if (!p->sender)
		link_break(p, "no thread to send it");
	return false;
}

/* Send one sendmsg() full. False: it can't go on now. */
static bool send_some(struct peer_link *p)
{
	struct iovec iov[LINK_IOV];
	struct msghdr m = {.msg_iov = iov};
	size_t all = 0;
	ssize_t n;

	m.msg_iovlen = (size_t)peer_queue_gather(&p->out, iov, LINK_IOV);
	for (size_t i = 0; i < m.msg_iovlen; i++)
		all += iov[i].iov_len;
	n = sendmsg(p->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		link_break(p, errno == EPIPE ? "closed by the peer" : "the connection failed");
		return false;
	}
	if (n > 0) {
		peer_queue_sent(&p->out, &p->links->pool, (size_t)n);
		p->sent += (uint64_t)n;
		p->blocked_ms = 0;
	}
	return n == (ssize_t)all;
}

void link_send(struct peer_link *p)
{
	bool more = true;

	if (p->sender || (p->state != LINK_OPEN && p->state != LINK_CLOSING))
		return;
	if (!p->blocked)
		p->blocked_ms = 0;
	for (int i = 0; i < LINK_ROUNDS && more && p->out.head; i++)
		more = p->out.head->kind == PEER_ITEM_BYTES ? send_some(p) : make_head(p);
	p->blocked = p->out.head && !p->sender;
	link_watch(p);
}

void peer_links_flush(struct peer_links *l)
{
	int32_t i = -1;

	while ((i = peer_set_next(&l->dirty, i + 1)) >= 0)
		if (!l->link[i].blocked)
			link_send(&l->link[i]);
	l->dirty = (struct peer_set){0};
}
