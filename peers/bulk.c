#include "peers/bulk.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "peers/stopfs.h"
#include "quorum/packet.h"
#include "storage/member.h"
#include "storage/reader.h"
#include "storage/snap.h"
#include "storage/zksnap.h"

enum { PATH_BYTES = 4096, RECORD_OVERHEAD = 4096 };

struct peer_job {
	pthread_t thread;
	_Atomic bool stop, done;
	_Atomic uint64_t moved;
	int fd, stop_fd; /* stop_fd: an eventfd */
	struct peer_bulk b;
	const char *busy;
	const char *why; /* NULL: all is well */
	uint64_t queued;

	/* Sending. */
	struct peer_queue work;
	uint8_t *out;
	size_t out_len;
	struct sto_reader *reader;
	int64_t read_zxid; /* the last one that the reader gave */

	/* Receiving. */
	int64_t zxid;
	struct peer_received in;
	struct peer_stopfs fs;
	struct sto_snap_writer *to;
	struct sto_snap_head head;
};

/* --- the socket ------------------------------------------------------------------------------ */

/* 0; else it must end: job->why. */
static int wait_for(struct peer_job *job, short events)
{
	struct pollfd fds[2] = {{.fd = job->fd, .events = events},
				{.fd = job->stop_fd, .events = POLLIN}};
	int n;

	do
		n = poll(fds, 2, (int)job->b.stall_ms);
	while (n < 0 && errno == EINTR);
	if (atomic_load(&job->stop))
		job->why = "stopped";
	else if (!n)
		job->why =
		    events == POLLOUT ? "its socket takes nothing" : "the state does not go on";
	else if (n < 0)
		job->why = "it can't be waited for";
	return job->why ? -ECANCELED : 0;
}

static int send_all(struct peer_job *job, const uint8_t *bytes, size_t n)
{
	while (n) {
		ssize_t sent = send(job->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0) {
			bytes += sent;
			n -= (size_t)sent;
			atomic_fetch_add_explicit(&job->moved, (uint64_t)sent,
						  memory_order_relaxed);
		} else if (errno == EAGAIN) {
			if (wait_for(job, POLLOUT))
				return -ECANCELED;
		} else if (errno != EINTR) {
			job->why = errno == EPIPE ? "closed by the peer" : "the connection failed";
			return -ECANCELED;
		}
	}
	return 0;
}

static int flush(struct peer_job *job)
{
	size_t n = job->out_len;

	job->out_len = 0;
	if (atomic_load_explicit(&job->stop, memory_order_relaxed)) {
		job->why = "stopped";
		return -ECANCELED;
	}
	return send_all(job, job->out, n);
}

static int put(void *arg, const void *bytes, size_t n)
{
	struct peer_job *job = arg;
	int err = 0;

	if (n > PEER_BULK_BYTES - job->out_len)
		err = flush(job);
	if (err)
		return err;
	if (n >= PEER_BULK_BYTES)
		return send_all(job, bytes, n);
	memcpy(job->out + job->out_len, bytes, n);
	job->out_len += n;
	return 0;
}

static int put_packet(struct peer_job *job, int32_t type, int64_t zxid, const uint8_t *data,
		      uint32_t len)
{
	uint8_t head[16], no_ids[4];
	int err;

	be32_put(head, (uint32_t)type);
	be64_put(head + 4, (uint64_t)zxid);
	be32_put(head + 12, data ? len : UINT32_MAX);
	be32_put(no_ids, UINT32_MAX);
	err = put(job, head, sizeof(head));
	if (!err && len)
		err = put(job, data, len);
	return err ? err : put(job, no_ids, sizeof(no_ids));
}

/* --- sending --------------------------------------------------------------------------------- */

/* The disk's fault, not the peer's. */
static int disk_failed(struct peer_job *job, const char *why, int64_t zxid, int err)
{
	if (job->why)
		return -ECANCELED;
	LOG_E("zxid=0x%llx: %s: %s", (unsigned long long)zxid, why, strerror(-err));
	job->why = why;
	return err;
}

/* Entries above `after` come next. */
static int seek(struct peer_job *job, int64_t after)
{
	int err = 0;

	if (job->reader && after >= job->read_zxid)
		return 0;
	if (job->reader)
		sto_reader_close(job->reader);
	job->reader = NULL;
	err = sto_reader_open(&job->reader, job->b.fs, job->b.log_dir, after);
	if (err) {
		job->reader = NULL;
		return disk_failed(job, "the log does not reach back so far", after, err);
	}
	job->read_zxid = after;
	return 0;
}

/*
 * What the log has in (after, last]: a packet `type` for each, and a COMMIT if it is `paired`. With
 * every zxid there, or an error, if it is not.
 */
