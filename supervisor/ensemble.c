/* From the lines of servers to struct conf's ensemble: QuorumPeerConfig.setupQuorumPeerConfig. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "base/log.h"
#include "quorum/config.h"
#include "supervisor/reading.h"

enum { MYID_BYTES = 256, SID_OF_TTL_MAX = 254 };

/* The lines of servers as one text, and where each came from. */
struct members {
	char *text;
	size_t used;
	unsigned lines, servers;
	const struct sup_property **from;
	struct quorum_config config;
};

static bool is_version(const struct sup_property *p)
{
	return strcmp(p->key, "version") == 0;
}

static bool is_member_line(const struct sup_property *p)
{
	const struct sup_key *k = sup_key_of(p);

	return k && k->type == SUP_KEY_MEMBER;
}

/* One line of the text for each of them, so that line numbers lead back. */
static void collect(struct sup_reading *r, const struct sup_properties *all, struct members *m)
{
	size_t size = 1;

	for (size_t i = 0; i < all->n; i++)
		size += strlen(all->list[i].key) + strlen(all->list[i].value) + 2;
	m->text = malloc(size);
	m->from = malloc((all->n + 1) * sizeof(*m->from));
	CHECK(m->text);
	CHECK(m->from);
	m->text[0] = '\0';
	for (size_t i = 0; i < all->n; i++) {
		const struct sup_property *p = &all->list[i];

		if (!is_member_line(p) || sup_is_overridden(all, i))
			continue;
		if (strpbrk(p->key, "\n\r") || strpbrk(p->value, "\n\r"))
			sup_fail_value(r, p, sup_key_of(p)->what);
		m->used += (size_t)snprintf(m->text + m->used, size - m->used, "%s=%s\n", p->key,
					    p->value);
		m->from[m->lines++] = p;
		m->servers += strncmp(p->key, "server.", 7) == 0;
	}
}

static void check_lines(struct sup_reading *r, struct members *m)
{
	struct quorum_config_error error;
	const struct sup_property *p;
	char value[256];

	if (r->failed || !m->servers ||
	    quorum_config_parse(&m->config, m->text, m->used, &error) == 0)
		return;
	if (!error.line) {
		sup_fail(r, NULL, "the list of servers: %s", error.why);
		return;
	}
	p = m->from[error.line - 1];
	sup_fail(r, p, "%s: expected %s, got \"%s\"", error.why, sup_key_of(p)->what,
		 log_escape(value, sizeof(value), p->value, strlen(p->value)));
}

/* --- the dynamic file ------------------------------------------------------------------------ */

static void refuse_in_static(struct sup_reading *r, const struct sup_properties *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (is_member_line(&all->list[i]))
			sup_fail(r, &all->list[i],
				 "with dynamicConfigFile this line belongs into that file");
}

static void refuse_in_dynamic(struct sup_reading *r, const struct sup_properties *all)
{
	for (size_t i = 0; i < all->n; i++)
		if (is_version(&all->list[i]))
			sup_fail(r, &all->list[i], "the version is the end of the file's name");
		else if (!is_member_line(&all->list[i]))
			sup_fail(r, &all->list[i],
				 "only server., group. and weight. lines belong here");
}

/* The hexadecimal number behind the last dot; 0 when there is none (getVersionFromFilename). */
static uint64_t version_of(const char *name)
{
	const char *dot = strrchr(name, '.');
	char *end;
	uint64_t version;

	if (!dot || !isxdigit((unsigned char)dot[1]) || strpbrk(dot, "xX"))
		return 0;
	errno = 0;
	version = strtoull(dot + 1, &end, 16);
	return *end || errno || version > INT64_MAX ? 0 : version;
}

static void read_dynamic(struct sup_reading *r, struct sup_properties *all)
{
	size_t size = SUP_PROPERTIES_BYTES_MAX + 1;
	char *text = malloc(size);
	unsigned line = 0;
	ssize_t len;
	int err;

	CHECK(text);
	len = r->read ? r->read(r->c->dynamic_file, text, size) : -ENOENT;
	err = len < 0 ? (int)len : sup_properties_parse(all, text, (size_t)len, &line);
	if (err)
		sup_fail_syntax(r, err, line);
	else
		refuse_in_dynamic(r, all);
	free(text);
}

