#include "quorum/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"

/* A piece of the text. */
struct span {
	const char *at, *end;
};

enum line_kind { SERVER, GROUP, WEIGHT, VERSION };

struct line {
	enum line_kind kind;
	struct span number; /* behind "server.", "group.", "weight." */
	struct span value;
};

/* Where parsing stands. why == NULL: nothing is wrong so far. */
struct parser {
	struct quorum_config *c;
	struct quorum_config_error error;
	bool too_big, has_version;
};

static bool fail(struct parser *p, const char *why)
{
	p->error.why = why;
	return false;
}

static bool too_big(struct parser *p, const char *why)
{
	p->too_big = true;
	return fail(p, why);
}

static size_t length(struct span s)
{
	return (size_t)(s.end - s.at);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\f';
}

static struct span trim(struct span s)
{
	while (s.at < s.end && is_blank(*s.at))
		s.at++;
	while (s.at < s.end && is_blank(s.end[-1]))
		s.end--;
	return s;
}

/* Cut off and return what stands before `separator`; all, when there is none. */
static struct span cut(struct span *s, char separator)
{
	const char *found = s->at < s->end ? memchr(s->at, separator, length(*s)) : NULL;
	struct span head = {s->at, found ? found : s->end};

	s->at = found ? found + 1 : s->end;
	return head;
}

static bool span_is(struct span s, const char *text)
{
	return length(s) == strlen(text) && !strncasecmp(s.at, text, length(s));
}

/* Digits of that base and nothing else, at most `max`. */
static bool number(struct span s, int base, int64_t max, int64_t *to)
{
	uint64_t value = 0;

	if (s.at == s.end)
		return false;
	for (; s.at < s.end; s.at++) {
		int lower = *s.at | 0x20;
		int digit = lower >= 'a' ? lower - 'a' + 10 : *s.at - '0';

		if (digit < 0 || digit >= base)
			return false;
		/* No overflow: value <= max < 2^63, and 2^63 / 16 + 1 times 16 is below 2^64. */
		if (value > (uint64_t)max / (unsigned)base)
			return false;
		value = value * (unsigned)base + (unsigned)digit;
		if (value > (uint64_t)max)
			return false;
	}
	*to = (int64_t)value;
	return true;
}

static bool sid_of(struct span s, int64_t *sid)
{
	return number(s, 10, QUORUM_SID_ANONYMOUS - 1, sid);
}

static bool port_of(struct span s, uint16_t *port)
{
	int64_t value;

	if (!number(s, 10, UINT16_MAX, &value))
		return false;
	*port = (uint16_t)value;
	return true;
}

/* Keep a host name; 0 when it can't be one. */
static uint16_t keep_name(struct parser *p, const char *name, size_t len)
{
	struct quorum_config *c = p->c;
	uint16_t at = (uint16_t)c->names_used;

	if (len == 0 || len > QUORUM_HOST_MAX) {
		fail(p, "a host name must have 1 to 255 characters");
		return 0;
	}
	if (len + 1 > QUORUM_NAMES_SIZE - c->names_used) {
		too_big(p, "too many host names");
		return 0;
	}
	memcpy(c->names + at, name, len);
	c->names[at + len] = 0;
	c->names_used += (uint32_t)len + 1;
	return at;
}

/* IPv6 as InetAddress.getHostAddress() writes it; one that holds an IPv4 address is that. */
static uint16_t keep_ipv6(struct parser *p, struct span s)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char text[INET6_ADDRSTRLEN];
	uint8_t a[16];
	int len = 0;

	if (length(s) < sizeof(text)) {
		memcpy(text, s.at, length(s));
		text[length(s)] = 0;
		len = inet_pton(AF_INET6, text, a);
	}
	if (len != 1) {
		fail(p, "not an IPv6 address");
		return 0;
	}
	if (!memcmp(a, mapped, sizeof(mapped)))
		len = snprintf(text, sizeof(text), "%d.%d.%d.%d", a[12], a[13], a[14], a[15]);
	else
		for (int i = len = 0; i < 16; i += 2)
			len += snprintf(text + len, sizeof(text) - (size_t)len, "%s%x",
					i ? ":" : "", a[i] << 8 | a[i + 1]);
	return keep_name(p, text, (size_t)len);
}

