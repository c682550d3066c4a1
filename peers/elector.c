#include "peers/elector.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "peers/elector_impl.h"

/* --- for the operator ------------------------------------------------------------------------ */

void elect_tell(struct elect_peer *p, const char *where, const char *why)
{
	if (!p->told)
		LOG_W("election: server %" PRId64 " at %s: %s", p->sid, where, why);
	p->told = true;
}

void elect_tell_unknown(struct peer_elector *e, const struct peer_address *from, const char *why)
{
	char where[PEER_ADDRESS_TEXT_MAX];

	if (e->unknown_ms && e->now_ms - e->unknown_ms < ELECT_UNKNOWN_MS) {
		e->unknown++;
		return;
	}
	LOG_W("election: a connection from %s: %s (%u more before)",
	      peer_address_print(from, where), why, e->unknown);
	e->unknown = 0;
	e->unknown_ms = e->now_ms;
}

/* Who looks for long is missed by his clients: whom we reach says why. */
static void remind(struct peer_elector *e)
{
	char line[256];

	if (!elect_looks(e) || e->now_ms < e->remind_ms)
		return;
	peer_elector_show(e, line, sizeof(line));
	LOG_W("election: no leader for %" PRIu64 " s: %s", (e->now_ms - e->began_ms) / 1000, line);
	e->remind_ms = e->now_ms + ELECT_REMIND_MS;
}

static void tell_decided(const struct peer_elector *e)
{
	const struct fle_vote *v = &e->fle.vote;

	LOG_I("election: %s leader=%" PRId64 " zxid=0x%" PRIx64 " epoch=%" PRId64 " round=%" PRId64
	      " took %" PRIu64 " ms",
	      fle_state_name(e->fle.state), v->leader, (uint64_t)v->zxid, v->peer_epoch, v->round,
	      e->now_ms - e->began_ms);
}

/* --- peers ----------------------------------------------------------------------------------- */

struct elect_peer *elect_peer_find(const struct peer_elector *e, int64_t sid)
{
	for (unsigned i = 0; i < e->n_peers; i++)
		if (e->peers[i]->sid == sid)
			return e->peers[i];
	return NULL;
}

static struct elect_peer *add_peer(struct peer_elector *e, int64_t sid, bool stranger)
{
	struct elect_peer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	CHECK(e->n_peers < ELECT_PEERS_MAX);
	p->source.ready = elect_lookup_ready;
	p->e = e;
	p->sid = sid;
	p->stranger = stranger;
	p->backoff_ms = ELECT_REDIAL_MS;
	p->heard_ms = e->now_ms;
	e->n_strangers += stranger;
	e->peers[e->n_peers++] = p;
	return p;
}

/* Its memory stays until the next tick: events may name it. */
static void remove_peer(struct peer_elector *e, unsigned i)
{
	struct elect_peer *p = e->peers[i];

	elect_dial_stop(p);
	if (p->conn) {
		p->conn->peer = NULL;
		elect_conn_close(p->conn, NULL);
		p->conn = NULL;
	}
	if (p->lookup)
		peer_lookup_abandon(p->lookup);
	p->lookup = NULL;
	e->n_strangers -= p->stranger;
	e->peers[i] = e->peers[--e->n_peers];
	p->next_gone = e->gone;
	e->gone = p;
}

static void free_gone(struct peer_elector *e)
{
	struct elect_peer *p;

	while ((p = e->gone) != NULL) {
		e->gone = p->next_gone;
		free(p->given);
		free(p);
	}
}

/* The stranger that was silent for longest, if that is long enough. */
static bool forget_a_stranger(struct peer_elector *e)
{
	unsigned at = 0;

	for (unsigned i = 0; i < e->n_peers; i++)
		if (e->peers[i]->stranger &&
		    (!e->peers[at]->stranger || e->peers[i]->heard_ms < e->peers[at]->heard_ms))
			at = i;
	if (e->now_ms - e->peers[at]->heard_ms < ELECT_STRANGER_IDLE_MS)
		return false;
	remove_peer(e, at);
	return true;
}

struct elect_peer *elect_peer_get(struct peer_elector *e, int64_t sid)
{
	struct elect_peer *p = elect_peer_find(e, sid);

	if (p)
		return p;
	if (e->n_strangers == PEER_ELECTOR_STRANGERS && !forget_a_stranger(e))
		return NULL;
	return add_peer(e, sid, true);
}

