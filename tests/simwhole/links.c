/*
 * links.c - peers/links.h on simulated connections: bytes that keep order, delay, stall and break
 *
 * What travels are the packets of quorum/packet.h as bytes. What the real links let a thread do is
 * made here at an event of its own: pieces of history and states from the files, a state received
 * into the stage piece by piece.
 */
#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "storage/member.h"
#include "storage/reader.h"
#include "storage/zksnap.h"
#include "tests/simwhole/whole.h"

enum {
	PEERS = 16,
	PIECE = 4096, /* bytes that arrive together, at most, of a state */
	TRIES = 5,
	LINGER_US = 1000000,
	RECORD_MAX = 1 << 20
};

struct item {
	struct item *next;
	enum { BYTES, RANGE, HISTORY, STATE, CLOSE } kind;
	int32_t type;
	int64_t first, last;
	size_t n;
	uint8_t bytes[];
};

enum state { NONE, OPEN, BROKEN, LINGERING };

struct link {
	enum state state;
	int conn;
	uint32_t life;
	bool announced, held, staged, pumping;
	const char *why;
	struct item *head, **tail;
	uint8_t *in;
	size_t in_len, in_cap, in_start;
	/* A state is received. */
	bool receiving;
	int64_t zxid;
	struct sto_zk_reader reader;
	struct sto_snap_writer *to;
	struct sto_snap_head snap;
	struct sto_sink sink;
};

struct peer_links {
	struct peer_links_options opt;
	struct w_node *node;
	enum w_port port;
	bool listening, dial_failed;
	int dials; /* left */
	uint32_t dial_number, retry_ms;
	uint64_t give_up_ms;
	int leader;
	enum w_port leader_port;
	int32_t next;
	uint8_t *told; /* what the caller looks at */
	struct link link[PEERS];
};

struct segment {
	struct segment *next;
	uint64_t at_us;
	size_t n;
	uint8_t bytes[];
};

/* End 0 dialled. dir is the end that sends. */
static struct conn {
	bool used, open[2], broken;
	int node[2];
	enum w_port port[2]; /* whose links */
	int32_t peer[2];
	uint32_t life;
	struct segment *head[2], **tail[2];
	uint64_t last_us[2];
	bool due[2];
} conns[W_CONNS_MAX];

/* What an event is about. */
static uint64_t name_of(enum w_port port, int32_t peer, uint32_t life)
{
	return (uint64_t)peer | (uint64_t)port << 8 | (uint64_t)life << 32;
}

static uint64_t cut_until[W_NODES_MAX][W_NODES_MAX], slow_until[W_NODES_MAX][W_NODES_MAX];

/* --- the net ------------------------------------------------------------------------------- */

void w_net_reset(void)
{
	memset(conns, 0, sizeof(conns));
	w_net_heal();
}

bool w_net_open(int a, int b)
{
	return cut_until[a][b] <= w.now_us;
}

void w_net_cut(int a, int b, uint64_t us)
{
	if (cut_until[a][b] < w.now_us + us)
		cut_until[a][b] = w.now_us + us;
}

void w_net_slow(int a, int b, uint64_t us)
{
	slow_until[a][b] = w.now_us + us;
}

void w_net_heal(void)
{
	memset(cut_until, 0, sizeof(cut_until));
	memset(slow_until, 0, sizeof(slow_until));
}

static uint64_t delay(int a, int b)
{
	return slow_until[a][b] > w.now_us ? w_between(20000, 200000) : w_between(50, 1500);
}

static void arrange(int c, int dir, uint64_t at_us)
{
	struct conn *k = &conns[c];
	int a = k->node[dir], b = k->node[!dir];

	if (cut_until[a][b] > at_us)
		at_us = cut_until[a][b] + 200;
	if (w_nodes[b].paused_until_us > at_us)
		at_us = w_nodes[b].paused_until_us;
	k->due[dir] = true;
	w_at(at_us > w.now_us ? at_us - w.now_us : 0, EV_NET, c, k->life, (uint64_t)dir);
}

