/*
 * stand.c - stand-ins of what the writer has around it: clocks, its log of lines, the system calls
 * that --wrap diverts, the log thread and the helper thread, which work at events of their own
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "storage/recover.h"
#include "tests/simwhole/whole.h"
#include "writer/flight.h"

/* --- clocks, lines ------------------------------------------------------------------------- */

uint64_t clock_mono_us(void)
{
	return 1000000000 + w.now_us + (w_now ? w_now->skew_ms * 1000 : 0);
}

uint64_t clock_mono_ms(void)
{
	return clock_mono_us() / 1000;
}

uint64_t clock_mono_ns(void)
{
	return clock_mono_us() * 1000;
}

int64_t clock_wall_ms(void)
{
	return 1700000000000 + (int64_t)(w.now_us / 1000) + (w_now ? w_now->wall_skew_ms : 0);
}

enum log_level log_level_max = LOG_INFO;

static void say(const char *format, va_list args)
{
	char line[LOG_LINE_MAX];

	if (!w.trace)
		return;
	vsnprintf(line, sizeof(line), format, args);
	w_trace("%d    %s", w_now ? w_now->id + 1 : 0, line);
}

void log_set_role(const char *role)
{
	(void)role;
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;

	(void)level;
	va_start(args, format);
	say(format, args);
	va_end(args);
}

void log_always(enum log_level level, const char *format, ...)
{
	va_list args;

	(void)level;
	va_start(args, format);
	say(format, args);
	va_end(args);
}

/* --- system calls -------------------------------------------------------------------------- */

int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max, int ms);
ssize_t __wrap_getrandom(void *buf, size_t n, unsigned flags);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);
int __wrap_setpriority(int which, unsigned who, int priority);
int __wrap_usleep(unsigned us);
_Noreturn void __wrap__exit(int status);
int __wrap_shm_tree_new(struct shm_tree **t, uint32_t gen, uint64_t heap_max);
int __wrap_sto_dir_make(const char *dir, char *out, unsigned cap);
int __wrap_wtr_apply(struct wtr_apply *a, const uint8_t *entry, uint32_t len);
int __real_wtr_apply(struct wtr_apply *a, const uint8_t *entry, uint32_t len);
void __wrap_wtr_ensemble_drop(struct wtr_ensemble *e, int32_t peer, const char *why);
void __real_wtr_ensemble_drop(struct wtr_ensemble *e, int32_t peer, const char *why);
int __wrap_shm_tree_loaded(struct shm_tree *t, int64_t zxid);
int __real_shm_tree_loaded(struct shm_tree *t, int64_t zxid);

int __wrap_epoll_create1(int flags)
{
	(void)flags;
	return 1 << 20; /* no descriptor */
}

int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	(void)epoll, (void)op, (void)fd, (void)event;
	return 0;
}

int __wrap_epoll_wait(int epoll, struct epoll_event *events, int max, int ms)
{
	(void)epoll, (void)events, (void)max, (void)ms;
	return 0;
}

ssize_t __wrap_getrandom(void *buf, size_t n, unsigned flags)
{
	uint8_t *to = buf;

	(void)flags;
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)w_random();
	return (ssize_t)n;
}

int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	(void)t, (void)attr, (void)run, (void)arg;
	return EAGAIN; /* all can do without: what happens is in order */
}

int __wrap_setpriority(int which, unsigned who, int priority)
{
	(void)which, (void)who, (void)priority;
	return 0;
}

int __wrap_usleep(unsigned us)
{
	(void)us;
	w_fail("member %d: the commit ring has no room for its generation", w_now->id + 1);
}

_Noreturn void __wrap__exit(int status)
{
	w_node_die(status);
}

int __wrap_shm_tree_new(struct shm_tree **t, uint32_t gen, uint64_t heap_max)
{
	(void)gen;
	return shm_tree_new_private(t, heap_max);
}

int __wrap_sto_dir_make(const char *dir, char *out, unsigned cap)
{
	snprintf(out, cap, "%s", dir);
	return 0;
}

void __wrap_wtr_ensemble_drop(struct wtr_ensemble *e, int32_t peer, const char *why)
{
	if (strcmp(why, "more requests than can wait") == 0)
		w_fired(W_INBOX_FULL);
	__real_wtr_ensemble_drop(e, peer, why);
}

int __wrap_wtr_apply(struct wtr_apply *a, const uint8_t *entry, uint32_t len)
{
	int err = __real_wtr_apply(a, entry, len);

	if (err)
		w_fail("member %d can't apply zxid %llx: %s", w_now->id + 1,
		       (unsigned long long)a->header.zxid, strerror(-err));
	w_check_applied(w_now, entry, len, a);
	return 0;
}

