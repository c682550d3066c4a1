#include "writer/enter.h"

#include <string.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/log.h"
#include "shm/wake.h"
#include "writer/loop.h"
#include "writer/service.h"
#include "writer/tell.h"

/* Workers send again what is still unanswered; doubtful: what was sent before may be done. */
static void begin_service(struct wtr_loop *l, enum wtr_service service, bool doubtful)
{
	uint32_t epoch = atomic_load(&l->board->writer_epoch) + 1;
	struct msg_down head = {.kind = DOWN_EPOCH,
				.worker = MSG_NO_WORKER,
				.err = doubtful,
				.zxid = l->told_zxid,
				.xid = (int32_t)epoch};

	wtr_core_serve(&l->core, service, epoch);
	atomic_store(&l->board->writer_epoch, epoch);
	wtr_core_down(&l->core, &head, NULL, 0);
	l->wake_all = true;
	atomic_store(service == WTR_READS ? &l->board->read_only : &l->board->in_service, 1);
	wtr_tell(l);
	shm_wake_supervisor(l->heritage);
	(void)setpriority(PRIO_PROCESS, 0, 0); /* main.c raised it for the recovery */
}

bool wtr_enter_alone(struct wtr_loop *l)
{
	while (l->tail_done < l->tail_len) {
		uint32_t len;

		if (l->core.out.len > WTR_OUT_BYTES && !wtr_tell(l))
			return false;
		memcpy(&len, l->tail + l->tail_done, sizeof(len));
		l->tail_done += sizeof(len);
		CHECK(wtr_core_replay(&l->core, l->tail + l->tail_done, len) == 0);
		l->tail_done += len;
	}
	/* All is told before the epoch is: workers send again what is still unanswered. */
	if (!wtr_tell(l))
		return false;
	wtr_core_start_alone(&l->core);
	l->in_service = true;
	begin_service(l, WTR_LEADS, false);
	return true;
}

/*
 * Clients that were at a server of Apache's may have seen the start of the epoch as a zxid, and
 * must not find us behind it (ZooKeeperServer.processConnectRequest).
 */
static void tell_epoch(struct wtr_loop *l)
{
	int64_t start = zab_zxid(l->core.zab.epoch, 0);
	struct msg_down head = {.kind = DOWN_NOP, .worker = MSG_NO_WORKER, .zxid = start};

	wtr_core_show_config(&l->core, INT64_MAX);
	if (start <= l->told_zxid)
		return;
	atomic_store(&l->board->ensemble.settled_txn, l->core.applied_zxid);
	shm_tree_touch(l->tree, start);
	l->core.epoch_zxid = start;
	wtr_core_down(&l->core, &head, NULL, 0);
}

void wtr_enter_service(struct wtr_loop *l)
{
	enum wtr_service service = wtr_service_enters(l->ensemble);
	_Atomic int64_t *served = &l->board->ensemble.served_epoch;
	int64_t epoch = l->core.zab.epoch;

	if (service == WTR_IDLE || !wtr_tell(l))
		return;
	tell_epoch(l);
	begin_service(l, service, atomic_load(served) == epoch);
	atomic_store(served, epoch);
	wtr_service_entered(l->ensemble);
	LOG_I("in service zxid=0x%llx epoch=%lld leader=%lld", (unsigned long long)l->told_zxid,
	      (long long)epoch, (long long)l->core.zab.leader_sid);
}

/*
 * Nobody leads: who is content with reads is let in. Those whom a predecessor let in stay, and
 * attach again; there is nobody else, or there should be.
 */
void wtr_enter_read_only(struct wtr_loop *l)
{
	if (!wtr_service_reads(l->ensemble) || !wtr_tell(l))
		return;
	if (!atomic_load(&l->board->read_only))
		atomic_fetch_add(&l->board->resets, 1);
	begin_service(l, WTR_READS, false);
	LOG_W("no leader is found: serving read-only clients, zxid=0x%llx",
	      (unsigned long long)l->told_zxid);
}

/* A leader was elected: it is looked up by clients anew, with another kind of session perhaps. */
void wtr_leave_read_only(struct wtr_loop *l)
{
	if (l->core.zab.role == ZAB_LOOKING || !atomic_load(&l->board->read_only))
		return;
	if (l->core.service == WTR_READS)
		wtr_core_retire(&l->core);
	atomic_store(&l->board->read_only, 0);
	atomic_fetch_add(&l->board->resets, 1);
	shm_wake_workers(l->heritage, 1);
	LOG_I("read-only service ends: a leader is elected");
}