static void send_bytes(int c, int dir, const uint8_t *bytes, size_t n)
{
	struct conn *k = &conns[c];

	while (n && k->open[dir] && !k->broken) {
		size_t piece = n < PIECE ? n : w_between(1, PIECE);
		struct segment *s = malloc(sizeof(*s) + piece);
		uint64_t at = w.now_us + delay(k->node[dir], k->node[!dir]);

		CHECK(s != NULL);
		if (at > k->last_us[dir])
			k->last_us[dir] = at;
		*s = (struct segment){.at_us = k->last_us[dir], .n = piece};
		memcpy(s->bytes, bytes, piece);
		*k->tail[dir] = s;
		k->tail[dir] = &s->next;
		bytes += piece;
		n -= piece;
		if (!k->due[dir])
			arrange(c, dir, s->at_us);
	}
}

static void drop_segments(struct conn *k, int dir, uint64_t keep)
{
	struct segment **at = &k->head[dir];

	while (keep-- && *at)
		at = &(*at)->next;
	for (struct segment *s = *at, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	*at = NULL;
	k->tail[dir] = at;
}

static struct link *end_of(struct conn *k, int end)
{
	struct peer_links *l = w_nodes[k->node[end]].links[k->port[end]];
	struct link *p = l ? &l->link[k->peer[end]] : NULL;

	return p && k->open[end] && p->conn == (int)(k - conns) && p->life == k->life ? p : NULL;
}

static void free_conn(struct conn *k)
{
	if (k->open[0] || k->open[1])
		return;
	drop_segments(k, 0, 0);
	drop_segments(k, 1, 0);
	k->used = false;
}

/* This end is closed; the other one hears of it behind what was sent. */
static void close_end(int c, int end)
{
	struct conn *k = &conns[c];

	if (!k->open[end])
		return;
	k->open[end] = false;
	drop_segments(k, !end, 0);
	if (k->open[!end])
		w_at(delay(k->node[end], k->node[!end]) + 1000, EV_CLOSED, c, k->life,
		     (uint64_t)!end);
	free_conn(k);
}

static void break_link(struct link *p, const char *why)
{
	if (p->state != OPEN)
		return;
	p->state = BROKEN;
	p->why = why;
	close_end(p->conn, conns[p->conn].node[1] == w_now->id);
}

static void closed(int c, int end)
{
	struct conn *k = &conns[c];
	struct w_node *n = &w_nodes[k->node[end]];
	uint64_t until = cut_until[k->node[!end]][k->node[end]];
	struct link *p = end_of(k, end);

	if (!k->open[end])
		return;
	if (n->paused_until_us > until)
		until = n->paused_until_us;
	if (until > w.now_us || k->head[!end]) {
		w_at(until > w.now_us ? until - w.now_us + 1 : 2000, EV_CLOSED, c, k->life,
		     (uint64_t)end);
		return;
	}
	k->open[end] = false;
	free_conn(k);
	if (!p)
		return;
	if (p->state == OPEN) {
		p->state = BROKEN;
		p->why = "closed by the peer";
	}
	w_node_wake(n);
}

/* What the caller looks at stays where it is. */
static void make_room(const struct peer_links *l, struct link *p, size_t n)
{
	uint8_t *in;

	if (p->in_len + n <= p->in_cap)
		return;
	p->in_cap = 2 * (p->in_len + n);
	if (p->in && l->told == p->in) {
		in = malloc(p->in_cap);
		CHECK(in != NULL);
		memcpy(in, p->in, p->in_len);
	} else {
		in = realloc(p->in, p->in_cap);
		CHECK(in != NULL);
	}
	p->in = in;
}

static void deliver(int c, int dir)
{
	struct conn *k = &conns[c];
	struct w_node *n = &w_nodes[k->node[!dir]];
	struct segment *s = k->head[dir];
	struct link *p = end_of(k, !dir);

	k->due[dir] = false;
	if (!s)
		return;
	if (!w_net_open(k->node[dir], k->node[!dir]) || n->paused_until_us > w.now_us ||
	    s->at_us > w.now_us) {
		arrange(c, dir, s->at_us > w.now_us ? s->at_us : w.now_us);
		return;
	}
	k->head[dir] = s->next;
	if (!s->next)
		k->tail[dir] = &k->head[dir];
	else
		arrange(c, dir, s->next->at_us);
	if (p && p->state == OPEN) {
		make_room(n->links[k->port[!dir]], p, s->n);
		memcpy(p->in + p->in_len, s->bytes, s->n);
		p->in_len += s->n;
	}
	free(s);
	if (p && p->state == OPEN)
		w_node_event(n, EV_NET, name_of(k->port[!dir], k->peer[!dir], k->life));
}

bool w_net_break_one(void)
{
	int start = (int)w_below(W_CONNS_MAX);

	for (int i = 0; i < W_CONNS_MAX; i++) {
		int c = (start + i) % W_CONNS_MAX;
		struct conn *k = &conns[c];

		if (!k->open[0] || !k->open[1] || k->broken)
			continue;
		k->broken = true;
		for (int dir = 0; dir < 2; dir++) {
			drop_segments(k, dir, w_below(4));
			w_at(w_between(0, 3000), EV_CLOSED, c, k->life, (uint64_t)dir);
		}
		return true;
	}
	return false;
}

void w_net_event(enum w_event_kind kind, int who, uint32_t life, uint64_t arg)
{
	if (conns[who].life != life)
		return;
	if (kind == EV_NET)
		deliver(who, (int)arg);
	else
		closed(who, (int)arg);
}

static int new_conn(int a, int b, enum w_port port)
{
	for (int c = 0; c < W_CONNS_MAX; c++) {
		struct conn *k = &conns[c];

		if (k->used)
			continue;
		*k = (struct conn){.used = true,
				   .open = {true, true},
				   .node = {a, b},
				   .port = {W_QUORUM_PORT, port},
				   .life = k->life + 1};
		k->tail[0] = &k->head[0];
		k->tail[1] = &k->head[1];
		return c;
	}
	return -1;
}

/* --- receiving a state --------------------------------------------------------------------- */

static int sink_session(void *self, int64_t id, int32_t timeout_ms)
{
	struct link *p = self;

	p->snap.sessions++;
	return sto_snap_session(p->to, id, timeout_ms);
}

static int sink_node(void *self, const struct sto_snap_node *node)
{
	struct link *p = self;

	p->snap.nodes++;
	return sto_snap_put(p->to, node);
}

static void stop_receiving(struct peer_links *l, struct link *p)
{
	if (!p->receiving)
		return;
	p->receiving = false;
	p->in_start = p->in_len; /* the rest of the state is no packet */
	sto_zk_reader_fini(&p->reader);
	if (p->to)
		sto_snap_abort(p->to);
	p->to = NULL;
	(void)sto_stage_discard(l->opt.fs, l->opt.snap_dir, l->opt.log_dir);
}

static void receive_more(struct peer_links *l, struct link *p)
{
	size_t used = 0;
	int err = 0, got = 0;

	if (!p->receiving)
		return;
	if (p->in_len > p->in_start)
		got = sto_zk_read(&p->reader, p->in + p->in_start, p->in_len - p->in_start, &used);
	p->in_start += used;
	if (!got)
		return;
	if (got < 0)
		err = got;
	if (!err) {
		struct sto_snap_writer *to = p->to;

		p->to = NULL;
		err = sto_snap_commit(to, &p->snap);
	}
	if (err) {
		stop_receiving(l, p);
		break_link(p, "the state can't be stored");
		return;
	}
	p->receiving = false;
	sto_zk_reader_fini(&p->reader);
	p->staged = true;
}

void peer_links_receive_state(struct peer_links *l, int64_t zxid)
{
	struct link *p = &l->link[0];
	char dir[64];
	int err;

	if (p->state != OPEN)
		return;
	p->receiving = true;
	p->zxid = zxid;
	p->to = NULL;
	p->snap = (struct sto_snap_head){.zxid = zxid};
	p->sink = (struct sto_sink){.self = p, .session = sink_session, .node = sink_node};
	sto_zk_reader_stream(&p->reader, &p->sink, zxid, RECORD_MAX);
	err = sto_stage_begin(l->opt.fs, l->opt.snap_dir, l->opt.log_dir);
	snprintf(dir, sizeof(dir), "%s/staged", l->opt.snap_dir);
	if (!err)
		err = sto_snap_begin(&p->to, l->opt.fs, dir, &p->snap);
	if (err) {
		p->to = NULL;
		stop_receiving(l, p);
		break_link(p, "the state can't be stored");
		return;
	}
	receive_more(l, p);
}

/* --- peers --------------------------------------------------------------------------------- */

static void drop_items(struct link *p)
{
	for (struct item *i = p->head, *next; i; i = next) {
		next = i->next;
		free(i);
	}
	p->head = NULL;
	p->tail = &p->head;
}

static void free_link(struct peer_links *l, struct link *p)
{
	drop_items(p);
	if (p->in && l->told == p->in)
		p->in = NULL; /* the caller looks at it: next() frees it */
	free(p->in);
	*p = (struct link){.conn = -1};
	p->tail = &p->head;
}

/* Without a word to the caller. */
static void shut(struct peer_links *l, struct link *p)
{
	struct conn *k = p->conn >= 0 ? &conns[p->conn] : NULL;

	if (p->state == NONE)
		return;
	stop_receiving(l, p);
	if (k && k->life == p->life)
		close_end(p->conn, k->node[1] == l->node->id);
	free_link(l, p);
}

struct peer_links *peer_links_new(const struct peer_links_options *options)
{
	struct peer_links *l = calloc(1, sizeof(*l));

	CHECK(l != NULL);
	l->opt = *options;
	l->node = w_now;
	l->port = w_now->links[W_QUORUM_PORT] ? W_OBSERVERS_PORT : W_QUORUM_PORT;
	CHECK(!w_now->links[l->port]);
	for (int i = 0; i < PEERS; i++) {
		l->link[i].conn = -1;
		l->link[i].tail = &l->link[i].head;
	}
	w_now->links[l->port] = l;
	return l;
}

void peer_links_reset(struct peer_links *l)
{
	for (int i = 0; i < PEERS; i++)
		shut(l, &l->link[i]);
	l->listening = l->dial_failed = false;
	l->dials = 0;
	l->dial_number++;
}

void peer_links_free(struct peer_links *l)
{
	peer_links_reset(l);
	l->node->links[l->port] = NULL;
	free(l->told);
	free(l);
}

static void died(struct w_node *n, struct peer_links *l)
{
	for (int i = 0; i < PEERS; i++) {
		l->link[i].receiving = false; /* its files are as they are */
		if (l->link[i].conn >= 0 && l->link[i].state == OPEN && w_chance(50)) {
			struct conn *k = &conns[l->link[i].conn];

			if (k->life == l->link[i].life)
				drop_segments(k, k->node[1] == n->id, w_below(3));
		}
		shut(l, &l->link[i]);
	}
	n->links[l->port] = NULL;
	free(l->told);
	free(l);
}

void w_links_died(struct w_node *n)
{
	for (int port = 0; port < W_PORTS; port++)
		if (n->links[port])
			died(n, n->links[port]);
}

int peer_links_listen(struct peer_links *l, const struct quorum_config *c,
		      const struct quorum_member *me, uint64_t now_ms)
{
	(void)c, (void)me, (void)now_ms;
	l->listening = true;
	return 0;
}

static int32_t free_peer(struct peer_links *l)
{
	for (int32_t i = 0; i < PEERS; i++)
		if (l->link[i].state == NONE)
			return i;
	return -1;
}

static void stand(struct peer_links *l, int32_t peer, int c, int end)
{
	struct link *p = &l->link[peer];

	p->state = OPEN;
	p->conn = c;
	p->life = conns[c].life;
	conns[c].peer[end] = peer;
	w_node_wake(l->node);
}

static bool connect_to(struct peer_links *l)
{
	struct w_node *to = &w_nodes[l->leader];
	struct peer_links *there = to->links[l->leader_port];
	int32_t peer = there ? free_peer(there) : -1;
	int c;

	if (peer < 0 || !there->listening || to->paused_until_us > w.now_us ||
	    !w_net_open(l->node->id, to->id) || !w_net_open(to->id, l->node->id))
		return false;
	c = new_conn(l->node->id, to->id, l->leader_port);
	if (c < 0)
		return false;
	stand(l, 0, c, 0);
	stand(there, peer, c, 1);
	return true;
}

void peer_links_dial(struct peer_links *l, const struct quorum_config *c,
		     const struct quorum_member *leader, uint32_t retry_ms, uint32_t limit_ms,
		     uint64_t now_ms)
{
	(void)c;
	l->leader = (int)leader->sid - 1;
	l->leader_port =
	    leader->addr[0].quorum_port == W_PORT_NUMBER ? W_QUORUM_PORT : W_OBSERVERS_PORT;
	l->dials = TRIES;
	l->retry_ms = retry_ms;
	l->give_up_ms = now_ms + limit_ms;
	w_at(w_between(100, 3000), EV_DIAL, l->node->id, l->node->life, ++l->dial_number);
}

static void dial(struct peer_links *l, uint32_t number)
{
	if (number != l->dial_number || !l->dials)
		return;
	l->dials--;
	if (connect_to(l)) {
		l->dials = 0;
		return;
	}
	if (!l->dials || w_node_ms(l->node) >= l->give_up_ms) {
		l->dials = 0;
		l->dial_failed = true;
		w_node_wake(l->node);
		return;
	}
	w_at(l->retry_ms * 1000, EV_DIAL, l->node->id, l->node->life, number);
}

/* --- what came ----------------------------------------------------------------------------- */

static bool packet(struct peer_links *l, struct link *p, struct peer_link_event *e)
{
	size_t need;
	int64_t size;

	if (p->held || p->receiving || p->in_start == p->in_len)
		return false;
	size = quorum_packet_decode(p->in + p->in_start, p->in_len - p->in_start, l->opt.data_max,
				    &e->packet, &need);
	if (size < 0)
		w_fail("member %d got what is no packet", l->node->id + 1);
	if (!size)
		return false;
	p->in_start += (size_t)size;
	e->type = PEER_LINK_PACKET;
	if (e->packet.type == QUORUM_TRUNC)
		w_count(N_CUTS);
	if (e->packet.type == QUORUM_REQUEST)
		w_count(l->port == W_OBSERVERS_PORT ? N_RELAYED : N_FORWARDED);
	l->told = p->in;
	if (w.trace && e->packet.type != QUORUM_PING)
		w_trace("%d  < %s zxid=%llx of peer %d", l->node->id + 1,
			quorum_packet_name(e->packet.type), (unsigned long long)e->packet.zxid,
			e->peer);
	return true;
}

static bool tell(struct peer_links *l, struct link *p, struct peer_link_event *e)
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
	if (packet(l, p, e))
		return true;
	if (p->state != BROKEN)
		return false;
	stop_receiving(l, p);
	e->type = PEER_LINK_LOST;
	e->why = p->why;
	free_link(l, p);
	return true;
}

