#include "workers/main.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/region.h"
#include "shm/wake.h"
#include "workers/conn.h"
#include "workers/worker.h"

enum { HEARD_MS = 1000 }; /* a connection counts as heard of so much earlier, at most */

/* --- life ------------------------------------------------------------------------------------ */

/* A predecessor's connections died with it; heard[] and the up ring go on. */
static void clear_seat(struct shm_seat *seat)
{
	for (uint32_t i = 0; i < SHM_ADDRESSES; i++)
		atomic_store_explicit(&seat->address[i].count, 0, memory_order_relaxed);
	atomic_store_explicit(&seat->stats.connections, 0, memory_order_relaxed);
}

int wrk_init(struct worker *w, const struct shm_heritage *h, unsigned index)
{
	*w = (struct worker){
	    .h = h,
	    .conf = h->conf,
	    .board = h->board,
	    .seat = h->seat[index],
	    .index = index,
	    .incarnation = atomic_load(&h->board->reader[index].incarnation),
	    .epoll = -1,
	    .spare_fd = -1,
	    .now_ms = clock_mono_ms(),
	    .now_us = clock_mono_us(),
	    .session_mask = 1023,
	    .start_wall_ms = clock_wall_ms(),
	    .rules = {.skip = h->conf->skip_acl,
		      .digest = h->conf->digest_auth,
		      .super_digest = h->conf->super_digest},
	};
	if (getrandom(&w->key, sizeof(w->key), 0) != sizeof(w->key))
		return -EIO;
	wrk_list_init(&w->timed);
	wrk_list_init(&w->paused);
	wrk_list_init(&w->run);
	wrk_list_init(&w->flush);
	wrk_list_init(&w->gone);
	w->input = malloc(WRK_INPUT_BYTES);
	w->arena = malloc(WRK_ARENA_BYTES);
	w->session_bucket = calloc(w->session_mask + 1, sizeof(*w->session_bucket));
	w->watches = wrk_watches_new(&w->key);
	if (!w->input || !w->arena || !w->session_bucket || !w->watches)
		return -ENOMEM;
	clear_seat(w->seat);
	shm_ring_tx_attach(&w->up, h, index);
	shm_commit_rx_attach(&w->rx, h, index);
	/* Behind the attachment: a writer stores its epoch before it tells of it (DOWN_EPOCH). So
	 * one whose record stands before our place is seen here; another's is met there. */
	w->epoch = atomic_load(&h->board->writer_epoch);
	w->s = w->rx.zxid;
	return 0;
}

void wrk_fini(struct worker *w)
{
	uint32_t place = 0;
	struct wrk_conn *c;

	while ((c = wrk_conn_next(w, &place))) {
		wrk_conn_close(w, c);
		wrk_queue_drop(w, c);
		c->need_detach = false;
	}
	wrk_conn_sweep(w);
	for (uint32_t i = 0; i < w->n_slabs; i++)
		free(w->slab[i]);
	free(w->slab);
	free(w->session_bucket);
	wrk_watches_free(w->watches);
	free(w->events);
	free(w->event_frame);
	free(w->input);
	free(w->arena);
	if (w->epoll >= 0)
		close(w->epoll);
	if (w->spare_fd >= 0)
		close(w->spare_fd);
}

/* --- generations ----------------------------------------------------------------------------- */

