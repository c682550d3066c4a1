#include "writer/sessions.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "base/bug.h"
#include "base/check.h"
#include "shm/board.h"
#include "shm/msg.h"

/* A seat's stamp may be this much ahead of the time of our turn. */
enum { AHEAD_MS = 1000 };

/* Slots of sessions that are gone stay taken for a grace period: some are left for them. */
enum { SESSIONS_MAX = SHM_SESSIONS_MAX - SHM_SESSIONS_MAX / 8 };

int wtr_sessions_init(struct wtr_sessions *t, uint32_t tick_ms, uint8_t server_id, uint64_t now_ms,
		      int64_t wall_ms)
{
	*t = (struct wtr_sessions){.tick_ms = tick_ms, .server_id = server_id};
	t->now_ms = t->grace_ms = now_ms;
	t->tick_done = now_ms / tick_ms;
	/* Apache takes a clock that starts again with the machine; wall time doesn't (12.1). */
	t->next_id =
	    (int64_t)((uint64_t)server_id << 56 | ((uint64_t)wall_ms & 0xffffffffff) << 16);
	return wtr_table_init(&t->table);
}

void wtr_sessions_empty(struct wtr_sessions *t)
{
	struct wtr_link *l;

	while ((l = wtr_table_any(&t->table)))
		wtr_session_forget(t, WTR_OBJECT(l, struct wtr_session, link));
	t->n_locals = t->local_free_count = 0;
}

void wtr_sessions_fini(struct wtr_sessions *t)
{
	if (!t->table.chain)
		return;
	wtr_sessions_empty(t);
	wtr_table_fini(&t->table);
	free(t->local_free);
}

int64_t wtr_session_new_id(struct wtr_sessions *t)
{
	while (t->next_id == 0 || t->next_id == INT64_MIN || wtr_session_find(t, t->next_id))
		t->next_id = (int64_t)((uint64_t)t->next_id + 1);
	t->next_id = (int64_t)((uint64_t)t->next_id + 1);
	return (int64_t)((uint64_t)t->next_id - 1);
}

static uint64_t heard_ms(const struct wtr_sessions *t, const struct wtr_session *s)
{
	uint32_t stamp, ago;

	if (s->slot < 0 || !t->heard[s->worker])
		return 0;
	/* relaxed: a stamp orders nothing, and an old one is only less good news. */
	stamp = atomic_load_explicit(&t->heard[s->worker][s->slot], memory_order_relaxed);
	ago = (uint32_t)t->now_ms - stamp;
	if ((uint32_t)-ago <= AHEAD_MS)
		return t->now_ms;
	return ago > t->now_ms ? 0 : t->now_ms - ago;
}

static uint64_t last_heard_ms(const struct wtr_sessions *t, const struct wtr_session *s)
{
	uint64_t last = s->touch_ms > t->grace_ms ? s->touch_ms : t->grace_ms, heard;

	if (s->worker == MSG_NO_WORKER)
		return last;
	if (t->worker_away[s->worker])
		return t->now_ms;
	if (t->worker_grace_ms[s->worker] > last)
		last = t->worker_grace_ms[s->worker];
	heard = heard_ms(t, s);
	return heard > last ? heard : last;
}

static uint64_t expiry_tick(const struct wtr_sessions *t, const struct wtr_session *s)
{
	uint64_t slack = s->worker == MSG_NO_WORKER ? 0 : WTR_HEARD_SLACK_MS;

	return (last_heard_ms(t, s) + slack + (uint64_t)s->timeout_ms) / t->tick_ms + 1;
}

uint64_t wtr_session_expires_ms(const struct wtr_sessions *t, const struct wtr_session *s)
{
	return expiry_tick(t, s) * t->tick_ms;
}

static void wheel_remove(struct wtr_session *s)
{
	if (!s->wheel_at)
		return;
	*s->wheel_at = s->wheel_next;
	if (s->wheel_next)
		s->wheel_next->wheel_at = s->wheel_at;
	s->wheel_at = NULL;
}