/* The bytes that the caller looked at are done with. */
static void forget_told(struct peer_links *l)
{
	bool owned = false;

	for (int i = 0; i < PEERS && l->told; i++) {
		struct link *p = &l->link[i];

		if (p->in != l->told)
			continue;
		owned = true;
		memmove(p->in, p->in + p->in_start, p->in_len - p->in_start);
		p->in_len -= p->in_start;
		p->in_start = 0;
	}
	if (!owned)
		free(l->told);
	l->told = NULL;
}

bool peer_links_next(struct peer_links *l, struct peer_link_event *event)
{
	forget_told(l);
	for (int i = 0; i < PEERS; i++) {
		int32_t peer = (l->next + i) % PEERS;
		struct link *p = &l->link[peer];

		if (p->state != OPEN && p->state != BROKEN)
			continue;
		event->peer = peer;
		if (tell(l, p, event)) {
			l->next = (peer + 1) % PEERS;
			return true;
		}
	}
	if (!l->dial_failed)
		return false;
	l->dial_failed = false;
	*event = (struct peer_link_event){
	    .type = PEER_LINK_LOST, .peer = 0, .why = "the leader can't be reached"};
	return true;
}

void peer_links_hold(struct peer_links *l, int32_t peer, bool hold)
{
	l->link[peer].held = hold;
}

