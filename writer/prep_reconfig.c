/*
 * prep_reconfig.c - reconfig: another membership (PrepRequestProcessor.pRequest2Txn)
 *
 * The text of the new configuration is put together from lines, those of the present one and those
 * of the request, and parsed as a whole: what a request says passes the same checks as a file.
 */
#include <inttypes.h>
#include <stdio.h>

#include "writer/prep.h"

static const char config_path[] = "/zookeeper/config";

struct text {
	char bytes[QUORUM_CONFIG_TEXT_MAX];
	size_t len;
	bool full;
};

static void put(struct text *t, const char *bytes, size_t len)
{
	if (len > sizeof(t->bytes) - t->len) {
		t->full = true;
		return;
	}
	memcpy(t->bytes + t->len, bytes, len);
	t->len += len;
}

/* Remove the line of that server. */
static void remove_server(struct text *t, int64_t sid)
{
	char prefix[40];
	size_t n = (size_t)snprintf(prefix, sizeof(prefix), "server.%" PRId64 "=", sid);

	for (size_t at = 0; at < t->len;) {
		const char *end = memchr(t->bytes + at, '\n', t->len - at);
		size_t line = end ? (size_t)(end - t->bytes) + 1 - at : t->len - at;

		if (line < n || memcmp(t->bytes + at, prefix, n) != 0) {
			at += line;
			continue;
		}
		memmove(t->bytes + at, t->bytes + at + line, t->len - at - line);
		t->len -= line;
	}
}

struct span {
	const char *at, *end;
};

static bool is_space(char c)
{
	return (unsigned char)c <= ' ';
}

static struct span trim(struct span s)
{
	while (s.at < s.end && is_space(*s.at))
		s.at++;
	while (s.at < s.end && is_space(s.end[-1]))
		s.end--;
	return s;
}

/* The next one of a comma list that is not empty (StringUtils.split). */
static bool next_item(struct span *list, struct span *item)
{
	while (list->at < list->end) {
		const char *comma = memchr(list->at, ',', (size_t)(list->end - list->at));

		*item = trim((struct span){list->at, comma ? comma : list->end});
		list->at = comma ? comma + 1 : list->end;
		if (item->at < item->end)
			return true;
	}
	return false;
}

static struct span span_of(struct jute_buf b)
{
	const char *at = b.len > 0 ? (const char *)b.data : "";

	return (struct span){at, at + (b.len > 0 ? b.len : 0)};
}

/* Long.parseLong */
static bool parse_sid(struct span s, int64_t *sid)
{
	bool minus = s.at < s.end && *s.at == '-';
	uint64_t value = 0;

	if (s.at < s.end && (minus || *s.at == '+'))
		s.at++;
	if (s.at == s.end)
		return false;
	for (; s.at < s.end; s.at++) {
		if (*s.at < '0' || *s.at > '9' || value > INT64_MAX / 10)
			return false;
		value = value * 10 + (uint64_t)(*s.at - '0');
		if (value > INT64_MAX)
			return false;
	}
	*sid = minus ? -(int64_t)value : (int64_t)value;
	return true;
}

static enum zk_code leave(struct text *t, struct jute_buf leaving)
{
	struct span list = span_of(leaving), item;
	int64_t sid;

	while (next_item(&list, &item)) {
		if (!parse_sid(item, &sid))
			return ZMARSHALLINGERROR; /* a NumberFormatException over there */
		remove_server(t, sid);
	}
	return ZOK;
}

/* server.N=host:port:port[:role];[host:]port */
static enum zk_code join_one(struct text *t, struct span item, int64_t *sid)
{
	const char *equals = memchr(item.at, '=', (size_t)(item.end - item.at));
	struct span key, spec;
	char prefix[40];

	if (!equals || memchr(equals + 1, '=', (size_t)(item.end - equals - 1)))
		return ZBADARGUMENTS;
	key = trim((struct span){item.at, equals});
	spec = trim((struct span){equals + 1, item.end});
	if (key.at == key.end || spec.at == spec.end)
		return ZBADARGUMENTS;
	for (const char *c = key.at; c < key.end; c++)
		if (*c == '.')
			key.at = c + 1;
	if (!parse_sid(key, sid))
		return ZMARSHALLINGERROR;
	for (const char *c = spec.at; c < spec.end; c++)
		if (is_space(*c) || *c == '#' || *c == '!')
			return ZBADARGUMENTS;
	remove_server(t, *sid);
	put(t, prefix, (size_t)snprintf(prefix, sizeof(prefix), "server.%" PRId64 "=", *sid));
	put(t, spec.at, (size_t)(spec.end - spec.at));
	put(t, "\n", 1);
	return ZOK;
}

/* QuorumServer.excludeSpecialAddresses: machines of their own may all have these. */
static bool is_special(const char *host)
{
	return !strcmp(host, "0.0.0.0") || !strncmp(host, "127.", 4) ||
	       !strcmp(host, "localhost") || !strcmp(host, "0:0:0:0:0:0:0:0") ||
	       !strcmp(host, "0:0:0:0:0:0:0:1");
}

static bool has_endpoint(const struct quorum_config *c, const struct quorum_member *m,
			 const char *host, uint16_t port)
{
	for (uint8_t i = 0; i < m->n_addrs; i++)
		if ((m->addr[i].quorum_port == port || m->addr[i].election_port == port) &&
		    !strcmp(quorum_config_host(c, m->addr[i].host), host))
			return true;
	return m->client.host && m->client.port == port &&
	       !strcmp(quorum_config_host(c, m->client.host), host);
}