/* Cut a host and the colon behind it off; 0 on failure. */
static uint16_t cut_host(struct parser *p, struct span *s)
{
	struct span host;

	if (s->at < s->end && *s->at == '[') {
		s->at++;
		host = cut(s, ']');
		if (s->at < s->end && *s->at++ != ':') {
			fail(p, "no colon behind ']'");
			return 0;
		}
		if (memchr(host.at, ':', length(host)))
			return keep_ipv6(p, host);
	} else {
		host = cut(s, ':');
	}
	for (const char *c = host.at; c < host.end; c++) {
		if ((*c < 'a' || *c > 'z') && (*c < 'A' || *c > 'Z') && (*c < '0' || *c > '9') &&
		    !memchr(".-_", *c, 3)) {
			fail(p, "a character that no host name has");
			return 0;
		}
	}
	return keep_name(p, host.at, length(host));
}

/* "port" or "host:port"; nothing is no endpoint. */
static bool endpoint(struct parser *p, struct span s, struct quorum_endpoint *to)
{
	static const char any[] = "0.0.0.0";

	s = trim(s);
	if (s.at == s.end)
		return true;
	if (memchr(s.at, ':', length(s)))
		to->host = cut_host(p, &s);
	else
		to->host = keep_name(p, any, sizeof(any) - 1);
	if (!to->host)
		return false;
	return port_of(s, &to->port) || fail(p, "not a client port");
}

/* Sorted by host, those with the same one in the order in which they came. */
static void insert_addr(struct parser *p, struct quorum_member *m, struct quorum_addr addr)
{
	const char *host = quorum_config_host(p->c, addr.host);
	uint8_t at = m->n_addrs++;

	for (; at && strcmp(quorum_config_host(p->c, m->addr[at - 1].host), host) > 0; at--)
		m->addr[at] = m->addr[at - 1];
	m->addr[at] = addr;
}

/* host:quorumPort:electionPort[:role] */
static bool member_addr(struct parser *p, struct span s, struct quorum_member *m, int *role)
{
	struct quorum_addr addr = {0};
	struct span word;
	int found;

	if (m->n_addrs == QUORUM_ADDRS_MAX)
		return too_big(p, "too many addresses of one server");
	addr.host = cut_host(p, &s);
	if (!addr.host)
		return false;
	if (!port_of(cut(&s, ':'), &addr.quorum_port))
		return fail(p, "not a quorum port");
	if (!port_of(cut(&s, ':'), &addr.election_port))
		return fail(p, "not an election port");
	if (addr.quorum_port == addr.election_port)
		return fail(p, "quorum port and election port must differ");
	insert_addr(p, m, addr);
	word = s;
	if (word.at == word.end)
		return true;
	found = span_is(word, "participant") ? QUORUM_PARTICIPANT
		: span_is(word, "observer")  ? QUORUM_OBSERVER
					     : -1;
	if (found < 0)
		return fail(p, "a role is participant or observer");
	if (*role >= 0 && *role != found)
		return fail(p, "all addresses of a server must have the same role");
	*role = found;
	return true;
}

static struct quorum_member *find(struct quorum_config *c, int64_t sid)
{
	const struct quorum_member *m = quorum_config_find(c, sid);

	return m ? &c->member[m - c->member] : NULL;
}

static bool insert_member(struct parser *p, const struct quorum_member *m)
{
	struct quorum_config *c = p->c;
	uint16_t at;

	if (find(c, m->sid))
		return fail(p, "the same server twice");
	if (c->n_members == QUORUM_MEMBERS_MAX)
		return too_big(p, "too many servers");
	for (at = c->n_members++; at && c->member[at - 1].sid > m->sid; at--)
		c->member[at] = c->member[at - 1];
	c->member[at] = *m;
	c->n_voters = (uint16_t)(c->n_voters + (m->role == QUORUM_PARTICIPANT));
	return true;
}

static bool server(struct parser *p, const struct line *line)
{
	struct quorum_member m = {.group = -1, .weight = 1};
	struct span rest = line->value, addrs = cut(&rest, ';');
	int role = -1;

	if (!sid_of(line->number, &m.sid))
		return fail(p, "not a server id");
	do {
		if (!member_addr(p, trim(cut(&addrs, '|')), &m, &role))
			return false;
	} while (addrs.at < addrs.end);
	m.role = role == QUORUM_OBSERVER ? QUORUM_OBSERVER : QUORUM_PARTICIPANT;
	if (!endpoint(p, cut(&rest, ';'), &m.client) || !endpoint(p, cut(&rest, ';'), &m.secure))
		return false;
	if (rest.at < rest.end)
		return fail(p, "too many semicolons");
	return insert_member(p, &m);
}

