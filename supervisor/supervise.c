#include "supervisor/supervise.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/region.h"
#include "shm/wake.h"
#include "supervisor/datadir.h"
#include "supervisor/listen.h"
#include "supervisor/state.h"
#include "supervisor/title.h"

enum { LOOK_MS = 1000, NEVER_LONGER_MS = 1500, EXIT_UNEXPECTED = 1, EXIT_LOG = 10 };
#define NOT_WANTED UINT64_MAX
#define GRANULE    ((uint64_t)2 << 20)

/* --- start of children ----------------------------------------------------------------------- */

static void not_running(struct sup_child *c, uint64_t due_ms)
{
	c->pid = 0;
	c->due_ms = due_ms;
	c->killed = false;
	c->still_ms = 0;
}

/* After a death at now_ms: at once, or later when it lived but shortly. */
static uint64_t next_start(struct sup_child *c, uint64_t now_ms)
{
	uint64_t due;

	uint64_t lived_ms = now_ms - c->started_ms;

	if (lived_ms >= SUP_LIVED_MS || (c->served && lived_ms >= SUP_SERVED_MS))
		c->delay_ms = 0;
	due = now_ms + c->delay_ms;
	c->delay_ms = c->delay_ms ? 2 * c->delay_ms : SUP_DELAY_MIN_MS;
	if (c->delay_ms > SUP_DELAY_MAX_MS)
		c->delay_ms = SUP_DELAY_MAX_MS;
	return due;
}

static void started(struct sup_child *c, const char *who, pid_t pid, uint64_t now_ms)
{
	c->started_ms = now_ms;
	c->killed = c->served = false;
	c->still_ms = 0;
	if (pid > 0) {
		c->pid = pid;
		c->due_ms = NOT_WANTED;
		return;
	}
	LOG_E("fork of the %s: %s", who, strerror((int)-pid));
	c->due_ms = next_start(c, now_ms);
}

static void start_worker(struct sup *s, unsigned i, uint64_t now_ms)
{
	struct sup_child *c = &s->worker[i];
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
		started(c, "worker", -errno, now_ms);
		return;
	}
	s->h.worker_socket[i] = ends[1];
	shm_board_reader_born(&s->h, i);
	pid = sup_spawn(&s->h, s->entries, SUP_WORKER, i, &s->user);
	atomic_store(&s->h.board->reader[i].pid, pid > 0 ? pid : 0);
	close(ends[1]);
	s->h.worker_socket[i] = -1;
	started(c, "worker", pid, now_ms);
	if (pid <= 0) {
		close(ends[0]);
		return;
	}
	c->socket = ends[0];
	sup_generation_tell(s, i);
}

static void start_writer(struct sup *s, uint64_t now_ms)
{
	int err;
	pid_t pid;

	sup_generation_look(s);
	err = sup_generation_new(s);
	if (err) {
		LOG_E("region of %" PRIu64 " bytes: %s", s->h.region_bytes, strerror(-err));
		s->writer.started_ms = now_ms;
		s->writer.due_ms = next_start(&s->writer, now_ms);
		return;
	}
	s->epoch_before = atomic_load(&s->h.board->writer_epoch);
	atomic_store(&s->h.board->writer_turn_ms, 0);
	atomic_store(&s->h.board->writer_sleeping, 0);
	pid = sup_spawn(&s->h, s->entries, SUP_WRITER, 0, &s->user);
	atomic_store(&s->h.board->writer_pid, pid > 0 ? pid : 0);
	started(&s->writer, "writer", pid, now_ms);
}

static void snapshot_ended(struct sup *s, int status)
{
	atomic_store(&s->h.board->snap_status, status);
	atomic_store(&s->h.board->snap_done, s->snap_started);
	shm_wake_writer(&s->h);
}

static void start_snapshotter(struct sup *s, uint64_t now_ms)
{
	unsigned i = s->h.board->n_workers;
	uint32_t wanted = atomic_load(&s->h.board->snap_wanted);
	pid_t pid;

	if (wanted == s->snap_started || s->stop_ms)
		return;
	sup_generation_look(s);
	s->snap_started = wanted;
	shm_board_reader_born(&s->h, i);
	pid = sup_spawn(&s->h, s->entries, SUP_SNAPSHOTTER, i, &s->user);
	atomic_store(&s->h.board->reader[i].pid, pid > 0 ? pid : 0);
	started(&s->snapshotter, "snapshotter", pid, now_ms);
	s->snapshotter.due_ms = NOT_WANTED;
	if (pid <= 0)
		snapshot_ended(s, -1);
}

