#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "ctl/ctl.h"
#include "storage/inspect.h"
#include "writer/offline.h"

static int put_file(void *arg, const struct sto_file *f)
{
	static const char *const words[] = {
	    [STO_GOOD] = "good", [STO_TORN] = "torn", [STO_BAD] = "BAD "};
	unsigned *bad = arg;

	printf("%s %s bytes=%" PRIu64, words[f->state], f->name, f->bytes);
	if (f->state == STO_BAD)
		++*bad;
	else if (f->is_snapshot)
		printf(" nodes=%" PRIu64 " sessions=%" PRIu64, f->head.nodes, f->head.sessions);
	else
		printf(" txns=%" PRIu64 " last=0x%" PRIx64, f->txns, (uint64_t)f->last_zxid);
	printf("%s%s\n", f->state == STO_GOOD ? "" : ": ", f->state == STO_GOOD ? "" : f->why);
	return ferror(stdout) ? -EIO : 0;
}

/* What a start would say. */
static unsigned put_recovery(const struct ctl_dirs *d)
{
	struct wtr_offline o;
	int err = wtr_offline_check(d->snap, d->log, &o);
	bool differs = o.snapshot_differs || o.digest_differs;

	printf("%s recovery zxid=0x%" PRIx64 " nodes=%" PRId64 " sessions=%" PRIu32
	       " txns=%" PRIu64,
	       err || differs ? "BAD " : "good", (uint64_t)o.found.last_zxid, o.nodes, o.sessions,
	       o.found.txns);
	if (*o.found.message)
		printf(": %s", o.found.message);
	if (o.misfit >= 0)
		printf(": zxid=0x%" PRIx64 " does not fit the tree before it", (uint64_t)o.misfit);
	if (o.snapshot_differs)
		printf(": the snapshot's digest is not the one written in it");
	if (o.digest_differs)
		printf(": the digest is not the logged one after %" PRId32 " transactions",
		       o.digest_differs);
	putchar('\n');
	return err || differs;
}

int ctl_check(int n, char **args)
{
	const char *log = n == 2 ? args[1] : NULL;
	struct ctl_dirs d;
	unsigned bad = 0;
	int err, status = ctl_dirs_find(&d, args[0], log);

	if (!status)
		status = ctl_dirs_lock(&d, args[0], log);
	if (status)
		return status;
	err = sto_inspect(&sto_fs_readonly, d.snap, d.log, put_file, &bad);
	if (err)
		return ctl_fail(CTL_FAILED, "%s: %s", args[0], strerror(-err));
	bad += put_recovery(&d);
	return bad ? CTL_FAILED : CTL_OK;
}
