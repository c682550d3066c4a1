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
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "supervisor/machine.h"
#include "supervisor/reading.h"

enum { HEAP_MIN = 16 << 20, SNAP_COUNT_MIN = 2, RETAIN_MIN = 3, EXTRA_MIN = 1024 };

/* Append to one of the texts; what does not fit is cut. */
static void say_list(char *text, const char *format, va_list args)
{
	size_t used = strlen(text);

	vsnprintf(text + used, SUP_CONF_TEXT - used, format, args);
}

void sup_say(char *text, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say_list(text, format, args);
	va_end(args);
}

void sup_remark(struct sup_reading *r, const char *format, ...)
{
	char *text = r->texts->remarks;
	va_list args;

	sup_say(text, "%s", *text ? "; " : "");
	va_start(args, format);
	say_list(text, format, args);
	va_end(args);
}

void sup_fail(struct sup_reading *r, const struct sup_property *p, const char *format, ...)
{
	char *text = r->texts->error;
	char key[128];
	va_list args;

	if (r->failed)
		return;
	r->failed = true;
	sup_say(text, "%s", r->name ? r->name : "arguments");
	if (p && r->name)
		sup_say(text, ":%u", p->line);
	if (p)
		sup_say(text, ": %s", log_escape(key, sizeof(key), p->key, strlen(p->key)));
	sup_say(text, ": ");
	va_start(args, format);
	say_list(text, format, args);
	va_end(args);
}

void sup_fail_value(struct sup_reading *r, const struct sup_property *p, const char *expected)
{
	char value[256];

	sup_fail(r, p, "expected %s, got \"%s\"", expected,
		 log_escape(value, sizeof(value), p->value, strlen(p->value)));
}

void sup_fail_syntax(struct sup_reading *r, int err, unsigned line)
{
	if (r->failed)
		return;
	r->failed = true;
	if (err == -EINVAL)
		sup_say(r->texts->error, "%s:%u: a broken \\uXXXX, or a zero byte", r->name, line);
	else
		sup_say(r->texts->error, "%s: %s", r->name, strerror(-err));
}

static void fail_range(struct sup_reading *r, const struct sup_property *p, const struct sup_key *k)
{
	char expected[160];
	const char * or = k->min == -1 ? "-1, or " : "";
	int64_t min = k->min == -1 ? 1 : k->min;

	if (k->max >= INT32_MAX)
		snprintf(expected, sizeof(expected), "%s%s from %" PRId64 " on", or, k->what, min);
	else
		snprintf(expected, sizeof(expected), "%s%s from %" PRId64 " to %" PRId64, or,
			 k->what, min, k->max);
	sup_fail_value(r, p, expected);
}

bool sup_parse_number(const char *text, int64_t *number)
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

static void take_number(struct sup_reading *r, const struct sup_property *p,
			const struct sup_key *k)
{
	int64_t n;

	if (!sup_parse_number(p->value, &n) || n < k->min || n > k->max ||
	    (n == 0 && (k->offset == offsetof(struct conf, session_min_ms) ||
			k->offset == offsetof(struct conf, session_max_ms)))) {
		fail_range(r, p, k);
		return;
	}
	if (n < 0 && k->min == -1 && k->offset != offsetof(struct conf, listen_backlog))
		n = 0;
	store(r->c, k, n * (int64_t)k->scale);
}

static void take_text(struct sup_reading *r, const struct sup_property *p, const struct sup_key *k)
{
	char **field = (char **)(void *)((char *)r->c + k->offset);

	free(*field);
	*field = NULL;
	if (*p->value == '\0')
		return; /* as if not given */
	*field = strdup(p->value);
	CHECK(*field);
}

static void take_size(struct sup_reading *r, const struct sup_property *p, const struct sup_key *k)
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
		if (sup_parse_number(digits, &n) && n >= 0 && n <= INT64_MAX / scale &&
		    n * scale >= HEAP_MIN && (uint64_t)(n * scale) <= SUP_HEAP_MAX) {
			store(r->c, k, n * scale);
			return;
		}
	}
	sup_fail_value(r, p, k->what);
}

static void take_workers(struct sup_reading *r, const struct sup_property *p,
			 const struct sup_key *k)
{
	int64_t n = 0;

	if (strcasecmp(p->value, "auto") != 0 &&
	    (!sup_parse_number(p->value, &n) || n < 1 || n > CONF_WORKERS_MAX))
		sup_fail_value(r, p, k->what);
	store(r->c, k, n);
}

