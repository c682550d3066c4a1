#include "peers/links.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "peers/links_impl.h"

void link_watch(struct peer_link *p)
{
	struct epoll_event event = {.data.ptr = &p->source};
	bool lives = p->state == LINK_OPEN || p->state == LINK_CLOSING || p->state == LINK_ENDING;
	int op;

	if (lives && !p->receiver && !p->held && !p->paused)
		event.events |= EPOLLIN;
	if (lives && p->blocked)
		event.events |= EPOLLOUT;
	if (event.events == p->watched)
		return;
	op = !p->watched ? EPOLL_CTL_ADD : event.events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
	if (epoll_ctl(p->links->opt.epoll, op, p->fd, &event) < 0) {
		CHECK(op == EPOLL_CTL_ADD); /* -ENOMEM, -ENOSPC; the others can't fail */
		p->watched = 0;
		link_break(p, "no memory");
		return;
	}
	p->watched = event.events;
}

/* --- life ------------------------------------------------------------------------------------ */

void link_forget_in(struct peer_link *p)
{
	struct peer_links *l = p->links;

	if (l->told == link_index(p)) {
		l->told_in = p->in;
		l->told = -1;
	} else {
		free(p->in);
	}
	p->in = NULL;
	p->in_cap = p->in_start = p->in_end = 0;
	p->in_filled = false;
}

static void link_free(struct peer_link *p)
{
	struct peer_links *l = p->links;

	CHECK(!p->sender);
	CHECK(!p->receiver);
	p->state = LINK_GONE;
	link_watch(p);
	close(p->fd);
	link_forget_in(p);
	peer_queue_clear(&p->out, &l->pool);
	peer_set_remove(&l->todo, link_index(p));
	*p = (struct peer_link){.source = p->source, .links = l, .fd = -1};
	while (l->end && l->link[l->end - 1].state == LINK_NONE)
		l->end--;
}

/* Its jobs end, or have ended. */
static void link_stop(struct peer_link *p)
{
	p->blocked = false;
	peer_queue_clear(&p->out, &p->links->pool);
	if (p->sender)
		peer_job_stop(p->sender);
	if (p->receiver)
		peer_job_stop(p->receiver);
	link_watch(p);
}

void link_drop(struct peer_link *p)
{
	p->state = LINK_GONE;
	link_stop(p);
	if (!p->sender && !p->receiver)
		link_free(p);
}

void link_break(struct peer_link *p, const char *why)
{
	if (p->state == LINK_CLOSING || p->state == LINK_ENDING)
		link_drop(p);
	if (p->state != LINK_OPEN)
		return;
	LOG_W("peer=%d %s: %s", link_index(p), p->address, why);
	p->state = LINK_BROKEN;
	p->why = why;
	link_stop(p);
	peer_set_add(&p->links->todo, link_index(p));
}