static bool add_members(struct peer_elector *e, const struct quorum_config *c)
{
	for (uint16_t i = 0; c && i < c->n_members; i++) {
		int64_t sid = c->member[i].sid;

		if (sid != e->opt.fle.me && !elect_peer_find(e, sid) && !add_peer(e, sid, false))
			return false;
	}
	return true;
}

/* --- steps ----------------------------------------------------------------------------------- */

void elect_flush(struct elect_peer *p)
{
	struct peer_elector *e = p->e;
	struct jute_out out = jute_out_of(e->frame, e->frame_size);

	if (!p->waits || !p->conn) {
		elect_dial(p);
		return;
	}
	if (p->conn->out)
		return;
	p->message.config = jute_buf_of(e->text, e->text_size);
	fle_put_notification(&out, &p->message);
	CHECK(!out.failed);
	p->waits = false;
	elect_conn_send(p->conn, e->frame, jute_size(&out, e->frame));
}

static void deliver(struct peer_elector *e, const struct fle_out *out)
{
	for (uint32_t i = 0; i < out->n_to; i++) {
		struct elect_peer *p = elect_peer_find(e, out->to[i]);

		if (!p)
			continue; /* no memory for it: the election says things more than once */
		p->message = out->message;
		p->waits = true;
		p->tries = 0;
		elect_flush(p);
	}
}

static void trace(const struct peer_elector *e, const struct fle_event *event,
		  const struct fle_out *out, const struct jute_buf *received)
{
	char line[512];

	if (!e->opt.trace)
		return;
	fle_trace(&e->fle, event, out, line, sizeof(line));
	e->opt.trace(e->opt.arg, line, received);
}

/*
 * The first one is kept for the caller. Nothing else is taken of who told it, and nothing needs to
 * be: with the configuration all connections are made anew, and who connects is told our vote.
 */
static void hear_config(struct peer_elector *e, const struct quorum_config *c)
{
	if (e->heard)
		return;
	e->heard = malloc(sizeof(*e->heard));
	if (e->heard)
		*e->heard = *c;
}

static void step(struct peer_elector *e, struct fle_event event, const struct jute_buf *received)
{
	struct fle_out out;

	event.now_ms = e->now_ms;
	CHECK(fle_step(&e->fle, &event, &out) == 0);
	trace(e, &event, &out, received);
	e->deadline_ms = out.deadline_ms;
	if (out.config)
		hear_config(e, out.config);
	deliver(e, &out);
	if (!out.decided)
		return;
	e->decided = true;
	tell_decided(e);
}

void elect_opened(struct elect_conn *c, struct elect_peer *p)
{
	struct peer_elector *e = c->e;

	e->n_greetings -= c->state == ELECT_GREETING;
	c->accepted = c->state == ELECT_GREETING;
	c->state = ELECT_OPEN;
	c->deadline_ms = UINT64_MAX;
	c->peer = p;
	elect_conn_watch(c, EPOLLIN);
	elect_conn_set_options(c->fd, e->opt.hello_ms);
	elect_dial_stop(p);
	if (p->conn) {
		p->conn->peer = NULL; /* it did not break: nothing comes of it */
		elect_conn_close(p->conn, NULL);
	}
	p->conn = c;
	p->wants = false;
	p->asked_ms = 0;
	step(e, (struct fle_event){.type = FLE_CONNECTED, .connected = {p->sid}}, NULL);
	if (p->waits)
		elect_flush(p);
}

void elect_heard(struct elect_conn *c, struct jute_buf body)
{
	struct elect_peer *p = c->peer;
	struct fle_notification n;
	struct fle_event event = {.type = FLE_RECEIVE, .receive = {p->sid, &n}};

	if (fle_notification_decode(body, &n))
		return; /* Apache's servers skip it, too */
	p->heard_ms = c->e->now_ms;
	p->backoff_ms = ELECT_REDIAL_MS;
	if (p->told)
		LOG_I("election: server %" PRId64 " is heard again", p->sid);
	p->told = false;
	step(c->e, event, &body);
}

/* --- the whole ------------------------------------------------------------------------------- */