static void take_role(struct sup_reading *r, const struct sup_property *p, const struct sup_key *k)
{
	r->role = p;
	r->observer = strcasecmp(p->value, "observer") == 0;
	if (!r->observer && strcasecmp(p->value, "participant") != 0)
		sup_fail_value(r, p, k->what);
}

static void take_bool(struct sup_reading *r, const struct sup_property *p, const struct sup_key *k)
{
	bool is_true = strcasecmp(p->value, "true") == 0;

	if (!is_true && strcasecmp(p->value, "false") != 0)
		sup_fail_value(r, p, "true or false");
	store(r->c, k, is_true);
}

static bool is_off(const struct sup_property *p, const struct sup_key *k)
{
	return k->off && strcasecmp(p->value, k->off) == 0;
}

static void take(struct sup_reading *r, const struct sup_property *p, const struct sup_key *k)
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
	case SUP_KEY_ROLE:
		take_role(r, p, k);
		break;
	case SUP_KEY_MEMBER: /* sup_ensemble_read() */
	case SUP_KEY_REFUSED:
	case SUP_KEY_IGNORED:
		break; /* judge() */
	}
}

const struct sup_key *sup_key_of(const struct sup_property *p)
{
	static const char prefix[] = "zookeeper.";
	size_t len = strncmp(p->key, prefix, sizeof(prefix) - 1) == 0 ? sizeof(prefix) - 1 : 0;
	const struct sup_key *k = sup_key_find(p->key + len);

	/* "server.1" is a line of the file, and "zookeeper.version" somebody's property. */
	return len && k && k->type == SUP_KEY_MEMBER ? NULL : k;
}

bool sup_is_overridden(const struct sup_properties *all, size_t i)
{
	const struct sup_key *k = sup_key_of(&all->list[i]);

	for (size_t j = i + 1; j < all->n; j++)
		if (strcmp(all->list[i].key, all->list[j].key) == 0 ||
		    (k && k->size && k == sup_key_of(&all->list[j])))
			return true;
	return false;
}

static void tell(char *text, const char *before, const struct sup_property *p)
{
	char key[128];

	sup_say(text, "%s%s", before, log_escape(key, sizeof(key), p->key, strlen(p->key)));
}

static enum sup_reason reason_of(const struct sup_reading *r, const struct sup_key *k)
{
	return r->c->members ? k->ensemble : k->alone;
}

/* "TLS is not served yet: a, b; the quorum's, and this server is standalone: c" */
static void tell_ignored(struct sup_reading *r, const struct sup_properties *all)
{
	char *text = r->texts->ignored;

	for (enum sup_reason why = SUP_HAS_EFFECT + 1; why < SUP_REASONS; why++) {
		unsigned n = 0;

		for (size_t i = 0; i < all->n; i++) {
			const struct sup_key *k = sup_key_of(&all->list[i]);

			if (!k || reason_of(r, k) != why || is_off(&all->list[i], k) ||
			    sup_is_overridden(all, i))
				continue;
			if (n++ == 0)
				sup_say(text, "%s%s", *text ? "; " : "", sup_reason_text(why));
			tell(text, n == 1 ? ": " : ", ", &all->list[i]);
		}
	}
}

/* What asks for what can't be given; in a standalone server what is between servers asks nothing.
 */
static void refuse(struct sup_reading *r, const struct sup_properties *all)
{
	for (size_t i = 0; i < all->n; i++) {
		const struct sup_key *k = sup_key_of(&all->list[i]);

		if (k && k->type == SUP_KEY_REFUSED && reason_of(r, k) == SUP_HAS_EFFECT &&
		    !is_off(&all->list[i], k) && !sup_is_overridden(all, i))
			sup_fail(r, &all->list[i], "%s", k->what);
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
	    .connect_retry_ms = 100,
	    .election_connect_ms = 5000,
	    .election_bind_retries = 3,
	    .vote_min_ms = 200,
	    .vote_max_ms = 60000,
	    .observer_delay_ms = 200,
	    .observer_master_bytes = 32 << 20,
	    .leader_serves = true,
	    .standalone_enabled = true,
	};
}

static void raise_to(struct sup_reading *r, uint32_t *field, int32_t min, const char *key)
{
	if ((int32_t)*field >= min)
		return;
	sup_remark(r, "%s: %d was raised to %d", key, (int)*field, (int)min);
	*field = (uint32_t)min;
}