static bool version(struct parser *p, const struct line *line)
{
	if (p->has_version)
		return fail(p, "version twice");
	p->has_version = true;
	return number(line->value, 16, INT64_MAX, &p->c->version) ||
	       fail(p, "version is not a hexadecimal number");
}

/* A new group, in order; those behind it move, so the members' indices do, too. */
static bool insert_group(struct parser *p, int64_t gid, int16_t *index)
{
	struct quorum_config *c = p->c;
	int16_t at = 0;

	while (at < c->n_groups && c->group[at].gid < gid)
		at++;
	if (at < c->n_groups && c->group[at].gid == gid)
		return fail(p, "the same group twice");
	if (c->n_groups == QUORUM_MEMBERS_MAX)
		return too_big(p, "too many groups");
	memmove(&c->group[at + 1], &c->group[at], (size_t)(c->n_groups - at) * sizeof(*c->group));
	c->group[at] = (struct quorum_group){gid, 0};
	c->n_groups++;
	for (uint16_t i = 0; i < c->n_members; i++)
		c->member[i].group = (int16_t)(c->member[i].group + (c->member[i].group >= at));
	*index = at;
	return true;
}

static bool group(struct parser *p, const struct line *line)
{
	struct span sids = line->value;
	struct quorum_member *m;
	int64_t gid, sid;
	int16_t index;

	if (!number(line->number, 10, INT64_MAX, &gid))
		return fail(p, "not a group id");
	if (!insert_group(p, gid, &index))
		return false;
	do {
		m = sid_of(trim(cut(&sids, ':')), &sid) ? find(p->c, sid) : NULL;
		if (!m)
			return fail(p, "a group of no such server");
		if (m->group >= 0)
			return fail(p, "a server in two groups");
		m->group = index;
	} while (sids.at < sids.end);
	return true;
}

static bool weight(struct parser *p, const struct line *line)
{
	struct quorum_member *m;
	int64_t sid, value;

	m = sid_of(line->number, &sid) ? find(p->c, sid) : NULL;
	if (!m)
		return fail(p, "a weight of no such server");
	if (m->has_weight)
		return fail(p, "the same weight twice");
	if (!number(line->value, 10, INT32_MAX, &value))
		return fail(p, "not a weight");
	m->has_weight = true;
	m->weight = (int32_t)value;
	return true;
}

/* Is the key `prefix` and a number? */
static bool key_is(struct span key, const char *prefix, struct span *behind)
{
	size_t len = strlen(prefix);

	if (length(key) <= len || memcmp(key.at, prefix, len) != 0)
		return false;
	*behind = (struct span){key.at + len, key.end};
	return true;
}

/* 1: *line is what stands there; 0: nothing does; -1: failed. Java's Properties, without escapes.
 */
static int read_line(struct parser *p, struct span text, struct line *line)
{
	struct span s = trim(text), key;

	if (s.at == s.end || *s.at == '#' || *s.at == '!')
		return 0;
	for (const char *c = s.at; c < s.end; c++)
		if ((*c < 0x20 && *c != '\t') || *c > 0x7e || *c == '\\') {
			fail(p, "a character that has no place here");
			return -1;
		}
	key.at = s.at;
	while (s.at < s.end && *s.at != '=' && *s.at != ':' && !is_blank(*s.at))
		s.at++;
	key.end = s.at;
	s = trim(s);
	if (s.at < s.end && (*s.at == '=' || *s.at == ':'))
		s.at++;
	line->value = trim(s);
	if (key_is(key, "server.", &line->number))
		line->kind = SERVER;
	else if (key_is(key, "group.", &line->number))
		line->kind = GROUP;
	else if (key_is(key, "weight.", &line->number))
		line->kind = WEIGHT;
	else if (length(key) == 7 && !memcmp(key.at, "version", 7))
		line->kind = VERSION;
	else
		return fail(p, "an unknown key") ? 1 : -1;
	return 1;
}