/* --- what is sent -------------------------------------------------------------------------- */

static int put_bytes(void *arg, const void *bytes, size_t n)
{
	struct link *p = arg;

	if (p->state == OPEN || p->state == LINGERING)
		send_bytes(p->conn, conns[p->conn].node[1] == w_now->id, bytes, n);
	return 0;
}

static void put_packet(struct link *p, int32_t type, int64_t zxid, const uint8_t *data,
		       uint32_t len)
{
	uint8_t *bytes = malloc(64 + len);
	struct jute_out out = jute_out_of(bytes, 64 + len);

	quorum_packet_put(&out, type, zxid, data, len);
	CHECK(!out.failed);
	put_bytes(p, bytes, jute_size(&out, bytes));
	free(bytes);
}

/* From the log. 0 or -errno. */
static int put_logged(struct peer_links *l, struct link *p, int32_t type, int64_t after,
		      int64_t last, bool paired)
{
	struct sto_reader *r;
	const uint8_t *entry;
	int64_t zxid = after, sent = after;
	uint32_t len;
	int got, err;

	if (after >= last)
		return 0;
	err = sto_reader_open(&r, l->opt.fs, l->opt.log_dir, after);
	if (err)
		return err;
	while ((got = sto_reader_next(r, last, &zxid, &entry, &len)) == 1) {
		if (zxid <= after)
			continue;
		if (!paired && zxid != sent + 1)
			got = -EBADMSG;
		if (got < 0)
			break;
		put_packet(p, type, zxid, entry, len);
		if (paired)
			put_packet(p, QUORUM_COMMIT, zxid, NULL, 0);
		sent = zxid;
	}
	sto_reader_close(r);
	if (!got && !paired && sent != last)
		got = -EBADMSG;
	return got < 0 ? got : 0;
}