static void start_due(struct sup *s, uint64_t now_ms)
{
	if (s->stop_ms)
		return;
	if (s->writer.pid == 0 && s->writer.due_ms <= now_ms)
		start_writer(s, now_ms);
	for (unsigned i = 0; i < s->h.board->n_workers; i++)
		if (s->worker[i].pid == 0 && s->worker[i].due_ms <= now_ms)
			start_worker(s, i, now_ms);
	if (s->snapshotter.pid == 0)
		start_snapshotter(s, now_ms);
}

/* --- death of children ----------------------------------------------------------------------- */

static const char *cause(char *text, size_t size, int status)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "ended with status %d", WEXITSTATUS(status));
	return text;
}

static void log_death(const struct sup *s, const struct sup_child *c, const char *who, int status)
{
	char text[80];
	bool orderly = s->stop_ms && WIFEXITED(status) && WEXITSTATUS(status) == 0;

	log_line(orderly ? LOG_DEBUG : LOG_WARNING, "%s (process %d) %s after %" PRIu64 " ms", who,
		 (int)c->pid, cause(text, sizeof(text), status), clock_mono_ms() - c->started_ms);
}

static void worker_died(struct sup *s, unsigned i, int status, uint64_t now_ms)
{
	struct sup_child *c = &s->worker[i];
	char who[32];

	snprintf(who, sizeof(who), "worker %u", i);
	log_death(s, c, who, status);
	shm_board_reader_gone(&s->h, i);
	close(c->socket);
	c->socket = -1;
	not_running(c, next_start(c, now_ms));
	shm_wake_writer(&s->h);
}

static void kill_all(struct sup *s)
{
	sup_kill(&s->writer, "writer", "the server stops");
	sup_kill(&s->snapshotter, "snapshotter", "the server stops");
	for (unsigned i = 0; i < s->h.board->n_workers; i++)
		sup_kill(&s->worker[i], "worker", "the server stops");
}

static void begin_stop(struct sup *s, int status)
{
	s->status = status;
	s->stop_ms = clock_mono_ms() + SUP_STOP_MS;
	atomic_store(&s->h.board->stopping, 1);
	sd_notify(0, "STOPPING=1");
	shm_wake_all(&s->h);
	if (s->snapshotter.pid > 0)
		sup_kill(&s->snapshotter, "snapshotter", "the server stops");
}

static void writer_died(struct sup *s, int status, uint64_t now_ms)
{
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	bool data_error = code == SUP_EXIT_DATA || code == EXIT_LOG;

	log_death(s, &s->writer, "writer", status);
	atomic_store(&s->h.board->writer_pid, 0);
	s->writer.served = atomic_load(&s->h.board->writer_epoch) != s->epoch_before;
	not_running(&s->writer, next_start(&s->writer, now_ms));
	if (s->stop_ms) {
		if (code != 0 && !s->status)
			s->status = code > 0 ? code : EXIT_UNEXPECTED;
		return;
	}
	atomic_fetch_add(&s->h.board->writer_restarts, 1);
	if (!data_error || now_ms - s->writer.started_ms > SUP_DATA_LIVED_MS)
		s->data_errors = 0;
	s->data_errors += data_error;
	if (s->data_errors < SUP_DATA_ERRORS_MAX)
		return;
	LOG_E("the writer can't use its data (status %d, %u times): giving up", code,
	      s->data_errors);
	begin_stop(s, code);
}

static void snapshotter_died(struct sup *s, int status)
{
	log_line(status ? LOG_WARNING : LOG_DEBUG, "snapshotter (process %d) ended, wait status %d",
		 (int)s->snapshotter.pid, status);
	shm_board_reader_gone(&s->h, s->h.board->n_workers);
	not_running(&s->snapshotter, NOT_WANTED);
	snapshot_ended(s, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

static void reap(struct sup *s)
{
	uint64_t now_ms = clock_mono_ms();
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->writer.pid)
			writer_died(s, status, now_ms);
		else if (pid == s->snapshotter.pid)
			snapshotter_died(s, status);
		for (unsigned i = 0; i < s->h.board->n_workers; i++)
			if (pid == s->worker[i].pid)
				worker_died(s, i, status, now_ms);
		/* Others are orphans that we got as the first process of a container. */
	}
}

/* --- the loop -------------------------------------------------------------------------------- */

static bool anybody_left(const struct sup *s)
{
	bool any = s->writer.pid > 0 || s->snapshotter.pid > 0;

	for (unsigned i = 0; i < s->h.board->n_workers; i++)
		any |= s->worker[i].pid > 0;
	return any;
}

