#include "writer/members.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

enum { FILE_MAX = 1 << 20 };

#define NEXT_SUFFIX ".dynamic.next"

/* --- files ------------------------------------------------------------------------------- */

/* All of it, with a NUL behind it. NULL: errno. */
static char *read_all(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	char *text = fd < 0 ? NULL : malloc(FILE_MAX + 1);
	ssize_t got = 1;

	if (fd < 0)
		return NULL;
	for (*len = 0; text && got && *len < FILE_MAX; *len += (size_t)got) {
		got = read(fd, text + *len, FILE_MAX - *len);
		if (got < 0) {
			err = errno;
			break;
		}
	}
	close(fd);
	if (text && (err || *len == FILE_MAX)) {
		free(text);
		text = NULL;
	}
	if (text)
		text[*len] = '\0';
	else
		errno = err ? err : EFBIG;
	return text;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		text += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
	return fsync(fd) ? -errno : 0;
}

static int sync_folder_of(const char *path)
{
	char copy[PATH_MAX];
	int fd, err;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = fsync(fd) ? -errno : 0;
	close(fd);
	return err;
}

/* In the place of `path`, with the mode and owner of `like`. */
static int replace(const char *path, const char *like, const char *text, size_t len)
{
	char tmp[PATH_MAX];
	struct stat old;
	int fd, err;

	if ((size_t)snprintf(tmp, sizeof(tmp), "%s.tmp", path) >= sizeof(tmp))
		return -ENAMETOOLONG;
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	if (!stat(like, &old)) {
		/* Without the right to give it away it stays ours, with the same mode. */
		if (fchown(fd, old.st_uid, old.st_gid))
			errno = 0;
		(void)fchmod(fd, old.st_mode & 07777);
	}
	err = write_all(fd, text, len);
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(tmp, path))
		err = -errno;
	if (err) {
		(void)unlink(tmp);
		return err;
	}
	return sync_folder_of(path);
}

static bool name(char to[PATH_MAX], const char *cfg, const char *suffix)
{
	return (size_t)snprintf(to, PATH_MAX, "%s%s", cfg, suffix) < PATH_MAX;
}

/* --- zoo.cfg ----------------------------------------------------------------------------- */

/* One line of a properties file with what continues it, and its key. */
struct line {
	const char *at, *end; /* line end included */
	const char *key, *value;
	size_t key_len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\f';
}

/* Does the physical line that ends there (at its '\n', or at the text's end) go on? */
static bool goes_on(const char *at, const char *end)
{
	size_t n = 0;

	if (end > at && end[-1] == '\r')
		end--;
	while (end > at && end[-1] == '\\') {
		end--;
		n++;
	}
	return n % 2;
}

/* The line that begins there; key_len 0: blank or a comment. */
static struct line line_at(const char *at)
{
	struct line l = {.at = at, .key = at};
	const char *from = at;
	bool comment;

	while (is_blank(*l.key))
		l.key++;
	comment = *l.key == '#' || *l.key == '!';
	for (;;) {
		l.end = strchrnul(from, '\n');
		if (comment || !*l.end || !goes_on(from, l.end))
			break;
		from = l.end + 1;
	}
	if (!comment)
		l.key_len = strcspn(l.key, "=: \t\f\r\n");
	l.value = l.key + l.key_len;
	while (is_blank(*l.value))
		l.value++;
	if (*l.value == '=' || *l.value == ':')
		l.value++;
	while (is_blank(*l.value))
		l.value++;
	if (*l.end)
		l.end++;
	return l;
}

static bool key_begins(const struct line *l, const char *with)
{
	return l->key_len >= strlen(with) && !strncmp(l->key, with, strlen(with));
}

static bool key_is(const struct line *l, const char *what)
{
	return l->key_len == strlen(what) && key_begins(l, what);
}

static bool belongs_to_dynamic(const struct line *l, bool with_client)
{
	return key_begins(l, "server.") || key_begins(l, "group") || key_begins(l, "weight") ||
	       key_is(l, "peerType") || key_is(l, "dynamicConfigFile") ||
	       (with_client && (key_is(l, "clientPort") || key_is(l, "clientPortAddress")));
}

/* The name behind dynamicConfigFile, or false. */
static bool find_dynamic(const char *text, char to[PATH_MAX])
{
	bool found = false;

	for (struct line l; *text; text = l.end) {
		size_t len;

		l = line_at(text);
		if (!key_is(&l, "dynamicConfigFile"))
			continue;
		len = strcspn(l.value, "\r\n");
		if (!len || len >= PATH_MAX)
			continue;
		memcpy(to, l.value, len);
		to[len] = '\0';
		found = true;
	}
	return found;
}