static int send_logged(struct peer_job *job, int32_t type, int64_t after, int64_t last, bool paired)
{
	int64_t zxid = after, sent = after;
	const uint8_t *entry;
	uint32_t len;
	int err = after < last ? seek(job, after) : 0;

	while (!err && after < last) {
		int got = sto_reader_next(job->reader, last, &zxid, &entry, &len);

		if (got < 0)
			return disk_failed(job, "the log can't be read", sent + 1, got);
		if (!got)
			break;
		job->read_zxid = zxid;
		if (zxid <= after)
			continue;
		if (!paired && zxid != sent + 1)
			return disk_failed(job, "the log has a gap", sent + 1, -EBADMSG);
		err = put_packet(job, type, zxid, entry, len);
		if (!err && paired)
			err = put_packet(job, QUORUM_COMMIT, zxid, NULL, 0);
		sent = zxid;
	}
	if (!err && !paired && sent != last)
		return disk_failed(job, "the log ends too early", sent + 1, -EBADMSG);
	return err;
}

static int send_range(struct peer_job *job, const struct peer_item *item)
{
	int err = 0;

	if (item->type == QUORUM_PROPOSAL || item->type == QUORUM_INFORM)
		return send_logged(job, item->type, item->first - 1, item->last, false);
	for (int64_t zxid = item->first; zxid <= item->last && !err; zxid++)
		err = put_packet(job, item->type, zxid, NULL, 0);
	return err;
}

static int send_state(struct peer_job *job, int64_t zxid)
{
	int err = put_packet(job, QUORUM_SNAP, zxid, NULL, 0);

	if (!err)
		err = sto_snap_stream(job->b.fs, job->b.snap_dir, zxid, put, job);
	return err ? disk_failed(job, "the snapshot can't be read", zxid, err) : 0;
}

static int send_item(struct peer_job *job, const struct peer_item *item)
{
	switch (item->kind) {
	case PEER_ITEM_BYTES:
		return put(job, item->bytes + item->start, item->end - item->start);
	case PEER_ITEM_RANGE:
		return send_range(job, item);
	case PEER_ITEM_HISTORY:
		return send_logged(job, QUORUM_PROPOSAL, item->first, item->last, true);
	case PEER_ITEM_STATE:
		return send_state(job, item->first);
	case PEER_ITEM_CLOSE:
		break;
	}
	CHECK(!"nothing that a thread does");
	return -EINVAL;
}

static void end(struct peer_job *job)
{
	int bell = job->b.bell;

	/* Given back: nothing of *job is touched any more. */
	atomic_store_explicit(&job->done, true, memory_order_release);
	eventfd_write(bell, 1);
}

static void *run_sender(void *arg)
{
	struct peer_job *job = arg;
	int err = 0;

	for (const struct peer_item *i = job->work.head; i && !err; i = i->next)
		err = send_item(job, i);
	if (!err)
		err = flush(job);
	if (job->reader)
		sto_reader_close(job->reader);
	end(job);
	return NULL;
}

/* --- receiving ------------------------------------------------------------------------------- */

static int sink_session(void *self, int64_t id, int32_t timeout_ms)
{
	struct peer_job *job = self;

	job->head.sessions++;
	return sto_snap_session(job->to, id, timeout_ms);
}

static int sink_node(void *self, const struct sto_snap_node *n)
{
	struct peer_job *job = self;

	job->head.nodes++;
	return sto_snap_put(job->to, n);
}

/* Room for more behind in_end: as bytes come, up to one record. */
static int make_room(struct peer_received *in)
{
	size_t cap = in->in_cap < PEER_BULK_BYTES ? PEER_BULK_BYTES : in->in_cap;
	uint8_t *more;

	if (in->in_start)
		memmove(in->in, in->in + in->in_start, in->in_end - in->in_start);
	in->in_end -= in->in_start;
	in->in_start = 0;
	if (in->in_end == in->in_cap && cap == in->in_cap)
		cap *= 2;
	if (cap == in->in_cap)
		return 0;
	more = realloc(in->in, cap);
	if (!more)
		return -ENOMEM;
	in->in = more;
	in->in_cap = cap;
	return 0;
}

static int receive_more(struct peer_job *job)
{
	struct peer_received *in = &job->in;
	int err = make_room(in);

	while (!err) {
		ssize_t n =
		    recv(job->fd, in->in + in->in_end, in->in_cap - in->in_end, MSG_DONTWAIT);

		if (n > 0) {
			in->in_end += (size_t)n;
			atomic_fetch_add_explicit(&job->moved, (uint64_t)n, memory_order_relaxed);
			return 0;
		}
		if (!n || (errno != EAGAIN && errno != EINTR)) {
			job->why = n ? "the connection failed" : "closed by the peer";
			return -ECANCELED;
		}
		err = wait_for(job, POLLIN);
	}
	return err;
}