static void append_version(struct members *m, uint64_t version)
{
	char *text;
	int len = asprintf(&text, "%sversion=%" PRIx64 "\n", m->text, version);

	CHECK(len >= 0);
	free(m->text);
	m->text = text;
	m->used = (size_t)len;
}

static void read_members(struct sup_reading *r, const struct sup_properties *all, struct members *m)
{
	const char *name = r->name, *file = r->c->dynamic_file;
	struct sup_properties dynamic = {0};

	if (file) {
		refuse_in_static(r, all);
		r->name = file;
		if (!r->failed)
			read_dynamic(r, &dynamic);
		all = &dynamic;
	}
	if (!r->failed)
		collect(r, all, m);
	check_lines(r, m);
	if (file && !r->failed) {
		append_version(m, version_of(file));
		m->config.version = (int64_t)version_of(file);
	}
	r->name = name;
	sup_properties_free(&dynamic);
}

/* --- which of them we are -------------------------------------------------------------------- */

/* The first line of dataDir/myid; false: there is none, and that was told. */
static bool read_myid_line(struct sup_reading *r, const char *path, char line[MYID_BYTES])
{
	ssize_t len = r->read ? r->read(path, line, MYID_BYTES - 1) : -ENOENT;
	size_t used;

	if (len < 0) {
		sup_fail(r, NULL, "%s: it must hold the N of this server's server.N line",
			 strerror((int)-len));
		return false;
	}
	for (ssize_t i = 0; i < len; i++)
		if (!line[i])
			line[i] = '?';
	line[len] = '\0';
	used = strcspn(line, "\n");
	while (used && isspace((unsigned char)line[used - 1]))
		used--;
	line[used] = '\0';
	if (!used)
		sup_fail(r, NULL,
			 "the first line is empty: it must hold the N of this server's "
			 "server.N line");
	return used != 0;
}

/* Java takes any long; TTL nodes need the top byte of session ids not to be 255, and so to say. */
static void judge_myid(struct sup_reading *r, const char *line)
{
	static const char *const what[] = {
	    "a number from 0 on (0 to 254, if it is to serve TTL nodes)",
	    "a number from 0 to 254, as extendedTypesEnabled asks for"};
	const char *digits = line + strspn(line, " \t");
	char shown[MYID_BYTES];
	int64_t sid;

	if (strspn(digits, "0123456789") != strlen(digits) || !sup_parse_number(digits, &sid) ||
	    sid >= QUORUM_SID_ANONYMOUS || (r->c->extended_types && sid > SID_OF_TTL_MAX)) {
		sup_fail(r, NULL, "expected %s, got \"%s\"", what[r->c->extended_types],
			 log_escape(shown, sizeof(shown), line, strlen(line)));
		return;
	}
	r->c->sid = sid;
	r->c->server_id = (uint8_t)sid;
	if (sid > UINT8_MAX)
		sup_remark(r,
			   "myid %" PRId64 " is over 255: session ids carry its low byte, which "
			   "must differ from that of every other server",
			   sid);
}

static void read_myid(struct sup_reading *r)
{
	const char *name = r->name;
	char path[PATH_MAX], line[MYID_BYTES];

	if (!r->c->data_dir)
		return; /* told by resolve() */
	snprintf(path, sizeof(path), "%s/myid", r->c->data_dir);
	r->name = path;
	if (read_myid_line(r, path, line))
		judge_myid(r, line);
	r->name = name;
}

static void take_role(struct sup_reading *r, const struct quorum_member *me)
{
	struct conf *c = r->c;

	c->observer = me ? me->role == QUORUM_OBSERVER : r->observer;
	if (!me && !r->role)
		sup_fail(r, NULL,
			 "dataDir/myid says %" PRId64 ", and there is no server.%" PRId64
			 " (peerType=observer lets a server in that the list does not name)",
			 c->sid, c->sid);
	else if (!me)
		sup_remark(r, "there is no server.%" PRId64 ": it joins as %s without a vote",
			   c->sid, c->observer ? "an observer" : "a follower");
	else if (r->role && r->observer != c->observer)
		sup_remark(r, "peerType: server.%" PRId64 " is %s, as the list of servers says",
			   c->sid, c->observer ? "an observer" : "a participant");
}

/* --- the client port in a server line ----------------------------------------------------------
 */