/* What we say first. Who listens nowhere gives a wildcard, which means nothing to dial. */
static int put_hello(struct peer_elector *e)
{
	static const char nowhere[] = "server.0=0.0.0.0:1:2";
	const struct quorum_member *me = quorum_config_find(e->committed, e->opt.fle.me);
	const struct quorum_config *c = e->committed;
	struct jute_out out = jute_out_of(e->hello, sizeof(e->hello));
	struct quorum_config *own;

	if (!me && e->last_seen) {
		c = e->last_seen;
		me = quorum_config_find(c, e->opt.fle.me);
	}
	elect_listen(e, c, me);
	if (me) {
		fle_put_hello(&out, c, me, e->opt.several);
		e->hello_size = jute_size(&out, e->hello);
		return 0;
	}
	own = malloc(sizeof(*own));
	if (!own)
		return -ENOMEM;
	CHECK(quorum_config_parse(own, nowhere, sizeof(nowhere) - 1, NULL) == 0);
	own->member[0].sid = e->opt.fle.me;
	fle_put_hello(&out, own, own->member, false);
	e->hello_size = jute_size(&out, e->hello);
	free(own);
	return 0;
}

/* Everything that hangs on the configuration, anew. 0 or -ENOMEM. */
static int configure(struct peer_elector *e, const struct quorum_config *committed,
		     const struct quorum_config *last_seen)
{
	e->committed = committed;
	e->last_seen = last_seen;
	while (e->n_peers)
		remove_peer(e, e->n_peers - 1);
	for (struct elect_conn *c = e->conns; c; c = c->next)
		elect_conn_close(c, NULL);
	e->text_size = quorum_config_print(committed, e->text, QUORUM_CONFIG_TEXT_MAX);
	free(e->heard);
	e->heard = NULL;
	if (!add_members(e, committed) || !add_members(e, last_seen))
		return -ENOMEM;
	return put_hello(e);
}

struct peer_elector *peer_elector_new(const struct peer_elector_options *options,
				      const struct quorum_config *committed,
				      const struct quorum_config *last_seen, uint64_t now_ms)
{
	struct peer_elector *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	CHECK(options->hello_ms > 0);
	CHECK(options->connect_ms > 0);
	e->opt = *options;
	e->now_ms = now_ms;
	e->deadline_ms = UINT64_MAX;
	e->listen.again_ms = e->listen.accept_ms = UINT64_MAX;
	e->frame_size = 4 + FLE_NOTIFICATION_HEAD + QUORUM_CONFIG_TEXT_MAX;
	e->frame = malloc(e->frame_size);
	e->text = malloc(QUORUM_CONFIG_TEXT_MAX);
	fle_init(&e->fle, &e->opt.fle, committed, last_seen);
	if (e->frame && e->text && configure(e, committed, last_seen) == 0)
		return e;
	peer_elector_free(e);
	errno = ENOMEM;
	return NULL;
}

void peer_elector_free(struct peer_elector *e)
{
	while (e->n_peers)
		remove_peer(e, e->n_peers - 1);
	for (struct elect_conn *c = e->conns; c; c = c->next)
		elect_conn_close(c, NULL);
	elect_listen_stop(e);
	elect_conns_free_dead(e);
	free_gone(e);
	free(e->heard);
	free(e->frame);
	free(e->text);
	free(e);
}

void peer_elector_look(struct peer_elector *e, uint64_t now_ms, int64_t last_zxid,
		       int64_t current_epoch)
{
	elect_now(e, now_ms);
	e->decided = false;
	e->began_ms = e->now_ms;
	e->remind_ms = e->now_ms + ELECT_REMIND_MS;
	for (unsigned i = 0; i < e->n_peers; i++) {
		struct elect_peer *p = e->peers[i];

		p->waits = p->wants = p->told = false;
		p->asked_ms = 0;
		p->backoff_ms = ELECT_REDIAL_MS;
		if (p->dialled_ms && p->redial_ms > p->dialled_ms + ELECT_REDIAL_MS)
			p->redial_ms = p->dialled_ms + ELECT_REDIAL_MS;
	}
	LOG_I("election: LOOKING zxid=0x%" PRIx64 " epoch=%" PRId64 " round=%" PRId64,
	      (uint64_t)last_zxid, current_epoch, e->fle.proposal.round + 1);
	step(e,
	     (struct fle_event){.type = FLE_LOOK,
				.look = {.last_zxid = last_zxid, .current_epoch = current_epoch}},
	     NULL);
}

bool peer_elector_decided(struct peer_elector *e, int64_t *sid)
{
	if (!e->decided)
		return false;
	e->decided = false;
	*sid = e->fle.vote.leader;
	return true;
}

