#include "writer/report.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "writer/core.h"

enum { PIECE_MAX = 32 * 1024, DUMP_MAX = 8 << 20 };

static void put_text(struct wtr_core *c, const struct wtr_report *r, const void *text, uint32_t len,
		     bool last)
{
	struct msg_down head = {.kind = DOWN_REPORT_TEXT,
				.worker = r->worker,
				.conn = r->conn,
				.xid = r->kind,
				.err = last,
				.zxid = c->applied_zxid};

	wtr_core_down(c, &head, text, len);
}

/* Whole lines at a time, as the asker gets them in pieces. */
static void put_lines(struct wtr_core *c, const struct wtr_report *r, const struct wtr_buf *text)
{
	size_t at = 0;

	while (at < text->len) {
		size_t end = text->len;

		if (end - at > PIECE_MAX) {
			end = at + PIECE_MAX;
			while (end > at && text->bytes[end - 1] != '\n')
				end--;
			if (end == at) /* one line of a very long path */
				end = at + PIECE_MAX;
		}
		put_text(c, r, text->bytes + at, (uint32_t)(end - at), false);
		at = end;
	}
}

static void print(struct wtr_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void print(struct wtr_buf *b, const char *format, ...)
{
	char line[128];
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	wtr_buf_put(b, line, (size_t)n);
}

/* A session and when it expires, taken down once so that the order can't change meanwhile. */
struct listed {
	uint64_t at_ms, id;
	int32_t timeout_ms;
};

/* Local sessions, or global ones. */
struct listing {
	const struct wtr_sessions *sessions;
	bool local;
	struct listed *of;
	size_t n;
};

static void list_session(void *arg, struct wtr_link *l)
{
	struct listing *list = arg;
	const struct wtr_session *s = WTR_OBJECT(l, struct wtr_session, link);

	if (s->local == list->local)
		list->of[list->n++] = (struct listed){wtr_session_expires_ms(list->sessions, s),
						      l->key, s->timeout_ms};
}

static int by_expiry(const void *a, const void *b)
{
	const struct listed *x = a, *y = b;

	if (x->at_ms != y->at_ms)
		return x->at_ms < y->at_ms ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int by_id(const void *a, const void *b)
{
	int64_t x = (int64_t)((const struct listed *)a)->id,
		y = (int64_t)((const struct listed *)b)->id;

	return x < y ? -1 : x > y;
}

/* "n expire at Sat Nov 21 23:27:32 UTC 2026:" and the sessions of that bucket. */
static void put_bucket(const struct wtr_core *c, const struct listed *of, size_t n,
		       struct wtr_buf *b)
{
	time_t wall = (time_t)((c->wall_ms + (int64_t)(of->at_ms - c->now_ms)) / 1000);
	char date[64];
	struct tm tm;

	gmtime_r(&wall, &tm);
	strftime(date, sizeof(date), "%a %b %d %H:%M:%S UTC %Y", &tm);
	print(b, "%zu expire at %s:\n", n, date);
	for (size_t i = 0; i < n; i++)
		print(b, "\t0x%" PRIx64 "\n", of[i].id);
}

static struct listing list_sessions(const struct wtr_core *c, bool local,
				    int (*order)(const void *, const void *))
{
	struct listing list = {.sessions = &c->sessions, .local = local};

	list.of = calloc(c->sessions.table.count + 1, sizeof(*list.of));
	CHECK(list.of != NULL);
	wtr_table_each(&c->sessions.table, list_session, &list);
	qsort(list.of, list.n, sizeof(*list.of), order);
	return list;
}

/* Those that expire here, by when they do (ExpiryQueue.dump). */
static void put_expiring(const struct wtr_core *c, const char *what, bool local, struct wtr_buf *b)
{
	struct listing list = list_sessions(c, local, by_expiry);
	size_t buckets = 0, from = 0;
	struct wtr_buf body = {0};

	for (size_t i = 1; i <= list.n; i++) {
		if (i < list.n && list.of[i].at_ms == list.of[from].at_ms)
			continue;
		if (body.len < DUMP_MAX)
			put_bucket(c, list.of + from, i - from, &body);
		buckets++;
		from = i;
	}
	print(b, "%sSession Sets (%zu)/(%zu):\n", what, buckets, list.n);
	wtr_buf_put(b, body.bytes, body.len);
	wtr_buf_fini(&body);
	free(list.of);
}

/* Those that the leader has (LearnerSessionTracker.dumpSessions). */
static void put_global(const struct wtr_core *c, struct wtr_buf *b)
{
	struct listing list = list_sessions(c, false, by_id);

	print(b, "Global Sessions(%zu):\n", list.n);
	for (size_t i = 0; i < list.n && b->len < DUMP_MAX; i++)
		print(b, "0x%" PRIx64 "\t%dms\n", list.of[i].id, list.of[i].timeout_ms);
	free(list.of);
}

static void put_sessions(const struct wtr_core *c, struct wtr_buf *b)
{
	bool locals = wtr_core_has_locals(c);

	print(b, "SessionTracker dump:\n");
	if (locals)
		put_expiring(c, "Local ", true, b);
	if (c->service == WTR_LEARNS)
		put_global(c, b);
	else
		put_expiring(c, locals ? "Global " : "", false, b);
}

static void put_ephemerals(struct wtr_core *c, struct wtr_buf *b)
{
	uint32_t slots = shm_session_slots(c->tree), owners = 0;
	struct wtr_buf body = {0};

	for (uint32_t i = 0; i < slots; i++) {
		const struct shm_session *s = shm_session_at(c->tree, i, SHM_LATEST);
		const struct shm_node *n;
		struct shm_iter it;
		bool any = false;

		if (!s)
			continue;
		shm_ephemerals_begin(&it, s, SHM_LATEST);
		while (body.len < DUMP_MAX && (n = shm_ephemerals_next(&it))) {
			uint32_t len;
			const char *path = shm_node_path(n, &len);

			if (!any)
				print(&body, "0x%" PRIx64 ":\n", (uint64_t)shm_session_id(s));
			any = true;
			wtr_buf_put(&body, "\t", 1);
			wtr_buf_put(&body, path, len);
			wtr_buf_put(&body, "\n", 1);
		}
		owners += any;
	}
	print(b, "ephemeral nodes dump:\nSessions with Ephemerals (%u):\n", owners);
	wtr_buf_put(b, body.bytes, body.len);
	wtr_buf_fini(&body);
}

void wtr_report_ask(struct wtr_core *c, uint16_t worker, const struct msg_up *up)
{
	struct wtr_report asked = {up->conn, c->reports.alive, c->now_ms + WTR_REPORT_MS,
				   up->xid,  worker,           1};
	struct msg_down head = {.kind = DOWN_REPORT,
				.worker = worker,
				.conn = up->conn,
				.xid = up->xid,
				.zxid = c->applied_zxid};
	struct wtr_report *r = c->reports.of;

	while (r < c->reports.of + WTR_REPORTS && r->used)
		r++;
	if (r == c->reports.of + WTR_REPORTS) {
		put_text(c, &asked, NULL, 0, true);
		return;
	}
	*r = asked;
	if (up->xid == WTR_REPORT_DUMP) {
		struct wtr_buf text = {0};

		put_sessions(c, &text);
		put_ephemerals(c, &text);
		put_lines(c, r, &text);
		wtr_buf_fini(&text);
	}
	wtr_core_down(c, &head, NULL, 0);
}

/* `worker` has said all that it will say. */
static void finished(struct wtr_core *c, struct wtr_report *r, uint16_t worker)
{
	r->waiting &= ~(1ull << worker);
	if (r->waiting)
		return;
	put_text(c, r, NULL, 0, true);
	r->used = 0;
}

void wtr_report_text(struct wtr_core *c, uint16_t worker, const struct msg_up *up,
		     const uint8_t *text)
{
	for (struct wtr_report *r = c->reports.of; r < c->reports.of + WTR_REPORTS; r++) {
		if (!r->used || r->conn != up->conn || r->kind != up->xid ||
		    !(r->waiting >> worker & 1))
			continue;
		if (up->len)
			put_text(c, r, text, up->len, false);
		if (up->op == 1)
			finished(c, r, worker);
		return;
	}
}

void wtr_report_worker_died(struct wtr_core *c, uint16_t worker)
{
	for (struct wtr_report *r = c->reports.of; r < c->reports.of + WTR_REPORTS; r++) {
		if (!r->used)
			continue;
		if (r->worker == worker)
			r->used = 0;
		else if (r->waiting >> worker & 1)
			finished(c, r, worker);
	}
}

void wtr_report_tick(struct wtr_core *c)
{
	for (struct wtr_report *r = c->reports.of; r < c->reports.of + WTR_REPORTS; r++) {
		if (!r->used || c->now_ms < r->until_ms)
			continue;
		put_text(c, r, NULL, 0, true);
		r->used = 0;
	}
}