static bool has_body(int32_t type)
{
	return type == QUORUM_PROPOSAL || type == QUORUM_INFORM;
}

static int put_range(struct peer_links *l, struct link *p, const struct item *i)
{
	bool body = has_body(i->type);
	const uint8_t *entry;
	uint32_t len;
	int err = 0;

	for (int64_t zxid = i->first; zxid <= i->last && !err; zxid++) {
		int64_t from = zxid;

		entry = body ? l->opt.entry(l->opt.arg, zxid, &len) : NULL;
		if (!body || entry) {
			put_packet(p, i->type, zxid, entry, entry ? len : 0);
			continue;
		}
		while (zxid < i->last && !l->opt.entry(l->opt.arg, zxid + 1, &len))
			zxid++;
		err = put_logged(l, p, i->type, from - 1, zxid, false);
	}
	return err;
}

static int put_state(struct peer_links *l, struct link *p, int64_t zxid)
{
	put_packet(p, QUORUM_SNAP, zxid, NULL, 0);
	w_count(N_STATES);
	return sto_snap_stream(l->opt.fs, l->opt.snap_dir, zxid, put_bytes, p);
}

static int put_item(struct peer_links *l, struct link *p, const struct item *i)
{
	switch (i->kind) {
	case BYTES:
		return put_bytes(p, i->bytes, i->n);
	case RANGE:
		return put_range(l, p, i);
	case HISTORY:
		return put_logged(l, p, QUORUM_PROPOSAL, i->first, i->last, true);
	case STATE:
		return put_state(l, p, i->first);
	case CLOSE:
		close_end(p->conn, conns[p->conn].node[1] == w_now->id);
		return 0;
	}
	return -EINVAL;
}