void peer_elector_serving(struct peer_elector *e, uint64_t now_ms, int64_t epoch)
{
	elect_now(e, now_ms);
	step(e, (struct fle_event){.type = FLE_SERVING, .serving = {epoch}}, NULL);
}

void peer_elector_config(struct peer_elector *e, uint64_t now_ms,
			 const struct quorum_config *committed,
			 const struct quorum_config *last_seen, enum quorum_role role)
{
	elect_now(e, now_ms);
	LOG_I("election: configuration version=%" PRIx64, (uint64_t)committed->version);
	/* What there is no memory for is missing until the next configuration, or calls itself. */
	if (configure(e, committed, last_seen) < 0)
		LOG_E("election: no memory for the configuration");
	step(e, (struct fle_event){.type = FLE_CONFIG, .config = {committed, last_seen, role}},
	     NULL);
}

void peer_elector_appoint(struct peer_elector *e, uint64_t now_ms, enum fle_state state,
			  int64_t leader, int64_t zxid)
{
	elect_now(e, now_ms);
	step(e, (struct fle_event){.type = FLE_APPOINT, .appoint = {state, leader, zxid}}, NULL);
	LOG_I("election: %s leader=%" PRId64 ", appointed", fle_state_name(state), leader);
}

const struct quorum_config *peer_elector_heard_config(const struct peer_elector *e)
{
	return e->heard;
}

static void expire(struct elect_conn *c)
{
	if (c->state == ELECT_DIALLING)
		elect_dial_ready(c, ETIMEDOUT);
	else
		elect_conn_close(c, "it does not say who it is");
}

void peer_elector_tick(struct peer_elector *e, uint64_t now_ms)
{
	elect_now(e, now_ms);
	elect_conns_free_dead(e);
	free_gone(e);
	for (struct elect_conn *c = e->conns; c; c = c->next)
		if (c->deadline_ms <= e->now_ms)
			expire(c);
	if (e->deadline_ms <= e->now_ms)
		step(e, (struct fle_event){.type = FLE_TIMEOUT}, NULL);
	for (unsigned i = 0; i < e->n_peers; i++)
		elect_dial_tick(e->peers[i]);
	elect_listen_tick(e);
	remind(e);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t peer_elector_deadline_ms(const struct peer_elector *e)
{
	uint64_t due = least(e->deadline_ms, elect_listen_due_ms(e));

	if (e->dead || e->gone)
		return e->now_ms;
	if (elect_looks(e))
		due = least(due, e->remind_ms);
	for (const struct elect_conn *c = e->conns; c; c = c->next)
		due = least(due, c->deadline_ms);
	for (unsigned i = 0; i < e->n_peers; i++) {
		const struct elect_peer *p = e->peers[i];

		due = least(due, elect_dial_due_ms(p));
		if (p->dial.resolving)
			due = least(due, p->dial.give_up_ms);
	}
	return due;
}

/* --- showing --------------------------------------------------------------------------------- */

struct text {
	char *to;
	size_t size, used;
};

static void put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What does not fit is left out. */
static void put(struct text *t, const char *format, ...)
{
	va_list list;
	int len;

	va_start(list, format);
	len = vsnprintf(t->to + t->used, t->size - t->used, format, list);
	va_end(list);
	if (len > 0)
		t->used += least((uint64_t)len, t->size - t->used - 1);
}

size_t peer_elector_show(const struct peer_elector *e, char *to, size_t size)
{
	const struct fle *f = &e->fle;
	const struct fle_vote *v = f->state == FLE_LOOKING ? &f->proposal : &f->vote;
	struct text t = {to, size, 0};
	const char *separator = " connected=";

	CHECK(size);
	*to = '\0';
	put(&t, "%s vote=", fle_state_name(f->state));
	if (v->leader == INT64_MIN)
		put(&t, "nobody");
	else
		put(&t, "%" PRId64 " epoch=%" PRId64 " zxid=0x%" PRIx64, v->leader, v->peer_epoch,
		    (uint64_t)v->zxid);
	put(&t, " round=%" PRId64, f->proposal.round);
	for (unsigned i = 0; i < e->n_peers; i++)
		if (e->peers[i]->conn) {
			put(&t, "%s%" PRId64, separator, e->peers[i]->sid);
			separator = ",";
		}
	if (*separator == ' ')
		put(&t, " connected=nobody");
	return t.used;
}