int __wrap_shm_tree_loaded(struct shm_tree *t, int64_t zxid)
{
	int err = __real_shm_tree_loaded(t, zxid);

	if (!err)
		w_check_recovered(w_now, t, zxid);
	return err;
}

/* --- the log thread ------------------------------------------------------------------------ */

enum { EXIT_LOG = 10, RETRY_US = 100000, HELPER_US = 200000, SEAL_PERCENT = 5 };

int wtr_log_start(struct wtr_log *l, struct sto_log *log, const struct shm_heritage *heritage,
		  int64_t last_zxid)
{
	memset(l, 0, sizeof(*l));
	l->log = log;
	l->heritage = heritage;
	atomic_store(&l->durable_zxid, last_zxid);
	w_now->log = l;
	return 0;
}

/* 0; -ENOSPC. */
static int append(struct wtr_log *l, const struct wtr_batch *b)
{
	int err;

	if (atomic_exchange(&l->roll, false))
		sto_log_roll(l->log);
	err = sto_log_append(l->log, b->bytes, b->len, b->first_zxid, b->last_zxid);
	if (err == -ENOSPC)
		return err;
	if (err)
		w_node_die(EXIT_LOG);
	atomic_store(&l->full, false);
	atomic_store(&l->durable_zxid, b->last_zxid);
	return 0;
}

static uint64_t sync_us(const struct w_node *n)
{
	return n->slow_disk_until_us > w.now_us ? w_between(20000, 300000)
						: w_between(1, w.sync_us);
}

bool wtr_log_commit(struct wtr_log *l, const struct wtr_batch *b)
{
	CHECK(!wtr_log_busy(l));
	return w_chance(30) && !append(l, b);
}

void wtr_log_give(struct wtr_log *l, struct wtr_batch *b)
{
	CHECK(!wtr_log_busy(l));
	atomic_store(&l->job, b);
	w_at(sync_us(w_now), EV_LOG, w_now->id, w_now->life, 0);
}

void w_log_event(struct w_node *n)
{
	struct wtr_log *l = n->log;
	struct wtr_batch *b = l ? atomic_load(&l->job) : NULL;

	if (!b)
		return;
	if (append(l, b)) {
		atomic_store(&l->full, true);
		w_at(RETRY_US, EV_LOG, n->id, n->life, 0);
		return;
	}
	atomic_store(&l->job, NULL);
	w_node_wake(n);
}

void wtr_log_roll(struct wtr_log *l)
{
	atomic_store(&l->roll, true);
}

void wtr_log_stop(struct wtr_log *l)
{
	struct wtr_batch *b = atomic_load(&l->job);

	if (b)
		append(l, b); /* a full disk: never acknowledged, so it never was */
	atomic_store(&l->job, NULL);
	w_now->log = NULL;
}

/* --- the helper ---------------------------------------------------------------------------- */

static void schedule_helper(struct w_node *n, uint64_t us)
{
	if (n->helper_due)
		return;
	n->helper_due = true;
	w_at(us, EV_HELPER, n->id, n->life, 0);
}

int wtr_helper_start(struct wtr_helper *p)
{
	atomic_store(&p->stop, false);
	atomic_store(&p->no_room, sto_log_is_scant(p->log));
	w_now->helper = p;
	schedule_helper(w_now, HELPER_US / 2);
	return 0;
}

void w_helper_event(struct w_node *n)
{
	struct wtr_helper *p = n->helper;
	int err;

	n->helper_due = false;
	if (!p)
		return;
	err = sto_log_prepare(p->log);
	if (err && err != -ENOSPC)
		w_trace("%d    prepare: %s", n->id + 1, strerror(-err));
	atomic_store(&p->no_room, sto_log_is_scant(p->log));
	if (atomic_exchange(&p->purge, false) && w_chance(70) &&
	    sto_purge(&n->fs, p->snap_dir, p->log_dir, 3) > 0)
		atomic_fetch_add(&p->heritage->board->stats.purged, 1);
	if (p->log && w_chance(SEAL_PERCENT) && n->log && !wtr_log_busy(n->log)) {
		err = sto_log_seal(p->log);
		if (err && err != -ENOSPC)
			w_node_die(EXIT_LOG);
	}
	schedule_helper(n, HELPER_US);
	w_node_wake(n);
}

void wtr_helper_purge(struct wtr_helper *p)
{
	atomic_store(&p->purge, true);
}

void wtr_helper_kick(struct wtr_helper *p)
{
	(void)p;
	if (w_now->helper) {
		w_now->helper_due = false;
		schedule_helper(w_now, 1000);
	}
}

void wtr_helper_stop(struct wtr_helper *p)
{
	atomic_store(&p->stop, true);
	w_now->helper = NULL;
}