/* 0: a name; else its family, and the address. */
static int numeric(const char *host, uint8_t address[16])
{
	memset(address, 0, 16);
	if (!host)
		return AF_INET; /* the wildcard */
	if (inet_pton(AF_INET, host, address) == 1)
		return AF_INET;
	return inet_pton(AF_INET6, host, address) == 1 ? AF_INET6 : 0;
}

/*
 * setupClientPort: the static file must not contradict. A wildcard there fits every address, and
 * whether a name fits is not known before it is resolved.
 */
static bool contradicts(const struct conf *c, const char *host, uint16_t port)
{
	static const uint8_t any[16];
	uint8_t ours[16], theirs[16];
	int family = numeric(c->client_address, ours), other = numeric(host, theirs);

	if (c->client_port != port)
		return true;
	if (!family || !other || memcmp(ours, any, 16) == 0)
		return false;
	return family != other || memcmp(ours, theirs, 16) != 0;
}

/* strict: of an ensemble. A standalone server does not know that the line is its own. */
static void take_client(struct sup_reading *r, const struct quorum_config *q,
			const struct quorum_member *m, bool strict)
{
	struct conf *c = r->c;
	const char *host = quorum_config_host(q, m->client.host);

	if (m->secure.host)
		sup_remark(r, "server.%" PRId64 ": TLS is not served yet, so neither is port %u",
			   m->sid, (unsigned)m->secure.port);
	if (!m->client.host || (c->client_port && !strict))
		return;
	if (!m->client.port)
		sup_fail(r, NULL, "server.%" PRId64 ": expected a client port from 1 to 65535",
			 m->sid);
	if (c->client_port && contradicts(c, host, m->client.port)) {
		sup_fail(r, NULL,
			 "clientPort is %s:%u, but server.%" PRId64 " says %s:%u for clients",
			 c->client_address ? c->client_address : "*", (unsigned)c->client_port,
			 m->sid, host, (unsigned)m->client.port);
		return;
	}
	c->client_port = m->client.port;
	free(c->client_address);
	c->client_address = NULL;
	if (strcmp(host, "0.0.0.0") != 0) {
		c->client_address = strdup(host);
		CHECK(c->client_address);
	}
}

/* --- all together ---------------------------------------------------------------------------- */

static void check_addresses(struct sup_reading *r, const struct quorum_config *q)
{
	for (uint16_t i = 0; i < q->n_members; i++)
		if (q->member[i].n_addrs > 1 && !r->c->several_addresses)
			sup_fail(r, NULL,
				 "server.%" PRId64
				 " has several addresses, which takes multiAddress.enabled=true",
				 q->member[i].sid);
}

static void take_alone(struct sup_reading *r, const struct members *m)
{
	if (r->observer)
		sup_fail(r, r->role,
			 "an observer needs servers to observe, and there is no list "
			 "of more than one");
	if (!r->c->standalone_enabled)
		sup_fail(r, NULL, "standaloneEnabled=false takes at least one server line");
	if (m->servers)
		take_client(r, &m->config, &m->config.member[0], false);
}

static void take_ensemble(struct sup_reading *r, struct members *m)
{
	const struct quorum_config *q = &m->config;
	const struct quorum_member *me;

	read_myid(r);
	if (r->failed || !r->c->data_dir)
		return;
	me = quorum_config_find(q, r->c->sid);
	take_role(r, me);
	if (me)
		take_client(r, q, me, true);
	if (q->n_voters % 2 == 0)
		sup_remark(r,
			   "%u participants survive no more failures than %u would; an odd number "
			   "is better",
			   (unsigned)q->n_voters, (unsigned)q->n_voters - 1u);
	r->c->members = m->text;
	m->text = NULL;
}

void sup_ensemble_read(struct sup_reading *r, const struct sup_properties *all)
{
	struct members *m = calloc(1, sizeof(*m));
	const struct quorum_config *q = &m->config;
	bool alone_allowed = r->c->standalone_enabled;

	CHECK(m);
	read_members(r, all, m);
	if (!r->failed && m->servers) {
		check_addresses(r, q);
		if (alone_allowed && q->n_voters == 1 && q->n_members > 1)
			sup_fail(r, NULL,
				 "one participant with observers takes standaloneEnabled=false");
	}
	if (!r->failed && m->servers && (q->n_voters > 1 || !alone_allowed))
		take_ensemble(r, m);
	else if (!r->failed)
		take_alone(r, m);
	free(m->text);
	free(m->from);
	free(m);
}