static int rewrite(const char *cfg, const char *dynamic, bool with_client)
{
	char bak[PATH_MAX], old_dynamic[PATH_MAX];
	size_t len, used = 0, size;
	char *old = read_all(cfg, &len), *new;
	int err = 0;

	if (!old)
		return -errno;
	size = len + strlen(dynamic) + 32;
	new = malloc(size);
	if (!new)
		err = -ENOMEM;
	if (!err && !find_dynamic(old, old_dynamic))
		err = name(bak, cfg, ".bak") ? replace(bak, cfg, old, len) : -ENAMETOOLONG;
	for (struct line l = {.end = old}; !err && *l.end;) {
		l = line_at(l.end);
		if (belongs_to_dynamic(&l, with_client))
			continue;
		memcpy(new + used, l.at, (size_t)(l.end - l.at));
		used += (size_t)(l.end - l.at);
	}
	if (!err) {
		used += (size_t)snprintf(new + used, size - used, "%sdynamicConfigFile=%s\n",
					 used && new[used - 1] != '\n' ? "\n" : "", dynamic);
		err = replace(cfg, cfg, new, used);
	}
	free(old);
	free(new);
	return err;
}

/* --- configurations ---------------------------------------------------------------------- */

/* The hexadecimal number behind the last dot; 0 when there is none (getVersionFromFilename). */
static int64_t version_of(const char *path)
{
	const char *dot = strrchr(path, '.');
	size_t digits = dot ? strspn(dot + 1, "0123456789abcdefABCDEF") : 0;
	uint64_t version;

	if (!digits || digits > 16 || dot[1 + digits])
		return 0;
	version = strtoull(dot + 1, NULL, 16);
	return version > INT64_MAX ? 0 : (int64_t)version;
}

static int load(const char *path, struct quorum_config *c)
{
	size_t len;
	char *text = read_all(path, &len);
	int err;

	if (!text)
		return -errno;
	err = quorum_config_parse(c, text, len, NULL);
	free(text);
	return err;
}

int wtr_members_load(const char *cfg, struct quorum_config *c)
{
	char dynamic[PATH_MAX];
	size_t len;
	char *text = read_all(cfg, &len);
	bool found;
	int err;

	if (!text)
		return -errno;
	found = find_dynamic(text, dynamic);
	free(text);
	if (!found)
		return -ENOENT;
	err = load(dynamic, c);
	c->version = version_of(dynamic);
	return err == -ENOENT ? -ENODATA : err;
}

int wtr_members_load_next(const char *cfg, struct quorum_config *c)
{
	char path[PATH_MAX];

	return name(path, cfg, NEXT_SUFFIX) ? load(path, c) : -ENAMETOOLONG;
}

/* The text without its last line, the version; its length. */
static size_t print_members(const struct quorum_config *c, char *text)
{
	size_t len = quorum_config_print(c, text, QUORUM_CONFIG_TEXT_MAX);

	while (len && text[len - 1] != '\n')
		len--;
	return len ? len - 1 : 0;
}

int wtr_members_store(const char *cfg, const struct quorum_config *c, int64_t sid)
{
	static char text[QUORUM_CONFIG_TEXT_MAX];
	const struct quorum_member *me = quorum_config_find(c, sid);
	char whole[PATH_MAX], dynamic[PATH_MAX], suffix[40];
	int err;

	/* Found again wherever the next start's working folder is. */
	if (!realpath(cfg, whole))
		return -errno;
	snprintf(suffix, sizeof(suffix), ".dynamic.%" PRIx64, (uint64_t)c->version);
	if (!name(dynamic, whole, suffix))
		return -ENAMETOOLONG;
	err = replace(dynamic, whole, text, print_members(c, text));
	return err ? err : rewrite(whole, dynamic, me && me->client.host);
}

int wtr_members_store_next(const char *cfg, const struct quorum_config *c)
{
	static char text[QUORUM_CONFIG_TEXT_MAX];
	char path[PATH_MAX];

	if (!name(path, cfg, NEXT_SUFFIX))
		return -ENAMETOOLONG;
	return replace(path, cfg, text, quorum_config_print(c, text, sizeof(text)));
}

int wtr_members_drop_next(const char *cfg)
{
	char path[PATH_MAX];

	if (!name(path, cfg, NEXT_SUFFIX))
		return -ENAMETOOLONG;
	return unlink(path) && errno != ENOENT ? -errno : 0;
}
