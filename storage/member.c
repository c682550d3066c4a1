#include "storage/member.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "base/bug.h"
#include "base/bytes.h"
#include "base/check.h"
#include "storage/segment.h"
#include "storage/stage.h"

enum { MEMBER_VERSION = 1, MUST_SYNC = 1, EPOCH_DIGITS = 18 };
#define MEMBER_MAGIC 0x0a424d454d434450 /* "PDCMEMB\n" */

static bool epochs_ok(const struct sto_member *m)
{
	return m->current_epoch >= 0 && m->accepted_epoch >= m->current_epoch && m->fuzzy_zxid >= 0;
}

void sto_record_put(uint8_t to[STO_MEMBER_BYTES], const struct sto_record *r)
{
	memset(to, 0, STO_MEMBER_BYTES);
	le64_put(to + 8, MEMBER_MAGIC);
	le32_put(to + 16, MEMBER_VERSION);
	le32_put(to + 20, r->member.must_sync ? MUST_SYNC : 0);
	le64_put(to + 24, (uint64_t)r->member.accepted_epoch);
	le64_put(to + 32, (uint64_t)r->member.current_epoch);
	le32_put(to + 40, r->pending);
	le64_put(to + 48, (uint64_t)r->zxid);
	le64_put(to + 56, (uint64_t)r->member.fuzzy_zxid);
	le64_put(to, XXH3_64bits(to + 8, STO_MEMBER_BYTES - 8));
}

bool sto_record_get(const uint8_t *from, size_t len, struct sto_record *r)
{
	if (len != STO_MEMBER_BYTES || le64_get(from + 8) != MEMBER_MAGIC ||
	    le32_get(from + 16) != MEMBER_VERSION ||
	    !sto_hash_ok(XXH3_64bits(from + 8, STO_MEMBER_BYTES - 8), le64_get(from)))
		return false;
	if (le32_get(from + 20) > MUST_SYNC || le32_get(from + 40) > STO_PENDING_INSTALL)
		return false;
	*r = (struct sto_record){
	    .member = {.accepted_epoch = (int64_t)le64_get(from + 24),
		       .current_epoch = (int64_t)le64_get(from + 32),
		       .must_sync = le32_get(from + 20),
		       .fuzzy_zxid = (int64_t)le64_get(from + 56)},
	    .pending = le32_get(from + 40),
	    .zxid = (int64_t)le64_get(from + 48),
	};
	return r->zxid >= 0 && epochs_ok(&r->member);
}

int sto_record_load(const struct sto_fs *fs, int dir, struct sto_record *r)
{
	uint8_t bytes[STO_MEMBER_BYTES + 1];
	ssize_t got;
	int fd = fs->open(fs->self, dir, STO_MEMBER, O_RDONLY, 0);

	*r = (struct sto_record){0};
	if (fd < 0)
		return fd;
	got = sto_read(fs, fd, bytes, sizeof(bytes), 0);
	fs->close(fs->self, fd);
	if (got < 0)
		return (int)got;
	return sto_record_get(bytes, (size_t)got, r) ? 0 : -EBADMSG;
}

