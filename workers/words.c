/*
 * words.c - four-letter words: what is asked, and the words that every process adds to
 *
 * A word that sums up is answered at once from the seats and the board (figures.h). A word that
 * lists (cons, stat, wchc, wchp, dump) or resets (crst, srst) goes to the writer as UP_REPORT; it
 * has all workers send their share, and the shares come back as text, piece by piece, to the
 * connection that asked. Formats: client.md 15.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#include "base/clock.h"
#include "jute/acl.h"
#include "shm/msg.h"
#include "workers/conn.h"
#include "workers/figures.h"
#include "workers/worker.h"

enum { PIECE_MAX = 32 << 10, TRACE_MASK = 306 };

/* Report kinds, as they go over the rings. */
enum report { NO_REPORT, CONS, STAT_CLIENTS, WCHC, WCHP, DUMP, CRST, SRST };

struct word {
	char name[5];
	bool needs_service; /* else it says that nobody is served */
	enum report report;
	void (*put)(struct worker *w, struct wrk_text *t); /* the answer, or what begins it */
};

static void put_ruok(struct worker *w, struct wrk_text *t)
{
	(void)w;
	wrk_text_put(t, "imok");
}

static void put_isro(struct worker *w, struct wrk_text *t)
{
	wrk_text_put(t, "%s", w->read_only ? "ro" : wrk_in_service(w) ? "rw" : "null");
}

static void put_gtmk(struct worker *w, struct wrk_text *t)
{
	(void)w;
	wrk_text_put(t, "%d", TRACE_MASK);
}

static const struct word words[] = {
    {"ruok", false, NO_REPORT, put_ruok},
    {"isro", false, NO_REPORT, put_isro},
    {"gtmk", false, NO_REPORT, put_gtmk},
    {"envi", false, NO_REPORT, wrk_put_envi},
    {"stmk", false, NO_REPORT, NULL},
    {"conf", true, NO_REPORT, wrk_put_conf},
    {"dirs", true, NO_REPORT, wrk_put_dirs},
    {"hash", true, NO_REPORT, wrk_put_hash},
    {"mntr", true, NO_REPORT, wrk_put_mntr},
    {"srvr", true, NO_REPORT, wrk_put_srvr},
    {"wchs", true, NO_REPORT, wrk_put_wchs},
    {"stat", true, STAT_CLIENTS, wrk_put_version},
    {"cons", true, CONS, NULL},
    {"wchc", true, WCHC, NULL},
    {"wchp", true, WCHP, NULL},
    {"dump", true, DUMP, NULL},
    {"crst", true, CRST, NULL},
    {"srst", true, SRST, NULL},
};

static const struct word *find_word(const uint8_t *bytes)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (!memcmp(words[i].name, bytes, 4))
			return &words[i];
	return NULL;
}

/* The whitelist is a comma list, `*` is all; srvr always is in it, isro with read-only mode. */
static bool allowed(const struct conf *conf, const char *name)
{
	const char *at = conf->four_letter_words ? conf->four_letter_words : "";

	if (!strcmp(name, "srvr") || (conf->read_only_mode && !strcmp(name, "isro")))
		return true;
	while (*at) {
		size_t blanks = strspn(at, ", \t"), len;

		at += blanks;
		len = strcspn(at, ", \t");
		if ((len == 1 && *at == '*') || (len == 4 && !memcmp(at, name, 4)))
			return true;
		at += len;
	}
	return false;
}

/* --- asking ---------------------------------------------------------------------------------- */

static void finish(struct worker *w, struct wrk_conn *c, struct wrk_text *t)
{
	if (t->len)
		wrk_out_bytes(w, c, t->at, t->len);
	wrk_text_fini(t);
	wrk_conn_last(w, c);
}

static void ask(struct worker *w, struct wrk_conn *c, const struct word *word)
{
	struct msg_up m = {.kind = UP_REPORT,
			   .epoch = w->epoch,
			   .conn = wrk_conn_name(w, c),
			   .xid = (int32_t)word->report};
	struct iovec iov = {&m, sizeof(m)};
	struct wrk_text t = {0};

	c->state = WRK_WORD;
	c->word = (int32_t)word->report;
	c->word_begun = false;
	if (word->put)
		word->put(w, &t);
	if (word->report == STAT_CLIENTS)
		wrk_text_put(&t, "Clients:\n");
	if (t.len)
		wrk_out_bytes(w, c, t.at, t.len);
	wrk_text_fini(&t);
	if (shm_ring_pushv(&w->up, &iov, 1))
		wrk_conn_last(w, c);
	else
		w->pushed = true;
}

static void stmk(struct worker *w, struct wrk_conn *c, const uint8_t *mask)
{
	struct wrk_text t = {0};

	wrk_text_put(&t, "%lld", (long long)be64_get(mask));
	finish(w, c, &t);
}