int32_t link_open(struct peer_links *l, int32_t peer, int fd, const struct peer_address *address)
{
	struct peer_link *p = &l->link[peer];
	const int on = 1;

	CHECK(p->state == LINK_NONE);
	/* Without it an ACK waits for the answer to the one before. A fault of it is no fault. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	p->state = LINK_OPEN;
	p->fd = fd;
	p->state_ms = p->blocked_ms = 0;
	peer_address_print(address, p->address);
	if (peer >= l->end)
		l->end = peer + 1;
	peer_set_add(&l->todo, peer);
	link_watch(p);
	return peer;
}

/* --- receiving ------------------------------------------------------------------------------- */

/*
 * There is room behind in_end, for bytes that came rather than for those announced: twice as many,
 * when the peer filled all there was.
 */
static bool make_room(struct peer_link *p)
{
	size_t cap = p->in_cap ? p->in_cap : LINK_IN_FIRST;
	size_t most = p->in_need > LINK_IN_USUAL ? p->in_need : LINK_IN_USUAL;
	uint8_t *in;

	if (p->in_start) {
		memmove(p->in, p->in + p->in_start, p->in_end - p->in_start);
		p->in_end -= p->in_start;
		p->in_start = 0;
	}
	if (p->in_filled && p->in_cap < most)
		cap = 2 * p->in_cap < most ? 2 * p->in_cap : most;
	CHECK(p->in_end < cap); /* a packet that fills it all is whole, and was taken */
	if (cap == p->in_cap)
		return true;
	in = realloc(p->in, cap);
	if (!in)
		return false;
	p->in = in;
	p->in_cap = cap;
	return true;
}

static void receive(struct peer_link *p)
{
	ssize_t n;

	if (!make_room(p)) {
		link_break(p, "no memory");
		return;
	}
	n = recv(p->fd, p->in + p->in_end, p->in_cap - p->in_end, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		link_break(p, n < 0 ? "the connection failed" : "closed by the peer");
		return;
	}
	p->received += (uint64_t)n;
	if (p->state != LINK_OPEN)
		return; /* nobody wants it */
	p->in_end += (size_t)n;
	p->in_filled = p->in_end == p->in_cap;
	if (p->in_end - p->in_start >= p->in_need)
		peer_set_add(&p->links->todo, link_index(p));
}

static void ready(struct peer_source *source, uint32_t events)
{
	struct peer_link *p = (struct peer_link *)source;
	int32_t i = link_index(p);

	/* The events may be of a connection before this one, in the same place: they are hints. */
	if (p->blocked && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		link_send(p);
	if (!(p->watched & EPOLLIN) || !(events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
		return;
	if (peer_set_next(&p->links->todo, i) == i) {
		p->paused = true;
		link_watch(p);
		return;
	}
	receive(p);
}

/* A packet that is whole: 1; 0: none. */
static int take_packet(struct peer_link *p, struct quorum_packet *packet)
{
	const uint8_t *at = p->in + p->in_start;
	size_t n = p->in_end - p->in_start;
	int64_t size;

	if (!n || n < p->in_need)
		return 0;
	size = quorum_packet_decode(at, n, p->links->opt.data_max, packet, &p->in_need);
	if (size < 0) {
		p->in_start = p->in_end = 0;
		link_break(p, "what it sent is no packet");
	}
	if (size <= 0)
		return 0;
	p->in_start += (size_t)size;
	p->in_need = QUORUM_PACKET_MIN;
	p->heard = true;
	return 1;
}

/* All that was received is taken: go on reading, with a buffer of the usual size. */
static void taken(struct peer_link *p)
{
	peer_set_remove(&p->links->todo, link_index(p));
	if (p->in_start == p->in_end) {
		p->in_start = 0;
		p->in_need = QUORUM_PACKET_MIN;
		p->in_end = 0;
	}
	if (!p->in_end && p->in_cap > LINK_IN_USUAL)
		link_forget_in(p);
	p->paused = false;
	link_watch(p);
}

/* What this peer has to tell now. */
static bool tell(struct peer_link *p, struct peer_link_event *e)
{
	e->why = NULL;
	if (!p->announced) {
		p->announced = true;
		e->type = PEER_LINK_CONNECTED;
		return true;
	}
	if (p->staged) {
		p->staged = false;
		e->type = PEER_LINK_STATE;
		return true;
	}
	if (!p->held && !p->receiver && take_packet(p, &e->packet)) {
		p->links->told = link_index(p);
		e->type = PEER_LINK_PACKET;
		return true;
	}
	if (p->state == LINK_BROKEN && !p->sender && !p->receiver) {
		e->type = PEER_LINK_LOST;
		e->why = p->why;
		link_free(p);
		return true;
	}
	if (p->state == LINK_BROKEN || p->held || p->receiver)
		peer_set_remove(&p->links->todo, link_index(p));
	else
		taken(p);
	return false;
}

bool peer_links_next(struct peer_links *l, struct peer_link_event *event)
{
	int32_t i;

	free(l->told_in);
	l->told_in = NULL;
	l->told = -1;
	while ((i = peer_set_next(&l->todo, l->next)) >= 0 ||
	       (i = peer_set_next(&l->todo, 0)) >= 0) {
		event->peer = i;
		l->next = (i + 1) % PEER_LINKS_MAX;
		if (tell(&l->link[i], event))
			return true;
	}
	if (!l->meet.failed)
		return false;
	l->meet.failed = false;
	*event = (struct peer_link_event){
	    .type = PEER_LINK_LOST, .peer = 0, .why = "the leader can't be reached"};
	return true;
}

void peer_links_hold(struct peer_links *l, int32_t peer, bool hold)
{
	struct peer_link *p = &l->link[peer];

	CHECK(peer >= 0);
	CHECK(peer < PEER_LINKS_MAX);
	if (p->state != LINK_OPEN || p->held == hold)
		return;
	p->held = hold;
	if (!hold)
		peer_set_add(&l->todo, peer);
	link_watch(p);
}

void peer_links_receive_state(struct peer_links *l, int64_t zxid)
{
	struct peer_link *p = &l->link[0];

	if (p->state != LINK_OPEN)
		return;
	CHECK(!p->receiver);
	p->receiver =
	    peer_job_receive(&l->bulk, p->fd, zxid,
			     &(struct peer_received){p->in, p->in_cap, p->in_start, p->in_end});
	p->in = NULL;
	p->in_cap = p->in_start = p->in_end = 0;
	p->in_filled = false;
	if (!p->receiver)
		link_break(p, "no thread to receive a state");
	link_watch(p);
}

/* --- jobs ------------------------------------------------------------------------------------ */

/* A job of this peer has ended: go on where it left off. */
static void sender_ended(struct peer_link *p)
{
	const char *why = peer_job_end(p->sender, &p->links->pool, &p->sent, NULL);

	p->sender = NULL;
	if (why)
		link_break(p, why);
	else if (p->state == LINK_OPEN || p->state == LINK_CLOSING)
		link_send(p);
}

static void receiver_ended(struct peer_link *p)
{
	struct peer_received got;
	const char *why = peer_job_end(p->receiver, NULL, &p->received, &got);

	p->receiver = NULL;
	if (p->state == LINK_OPEN && !why) {
		free(p->in);
		p->in = got.in;
		p->in_cap = got.in_cap;
		p->in_start = got.in_start;
		p->in_end = got.in_end;
		p->in_filled = got.in_end == got.in_cap;
		p->in_need = QUORUM_PACKET_MIN;
		p->staged = true;
		peer_set_add(&p->links->todo, link_index(p));
		link_watch(p);
		return;
	}
	free(got.in);
	if (why)
		link_break(p, why);
	link_watch(p);
}

static void collect(struct peer_link *p)
{
	if (p->sender && peer_job_is_done(p->sender))
		sender_ended(p);
	if (p->receiver && peer_job_is_done(p->receiver))
		receiver_ended(p);
	if (p->sender || p->receiver)
		return;
	if (p->state == LINK_GONE)
		link_free(p);
	if (p->state == LINK_BROKEN)
		peer_set_add(&p->links->todo, link_index(p));
}

static void bell_rung(struct peer_source *source, uint32_t events)
{
	struct peer_links *l = ((struct link_slot *)source)->links;
	eventfd_t n;

	(void)events;
	eventfd_read(l->bell_fd, &n);
	for (int32_t i = 0; i < l->end; i++)
		if (l->link[i].sender || l->link[i].receiver)
			collect(&l->link[i]);
}

/* --- the whole ------------------------------------------------------------------------------- */

struct peer_links *peer_links_new(const struct peer_links_options *options)
{
	struct peer_links *l = calloc(1, sizeof(*l));
	struct epoll_event event = {.events = EPOLLIN};
	int err;

	if (!l)
		return NULL;
	l->opt = *options;
	l->told = -1;
	l->bell = (struct link_slot){.source.ready = bell_rung, .links = l};
	for (int32_t i = 0; i < PEER_LINKS_MAX; i++)
		l->link[i] = (struct peer_link){.source.ready = ready, .links = l, .fd = -1};
	meet_init(l);
	l->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	event.data.ptr = &l->bell.source;
	l->bulk = (struct peer_bulk){
	    .fs = l->opt.fs,
	    .snap_dir = l->opt.snap_dir,
	    .log_dir = l->opt.log_dir,
	    .data_max = l->opt.data_max,
	    .stall_ms = l->opt.stall_ms,
	    .bell = l->bell_fd,
	};
	if (l->bell_fd >= 0 && !epoll_ctl(l->opt.epoll, EPOLL_CTL_ADD, l->bell_fd, &event))
		return l;
	err = errno;
	if (l->bell_fd >= 0)
		close(l->bell_fd);
	free(l);
	errno = err;
	return NULL;
}

void peer_links_reset(struct peer_links *l)
{
	meet_reset(l);
	/* All are told before the first is waited for. */
	for (int32_t i = 0; i < l->end; i++) {
		struct peer_link *p = &l->link[i];

		if (p->state == LINK_NONE)
			continue;
		if (p->sender || p->receiver)
			shutdown(p->fd, SHUT_RDWR);
		p->state = LINK_GONE;
		link_stop(p);
	}
	for (int32_t i = l->end; i > 0; i--) {
		struct peer_link *p = &l->link[i - 1];

		if (p->sender)
			sender_ended(p);
		if (p->receiver)
			receiver_ended(p);
		if (p->state != LINK_NONE)
			link_free(p);
	}
	l->todo = l->dirty = (struct peer_set){0};
	l->next = 0;
}

void peer_links_free(struct peer_links *l)
{
	if (!l)
		return;
	peer_links_reset(l);
	peer_pool_clear(&l->pool);
	free(l->told_in);
	epoll_ctl(l->opt.epoll, EPOLL_CTL_DEL, l->bell_fd, NULL);
	close(l->bell_fd);
	free(l);
}

/* When the time of this connection is up; UINT64_MAX: it has time. */
static uint64_t due_ms(const struct peer_link *p, const char **why)
{
	uint64_t now = p->links->now_ms, stall = p->links->opt.stall_ms, due = UINT64_MAX;
	uint64_t state = p->state_ms ? p->state_ms : now;
	uint64_t blocked = p->blocked_ms ? p->blocked_ms : now;

	if (p->state == LINK_ENDING)
		return state + LINK_LINGER_MS;
	if (p->state != LINK_OPEN && p->state != LINK_CLOSING)
		return due;
	if (!p->heard && p->links->meet.listening) {
		due = state + stall;
		*why = "no packet came of it";
	}
	if (p->blocked && blocked + stall < due) {
		due = blocked + stall;
		*why = "its socket takes nothing";
	}
	return due;
}

void peer_links_tick(struct peer_links *l, uint64_t now_ms)
{
	l->now_ms = now_ms;
	for (int32_t i = 0; i < l->end; i++) {
		struct peer_link *p = &l->link[i];
		const char *why = NULL;

		if (!p->state_ms)
			p->state_ms = now_ms;
		if (!p->blocked_ms)
			p->blocked_ms = now_ms;
		if (due_ms(p, &why) <= now_ms)
			link_break(p, why);
	}
	meet_tick(l);
}

uint64_t peer_links_deadline_ms(const struct peer_links *l)
{
	uint64_t first = meet_deadline(l);

	for (int32_t i = 0; i < l->end; i++) {
		uint64_t due = due_ms(&l->link[i], &(const char *){NULL});

		if (due < first)
			first = due;
	}
	return first;
}

void peer_links_view(const struct peer_links *l, int32_t peer, struct peer_link_view *view)
{
	const struct peer_link *p = &l->link[peer];

	CHECK(peer >= 0);
	CHECK(peer < PEER_LINKS_MAX);
	*view = (struct peer_link_view){
	    .there = p->state != LINK_NONE,
	    .queued = p->out.size,
	    .sent = p->sent,
	    .received = p->received,
	};
	snprintf(view->address, sizeof(view->address), "%s", p->address);
	if (p->sender)
		view->busy = peer_job_progress(p->sender, &view->queued, &view->sent);
	if (p->receiver)
		view->busy = peer_job_progress(p->receiver, &view->queued, &view->received);
}
