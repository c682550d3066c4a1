#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sto_write(const struct sto_fs *fs, int fd, const void *buf, size_t n, uint64_t at)
{
	const uint8_t *from = buf;

	while (n) {
		ssize_t put = fs->pwrite(fs->self, fd, from, n, (off_t)at);

		if (put <= 0)
			return put ? (int)put : -EIO;
		from += put;
		at += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

ssize_t sto_read(const struct sto_fs *fs, int fd, void *buf, size_t n, uint64_t at)
{
	uint8_t *to = buf;
	size_t done = 0;

	while (done < n) {
		ssize_t got = fs->pread(fs->self, fd, to + done, n - done, (off_t)(at + done));

		if (got < 0)
			return got;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int sto_dir_open(const struct sto_fs *fs, const char *path)
{
	return fs->open(fs->self, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
}

void sto_name(char name[STO_NAME_MAX], const char *prefix, int64_t zxid)
{
	snprintf(name, STO_NAME_MAX, "%s%016" PRIx64, prefix, (uint64_t)zxid);
}

bool sto_name_parse(const char *name, const char *prefix, const char *suffix, int64_t *zxid)
{
	size_t prefix_len = strlen(prefix), digits;
	uint64_t value = 0;

	if (strncmp(name, prefix, prefix_len))
		return false;
	name += prefix_len;
	digits = strspn(name, "0123456789abcdef");
	if (digits < 1 || digits > 16 || strcmp(name + digits, suffix))
		return false;
	for (size_t i = 0; i < digits; i++)
		value =
		    value << 4 | (uint64_t)(name[i] <= '9' ? name[i] - '0' : name[i] - 'a' + 10);
	*zxid = (int64_t)value;
	return *zxid >= 0;
}

int sto_names_add(struct sto_names *names, int64_t zxid)
{
	if (names->n == names->cap) {
		unsigned cap = names->cap ? names->cap * 2 : 16;
		int64_t *more = realloc(names->zxid, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		names->zxid = more;
		names->cap = cap;
	}
	names->zxid[names->n++] = zxid;
	return 0;
}

struct listing {
	struct sto_names *names;
	const char *prefix;
};

static int list_one(void *arg, const char *name)
{
	struct listing *l = arg;
	int64_t zxid;

	if (!sto_name_parse(name, l->prefix, "", &zxid) || strlen(name) != strlen(l->prefix) + 16)
		return 0;
	return sto_names_add(l->names, zxid);
}

static int by_zxid(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

void sto_names_sort(struct sto_names *names)
{
	if (names->n)
		qsort(names->zxid, names->n, sizeof(*names->zxid), by_zxid);
}

int sto_names_list(const struct sto_fs *fs, int dir, const char *prefix, struct sto_names *out)
{
	struct listing l = {out, prefix};
	int err = fs->list(fs->self, dir, list_one, &l);

	sto_names_sort(out);
	return err;
}

void sto_names_free(struct sto_names *names)
{
	free(names->zxid);
	*names = (struct sto_names){0};
}

void sto_why(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, STO_WHY_MAX, format, args);
	va_end(args);
}