/* Send what stands there; what a thread would make is late sometimes. */
static void pump(struct peer_links *l, struct link *p, bool now)
{
	while (p->head && (p->state == OPEN || p->state == LINGERING)) {
		struct item *i = p->head;
		bool lazy = i->kind == HISTORY || i->kind == STATE ||
			    (i->kind == RANGE && i->last > i->first);
		int err;

		if (lazy && !now && w_chance(i->kind == RANGE ? 20 : 80)) {
			p->pumping = true;
			w_at(w_between(10, 20000), EV_PUMP, l->node->id, l->node->life,
			     name_of(l->port, (int32_t)(p - l->link), p->life));
			return;
		}
		now = false;
		err = put_item(l, p, i);
		p->head = i->next;
		if (!p->head)
			p->tail = &p->head;
		free(i);
		if (err) {
			w_trace("%d    what is to be sent can't be read: %s", l->node->id + 1,
				strerror(-err));
			if (p->state == LINGERING)
				close_end(p->conn, conns[p->conn].node[1] == w_now->id);
			break_link(p, "what is to be sent can't be read");
		}
	}
}

static void add(struct peer_links *l, int32_t peer, const struct item *from, const void *bytes)
{
	struct link *p = &l->link[peer];
	struct item *i;

	if (p->state != OPEN)
		return;
	i = malloc(sizeof(*i) + from->n);
	CHECK(i != NULL);
	*i = *from;
	i->next = NULL;
	if (from->n)
		memcpy(i->bytes, bytes, from->n);
	*p->tail = i;
	p->tail = &i->next;
}