/* Into the bucket in which it is looked at next: at its expiry, or half a wheel from now. */
static void wheel_insert(struct wtr_sessions *t, struct wtr_session *s)
{
	uint64_t tick = expiry_tick(t, s), furthest = t->now_ms / t->tick_ms + WTR_WHEEL / 2 - 1;
	struct wtr_session **head;

	wheel_remove(s);
	if (t->learns && !wtr_session_is_local(s))
		return;
	if (tick > furthest)
		tick = furthest;
	if (tick <= t->tick_done)
		tick = t->tick_done + 1;
	head = &t->wheel[tick % WTR_WHEEL];
	s->wheel_next = *head;
	if (*head)
		(*head)->wheel_at = &s->wheel_next;
	s->wheel_at = head;
	*head = s;
}

static void insert_again(void *arg, struct wtr_link *l)
{
	struct wtr_session *s = WTR_OBJECT(l, struct wtr_session, link);

	if (!s->closing)
		wheel_insert(arg, s);
}

void wtr_sessions_tick(struct wtr_sessions *t, uint64_t now_ms, bool ran)
{
	CHECK(now_ms >= t->now_ms);
	t->now_ms = now_ms;
	if (!ran)
		t->grace_ms = now_ms;
	if (now_ms / t->tick_ms > t->tick_done + WTR_WHEEL / 2) {
		/* So far behind that buckets would meet: lay the wheel anew. */
		t->tick_done = now_ms / t->tick_ms - 1;
		wtr_table_each(&t->table, insert_again, t);
	}
}

void wtr_sessions_worker(struct wtr_sessions *t, unsigned worker, bool away)
{
	CHECK(worker < CONF_WORKERS_MAX);
	if (t->worker_away[worker] && !away)
		t->worker_grace_ms[worker] = t->now_ms;
	t->worker_away[worker] = away;
}

struct wtr_session *wtr_session_find(const struct wtr_sessions *t, int64_t id)
{
	struct wtr_link *l = wtr_table_find(&t->table, (uint64_t)id);

	return l ? WTR_OBJECT(l, struct wtr_session, link) : NULL;
}

struct wtr_session *wtr_session_add(struct wtr_sessions *t, int64_t id, int32_t timeout_ms)
{
	struct wtr_session *s;

	if (t->table.count >= SESSIONS_MAX)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->link.key = (uint64_t)id;
	s->timeout_ms = timeout_ms > 0 ? timeout_ms : 0;
	s->slot = WTR_NO_SLOT;
	s->worker = MSG_NO_WORKER;
	s->peer = WTR_NO_PEER;
	s->touch_ms = t->now_ms;
	wtr_table_add(&t->table, &s->link);
	wheel_insert(t, s);
	/* Ids of sessions that are known, by recovery too, are never given out again. */
	if ((uint8_t)((uint64_t)id >> 56) == t->server_id && id >= t->next_id)
		t->next_id = (int64_t)((uint64_t)id + 1);
	return s;
}

void wtr_session_forget(struct wtr_sessions *t, struct wtr_session *s)
{
	wheel_remove(s);
	wtr_table_remove(&t->table, &s->link);
	free(s);
}

/* --- local sessions ---------------------------------------------------------------------- */

static struct shm_local *local_of(const struct wtr_sessions *t, const struct wtr_session *s)
{
	CHECK(s->slot >= SHM_SESSIONS_MAX);
	CHECK(s->slot < SHM_SLOTS);
	return &t->locals->of[s->slot - SHM_SESSIONS_MAX];
}

/* Room in the list of free entries for all that there can be; so giving back never fails. */
static bool reserve_free(struct wtr_sessions *t, uint32_t n)
{
	uint32_t cap = t->local_free_cap ? t->local_free_cap : 64, *wider;

	if (n <= t->local_free_cap)
		return true;
	while (cap < n)
		cap *= 2;
	wider = realloc(t->local_free, cap * sizeof(*wider));
	if (!wider)
		return false;
	t->local_free = wider;
	t->local_free_cap = cap;
	return true;
}

static void become_local(struct wtr_sessions *t, struct wtr_session *s, uint32_t entry)
{
	s->local = true;
	s->slot = (int32_t)(SHM_SESSIONS_MAX + entry);
	t->n_locals++;
	wheel_insert(t, s);
}