/* Read the stream to its end. */
static int receive(struct peer_job *job)
{
	const struct sto_sink sink = {.self = job, .session = sink_session, .node = sink_node};
	struct peer_received *in = &job->in;
	struct sto_zk_reader r;
	int got, err = 0;

	/* A path and data, each as long as it may be. */
	sto_zk_reader_stream(&r, &sink, job->zxid, 2 * (size_t)job->b.data_max + RECORD_OVERHEAD);
	do {
		size_t used = 0;

		got = in->in
			  ? sto_zk_read(&r, in->in + in->in_start, in->in_end - in->in_start, &used)
			  : 0;
		in->in_start += used;
		if (!got)
			err = receive_more(job);
	} while (!got && !err);
	if (got == -EBADMSG && !atomic_load(&job->stop)) {
		LOG_W("state zxid=0x%llx of the leader: %s; refused, ours stays",
		      (unsigned long long)job->zxid, r.what);
		job->why = "the state it sent is broken";
	}
	sto_zk_reader_fini(&r);
	return got < 0 ? got : err;
}

/* Into the stage, durable. */
static int stage(struct peer_job *job)
{
	char dir[PATH_BYTES];
	int err = sto_stage_begin(job->b.fs, job->b.snap_dir, job->b.log_dir);

	job->head = (struct sto_snap_head){.zxid = job->zxid};
	if (snprintf(dir, sizeof(dir), "%s/staged", job->b.snap_dir) >= (int)sizeof(dir))
		err = -ENAMETOOLONG;
	if (!err)
		err = sto_snap_begin(&job->to, &job->fs.fs, dir, &job->head);
	if (err)
		return err;
	err = receive(job);
	if (!err)
		return sto_snap_commit(job->to, &job->head);
	sto_snap_abort(job->to);
	return err;
}

static void *run_receiver(void *arg)
{
	struct peer_job *job = arg;
	int err = stage(job);

	if (err && atomic_load(&job->stop))
		job->why = "stopped";
	if (err && !job->why) {
		LOG_E("state zxid=0x%llx dir=%s/staged: %s", (unsigned long long)job->zxid,
		      job->b.snap_dir, strerror(-err));
		job->why = "the state can't be stored";
	}
	if (err)
		sto_stage_discard(job->b.fs, job->b.snap_dir, job->b.log_dir);
	end(job);
	return NULL;
}

/* --- both ------------------------------------------------------------------------------------ */

static void free_job(struct peer_job *job, struct peer_pool *pool)
{
	peer_queue_clear(&job->work, pool);
	if (job->stop_fd >= 0)
		close(job->stop_fd);
	free(job->out);
	free(job);
}

static bool start(struct peer_job *job, void *(*run)(void *))
{
	job->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return job->stop_fd >= 0 && !pthread_create(&job->thread, NULL, run, job);
}

struct peer_job *peer_job_send(const struct peer_bulk *b, struct peer_pool *pool, int fd,
			       struct peer_queue *work)
{
	struct peer_job *job = calloc(1, sizeof(*job));

	if (!job) {
		peer_queue_clear(work, pool);
		return NULL;
	}
	*job = (struct peer_job){.fd = fd, .stop_fd = -1, .b = *b, .work = *work};
	*work = (struct peer_queue){0};
	job->busy = "history";
	for (const struct peer_item *i = job->work.head; i; i = i->next)
		if (i->kind == PEER_ITEM_STATE)
			job->busy = "state";
	job->queued = job->work.size;
	job->out = malloc(PEER_BULK_BYTES);
	if (job->out && start(job, run_sender))
		return job;
	free_job(job, pool);
	return NULL;
}

struct peer_job *peer_job_receive(const struct peer_bulk *b, int fd, int64_t zxid,
				  const struct peer_received *from)
{
	struct peer_job *job = calloc(1, sizeof(*job));

	if (!job) {
		free(from->in);
		return NULL;
	}
	*job = (struct peer_job){.fd = fd, .stop_fd = -1, .b = *b, .zxid = zxid, .in = *from};
	job->busy = "state";
	peer_stopfs_init(&job->fs, b->fs, &job->stop);
	if (start(job, run_receiver))
		return job;
	free(job->in.in);
	free_job(job, NULL);
	return NULL;
}

void peer_job_stop(struct peer_job *job)
{
	atomic_store(&job->stop, true);
	eventfd_write(job->stop_fd, 1);
}

bool peer_job_is_done(struct peer_job *job)
{
	return atomic_load_explicit(&job->done, memory_order_acquire);
}

const char *peer_job_progress(const struct peer_job *job, uint64_t *queued, uint64_t *moved)
{
	*queued += job->queued;
	*moved += atomic_load_explicit(&job->moved, memory_order_relaxed);
	return job->busy;
}

const char *peer_job_end(struct peer_job *job, struct peer_pool *pool, uint64_t *moved,
			 struct peer_received *got)
{
	const char *why;

	pthread_join(job->thread, NULL);
	why = job->why;
	*moved += atomic_load(&job->moved);
	if (got)
		*got = job->in;
	free_job(job, pool);
	return why;
}