bool wrk_word(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len)
{
	static const uint8_t interrupt[4] = {0xff, 0xf4, 0xff, 0xfd}; /* of a telnet client */
	const struct word *word = find_word(bytes);
	struct wrk_text t = {0};

	if (!word && !memcmp(bytes, interrupt, sizeof(interrupt))) {
		wrk_conn_close(w, c);
		return true;
	}
	if (!word)
		return false;
	w->count.received++;
	if (!allowed(w->conf, word->name)) {
		wrk_text_put(&t, "%s is not executed because it is not in the whitelist.\n",
			     word->name);
	} else if (word->needs_service && !wrk_serves(w)) {
		wrk_put_not_serving(w, &t);
		if (strcmp(word->name, "hash"))
			wrk_text_put(&t, "\n");
	} else if (word->report) {
		ask(w, c, word);
		return true;
	} else if (!word->put) {
		if (len >= 12)
			stmk(w, c, bytes + 4);
		return true;
	} else {
		word->put(w, &t);
	}
	finish(w, c, &t);
	return true;
}

static void put_date(struct wrk_text *t, int64_t wall_ms)
{
	time_t wall = (time_t)(wall_ms / 1000);
	char date[64];
	struct tm tm;

	gmtime_r(&wall, &tm);
	strftime(date, sizeof(date), "%a %b %d %H:%M:%S UTC %Y", &tm);
	wrk_text_put(t, "%s", date);
}

/* The writer's part of a dump is over: the connections, all in one set. */
static void begin_connections(struct worker *w, struct wrk_text *t)
{
	long long n = (long long)wrk_sum(w, offsetof(struct shm_worker_stats, connections));

	wrk_text_put(t, "Connections dump:\nConnections Sets (1)/(%lld):\n%lld expire at ", n, n);
	put_date(t, clock_wall_ms() + w->conf->session_max_ms);
	wrk_text_put(t, ":\n");
}

void wrk_word_text(struct worker *w, struct wrk_conn *c, const uint8_t *text, size_t len, bool last)
{
	struct wrk_text t = {0};

	if (c->state != WRK_WORD)
		return;
	if (c->word == DUMP && !c->word_begun && (last || (len > 4 && !memcmp(text, "\tip:", 4)))) {
		if (last && (len <= 4 || memcmp(text, "\tip:", 4))) {
			wrk_text_bytes(&t, text, len);
			len = 0;
		}
		c->word_begun = true;
		begin_connections(w, &t);
	}
	wrk_text_bytes(&t, text, len);
	if (last && c->word == STAT_CLIENTS) {
		wrk_text_put(&t, "\n");
		wrk_put_server(w, &t);
	} else if (last && (c->word == CONS || c->word == WCHC || c->word == WCHP)) {
		wrk_text_put(&t, "\n");
	} else if (last && c->word == CRST) {
		wrk_text_put(&t, "Connection stats reset.\n");
	} else if (last && c->word == SRST) {
		wrk_text_put(&t, "Server stats reset.\n");
	}
	if (last) {
		finish(w, c, &t);
		return;
	}
	if (t.len)
		wrk_out_bytes(w, c, t.at, t.len);
	wrk_text_fini(&t);
}

/* --- this worker's share --------------------------------------------------------------------- */

static void put_peer(struct wrk_text *t, const struct wrk_conn *c)
{
	char ip[ZK_IP_TEXT_MAX];

	wrk_text_put(t, "/%s:%u", zk_ip_text(ip, c->address, sizeof(c->address)), c->port);
}

static unsigned interest_ops(const struct wrk_conn *c)
{
	if (c->state == WRK_WORD)
		return 0;
	return (c->events & EPOLLIN ? 1u : 0) | (c->events & EPOLLOUT ? 4u : 0);
}

static void put_connection(struct wrk_text *t, const struct wrk_conn *c, bool detailed)
{
	wrk_text_put(t, " ");
	put_peer(t, c);
	wrk_text_put(t, "[%x](queued=%u,recved=%lld,sent=%lld", interest_ops(c), c->queued,
		     (long long)c->received, (long long)c->sent);
	if (detailed && c->state == WRK_OPEN) {
		wrk_text_put(t, ",sid=0x%llx,lop=%s,est=%lld,to=%d", (unsigned long long)c->session,
			     c->last_op ? zk_op_lop(c->last_op) : "NA",
			     (long long)c->established_ms, c->timeout_ms);
		if (c->last_cxid >= 0)
			wrk_text_put(t, ",lcxid=0x%llx", (unsigned long long)c->last_cxid);
		wrk_text_put(t, ",lzxid=0x%llx,lresp=%lld,llat=%u,minlat=%u,avglat=%lld,maxlat=%u",
			     (unsigned long long)c->last_zxid, (long long)c->last_response_ms,
			     c->latency_last_ms, c->latency_min_ms,
			     c->latency_count ? (long long)(c->latency_sum_ms / c->latency_count)
					      : 0,
			     c->latency_max_ms);
	}
	wrk_text_put(t, ")\n");
}