/* Regions that the supervisor has sent: each is mapped over its window. */
static void take_regions(struct worker *w)
{
	struct shm_region_note note;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;

	for (;;) {
		struct iovec iov = {&note, sizeof(note)};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		ssize_t n =
		    recvmsg(w->h->worker_socket[w->index], &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		struct cmsghdr *at = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
		int fd, err;

		if (n <= 0)
			return;
		if (n != sizeof(note) || !at || at->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(&fd, CMSG_DATA(at), sizeof(fd));
		CHECK(!w->tree || (note.gen & 1) != (w->gen & 1)); /* never below our feet */
		err = shm_region_map_readonly(note.gen, note.bytes, fd);
		close(fd);
		if (err) {
			LOG_E("generation %u is not mapped: %s", note.gen, strerror(-err));
			continue;
		}
		w->mapped[note.gen & 1] = note.gen;
		w->region_bytes[note.gen & 1] = note.bytes;
	}
}

/* A session's slot is its tree's: find those of our connections in the new one. */
static void find_slots(struct worker *w)
{
	uint32_t slots = shm_session_slots(w->tree);

	for (uint32_t slot = 0; slot < slots && w->count.sessions; slot++) {
		const struct shm_session *s = shm_session_at(w->tree, slot, w->rx.zxid);
		struct wrk_conn *c = s ? wrk_conn_of_session(w, shm_session_id(s)) : NULL;

		if (c)
			c->slot = slot;
	}
}

void wrk_switch(struct worker *w, uint32_t gen)
{
	const struct shm_tree *tree;

	if (!gen || (gen == w->gen && w->tree))
		return;
	if (w->mapped[gen & 1] != gen)
		take_regions(w);
	if (w->mapped[gen & 1] != gen)
		return;
	tree = shm_tree_of(gen);
	if (!tree || shm_tree_zxid(tree) < w->s)
		return; /* V2: only forward */
	w->tree = tree;
	w->gen = gen;
	find_slots(w);
	atomic_store_explicit(&w->seat->gen, gen, memory_order_release);
}

/* --- a turn ---------------------------------------------------------------------------------- */

static void resend_all(struct worker *w)
{
	uint32_t place = 0;
	struct wrk_conn *c;

	w->resend = false;
	while ((c = wrk_conn_next(w, &place)))
		wrk_resend(w, c);
}

static void run_list(struct worker *w, struct wrk_link *list, size_t offset)
{
	struct wrk_link todo, *link;

	wrk_list_take(&todo, list);
	while ((link = wrk_list_pop(&todo)))
		wrk_conn_run(w, (struct wrk_conn *)(void *)((char *)link - offset));
}

bool wrk_in_service(const struct worker *w)
{
	int64_t until = atomic_load_explicit(&w->board->serve_until_ms, memory_order_acquire);

	return atomic_load_explicit(&w->board->in_service, memory_order_acquire) &&
	       (!until || (int64_t)w->now_ms <= until);
}

bool wrk_serves(const struct worker *w)
{
	return w->read_only || wrk_in_service(w);
}

static void close_all(struct worker *w)
{
	uint32_t place = 0;
	struct wrk_conn *c;

	while ((c = wrk_conn_next(w, &place))) {
		if (c->state != WRK_SETUP && c->state != WRK_OPEN)
			continue; /* it has asked for nothing yet, or for a word */
		c->attached = false;
		wrk_queue_drop(w, c);
		wrk_conn_close(w, c);
	}
}

/*
 * A member of an ensemble that has not heard of a leader for too long serves nobody; and what it
 * publishes may have jumped over events (ensemble.h). Looked at before anything of the turn is
 * published: a later generation is not seen with an older reset.
 */
static void look_at_service(struct worker *w)
{
	uint32_t resets = atomic_load_explicit(&w->board->resets, memory_order_acquire);
	bool serving;

	/* Who is let in by an older reset than this says is sent away in the next turn. */
	w->read_only = atomic_load_explicit(&w->board->read_only, memory_order_acquire);
	serving = wrk_serves(w);
	if (resets != w->resets || (!serving && !w->cut_off))
		close_all(w);
	w->resets = resets;
	w->cut_off = !serving;
}

void wrk_turn_begin(struct worker *w)
{
	uint64_t head;

	w->now_us = clock_mono_us();
	w->now_ms = w->now_us / 1000;
	atomic_store_explicit(&w->seat->turn_ms, (uint32_t)w->now_ms, memory_order_relaxed);
	w->pushed = w->ring_full = false;
	w->reads = 0;
	look_at_service(w);
	head = shm_reader_online(w->seat, w->board);
	/* A first generation has no records before it; a later one is taken where its records begin
	 * (DOWN_NOP), and here if that was missed because it was not mapped yet. */
	if (!w->tree)
		wrk_switch(w, atomic_load_explicit(&w->board->gen, memory_order_acquire));
	wrk_drain(w, head);
	wrk_switch(w, atomic_load_explicit(&w->board->gen, memory_order_acquire));
	if (w->resend)
		resend_all(w);
	run_list(w, &w->run, offsetof(struct wrk_conn, run));
	if (!wrk_list_empty(&w->paused))
		run_list(w, &w->paused, offsetof(struct wrk_conn, paused));
}

#define PUT(field_)                                                                                \
	atomic_store_explicit(&w->seat->stats.field_, w->count.field_, memory_order_relaxed)

static void put_counters(struct worker *w)
{
	struct wrk_watch_totals t;

	wrk_watches_count(w->watches, &t);
	PUT(received);
	PUT(sent);
	PUT(bytes_in);
	PUT(bytes_out);
	PUT(rejected);
	PUT(closed_slow);
	PUT(errors);
	PUT(latency_min_us);
	PUT(latency_max_us);
	PUT(latency_sum_us);
	PUT(latency_count);
	PUT(connections);
	PUT(sessions);
	PUT(outstanding);
	atomic_store_explicit(&w->seat->stats.watches, (int64_t)(t.data + t.child),
			      memory_order_relaxed);
	atomic_store_explicit(&w->seat->stats.watch_paths, (int64_t)t.data_paths,
			      memory_order_relaxed);
	atomic_store_explicit(&w->seat->stats.data_watches, (int64_t)t.data, memory_order_relaxed);
	atomic_store_explicit(&w->seat->stats.watchers, (int64_t)t.data_connections,
			      memory_order_relaxed);
	atomic_store_explicit(&w->seat->interest, w->count.connections > 0, memory_order_relaxed);
}

void wrk_turn_end(struct worker *w)
{
	struct wrk_link *link;

	while ((link = wrk_list_pop(&w->flush)))
		wrk_conn_flush(w, WRK_OF(link, struct wrk_conn, flush));
	w->arena_len = 0;
	if (w->reads)
		hist_record_n(&w->seat->stats.read_us, clock_mono_us() - w->now_us, w->reads);
	wrk_conn_sweep(w);
	if (w->pushed)
		shm_ring_publish(&w->up);
	w->unpublished = 0;
	put_counters(w);
	if (w->pushed)
		shm_wake_writer(w->h);
	shm_reader_offline(w->seat);
}

/* --- the loop -------------------------------------------------------------------------------- */

static void receive(struct worker *w, struct wrk_conn *c)
{
	ssize_t n;

	if (!wrk_conn_wants_input(w, c)) {
		wrk_conn_ignore(w, c);
		return;
	}
	n = recv(c->fd, w->input, WRK_INPUT_BYTES, MSG_DONTWAIT);
	if (n > 0)
		wrk_conn_feed(w, c, w->input, (size_t)n);
	else if (!n || (errno != EAGAIN && errno != EINTR))
		wrk_conn_close(w, c);
}

static void serve(struct worker *w, const struct epoll_event *e)
{
	struct wrk_conn *c;

	if (e->data.u64 >= WRK_LISTENER) {
		wrk_accept(w, w->h->listen_fd[e->data.u64 - WRK_LISTENER]);
		return;
	}
	c = wrk_conn_at(w, (uint32_t)e->data.u64);
	if (!c || c->state == WRK_GONE)
		return;
	c->ready = false;
	if (e->events & (EPOLLERR | EPOLLHUP) && !(e->events & EPOLLIN)) {
		wrk_conn_close(w, c);
		return;
	}
	if (e->events & EPOLLOUT)
		wrk_link_add(&w->flush, &c->flush);
	if (e->events & EPOLLIN)
		receive(w, c);
}

/* In read-only service nobody expires sessions: who is silent for its timeout is closed here. */
static void close_silent(struct worker *w)
{
	uint32_t place = 0;
	struct wrk_conn *c;

	while ((c = wrk_conn_next(w, &place)))
		if (c->state == WRK_OPEN && c->read_only &&
		    (uint32_t)w->now_ms - c->heard_ms > (uint32_t)c->timeout_ms + HEARD_MS)
			wrk_conn_close(w, c);
}

static void timers(struct worker *w)
{
	if (w->now_ms < w->tick_ms)
		return;
	w->tick_ms = w->now_ms + WRK_TICK_MS;
	wrk_conn_deadlines(w);
	if (w->read_only)
		close_silent(w);
}

static int sleep_ms(const struct worker *w)
{
	if (!wrk_list_empty(&w->run) ||
	    atomic_load_explicit(&w->board->head, memory_order_acquire) != w->rx.cursor)
		return 0;
	if (!wrk_list_empty(&w->gone))
		return 10;
	if (!wrk_list_empty(&w->paused))
		return 10;
	/* The writer takes a worker that makes no turn for a stopped one (AWAY_MS in its loop). */
	return w->listening && wrk_list_empty(&w->timed) ? WRK_IDLE_MS : WRK_TICK_MS;
}

static int wait_for_work(struct worker *w, struct epoll_event *events)
{
	int n;

	shm_sleep_begin(&w->seat->sleeping);
	n = epoll_wait(w->epoll, events, WRK_READY_MAX, sleep_ms(w));
	shm_sleep_end(&w->seat->sleeping);
	return n < 0 ? 0 : n;
}

static int open_epoll(struct worker *w)
{
	struct epoll_event wake = {.events = EPOLLIN, .data.u64 = WRK_WAKE};
	struct epoll_event regions = {.events = EPOLLIN, .data.u64 = WRK_REGIONS};

	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (w->epoll < 0 ||
	    epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->h->wake_worker[w->index], &wake) ||
	    epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->h->worker_socket[w->index], &regions))
		return -errno;
	wrk_listen(w, true);
	return 0;
}