static void take_signals(struct sup *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGTERM && info.ssi_signo != SIGINT)
			continue; /* SIGCHLD: reap() comes anyway */
		LOG_I("signal %u from process %u: %s", info.ssi_signo, info.ssi_pid,
		      s->stop_ms ? "stopping now" : "stopping");
		if (s->stop_ms)
			kill_all(s);
		else
			begin_stop(s, 0);
	}
}

static void announce(struct sup *s)
{
	const struct shm_board *b = s->h.board;
	bool reads = atomic_load(&b->read_only);

	if (s->announced || !(reads || atomic_load(&b->in_service)))
		return;
	s->announced = true;
	LOG_I("serving %sclientPort=%u zxid=0x%" PRIx64 " recovered_ms=%" PRId64,
	      reads ? "read-only " : "", (unsigned)s->h.conf->client_port,
	      (uint64_t)atomic_load(&b->zxid), atomic_load(&b->stats.recovered_ms));
	sd_notifyf(0, "READY=1\nSTATUS=Serving port %u", (unsigned)s->h.conf->client_port);
}

/* Until the next child is due, or the next look. */
static int wait_ms(const struct sup *s, uint64_t now_ms)
{
	uint64_t due = now_ms + LOOK_MS;

	if (s->stop_ms)
		return s->stop_ms > now_ms && s->stop_ms < due ? (int)(s->stop_ms - now_ms)
							       : LOOK_MS;
	if (s->writer.pid == 0 && s->writer.due_ms < due)
		due = s->writer.due_ms;
	for (unsigned i = 0; i < s->h.board->n_workers; i++)
		if (s->worker[i].pid == 0 && s->worker[i].due_ms < due)
			due = s->worker[i].due_ms;
	return due > now_ms ? (int)(due - now_ms) : 0;
}

static void look(struct sup *s, uint64_t now_ms)
{
	uint64_t passed = now_ms - s->looked_ms;

	s->looked_ms = now_ms;
	sup_generation_look(s);
	announce(s);
	/* Time in which we did not run ourselves is charged to nobody. */
	sup_watch(s, passed < NEVER_LONGER_MS ? (uint32_t)passed : NEVER_LONGER_MS);
	if (s->stop_ms && now_ms >= s->stop_ms)
		kill_all(s);
}

static int run(struct sup *s)
{
	struct pollfd fds[2] = {{.fd = s->signal_fd, .events = POLLIN},
				{.fd = s->h.wake_supervisor, .events = POLLIN}};

	s->looked_ms = clock_mono_ms();
	while (!s->stop_ms || anybody_left(s)) {
		uint64_t now_ms = clock_mono_ms();

		start_due(s, now_ms);
		poll(fds, 2, wait_ms(s, now_ms));
		shm_wake_drain(s->h.wake_supervisor);
		take_signals(s);
		reap(s);
		look(s, clock_mono_ms());
	}
	LOG_I("stopped, status=%d", s->status);
	return s->status;
}

/* --- start ----------------------------------------------------------------------------------- */

static int take_signal_fd(struct sup *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return s->signal_fd < 0 ? -errno : 0;
}

static int make_memory(struct sup *s, const struct conf *conf)
{
	int err;

	s->h.conf = conf;
	err = shm_board_create(&s->h);
	if (err) {
		LOG_E("shared memory: %s", strerror(-err));
		return -1;
	}
	s->h.region_bytes = (conf->heap_max + GRANULE - 1) / GRANULE * GRANULE;
	err = shm_region_reserve(s->h.region_bytes);
	if (err)
		LOG_E("address space for a heap of %" PRIu64 " bytes: %s", s->h.region_bytes,
		      strerror(-err));
	return err ? -1 : 0;
}

static int start(struct sup *s, const struct conf *conf)
{
	if (sup_user_find(&s->user, conf->worker_user) < 0)
		return SUP_EXIT_CONF;
	/* Of one user: workers must not look into us by /proc. */
	if (!s->user.change)
		prctl(PR_SET_DUMPABLE, 0);
	if (make_memory(s, conf) < 0 || take_signal_fd(s) < 0)
		return EXIT_UNEXPECTED;
	if (sup_datadir_lock(&s->h) < 0)
		return SUP_EXIT_DATA;
	return sup_listen_open(&s->h) < 0 ? EXIT_UNEXPECTED : 0;
}

int sup_run(const struct conf *conf, const struct sup_entries *entries)
{
	static struct sup s;
	int err;

	memset(&s, 0, sizeof(s));
	s.entries = entries;
	s.snapshotter.due_ms = NOT_WANTED;
	for (unsigned i = 0; i < CONF_WORKERS_MAX; i++)
		s.worker[i].socket = -1;
	err = start(&s, conf);
	return err ? err : run(&s);
}