/* Groups and weights speak of servers that may stand behind them: hence two passes. */
static bool pass(struct parser *p, struct span text, bool second)
{
	static bool (*const take[])(struct parser *, const struct line *) = {
	    [SERVER] = server, [GROUP] = group, [WEIGHT] = weight, [VERSION] = version};
	struct line line;

	for (p->error.line = 1; text.at < text.end; p->error.line++) {
		struct span one = cut(&text, '\n');
		int found;

		if (one.at < one.end && one.end[-1] == '\r')
			one.end--;
		found = read_line(p, one, &line);
		if (found < 0)
			return false;
		if (!found || (line.kind == GROUP || line.kind == WEIGHT) != second)
			continue;
		p->c->hierarchical |= second;
		if (!take[line.kind](p, &line))
			return false;
	}
	p->error.line = 0;
	return true;
}

static bool finish(struct parser *p)
{
	struct quorum_config *c = p->c;

	if (!c->n_voters)
		return fail(p, "no participant");
	for (uint16_t i = 0; c->hierarchical && i < c->n_members; i++) {
		struct quorum_member *m = &c->member[i];

		if (m->role == QUORUM_PARTICIPANT && m->group < 0)
			return fail(p, "a participant in no group");
		m->has_weight |= m->role == QUORUM_PARTICIPANT;
		if (m->group >= 0 && !m->has_weight)
			return fail(p, "an observer in a group without a weight");
		if (m->group >= 0)
			c->group[m->group].weight += m->weight;
	}
	return true;
}

int quorum_config_parse(struct quorum_config *c, const void *text, size_t len,
			struct quorum_config_error *error)
{
	struct parser p = {.c = c};
	struct span all = {text, (const char *)text + len};
	bool good;

	if (!len)
		all.end = all.at;
	c->version = 0;
	c->hierarchical = false;
	c->n_members = c->n_voters = c->n_groups = 0;
	c->names[0] = 0;
	c->names_used = 1;
	good = pass(&p, all, false) && pass(&p, all, true) && finish(&p);
	if (error)
		*error = p.error;
	if (good)
		return 0;
	return p.too_big ? -E2BIG : -EINVAL;
}

/* --- printing -------------------------------------------------------------------------------- */

struct text {
	char *to;
	size_t size, used;
};

static void put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct text *t, const char *format, ...)
{
	va_list list;
	int len;

	va_start(list, format);
	len = vsnprintf(t->to + t->used, t->size - t->used, format, list);
	va_end(list);
	CHECK(len >= 0);
	CHECK((size_t)len < t->size - t->used);
	t->used += (size_t)len;
}

static void put_host(struct text *t, const struct quorum_config *c, uint16_t at)
{
	const char *host = quorum_config_host(c, at);

	put(t, strchr(host, ':') ? "[%s]" : "%s", host);
}

static void put_member(struct text *t, const struct quorum_config *c, const struct quorum_member *m)
{
	put(t, "server.%" PRId64 "=", m->sid);
	for (uint8_t i = 0; i < m->n_addrs; i++) {
		put(t, "%s", i ? "|" : "");
		put_host(t, c, m->addr[i].host);
		put(t, ":%u:%u", m->addr[i].quorum_port, m->addr[i].election_port);
	}
	put(t, "%s", m->role == QUORUM_OBSERVER ? ":observer" : ":participant");
	if (m->client.host) {
		put(t, ";");
		put_host(t, c, m->client.host);
		put(t, ":%u", m->client.port);
	}
	put(t, "\n");
}

static void put_groups(struct text *t, const struct quorum_config *c)
{
	for (uint16_t g = 0; g < c->n_groups; g++) {
		const char *separator = "";

		put(t, "group.%" PRId64 "=", c->group[g].gid);
		for (uint16_t i = 0; i < c->n_members; i++)
			if (c->member[i].group == g) {
				put(t, "%s%" PRId64, separator, c->member[i].sid);
				separator = ":";
			}
		put(t, "\n");
	}
	for (uint16_t i = 0; i < c->n_members; i++)
		if (c->member[i].has_weight)
			put(t, "weight.%" PRId64 "=%" PRId32 "\n", c->member[i].sid,
			    c->member[i].weight);
}

size_t quorum_config_print(const struct quorum_config *c, char *to, size_t size)
{
	struct text t = {to, size, 0};

	for (uint16_t i = 0; i < c->n_members; i++)
		put_member(&t, c, &c->member[i]);
	put_groups(&t, c);
	put(&t, "version=%" PRIx64, (uint64_t)c->version);
	return t.used;
}