/* The whole file is there, durable, or the one before it. */
static int replace_file(const struct sto_fs *fs, int dir, const char *name, const void *bytes,
			size_t n)
{
	char tmp[STO_NAME_MAX];
	int err, fd;

	snprintf(tmp, sizeof(tmp), "%s%s", name, STO_TMP_SUFFIX);
	fd = fs->open(fs->self, dir, tmp, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		return fd;
	err = sto_write(fs, fd, bytes, n, 0);
	if (!err && !WRONG(EPOCHS_NOT_SYNCED))
		err = fs->sync(fs->self, fd);
	fs->close(fs->self, fd);
	if (!err)
		err = fs->rename(fs->self, dir, tmp, name);
	return err ? err : fs->sync(fs->self, dir);
}

int sto_record_store(const struct sto_fs *fs, int dir, const struct sto_record *r)
{
	uint8_t bytes[STO_MEMBER_BYTES];

	CHECK(epochs_ok(&r->member)); /* I1 */
	sto_record_put(bytes, r);
	return replace_file(fs, dir, STO_MEMBER, bytes, sizeof(bytes));
}

static int export_epoch(const struct sto_fs *fs, int dir, const char *name, int64_t epoch)
{
	char text[EPOCH_DIGITS + 2];

	return replace_file(fs, dir, name, text,
			    (size_t)snprintf(text, sizeof(text), "%" PRId64, epoch));
}

int sto_member_export(const struct sto_fs *fs, const char *snap_dir, const struct sto_member *m)
{
	int err, dir = sto_dir_open(fs, snap_dir);

	if (dir < 0)
		return dir;
	err = export_epoch(fs, dir, "acceptedEpoch", m->accepted_epoch);
	if (!err)
		err = export_epoch(fs, dir, "currentEpoch", m->current_epoch);
	fs->close(fs->self, dir);
	return err;
}

int sto_member_load(const struct sto_fs *fs, const char *snap_dir, struct sto_member *m)
{
	int err, dir = sto_dir_open(fs, snap_dir);
	struct sto_record r;

	*m = (struct sto_member){0};
	if (dir < 0)
		return dir;
	err = sto_record_load(fs, dir, &r);
	fs->close(fs->self, dir);
	if (!err)
		*m = r.member;
	return err;
}

/* What is pending stays so; nobody knows what was in a record that is damaged. */
int sto_member_store(const struct sto_fs *fs, const char *snap_dir, const struct sto_member *m)
{
	int err, dir = sto_dir_open(fs, snap_dir);
	struct sto_record r;

	if (dir < 0)
		return dir;
	err = sto_record_load(fs, dir, &r);
	r.member = *m;
	if (!err || err == -ENOENT || err == -EBADMSG)
		err = sto_record_store(fs, dir, &r);
	fs->close(fs->self, dir);
	return err;
}

/* --- Apache ZooKeeper's files ---------------------------------------------------------------- */

/* Decimal digits, perhaps white space behind them (QuorumPeer.readLongFromFile trims). */
static int parse_epoch(const char *text, size_t len, int64_t *epoch)
{
	size_t digits = 0;

	*epoch = 0;
	while (digits < len && text[digits] >= '0' && text[digits] <= '9')
		*epoch = *epoch * 10 + (text[digits++] - '0');
	for (size_t i = digits; i < len; i++)
		if (text[i] != '\n' && text[i] != '\r' && text[i] != ' ')
			return -EBADMSG;
	return digits ? 0 : -EBADMSG;
}

/* 0, too, if there is none: *epoch is as it was. */
static int read_epoch(const struct sto_fs *fs, int dir, const char *name, int64_t *epoch)
{
	char text[EPOCH_DIGITS + 1];
	int fd = fs->open(fs->self, dir, name, O_RDONLY, 0);
	ssize_t got;

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	got = sto_read(fs, fd, text, sizeof(text), 0);
	fs->close(fs->self, fd);
	if (got < 0)
		return (int)got;
	return got > EPOCH_DIGITS ? -EBADMSG : parse_epoch(text, (size_t)got, epoch);
}

static int import_epochs(const struct sto_fs *fs, int dir, struct sto_member *m)
{
	int64_t accepted = -1;
	int err = read_epoch(fs, dir, "currentEpoch", &m->current_epoch);

	if (!err)
		err = read_epoch(fs, dir, "acceptedEpoch", &accepted);
	m->accepted_epoch = accepted < 0 ? m->current_epoch : accepted;
	return err || epochs_ok(m) ? err : -EBADMSG;
}

/* --- a start --------------------------------------------------------------------------------- */

static int finish(struct sto_dirs *d, struct sto_record *r)
{
	int err = r->pending == STO_PENDING_CUT ? sto_cut_finish(d, r->zxid)
						: sto_install_finish(d, r->zxid);

	if (err)
		return err;
	*r = (struct sto_record){.member = r->member};
	return sto_record_store(d->fs, d->snap, r);
}

/* The record may still stand in the cache alone: it is durable before anything is done on it. */
static int settle(struct sto_dirs *d, struct sto_member *m)
{
	struct sto_record r;
	int err = d->fs->sync(d->fs->self, d->snap);

	if (!err)
		err = sto_record_load(d->fs, d->snap, &r);
	if (err && err != -ENOENT)
		return err;
	if (err)
		err = import_epochs(d->fs, d->snap, &r.member);
	*m = r.member;
	if (!err && r.pending && !WRONG(CUT_NOT_SETTLED))
		err = finish(d, &r);
	return err ? err : sto_stage_clean(d);
}

int sto_member_settle(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		      struct sto_member *m)
{
	struct sto_dirs d;
	int err = sto_dirs_open(&d, fs, snap_dir, log_dir);

	*m = (struct sto_member){0};
	if (err)
		return err;
	err = settle(&d, m);
	sto_dirs_close(&d);
	return err;
}