static uint32_t ticks_ms(const struct conf *c, uint32_t ticks)
{
	uint64_t ms = (uint64_t)c->tick_ms * ticks;

	return ms < INT32_MAX ? (uint32_t)ms : INT32_MAX;
}

static void resolve_ensemble(struct sup_reading *r)
{
	struct conf *c = r->c;

	if (!c->members)
		return;
	if (!c->init_limit)
		sup_fail(r, NULL, "initLimit is missing, and there is more than one server");
	if (!c->sync_limit)
		sup_fail(r, NULL, "syncLimit is missing, and there is more than one server");
	if (!c->election_hello_ms)
		c->election_hello_ms = ticks_ms(c, c->sync_limit);
	if (c->vote_max_ms < c->vote_min_ms)
		c->vote_max_ms = c->vote_min_ms;
}

/* What holds between keys, and what one takes from another. */
static void resolve(struct sup_reading *r)
{
	struct conf *c = r->c;

	if (!c->data_dir)
		sup_fail(r, NULL, "dataDir is missing");
	if (!c->client_port)
		sup_fail(r, NULL, "clientPort is missing (TLS alone is not served yet)");
	raise_to(r, &c->snap_count, SNAP_COUNT_MIN, "snapCount");
	raise_to(r, &c->purge_retain, RETAIN_MIN, "autopurge.snapRetainCount");
	resolve_ensemble(r);
	if (!c->session_min_ms)
		c->session_min_ms = ticks_ms(c, 2);
	if (!c->session_max_ms)
		c->session_max_ms = ticks_ms(c, 20);
	if (c->session_min_ms > c->session_max_ms)
		sup_fail(r, NULL,
			 "minSessionTimeout %" PRIu32 " is over maxSessionTimeout %" PRIu32,
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

static int finish(struct sup_reading *r)
{
	resolve(r);
	if (!r->failed)
		return 0;
	sup_conf_free(r->c);
	return -1;
}

static void take_all(struct sup_reading *r, const struct sup_properties *all)
{
	for (size_t i = 0; i < all->n && !r->failed; i++) {
		const struct sup_key *k = sup_key_of(&all->list[i]);

		if (!k)
			tell(r->texts->unknown, *r->texts->unknown ? ", " : "", &all->list[i]);
		else if (!sup_is_overridden(all, i))
			take(r, &all->list[i], k);
	}
	if (!r->failed)
		sup_ensemble_read(r, all);
	refuse(r, all);
	tell_ignored(r, all);
}

int sup_conf_parse(struct conf *c, const char *name, const char *text, size_t len,
		   sup_conf_read *read, struct sup_conf_texts *texts)
{
	struct sup_reading r = {.c = c, .texts = texts, .read = read, .name = name};
	struct sup_properties all;
	unsigned line = 0;
	int err, result;

	*texts = (struct sup_conf_texts){0};
	set_defaults(c, name);
	err = sup_properties_parse(&all, text, len, &line);
	if (err) {
		sup_fail_syntax(&r, err, line);
		return finish(&r);
	}
	take_all(&r, &all);
	result = finish(&r);
	sup_properties_free(&all);
	return result;
}

static ssize_t read_file(const char *path, void *to, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t got = 1;
	int err = errno;

	if (fd < 0)
		return -err;
	while (have < size && got != 0) {
		got = read(fd, (char *)to + have, size - have);
		err = errno;
		if (got < 0 && err != EINTR)
			break;
		have += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	return got < 0 ? -err : (ssize_t)have;
}

int sup_conf_load(struct conf *c, const char *path, struct sup_conf_texts *texts)
{
	char *text = malloc(SUP_PROPERTIES_BYTES_MAX + 1);
	ssize_t len = text ? read_file(path, text, SUP_PROPERTIES_BYTES_MAX + 1) : -ENOMEM;
	int err = -1;

	*c = (struct conf){0};
	*texts = (struct sup_conf_texts){0};
	if (len < 0)
		sup_say(texts->error, "%s: %s", path, strerror((int)-len));
	else
		err = sup_conf_parse(c, path, text, (size_t)len, read_file, texts);
	free(text);
	return err;
}

int sup_conf_arguments(struct conf *c, int n, char **args, struct sup_conf_texts *texts)
{
	static const char *const names[] = {"clientPort", "dataDir", "tickTime", "maxClientCnxns"};
	struct sup_reading r = {.c = c, .texts = texts};

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
	free(c->members);
	free(c->dynamic_file);
	*c = (struct conf){0};
}