bool wtr_session_make_local(struct wtr_sessions *t, struct wtr_session *s)
{
	uint32_t end = atomic_load_explicit(&t->locals->end, memory_order_relaxed), entry;

	if (t->local_free_count) {
		entry = t->local_free[--t->local_free_count];
	} else {
		if (end == SHM_LOCALS_MAX || !reserve_free(t, end + 1))
			return false;
		entry = end;
		atomic_store(&t->locals->end, end + 1);
	}
	atomic_store(&t->locals->of[entry].timeout_ms, s->timeout_ms);
	atomic_store(&t->locals->of[entry].id, (int64_t)s->link.key);
	become_local(t, s, entry);
	return true;
}

int wtr_sessions_take_locals(struct wtr_sessions *t)
{
	uint32_t end = t->locals ? atomic_load(&t->locals->end) : 0;

	CHECK(end <= SHM_LOCALS_MAX);
	if (!reserve_free(t, end))
		return -ENOMEM;
	for (uint32_t i = 0; i < end; i++) {
		struct shm_local *l = &t->locals->of[i];
		int64_t id = atomic_load(&l->id);
		struct wtr_session *s = NULL;

		if (id && !wtr_session_find(t, id)) {
			s = wtr_session_add(t, id, atomic_load(&l->timeout_ms));
			if (!s)
				return -ENOMEM;
			become_local(t, s, i);
		} else {
			atomic_store(&l->id, 0);
			t->local_free[t->local_free_count++] = i;
		}
	}
	return 0;
}

void wtr_session_end_local(struct wtr_sessions *t, struct wtr_session *s)
{
	struct shm_local *l = local_of(t, s);

	CHECK(s->local);
	atomic_store(&l->id, 0);
	t->local_free[t->local_free_count++] = (uint32_t)(l - t->locals->of);
	t->n_locals--;
	s->local = s->upgrading = false;
	s->slot = WTR_NO_SLOT;
	wheel_insert(t, s);
}

void wtr_session_upgrading(struct wtr_sessions *t, struct wtr_session *s, bool upgrading)
{
	s->upgrading = upgrading;
	wheel_insert(t, s);
}

/* --- life signs, owners ------------------------------------------------------------------ */

void wtr_session_touch(struct wtr_sessions *t, struct wtr_session *s)
{
	s->touch_ms = t->now_ms;
}

void wtr_session_set_timeout(struct wtr_sessions *t, struct wtr_session *s, int32_t timeout_ms)
{
	if (s->timeout_ms == timeout_ms || timeout_ms < 0)
		return;
	s->timeout_ms = timeout_ms;
	if (s->local)
		atomic_store_explicit(&local_of(t, s)->timeout_ms, timeout_ms,
				      memory_order_relaxed);
	/* A shorter timeout must be looked at earlier. */
	if (!s->closing)
		wheel_insert(t, s);
}

void wtr_session_bind(struct wtr_sessions *t, struct wtr_session *s, uint16_t worker, uint64_t conn,
		      int32_t timeout_ms)
{
	CHECK(worker < CONF_WORKERS_MAX);
	s->worker = worker;
	s->peer = WTR_NO_PEER;
	s->peer_sid = -1;
	s->sole = false;
	s->conn = conn;
	s->touch_ms = t->now_ms;
	wtr_session_set_timeout(t, s, timeout_ms > 0 ? timeout_ms : 0);
}

void wtr_session_unbind(struct wtr_sessions *t, struct wtr_session *s)
{
	s->touch_ms = last_heard_ms(t, s);
	s->worker = MSG_NO_WORKER;
	s->peer = WRONG(OWNER_FORGOTTEN) ? WTR_NO_PEER : WTR_PEER_LOST;
	s->conn = 0;
}

bool wtr_session_heard_since(const struct wtr_sessions *t, const struct wtr_session *s,
			     uint64_t since_ms)
{
	return last_heard_ms(t, s) >= since_ms;
}

struct wtr_session *wtr_sessions_expired(struct wtr_sessions *t)
{
	uint64_t now_tick = t->now_ms / t->tick_ms;

	while (t->tick_done < now_tick) {
		struct wtr_session *s = t->wheel[(t->tick_done + 1) % WTR_WHEEL];

		if (!s) {
			t->tick_done++;
			continue;
		}
		wheel_remove(s);
		if (expiry_tick(t, s) <= now_tick)
			return s;
		wheel_insert(t, s);
	}
	return NULL;
}

uint64_t wtr_sessions_deadline_ms(const struct wtr_sessions *t)
{
	return (t->tick_done + 1) * t->tick_ms;
}