/* What came by the commit ring goes out before others are received from, so that clients go on
 * meanwhile; with what may be answered in this turn it waits for that: one send is enough. */
static void flush_early(struct worker *w)
{
	struct wrk_link todo, *link;

	wrk_list_take(&todo, &w->flush);
	while ((link = wrk_list_pop(&todo))) {
		struct wrk_conn *c = WRK_OF(link, struct wrk_conn, flush);

		if (c->ready)
			wrk_link_add(&w->flush, link);
		else
			wrk_conn_flush(w, c);
	}
}

static void mark_ready(struct worker *w, const struct epoll_event *e)
{
	struct wrk_conn *c = wrk_conn_at(w, (uint32_t)e->data.u64);

	if (c)
		c->ready = true;
}

static void turn(struct worker *w)
{
	struct epoll_event events[WRK_READY_MAX];
	int n = wait_for_work(w, events);

	for (int i = 0; i < n; i++)
		if (events[i].data.u64 == WRK_WAKE)
			shm_wake_drain(w->h->wake_worker[w->index]);
		else if (events[i].data.u64 == WRK_REGIONS)
			take_regions(w);
		else if (events[i].data.u64 < WRK_WAKE)
			mark_ready(w, &events[i]);
	wrk_turn_begin(w);
	flush_early(w);
	for (int i = 0; i < n; i++)
		if (events[i].data.u64 < WRK_WAKE || events[i].data.u64 >= WRK_LISTENER)
			serve(w, &events[i]);
	timers(w);
	wrk_turn_end(w);
	wrk_balance(w);
}

int worker_main(const struct shm_heritage *h, unsigned index)
{
	struct worker *w = malloc(sizeof(*w));
	char role[32];
	int err;

	snprintf(role, sizeof(role), "worker %u", index);
	log_set_role(role);
	if (!w || wrk_init(w, h, index))
		return 1;
	w->mapped[h->read_gen & 1] = h->read_gen;
	err = open_epoll(w);
	if (err) {
		LOG_E("event loop: %s", strerror(-err));
		return 1;
	}
	while (!atomic_load_explicit(&w->board->stopping, memory_order_acquire))
		turn(w);
	wrk_listen(w, false);
	wrk_turn_begin(w);
	wrk_turn_end(w);
	wrk_fini(w);
	free(w);
	return 0;
}
