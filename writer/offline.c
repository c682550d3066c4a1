#include "writer/offline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "writer/recovery.h"
#include "writer/snapshot.h"

static int recover(struct wtr_recovery *r, const char *snap_dir, const char *log_dir,
		   bool zookeepers)
{
	if (snprintf(r->snap_dir, sizeof(r->snap_dir), "%s", snap_dir) >= WTR_DIR_MAX ||
	    snprintf(r->log_dir, sizeof(r->log_dir), "%s", log_dir) >= WTR_DIR_MAX)
		return -ENAMETOOLONG;
	return wtr_recover_private(r, zookeepers);
}

static void tell(const struct wtr_recovery *r, struct wtr_offline *o)
{
	*o = (struct wtr_offline){.found = r->found,
				  .digest_differs = r->apply.digest_differs,
				  .snapshot_differs = r->snapshot_differs,
				  .misfit = r->misfit};
	if (!r->tree)
		return;
	o->nodes = shm_tree_count(r->tree) - 1; /* ZooKeeper counts the root twice */
	o->sessions = shm_session_count(r->tree);
}

static void end(struct wtr_recovery *r)
{
	wtr_recovery_fini(r);
	if (r->tree)
		shm_tree_free_private(r->tree);
	free(r);
}

int wtr_offline_import(const char *snap_dir, const char *log_dir, const char *to_dir,
		       struct wtr_offline *o)
{
	struct wtr_recovery *r = calloc(1, sizeof(*r));
	int err;

	*o = (struct wtr_offline){.misfit = -1};
	if (!r)
		return -ENOMEM;
	err = recover(r, snap_dir, log_dir, true);
	tell(r, o);
	if (!err)
		err = wtr_snapshot_write(r->tree, shm_tree_zxid(r->tree), &sto_fs_posix, to_dir,
					 NULL, NULL, NULL);
	end(r);
	return err;
}

int wtr_offline_check(const char *snap_dir, const char *log_dir, struct wtr_offline *o)
{
	struct wtr_recovery *r = calloc(1, sizeof(*r));
	int err;

	*o = (struct wtr_offline){.misfit = -1};
	if (!r)
		return -ENOMEM;
	err = recover(r, snap_dir, log_dir, false);
	tell(r, o);
	end(r);
	return err;
}
