#include "supervisor/conf.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "supervisor/keys.h"
#include "supervisor/machine.h"
#include "supervisor/properties.h"

enum { HEAP_MIN = 16 << 20, SNAP_COUNT_MIN = 2, RETAIN_MIN = 3, EXTRA_MIN = 1024 };

/* Where we are, for messages; and what the server lines said. */
struct reading {
	struct conf *c;
	struct sup_conf_texts *texts;
	const char *name; /* of the file; NULL: command-line arguments */
	unsigned servers;
	bool failed;
};

static void say(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Append to one of the texts; what does not fit is cut. */
static void say(char *text, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, SUP_CONF_TEXT - used, format, args);
	va_end(args);
}

static void fail(struct reading *r, const struct sup_property *p, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Only the first failure counts. p: where, NULL for the file as a whole. */
static void fail(struct reading *r, const struct sup_property *p, const char *format, ...)
{
	char *text = r->texts->error;
	char key[128];
	va_list args;
	size_t used;

	if (r->failed)
		return;
	r->failed = true;
	say(text, "%s", r->name ? r->name : "arguments");
	if (p && r->name)
		say(text, ":%u", p->line);
	if (p)
		say(text, ": %s", log_escape(key, sizeof(key), p->key, strlen(p->key)));
	say(text, ": ");
	used = strlen(text);
	va_start(args, format);
	vsnprintf(text + used, SUP_CONF_TEXT - used, format, args);
	va_end(args);
}

static void fail_value(struct reading *r, const struct sup_property *p, const char *expected)
{
	char value[256];

	fail(r, p, "expected %s, got \"%s\"", expected,
	     log_escape(value, sizeof(value), p->value, strlen(p->value)));
}

static void fail_range(struct reading *r, const struct sup_property *p, const struct sup_key *k)
{
	char expected[160];
	const char * or = k->min == -1 ? "-1, or " : "";
	int64_t min = k->min == -1 ? 1 : k->min;

	if (k->max >= INT32_MAX)
		snprintf(expected, sizeof(expected), "%s%s from %" PRId64 " on", or, k->what, min);
	else
		snprintf(expected, sizeof(expected), "%s%s from %" PRId64 " to %" PRId64, or,
			 k->what, min, k->max);
	fail_value(r, p, expected);
}

static bool parse_number(const char *text, int64_t *number)
{
	const char *digits = text + (*text == '-' || *text == '+');
	bool hex = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
	char *end;

	digits += hex ? 2 : 0;
	if (hex ? !isxdigit((unsigned char)*digits) : !isdigit((unsigned char)*digits))
		return false;
	errno = 0;
	*number = strtoll(text, &end, hex ? 16 : 10);
	return *end == '\0' && errno == 0;
}

static void store(struct conf *c, const struct sup_key *k, int64_t number)
{
	char *field = (char *)c + k->offset;

	if (k->size == 1)
		*(bool *)field = number != 0;
	else if (k->size == 2)
		*(uint16_t *)(void *)field = (uint16_t)number;
	else if (k->size == 4)
		*(uint32_t *)(void *)field = (uint32_t)number;
	else
		*(uint64_t *)(void *)field = (uint64_t)number;
}

static void take_number(struct reading *r, const struct sup_property *p, const struct sup_key *k)
{
	int64_t n;

	if (!parse_number(p->value, &n) || n < k->min || n > k->max ||
	    (k->min == -1 && n == 0 && k->offset != offsetof(struct conf, listen_backlog) &&
	     k->offset != offsetof(struct conf, snap_size_limit))) {
		fail_range(r, p, k);
		return;
	}
	if (n < 0 && k->min == -1 && k->offset != offsetof(struct conf, listen_backlog))
		n = 0;
	store(r->c, k, n * (int64_t)k->scale);
}

static void take_text(struct reading *r, const struct sup_property *p, const struct sup_key *k)
{
	char **field = (char **)(void *)((char *)r->c + k->offset);

	free(*field);
	*field = NULL;
	if (*p->value == '\0')
		return; /* as if not given */
	*field = strdup(p->value);
	CHECK(*field);
}

static void take_size(struct reading *r, const struct sup_property *p, const struct sup_key *k)
{
	static const char letters[] = "KMGT";
	char digits[32];
	size_t len = strlen(p->value);
	const char *letter = NULL;
	int64_t n, scale = 1;

	if (len > 0 && len < sizeof(digits)) {
		letter = strchr(letters, toupper((unsigned char)p->value[len - 1]));
		memcpy(digits, p->value, len + 1);
		if (letter) {
			digits[len - 1] = '\0';
			scale = (int64_t)1 << 10 * (letter - letters + 1);
		}
		if (parse_number(digits, &n) && n >= 0 && n <= INT64_MAX / scale &&
		    n * scale >= HEAP_MIN && (uint64_t)(n * scale) <= SUP_HEAP_MAX) {
			store(r->c, k, n * scale);
			return;
		}
	}
	fail_value(r, p, k->what);
}

static void take_workers(struct reading *r, const struct sup_property *p, const struct sup_key *k)
{
	int64_t n = 0;

	if (strcasecmp(p->value, "auto") != 0 &&
	    (!parse_number(p->value, &n) || n < 1 || n > CONF_WORKERS_MAX))
		fail_value(r, p, k->what);
	store(r->c, k, n);
}

/* The client port of HOST:PORT:PORT[:ROLE];[HOST:]PORT: where clientPort is not given, it counts.
 */
static void take_server_client(struct reading *r, const struct sup_property *p, const char *client)
{
	const char *colon = strrchr(client, ':');
	const char *port = colon ? colon + 1 : client;
	size_t host = colon ? (size_t)(colon - client) : 0;
	int64_t n;

	if (!parse_number(port, &n) || n < 1 || n > UINT16_MAX) {
		fail_value(r, p, "HOST:PORT:PORT;[HOST:]PORT with ports from 1 to 65535");
		return;
	}
	if (r->c->client_port)
		return;
	r->c->client_port = (uint16_t)n;
	if (host > 2 && client[0] == '[') { /* [v6] */
		client++;
		host -= 2;
	}
	if (host && strncmp(client, "0.0.0.0", host) != 0) {
		free(r->c->client_address);
		r->c->client_address = strndup(client, host);
		CHECK(r->c->client_address);
	}
}

static void take_server(struct reading *r, const struct sup_property *p)
{
	const char *semicolon = strchr(p->value, ';');
	size_t len = semicolon ? (size_t)(semicolon - p->value) : strlen(p->value);
	const char *last = p->value;
	unsigned colons = 0;

	for (const char *c = p->value; c < p->value + len; c++)
		if (*c == ':') {
			colons++;
			last = c + 1;
		}
	if (colons < 2 || (semicolon && strchr(semicolon + 1, ';'))) {
		fail_value(r, p, "HOST:PORT:PORT[:ROLE][;[HOST:]PORT]");
		return;
	}
	if (len - (size_t)(last - p->value) == 8 && strncasecmp(last, "observer", 8) == 0)
		fail(r, p,
		     "an observer needs other servers, and this version serves standalone only");
	if (++r->servers > 1)
		fail(r, p, "a second server line, and this version serves standalone only");
	if (semicolon)
		take_server_client(r, p, semicolon + 1);
}

static void take_bool(struct reading *r, const struct sup_property *p, const struct sup_key *k)
{
	bool is_true = strcasecmp(p->value, "true") == 0;

	if (!is_true && strcasecmp(p->value, "false") != 0)
		fail_value(r, p, "true or false");
	store(r->c, k, is_true);
}

static bool is_off(const struct sup_property *p, const struct sup_key *k)
{
	return k->off && strcasecmp(p->value, k->off) == 0;
}

static void take(struct reading *r, const struct sup_property *p, const struct sup_key *k)
{
	switch (k->type) {
	case SUP_KEY_TEXT:
		take_text(r, p, k);
		break;
	case SUP_KEY_NUMBER:
		take_number(r, p, k);
		break;
	case SUP_KEY_BOOL:
		take_bool(r, p, k);
		break;
	case SUP_KEY_TRUE:
		store(r->c, k, strcasecmp(p->value, "true") == 0);
		break;
	case SUP_KEY_YES:
		store(r->c, k, strcmp(p->value, "yes") == 0);
		break;
	case SUP_KEY_NOT_NO:
		store(r->c, k, strcmp(p->value, "no") != 0);
		break;
	case SUP_KEY_SIZE:
		take_size(r, p, k);
		break;
	case SUP_KEY_WORKERS:
		take_workers(r, p, k);
		break;
	case SUP_KEY_SERVER:
		take_server(r, p);
		break;
	case SUP_KEY_REFUSED:
		if (!is_off(p, k))
			fail(r, p, "%s", k->what);
		break;
	case SUP_KEY_IGNORED:
		break; /* told by tell_ignored() */
	}
}

static const struct sup_key *key_of(const struct sup_property *p)
{
	static const char prefix[] = "zookeeper.";
	size_t len = sizeof(prefix) - 1;

	return sup_key_find(strncmp(p->key, prefix, len) == 0 ? p->key + len : p->key);
}

/* Is there a later line with the same key? Then this one does not count. */
static bool is_overridden(const struct sup_properties *all, size_t i)
{
	const struct sup_key *k = key_of(&all->list[i]);

	for (size_t j = i + 1; j < all->n; j++)
		if (strcmp(all->list[i].key, all->list[j].key) == 0 ||
		    (k && k->size && k == key_of(&all->list[j])))
			return true;
	return false;
}

static void tell(char *text, const char *before, const struct sup_property *p)
{
	char key[128];

	say(text, "%s%s", before, log_escape(key, sizeof(key), p->key, strlen(p->key)));
}

/* "TLS is not served yet: a, b; the quorum's, and this server is standalone: c" */
static void tell_ignored(struct reading *r, const struct sup_properties *all)
{
	char *text = r->texts->ignored;

	for (enum sup_reason why = 0; why < SUP_REASONS; why++) {
		unsigned n = 0;

		for (size_t i = 0; i < all->n; i++) {
			const struct sup_key *k = key_of(&all->list[i]);

			if (!k || k->type != SUP_KEY_IGNORED || k->reason != why ||
			    is_off(&all->list[i], k) || is_overridden(all, i))
				continue;
			if (n++ == 0)
				say(text, "%s%s", *text ? "; " : "", sup_reason_text(why));
			tell(text, n == 1 ? ": " : ", ", &all->list[i]);
		}
	}
}

static void set_defaults(struct conf *c, const char *file)
{
	char *copy = file ? strdup(file) : NULL;

	CHECK(!file || copy);
	*c = (struct conf){
	    .file = copy,
	    .listen_backlog = -1,
	    .tick_ms = 3000,
	    .max_client_cnxns = 60,
	    .sessionless_timeout_ms = 10000,
	    .max_buffer = 0xfffff,
	    .force_sync = true,
	    .snap_count = 100000,
	    .snap_size_limit = (uint64_t)4194304 << 10,
	    .segment_size = 16 << 20,
	    .purge_retain = 3,
	    .fsync_warn_ms = 1000,
	    .digest_enabled = true,
	    .close_session_txn = true,
	    .digest_auth = true,
	    .container_check_ms = 60000,
	    .container_per_minute = 10000,
	    .server_id = 1,
	};
}

static void raise_to(struct reading *r, uint32_t *field, int32_t min, const char *key)
{
	if ((int32_t)*field >= min)
		return;
	say(r->texts->adjusted, "%s%s: %d was raised to %d", *r->texts->adjusted ? "; " : "", key,
	    (int)*field, (int)min);
	*field = (uint32_t)min;
}

/* What holds between keys, and what one takes from another. */
static void resolve(struct reading *r)
{
	struct conf *c = r->c;

	if (!c->data_dir)
		fail(r, NULL, "dataDir is missing");
	if (!c->client_port)
		fail(r, NULL, "clientPort is missing (TLS alone is not served yet)");
	raise_to(r, &c->snap_count, SNAP_COUNT_MIN, "snapCount");
	raise_to(r, &c->purge_retain, RETAIN_MIN, "autopurge.snapRetainCount");
	if (!c->session_min_ms)
		c->session_min_ms = c->tick_ms < INT32_MAX / 2 ? 2 * c->tick_ms : INT32_MAX;
	if (!c->session_max_ms)
		c->session_max_ms = c->tick_ms < INT32_MAX / 20 ? 20 * c->tick_ms : INT32_MAX;
	if (c->session_min_ms > c->session_max_ms)
		fail(r, NULL, "minSessionTimeout %" PRIu32 " is over maxSessionTimeout %" PRIu32,
		     c->session_min_ms, c->session_max_ms);
	if (!c->max_buffer_extra)
		c->max_buffer_extra = c->max_buffer;
	if (c->max_buffer_extra < EXTRA_MIN)
		c->max_buffer_extra = EXTRA_MIN;
	if (!c->data_log_dir && c->data_dir)
		c->data_log_dir = strdup(c->data_dir);
	if (!c->worker_user)
		c->worker_user = strdup("nobody");
	CHECK(c->worker_user);
}

static int finish(struct reading *r)
{
	resolve(r);
	if (!r->failed)
		return 0;
	sup_conf_free(r->c);
	return -1;
}

int sup_conf_parse(struct conf *c, const char *name, const char *text, size_t len,
		   struct sup_conf_texts *texts)
{
	struct reading r = {.c = c, .texts = texts, .name = name};
	struct sup_properties all;
	unsigned line = 0;
	int err;

	*texts = (struct sup_conf_texts){0};
	set_defaults(c, name);
	err = sup_properties_parse(&all, text, len, &line);
	if (err == -EINVAL) {
		say(texts->error, "%s:%u: a broken \\uXXXX, or a zero byte", name, line);
		sup_conf_free(c);
		return -1;
	}
	if (err) {
		say(texts->error, "%s: %s", name, strerror(-err));
		sup_conf_free(c);
		return -1;
	}
	for (size_t i = 0; i < all.n && !r.failed; i++) {
		const struct sup_key *k = key_of(&all.list[i]);

		if (!k)
			tell(texts->unknown, *texts->unknown ? ", " : "", &all.list[i]);
		else if (!is_overridden(&all, i))
			take(&r, &all.list[i], k);
	}
	tell_ignored(&r, &all);
	sup_properties_free(&all);
	return finish(&r);
}

int sup_conf_load(struct conf *c, const char *path, struct sup_conf_texts *texts)
{
	char *text = malloc(SUP_PROPERTIES_BYTES_MAX + 1);
	FILE *f = fopen(path, "re");
	size_t len = 0;
	int err;

	*c = (struct conf){0};
	if (text && f)
		len = fread(text, 1, SUP_PROPERTIES_BYTES_MAX + 1, f);
	if (!text || !f || ferror(f)) {
		*texts = (struct sup_conf_texts){0};
		say(texts->error, "%s: %s", path, strerror(errno));
		err = -1;
	} else {
		err = sup_conf_parse(c, path, text, len, texts);
	}
	if (f)
		fclose(f);
	free(text);
	return err;
}

int sup_conf_arguments(struct conf *c, int n, char **args, struct sup_conf_texts *texts)
{
	static const char *const names[] = {"clientPort", "dataDir", "tickTime", "maxClientCnxns"};
	struct reading r = {.c = c, .texts = texts};

	CHECK(n >= 2);
	CHECK(n <= 4);
	*texts = (struct sup_conf_texts){0};
	set_defaults(c, NULL);
	c->max_client_cnxns = 0; /* ZooKeeper's: unlimited in this form */
	for (int i = 0; i < n; i++) {
		struct sup_property p = {names[i], args[i], 0};

		take(&r, &p, sup_key_find(names[i]));
	}
	return finish(&r);
}

void sup_conf_fit(struct conf *c, const char *root)
{
	uint32_t cpus = sup_machine_cpus(root);
	uint64_t half = sup_machine_memory(root) / 2;

	/* With more than two processors about one is left to the writer. */
	if (!c->workers)
		c->workers = cpus > 2 ? cpus - 1 : cpus;
	if (c->workers > CONF_WORKERS_MAX)
		c->workers = CONF_WORKERS_MAX;
	if (!c->heap_max)
		c->heap_max = half < SUP_HEAP_MAX ? half : SUP_HEAP_MAX;
	if (c->heap_max < HEAP_MIN)
		c->heap_max = HEAP_MIN;
}

void sup_conf_free(struct conf *c)
{
	free(c->file);
	free(c->data_dir);
	free(c->data_log_dir);
	free(c->client_address);
	free(c->super_digest);
	free(c->four_letter_words);
	free(c->enforce_auth_schemes);
	free(c->worker_user);
	*c = (struct conf){0};
}
