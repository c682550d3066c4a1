#include "writer/history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "storage/reader.h"
#include "writer/flight.h"
#include "writer/service.h"

enum { EXIT_STORAGE = 10 };

/* What is written here must be; else nobody knows what the disk has. */
static void must(const char *what, int err)
{
	if (!err)
		return;
	log_always(LOG_ERROR, "%s: %s; recovering", what, strerror(-err));
	_exit(EXIT_STORAGE);
}

static struct sto_member member_now(const struct wtr_ensemble *e)
{
	const struct zab *z = wtr_zab_of(e);

	return (struct sto_member){z->accepted_epoch, z->current_epoch, z->must_sync,
				   e->core->fuzzy_zxid};
}

/* Nobody uses the log that was. */
static void rest_log(struct wtr_ensemble *e)
{
	wtr_helper_stop(e->helper);
	wtr_log_stop(e->log);
}

/* The log ends at zxid; from now on `log` is it. */
static void run_log(struct wtr_ensemble *e, struct sto_log *log, int64_t zxid)
{
	must("log thread", wtr_log_start(e->log, log, e->heritage, zxid));
	e->helper->log = log;
	must("helper thread", wtr_helper_start(e->helper));
}

static struct sto_log *open_log(struct wtr_ensemble *e, const char *dir, int64_t zxid)
{
	struct sto_log *log;

	must("log open", sto_log_open(&log, e->fs, dir, zxid, &e->log_options));
	return log;
}

void wtr_history_cut(struct wtr_ensemble *e, int64_t zxid)
{
	struct sto_member m = member_now(e);

	LOG_I("cutting the log behind zxid=0x%" PRIx64 ": its leader never had the rest", zxid);
	rest_log(e);
	must("log close", sto_log_close(e->log->log));
	must("log cut", sto_history_cut(e->fs, e->snap_dir, e->log_dir, &m, zxid));
	run_log(e, open_log(e, e->log_dir, zxid), zxid);
	wtr_core_cut(e->core, zxid);
	e->ready_due = true;
}

void wtr_history_stage(struct wtr_ensemble *e, int64_t zxid)
{
	LOG_I("receiving a snapshot of the leader, zxid=0x%" PRIx64, zxid);
	wtr_core_stage(e->core);
	peer_links_receive_state(e->links, zxid);
}

/* The snapshot is staged: what comes behind it goes to a log beside it. */
void wtr_history_staged(struct wtr_ensemble *e)
{
	char dir[WTR_DIR_MAX + 8];

	rest_log(e);
	e->kept = e->log->log;
	snprintf(dir, sizeof(dir), "%s/staged", e->log_dir);
	run_log(e, open_log(e, dir, wtr_zab_of(e)->history.base), wtr_zab_of(e)->history.base);
	e->ready_due = true;
}

void wtr_history_unstage(struct wtr_ensemble *e)
{
	peer_links_reset(e->links); /* its thread writes there */
	if (e->kept) {
		rest_log(e);
		(void)sto_log_close(e->log->log);
		run_log(e, e->kept, wtr_zab_of(e)->last_zxid);
		e->kept = NULL;
	}
	must("stage", sto_stage_discard(e->fs, e->snap_dir, e->log_dir));
	wtr_core_unstage(e->core);
}

void wtr_history_install(struct wtr_ensemble *e)
{
	struct sto_member m = member_now(e);

	/* All that Apache's leaders applied while they wrote it down came before NEWLEADER. */
	m.fuzzy_zxid = wtr_zab_of(e)->initial_zxid;
	rest_log(e);
	must("staged log", sto_log_close(e->log->log));
	(void)sto_log_close(e->kept);
	wtr_service_disconnect_all(e);
	must("install",
	     sto_stage_install(e->fs, e->snap_dir, e->log_dir, &m, wtr_zab_of(e)->history.base));
	LOG_I("the leader's snapshot zxid=0x%" PRIx64 " is ours now%s", wtr_zab_of(e)->history.base,
	      e->start.must_sync ? "; this member votes again" : "");
	e->installed = true;
}

void wtr_history_store_epochs(struct wtr_ensemble *e)
{
	struct sto_member m = member_now(e);

	must("epochs", sto_member_store(e->fs, e->snap_dir, &m));
}

/* The zxid before the oldest record of the log can't be asked for any more. */
void wtr_history_trim(struct wtr_ensemble *e)
{
	struct zab *z = wtr_zab_of(e);
	int64_t oldest = sto_log_oldest(e->fs, e->log_dir);
	struct zab_event event = {.type = ZAB_TRIM};

	if (oldest <= 0 || oldest - 1 <= z->history.base)
		return;
	event.zxid = zab_history_floor(&z->history, oldest - 1);
	if (event.zxid > z->history.base)
		(void)wtr_core_step(e->core, &event);
}

static int add_run(void *arg, int64_t first, int64_t last)
{
	struct zab_history *h = arg;

	if (!h->n && !zab_history_follows(h, first))
		zab_history_init(h, first - 1);
	if (!zab_history_follows(h, first))
		return -EBADMSG;
	zab_history_add_run(h, first, last);
	return 0;
}

/*
 * What the log holds, as far back as it goes. A snapshot of the start of an epoch says the same as
 * the transaction before it, if the log has that.
 */
int wtr_history_read(struct wtr_ensemble *e, int64_t snapshot_zxid)
{
	struct zab_history *h = &e->history;
	int err;

	zab_history_init(h, 0);
	err = sto_log_runs(e->fs, e->log_dir, -1, add_run, h);
	if (err)
		return err;
	if (zab_history_last(h) < snapshot_zxid && (!h->n || zab_counter_of(snapshot_zxid) != 0))
		zab_history_init(h, snapshot_zxid);
	return 0;
}