static void put_connections(struct worker *w, struct wrk_text *t, enum report kind)
{
	uint32_t place = 0;
	struct wrk_conn *c;

	while ((c = wrk_conn_next(w, &place))) {
		if (c->state == WRK_GONE)
			continue;
		if (kind != DUMP) {
			put_connection(t, c, kind == CONS);
			continue;
		}
		wrk_text_put(t, "\tip: ");
		put_peer(t, c);
		wrk_text_put(t, " sessionId: 0x%llx\n", (unsigned long long)c->session);
	}
}

struct entry {
	const char *path;
	uint32_t len;
	int64_t session;
};

static int by_session(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return x->session < y->session ? -1 : x->session > y->session;
}

static int by_path(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	uint32_t len = x->len < y->len ? x->len : y->len;
	int order = memcmp(x->path, y->path, len);

	return order ? order : x->len < y->len ? -1 : x->len > y->len;
}

/* The data table, by session or by path: a line for each group, its members indented. */
static void put_watches(struct worker *w, struct wrk_text *t, bool per_path)
{
	int (*order)(const void *, const void *) = per_path ? by_path : by_session;
	struct wrk_watch_totals totals;
	struct wrk_watch_view view;
	struct entry *list;
	uint32_t cursor = 0;
	size_t n = 0;

	wrk_watches_count(w->watches, &totals);
	list = malloc((totals.data + 1) * sizeof(*list));
	if (!list)
		return;
	while (n < totals.data && wrk_watches_next(w->watches, &cursor, &view))
		list[n++] =
		    (struct entry){view.path, view.len, wrk_conn_at(w, view.connection)->session};
	qsort(list, n, sizeof(*list), order);
	for (size_t i = 0; i < n; i++) {
		bool first = !i || order(&list[i - 1], &list[i]);
		unsigned long long session = (unsigned long long)list[i].session;

		if (per_path && first)
			wrk_text_put(t, "%.*s\n", (int)list[i].len, list[i].path);
		else if (first)
			wrk_text_put(t, "0x%llx\n", session);
		if (per_path)
			wrk_text_put(t, "\t0x%llx\n", session);
		else
			wrk_text_put(t, "\t%.*s\n", (int)list[i].len, list[i].path);
	}
	free(list);
}

static void reset_connections(struct worker *w)
{
	uint32_t place = 0;
	struct wrk_conn *c;

	while ((c = wrk_conn_next(w, &place))) {
		c->received = c->sent = 0;
		c->latency_count = c->latency_sum_ms = 0;
		c->latency_last_ms = c->latency_min_ms = c->latency_max_ms = 0;
		c->last_op = 0;
		c->last_cxid = -1;
	}
}

static void reset_server(struct worker *w)
{
	w->count.received = w->count.sent = 0;
	w->count.latency_count = w->count.latency_sum_us = 0;
	w->count.latency_min_us = w->count.latency_max_us = 0;
}

/* In pieces that end at line ends; the last one is marked, and may be empty. */
static void send_share(struct worker *w, uint64_t asker, int32_t kind, const struct wrk_text *t)
{
	size_t at = 0;

	do {
		size_t end = t->len - at > PIECE_MAX ? at + PIECE_MAX : t->len;
		struct msg_up m = {
		    .kind = UP_REPORT_TEXT, .epoch = w->epoch, .conn = asker, .xid = kind};
		struct iovec iov[2] = {{&m, sizeof(m)}, {t->at ? t->at + at : NULL, 0}};

		while (end < t->len && end > at && t->at[end - 1] != '\n')
			end--;
		if (end == at && t->len > at)
			end = t->len - at > PIECE_MAX ? at + PIECE_MAX : t->len;
		m.op = end == t->len;
		m.len = (uint32_t)(end - at);
		iov[1].iov_len = m.len;
		if (shm_ring_pushv(&w->up, iov, m.len ? 2 : 1))
			return; /* no room: the writer does not wait for it for long */
		w->pushed = true;
		at = end;
	} while (at < t->len);
}

void wrk_word_share(struct worker *w, uint64_t asker, int32_t kind)
{
	struct wrk_text t = {0};

	switch (kind) {
	case CONS:
	case STAT_CLIENTS:
	case DUMP:
		put_connections(w, &t, (enum report)kind);
		break;
	case WCHC:
	case WCHP:
		put_watches(w, &t, kind == WCHP);
		break;
	case CRST:
		reset_connections(w);
		break;
	case SRST:
		reset_server(w);
		break;
	default:
		break;
	}
	send_share(w, asker, kind, &t);
	wrk_text_fini(&t);
}