void peer_links_put(struct peer_links *l, int32_t peer, const void *bytes, size_t n)
{
	add(l, peer, &(struct item){.kind = BYTES, .n = n}, bytes);
}

/* One that is in memory is made at once: a moment later it may be in the log alone. */
void peer_links_put_range(struct peer_links *l, int32_t peer, int32_t type, int64_t first,
			  int64_t last)
{
	const uint8_t *entry = NULL;
	uint8_t *bytes;
	struct jute_out out;
	uint32_t len;

	if (first == last && has_body(type))
		entry = l->opt.entry(l->opt.arg, first, &len);
	if (!entry) {
		add(l, peer,
		    &(struct item){.kind = RANGE, .type = type, .first = first, .last = last},
		    NULL);
		return;
	}
	bytes = malloc(64 + len);
	CHECK(bytes != NULL);
	out = jute_out_of(bytes, 64 + len);
	quorum_packet_put(&out, type, first, entry, len);
	CHECK(!out.failed);
	peer_links_put(l, peer, bytes, jute_size(&out, bytes));
	free(bytes);
}

void peer_links_put_history(struct peer_links *l, int32_t peer, int64_t after, int64_t last)
{
	add(l, peer, &(struct item){.kind = HISTORY, .first = after, .last = last}, NULL);
}

void peer_links_put_state(struct peer_links *l, int32_t peer, int64_t zxid)
{
	add(l, peer, &(struct item){.kind = STATE, .first = zxid}, NULL);
}

void peer_links_close(struct peer_links *l, int32_t peer)
{
	struct link *p = &l->link[peer];

	if (p->state == BROKEN) {
		stop_receiving(l, p);
		free_link(l, p);
		return;
	}
	if (p->state != OPEN)
		return;
	stop_receiving(l, p);
	add(l, peer, &(struct item){.kind = CLOSE}, NULL);
	p->state = LINGERING;
	w_at(LINGER_US, EV_LINGER, l->node->id, l->node->life, name_of(l->port, peer, p->life));
}

void peer_links_flush(struct peer_links *l)
{
	for (int i = 0; i < PEERS; i++)
		if (l->link[i].head && !l->link[i].pumping)
			pump(l, &l->link[i], false);
}

void peer_links_tick(struct peer_links *l, uint64_t now_ms)
{
	(void)l, (void)now_ms;
}

uint64_t peer_links_deadline_ms(const struct peer_links *l)
{
	(void)l;
	return UINT64_MAX;
}

void peer_links_view(const struct peer_links *l, int32_t peer, struct peer_link_view *view)
{
	*view = (struct peer_link_view){.there = l->link[peer].state == OPEN};
}

void w_links_event(struct w_node *n, enum w_event_kind kind, uint64_t arg)
{
	enum w_port port = kind == EV_DIAL ? W_QUORUM_PORT : (enum w_port)(arg >> 8 & 0xff);
	struct peer_links *l = n->links[port];
	struct link *p = l ? &l->link[arg & 0xff] : NULL;

	if (!l)
		return;
	if (kind == EV_DIAL) {
		dial(l, (uint32_t)arg);
	} else if (kind == EV_NET) {
		receive_more(l, p);
		w_node_wake(n);
	} else if (p->life == arg >> 32) {
		p->pumping = false;
		if (kind == EV_PUMP)
			pump(l, p, true);
		else if (p->state == LINGERING)
			shut(l, p);
		w_node_wake(n);
	}
}