/* QuorumServer.checkAddressDuplicate */
static bool clashes(const struct quorum_config *c, const struct quorum_member *a,
		    const struct quorum_member *b)
{
	const char *host = quorum_config_host(c, a->client.host);

	if (!is_special(host) && has_endpoint(c, b, host, a->client.port))
		return true;
	for (uint8_t i = 0; i < a->n_addrs; i++) {
		host = quorum_config_host(c, a->addr[i].host);
		if (!is_special(host) && (has_endpoint(c, b, host, a->addr[i].quorum_port) ||
					  has_endpoint(c, b, host, a->addr[i].election_port)))
			return true;
	}
	return false;
}

/* Has each of them three ports, and addresses that nobody else has? */
static bool may_join(const struct quorum_config *c, const int64_t *sids, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct quorum_member *m = quorum_config_find(c, sids[i]);

		if (!m || !m->client.host)
			return false;
		for (uint16_t j = 0; j < c->n_members; j++)
			if (&c->member[j] != m && clashes(c, m, &c->member[j]))
				return false;
	}
	return true;
}

static enum zk_code incremental(const struct quorum_config *now, struct text *t,
				const struct zk_reconfig_request *r, struct quorum_config *next)
{
	struct span list = span_of(r->joining), item;
	int64_t joined[QUORUM_MEMBERS_MAX];
	uint32_t n = 0;
	enum zk_code code;

	if (now->hierarchical)
		return ZBADARGUMENTS;
	t->len = quorum_config_print(now, t->bytes, sizeof(t->bytes));
	while (t->len && t->bytes[t->len - 1] != '\n')
		t->len--; /* without its version */
	code = leave(t, r->leaving);
	while (!code && next_item(&list, &item)) {
		if (n == QUORUM_MEMBERS_MAX)
			return ZBADARGUMENTS;
		code = join_one(t, item, &joined[n++]);
	}
	if (code)
		return code;
	if (t->full || quorum_config_parse(next, t->bytes, t->len, NULL))
		return ZBADARGUMENTS;
	return may_join(next, joined, n) ? ZOK : ZBADARGUMENTS;
}

static enum zk_code whole(const struct conf *conf, struct text *t, struct jute_buf members,
			  struct quorum_config *next)
{
	put(t, (const char *)members.data, (size_t)members.len);
	for (size_t i = 0; i < t->len; i++)
		if (t->bytes[i] == ',')
			t->bytes[i] = '\n';
	if (t->full || quorum_config_parse(next, t->bytes, t->len, NULL))
		return ZBADARGUMENTS;
	/* QuorumPeerConfig.parseDynamicConfig */
	if (conf->standalone_enabled && next->n_voters == 1 && next->n_members > 1)
		return ZBADARGUMENTS;
	return ZOK;
}

static enum zk_code judge(const struct conf *conf, const struct quorum_config *next)
{
	for (uint16_t i = 0; i < next->n_members; i++)
		if (next->member[i].n_addrs > 1 && !conf->several_addresses)
			return ZBADARGUMENTS;
	return next->n_voters < (conf->standalone_enabled ? 2 : 1) ? ZBADARGUMENTS : ZOK;
}

/* The new configuration into *next. Also what is pending is looked at: one at a time. */
static enum zk_code make(struct wtr_prep *p, const struct zk_reconfig_request *r,
			 struct quorum_config *next)
{
	static struct text text;
	const struct quorum_config *now = p->zab->committed;
	enum zk_code code;

	if (p->zab->last_seen && p->zab->last_seen->version > now->version)
		return ZRECONFIGINPROGRESS;
	if (r->config_id != -1 && r->config_id != now->version)
		return ZBADVERSION;
	text.len = 0;
	text.full = false;
	code = r->new_members.len >= 0 ? whole(p->conf, &text, r->new_members, next)
				       : incremental(now, &text, r, next);
	if (!code)
		code = judge(p->conf, next);
	if (!code && !zab_would_have_quorum(p->zab, next))
		code = ZNEWCONFIGNOQUORUM;
	next->version = p->zxid;
	return code;
}

/* Enter it: the znode's stat keeps version -1, and no digest covers it. */
static enum zk_code enter(struct wtr_prep *p, struct wtr_change *c, struct quorum_config *next)
{
	static char text[QUORUM_CONFIG_TEXT_MAX];
	size_t len = quorum_config_print(next, text, sizeof(text));
	struct jute_buf data = jute_buf_of(text, (uint32_t)len);

	zk_set_data_txn_encode(&p->out,
			       &(struct zk_set_data_txn){jute_text(config_path), data, -1});
	if (p->out.failed)
		return ZBADARGUMENTS;
	c = wtr_pending_touch(p->pending, c, p->zxid);
	c->now.version = -1;
	c->now.mzxid = p->zxid;
	c->now.mtime = p->time_ms;
	c->now.data_len = (int32_t)len;
	p->type = ZK_OP_RECONFIG;
	p->config = next;
	return ZOK;
}

enum zk_code wtr_prep_reconfig(struct wtr_prep *p, const struct zk_reconfig_request *r)
{
	static struct quorum_config next;
	struct wtr_change look, *c;
	struct quorum_config *kept;
	enum zk_code code;

	if (!p->conf->reconfig_enabled)
		return ZRECONFIGDISABLED;
	if (!p->zab || p->zab->opt.standalone)
		return ZUNIMPLEMENTED; /* no membership to change */
	code = make(p, r, &next);
	if (code)
		return code;
	c = wtr_prep_find(p, jute_text(config_path), &look);
	if (!c->now.exists)
		return ZNONODE;
	if (!wtr_prep_permits(p, c, ZK_PERM_WRITE))
		return ZNOAUTH;
	kept = wtr_configs_new(p->configs);
	if (!kept)
		return ZTHROTTLEDOP;
	*kept = next;
	return enter(p, c, kept);
}
