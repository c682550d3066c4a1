#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "ctl/ctl.h"
#include "storage/export.h"
#include "storage/file.h"
#include "storage/member.h"
#include "writer/offline.h"

static void warn_found(const struct sto_recovered *found)
{
	if (*found->message)
		ctl_warn("%s", found->message);
}

/* Promises before the data: a server that starts on what a crash left here finds them. */
int ctl_import(int n, char **args)
{
	const char *data = args[0], *log = n == 3 ? args[1] : NULL, *to = args[n - 1];
	struct ctl_dirs from, target;
	struct wtr_offline o;
	int err, status = ctl_dirs_find(&from, data, log);

	if (!status)
		status = ctl_dirs_need_log(&from, "log.", log != NULL);
	if (!status)
		status = ctl_dirs_make(&target, to);
	if (!status)
		status = ctl_copy_promises(data, to);
	if (status)
		return status;
	err = wtr_offline_import(from.snap, from.log, target.snap, &o);
	warn_found(&o.found);
	if (o.misfit >= 0)
		ctl_warn("log zxid=0x%" PRIx64 " can't be applied", (uint64_t)o.misfit);
	if (err)
		return ctl_fail(CTL_FAILED, "import of %s: %s", data, strerror(-err));
	printf("imported zxid=0x%" PRIx64 " snapshot=0x%" PRIx64 " txns=%" PRIu64 " nodes=%" PRId64
	       " sessions=%" PRIu32 "\n",
	       (uint64_t)o.found.last_zxid,
	       (uint64_t)(o.found.snapshot_zxid < 0 ? 0 : o.found.snapshot_zxid), o.found.txns,
	       o.nodes, o.sessions);
	return CTL_OK;
}

/*
 * Of a member of an ensemble: its promises, as they are now. ZooKeeper does not start on a log that
 * goes beyond the epoch that it took over.
 */
static int export_promises(const char *from, const char *to, int64_t last_zxid)
{
	struct sto_member m;
	int err = sto_member_load(&sto_fs_readonly, from, &m);

	if (err == -ENOENT)
		return 0;
	if (err)
		return ctl_fail(CTL_FAILED, "record of the member: %s", strerror(-err));
	if (last_zxid >> 32 > m.current_epoch || m.must_sync)
		return ctl_fail(CTL_FAILED, "this member was not in sync with its leader when it "
					    "stopped: start it once more before");
	err = sto_member_export(&sto_fs_posix, to, &m);
	return err ? ctl_fail(CTL_FAILED, "epochs: %s", strerror(-err)) : 0;
}

int ctl_export(int n, char **args)
{
	const char *data = args[0], *log = n == 3 ? args[1] : NULL, *to = args[n - 1];
	struct ctl_dirs from, target;
	struct sto_exported e;
	int err, status = ctl_dirs_find(&from, data, log);

	if (!status)
		status = ctl_dirs_need_log(&from, STO_LOG_PREFIX, log != NULL);
	if (!status)
		status = ctl_dirs_lock(&from, data, log);
	if (!status)
		status = ctl_dirs_make(&target, to);
	if (!status)
		status = ctl_copy_promises(data, to);
	if (status)
		return status;
	err = sto_export(&sto_fs_readonly, from.snap, from.log, &sto_fs_posix, target.snap, &e);
	warn_found(&e.found);
	if (err)
		return ctl_fail(CTL_FAILED, "export of %s: %s", data,
				*e.message ? e.message : strerror(-err));
	status = export_promises(from.snap, target.snap, e.found.last_zxid);
	if (status)
		return status;
	printf("exported zxid=0x%" PRIx64 " snapshot=0x%" PRIx64 " txns=%" PRIu64 " nodes=%" PRIu64
	       " sessions=%" PRIu64 "\n",
	       (uint64_t)e.found.last_zxid,
	       (uint64_t)(e.found.snapshot_zxid < 0 ? 0 : e.found.snapshot_zxid), e.found.txns,
	       e.nodes, e.sessions);
	if (e.ttl_nodes)
		ctl_warn("there are nodes with a time to live: without extendedTypesEnabled=true "
			 "ZooKeeper takes them for ephemerals of lost sessions and deletes them");
	return CTL_OK;
}
