/*
 * The supervisor with stand-in entries: each writes one line per event to its standard output, a
 * pipe of the test; the supervisor's log goes to another.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/region.h"
#include "shm/wake.h"
#include "supervisor/state.h"
#include "supervisor/supervise.h"
#include "supervisor/datadir.h"
#include "tests/t.h"
#include "tests/unit/board_fx.h"

enum { WORKERS = 2, PATIENCE_MS = 20000, TEXT = 16 * 1024 };

/* --- stand-ins -------------------------------------------------------------------------------- */

static void event(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void event(const char *format, ...)
{
	char line[128];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	line[len] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)len + 1) < 0)
		_exit(1);
}

static void sleep_for(const struct shm_heritage *h, int bell, _Atomic uint32_t *flag, int socket)
{
	struct pollfd fds[2] = {{.fd = bell, .events = POLLIN}, {.fd = socket, .events = POLLIN}};

	shm_sleep_begin(flag);
	if (!atomic_load(&h->board->stopping))
		poll(fds, 2, 100);
	shm_sleep_end(flag);
	shm_wake_drain(bell);
}

/* Builds its region (one byte: the generation), publishes it, serves until the board says stop. */
static int stand_in_writer(const struct shm_heritage *h)
{
	struct shm_board *b = h->board;
	uint32_t gen = atomic_load(&b->next_gen);

	if (gen != h->region_gen)
		return 1;
	*(volatile uint8_t *)shm_window(gen) = (uint8_t)gen;
	event("writer %d gen %u", (int)getpid(), gen);
	atomic_store(&b->gen, gen);
	atomic_store(&b->in_service, 1);
	shm_wake_supervisor(h);
	while (!atomic_load(&b->stopping))
		sleep_for(h, h->wake_writer, &b->writer_sleeping, -1);
	event("writer stopped");
	return 0;
}

static uint32_t take_note(int socket, uint64_t *bytes, int *fd)
{
	struct shm_region_note note;
	struct iovec iov = {&note, sizeof(note)};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};

	if (recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(note) ||
	    !CMSG_FIRSTHDR(&msg))
		return 0;
	memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	*bytes = note.bytes;
	return note.gen;
}

/* Reads the generation in service; maps what it is told of; says when it changed over. */
static int stand_in_worker(const struct shm_heritage *h, unsigned i)
{
	struct shm_seat *seat = h->seat[i];
	uint32_t mapped = h->read_gen, reading = 0, gen;
	uint64_t bytes;
	int fd;

	event("worker %u %d uid %d", i, (int)getpid(), (int)getuid());
	while (!atomic_load(&h->board->stopping)) {
		atomic_store(&seat->turn_ms, (uint32_t)clock_mono_ms());
		gen = atomic_load(&h->board->gen);
		if (gen && gen == mapped && gen != reading) {
			reading = gen;
			atomic_store(&seat->gen, gen);
			event("worker %u reads %u byte %d", i, gen,
			      *(volatile uint8_t *)shm_window(gen));
		}
		gen = take_note(h->worker_socket[i], &bytes, &fd);
		if (gen && shm_region_map_readonly(gen, bytes, fd) == 0) {
			mapped = gen;
			close(fd);
		}
		sleep_for(h, h->wake_worker[i], &seat->sleeping, h->worker_socket[i]);
	}
	event("worker %u stopped", i);
	return 0;
}

static int stand_in_snapshotter(const struct shm_heritage *h)
{
	event("snapshotter reads %u byte %d", h->read_gen,
	      *(volatile uint8_t *)shm_window(h->read_gen));
	return 7;
}

/* A writer that asks for a snapshot, and for a worker's end, and tells what came of it. */
static int asking_writer(const struct shm_heritage *h)
{
	struct shm_board *b = h->board;

	*(volatile uint8_t *)shm_window(h->region_gen) = 9;
	atomic_store(&b->gen, h->region_gen);
	atomic_store(&b->in_service, 1);
	atomic_fetch_add(&b->snap_wanted, 1);
	shm_wake_supervisor(h);
	while (atomic_load(&b->snap_done) != 1)
		sleep_for(h, h->wake_writer, &b->writer_sleeping, -1);
	event("snapshot status %d", atomic_load(&b->snap_status));
	atomic_store(&b->reader[1].kill, atomic_load(&b->reader[1].incarnation));
	shm_wake_supervisor(h);
	while (atomic_load(&b->reader[1].incarnation) == 1)
		sleep_for(h, h->wake_writer, &b->writer_sleeping, -1);
	event("worker 1 has incarnation %u", atomic_load(&b->reader[1].incarnation));
	while (!atomic_load(&b->stopping))
		sleep_for(h, h->wake_writer, &b->writer_sleeping, -1);
	return 0;
}

static int failing_writer(const struct shm_heritage *h)
{
	(void)h;
	event("writer fails");
	return SUP_EXIT_DATA;
}

static _Noreturn int deaf_writer(const struct shm_heritage *h)
{
	atomic_store(&h->board->gen, h->region_gen);
	event("deaf writer %d", (int)getpid());
	for (;;)
		pause();
}

static int crashing_worker(const struct shm_heritage *h, unsigned i)
{
	if (i == 0)
		return stand_in_worker(h, i);
	event("worker 1 crashes");
	abort();
}

static const struct sup_entries good = {stand_in_writer, stand_in_snapshotter, stand_in_worker};

/* --- the test's side -------------------------------------------------------------------------- */

struct sup_fx {
	struct conf conf;
	pid_t pid;
	int events, log;
	char dir[40], text[TEXT], log_text[TEXT];
	size_t used, log_used;
};

static void sup_up(struct sup_fx *f)
{
	strcpy(f->dir, "/tmp/paddock-sup-XXXXXX");
	REQUIRE(EXPECT_TRUE(mkdtemp(f->dir) != NULL));
	f->conf = (struct conf){.data_dir = f->dir,
				.data_log_dir = f->dir,
				.client_address = "127.0.0.1",
				.client_port = 0, /* any */
				.max_buffer = 0xfffff,
				.workers = WORKERS,
				.heap_max = 16 << 20,
				.worker_user = "nobody"};
}

static void sup_down(struct sup_fx *f)
{
	char remove[64];

	if (f->pid > 0) {
		kill(f->pid, SIGKILL);
		board_reap(f->pid);
	}
	close(f->events);
	close(f->log);
	snprintf(remove, sizeof(remove), "rm -r %s", f->dir);
	EXPECT_I(system(remove), ==, 0);
}

static void go(struct sup_fx *f, const struct sup_entries *entries)
{
	int events[2], log[2];

	REQUIRE(EXPECT_I(pipe2(events, O_CLOEXEC), ==, 0));
	REQUIRE(EXPECT_I(pipe2(log, O_CLOEXEC), ==, 0));
	f->pid = fork();
	if (f->pid == 0) {
		dup2(events[1], STDOUT_FILENO);
		dup2(log[1], STDERR_FILENO);
		log_set_role("supervisor");
		_exit(sup_run(&f->conf, entries));
	}
	close(events[1]);
	close(log[1]);
	f->events = events[0];
	f->log = log[0];
}

/* Read from fd until `want` stands in the text, from *at on; then *at is behind it. */
static bool await_in(int fd, char *text, size_t *used, size_t *at, const char *want)
{
	uint64_t end = clock_mono_ms() + PATIENCE_MS;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	const char *found;

	while ((found = strstr(text + *at, want)) == NULL) {
		uint64_t now = clock_mono_ms();
		ssize_t n = 0;

		if (now < end && poll(&p, 1, (int)(end - now)) == 1)
			n = read(fd, text + *used, TEXT - 1 - *used);
		if (n <= 0) {
			t_fail(__FILE__, __LINE__, "no \"%s\" in:\n%s", want, text);
			return false;
		}
		*used += (size_t)n;
		text[*used] = '\0';
	}
	*at = (size_t)(found - text) + strlen(want);
	return true;
}

static bool await(struct sup_fx *f, size_t *at, const char *want)
{
	return await_in(f->events, f->text, &f->used, at, want);
}

static bool await_log(struct sup_fx *f, const char *want)
{
	size_t at = 0;

	return await_in(f->log, f->log_text, &f->log_used, &at, want);
}

/* The pid that follows `words` in the events from *at on. */
static pid_t await_pid(struct sup_fx *f, size_t *at, const char *words)
{
	char line[64];
	size_t after;

	if (!await(f, at, words))
		return -1;
	after = *at;
	if (!await(f, &after, "\n"))
		return -1;
	snprintf(line, sizeof(line), "%s", f->text + *at);
	return (pid_t)strtol(line, NULL, 10);
}

static int stop(struct sup_fx *f)
{
	pid_t pid = f->pid;

	f->pid = 0;
	kill(pid, SIGTERM);
	return board_reap(pid);
}

TEST_F(sup_run, starts_everybody_and_stops_in_order, struct sup_fx, sup_up, sup_down)
{
	struct passwd *nobody = getpwnam("nobody");
	size_t at = 0;
	char want[40];

	go(f, &good);
	REQUIRE(await(f, &at, "worker 0 reads 2 byte 2"));
	at = 0;
	REQUIRE(await(f, &at, "worker 1 reads 2 byte 2"));
	at = 0;
	snprintf(want, sizeof(want), " uid %d", geteuid() ? (int)geteuid() : (int)nobody->pw_uid);
	REQUIRE(await(f, &at, want));
	REQUIRE(await_log(f, "serving clientPort=0"));
	EXPECT_I(stop(f), ==, 0);
	at = 0;
	EXPECT_TRUE(await(f, &at, "writer stopped"));
	at = 0;
	EXPECT_TRUE(await(f, &at, "worker 0 stopped"));
	at = 0;
	EXPECT_TRUE(await(f, &at, "worker 1 stopped"));
	EXPECT_TRUE(await_log(f, "stopped, status=0"));
}

TEST_F(sup_run, a_killed_worker_is_replaced_and_the_other_is_left_alone, struct sup_fx, sup_up,
       sup_down)
{
	size_t at = 0, other = 0;
	pid_t first, second;

	go(f, &good);
	REQUIRE(await(f, &other, "worker 0 reads 2"));
	first = await_pid(f, &at, "worker 1 ");
	REQUIRE(EXPECT_I(first, >, 0));
	kill(first, SIGKILL);
	REQUIRE(await_log(f, "worker 1 (process "));
	second = await_pid(f, &at, "worker 1 ");
	/* It may have reported its reading before it was killed. */
	if (second == 0)
		second = await_pid(f, &at, "worker 1 ");
	EXPECT_TRUE(second > 0 && second != first);
	REQUIRE(await(f, &at, "worker 1 reads 2 byte 2"));
	EXPECT_TRUE(strstr(f->text + other, "worker 0 reads") == NULL);
	EXPECT_I(stop(f), ==, 0);
}

TEST_F(sup_run, a_killed_writer_gets_a_new_region_and_workers_change_over, struct sup_fx, sup_up,
       sup_down)
{
	static const unsigned gens[] = {2, 5, 6, 9, 10};
	size_t at = 0, seen;
	char want[64];

	go(f, &good);
	for (unsigned i = 0; i < 5; i++) {
		pid_t writer = await_pid(f, &at, "writer ");

		REQUIRE(EXPECT_I(writer, >, 0));
		for (int w = 0; w < WORKERS; w++) {
			seen = 0;
			snprintf(want, sizeof(want), "worker %d reads %u byte %u", w, gens[i],
				 gens[i]);
			REQUIRE(await(f, &seen, want));
		}
		if (i < 4)
			kill(writer, SIGKILL);
	}
	EXPECT_I(stop(f), ==, 0);
}

TEST_F(sup_run, serves_the_writers_wishes, struct sup_fx, sup_up, sup_down)
{
	static const struct sup_entries asking = {asking_writer, stand_in_snapshotter,
						  stand_in_worker};
	size_t at = 0;

	go(f, &asking);
	REQUIRE(await(f, &at, "snapshotter reads 2 byte 9"));
	at = 0;
	REQUIRE(await(f, &at, "snapshot status 7"));
	at = 0;
	REQUIRE(await(f, &at, "worker 1 has incarnation 2"));
	REQUIRE(await_log(f, "killing worker 1"));
	EXPECT_I(stop(f), ==, 0);
}

TEST_F(sup_run, three_data_errors_stop_the_server_with_their_status, struct sup_fx, sup_up,
       sup_down)
{
	static const struct sup_entries failing = {failing_writer, stand_in_snapshotter,
						   stand_in_worker};
	size_t at = 0;
	pid_t pid;

	go(f, &failing);
	pid = f->pid;
	f->pid = 0;
	EXPECT_I(board_reap(pid), ==, SUP_EXIT_DATA);
	for (int i = 0; i < SUP_DATA_ERRORS_MAX; i++)
		EXPECT_TRUE(await(f, &at, "writer fails"));
	EXPECT_TRUE(strstr(f->text + at, "writer fails") == NULL);
	EXPECT_TRUE(await_log(f, "giving up"));
}

TEST_F(sup_run, a_worker_that_crashes_at_once_is_tried_ever_more_slowly, struct sup_fx, sup_up,
       sup_down)
{
	static const struct sup_entries crashing = {stand_in_writer, stand_in_snapshotter,
						    crashing_worker};
	const struct rlimit no_core = {0, 0};
	uint64_t begin = clock_mono_ms();
	size_t at = 0;

	setrlimit(RLIMIT_CORE, &no_core);
	go(f, &crashing);
	for (int i = 0; i < 6; i++)
		REQUIRE(await(f, &at, "worker 1 crashes"));
	/* At once, then after 50, 100, 200 and 400 ms. */
	EXPECT_U(clock_mono_ms() - begin, >=, 0 + 50 + 100 + 200 + 400);
	at = 0;
	EXPECT_TRUE(await(f, &at, "worker 0 reads 2"));
	EXPECT_I(stop(f), ==, 0);
}

TEST_F(sup_run, a_second_signal_ends_who_does_not_listen, struct sup_fx, sup_up, sup_down)
{
	static const struct sup_entries deaf = {deaf_writer, stand_in_snapshotter, stand_in_worker};
	size_t at = 0;
	pid_t pid = 0;

	go(f, &deaf);
	REQUIRE(await(f, &at, "deaf writer"));
	kill(f->pid, SIGHUP); /* ignored */
	kill(f->pid, SIGTERM);
	REQUIRE(await_log(f, "stopping\n"));
	kill(f->pid, SIGTERM);
	pid = f->pid;
	f->pid = 0;
	EXPECT_I(board_reap(pid), ==, 1);
	EXPECT_TRUE(await_log(f, "stopping now"));
}

TEST_F(sup_run, nobody_outlives_a_killed_supervisor, struct sup_fx, sup_up, sup_down)
{
	size_t at = 0;
	char rest[64];

	go(f, &good);
	REQUIRE(await(f, &at, "worker 0 reads 2"));
	at = 0;
	REQUIRE(await(f, &at, "worker 1 reads 2"));
	kill(f->pid, SIGKILL);
	board_reap(f->pid);
	f->pid = 0;
	/* The pipe ends when the last of them is gone. */
	while (read(f->events, rest, sizeof(rest)) > 0)
		;
}

TEST_F(sup_run, a_directory_has_one_server, struct sup_fx, sup_up, sup_down)
{
	struct sup_fx *second = calloc(1, sizeof(*second));
	char want[120];
	size_t at = 0;

	go(f, &good);
	REQUIRE(await(f, &at, "writer "));
	second->conf = f->conf;
	go(second, &good);
	EXPECT_I(board_reap(second->pid), ==, SUP_EXIT_DATA);
	snprintf(want, sizeof(want), "%s is in use by the server of process %d", f->dir,
		 (int)f->pid);
	EXPECT_TRUE(await_log(second, want));
	close(second->events);
	close(second->log);
	free(second);
	EXPECT_I(stop(f), ==, 0);
}

TEST_F(sup_run, a_port_in_use_is_an_error_at_the_start, struct sup_fx, sup_up, sup_down)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	REQUIRE(EXPECT_I(bind(fd, (struct sockaddr *)(void *)&address, len), ==, 0));
	REQUIRE(EXPECT_I(listen(fd, 1), ==, 0));
	getsockname(fd, (struct sockaddr *)(void *)&address, &len);
	f->conf.client_port = ntohs(address.sin_port);
	go(f, &good);
	pid = f->pid;
	f->pid = 0;
	EXPECT_I(board_reap(pid), ==, 1);
	EXPECT_TRUE(await_log(f, "of 127.0.0.1: Address already in use"));
	close(fd);
}

/* --- who stands still ------------------------------------------------------------------------- */

struct watch_fx {
	struct board_fx b;
	struct sup s;
	struct shm_seat *seat;
};

static pid_t fork_sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (;;)
			pause();
	return pid;
}

static void watch_up(struct watch_fx *f)
{
	board_up(&f->b);
	f->s.h = f->b.h;
	f->seat = f->b.h.seat[0];
	f->s.worker[0].pid = fork_sleeper();
	f->s.writer.pid = fork_sleeper();
}

static void watch_down(struct watch_fx *f)
{
	kill(f->s.worker[0].pid, SIGKILL);
	kill(f->s.writer.pid, SIGKILL);
	board_reap(f->s.worker[0].pid);
	board_reap(f->s.writer.pid);
	board_down(&f->b);
}

static void seconds_pass(struct watch_fx *f, unsigned n, bool turns, bool answers)
{
	for (unsigned i = 0; i < n; i++) {
		atomic_fetch_add(&f->seat->turn_ms, turns);
		if (answers) {
			shm_wake_drain(f->b.h.wake_worker[0]);
			shm_wake_drain(f->b.h.wake_writer);
		}
		sup_watch(&f->s, 1000);
	}
}

TEST_F(sup_watch, who_turns_or_answers_its_bell_lives, struct watch_fx, watch_up, watch_down)
{
	seconds_pass(f, 60, true, false);
	atomic_store(&f->seat->sleeping, 1);
	seconds_pass(f, 60, false, true);
	EXPECT_TRUE(!f->s.worker[0].killed);
	EXPECT_TRUE(!f->s.writer.killed); /* not watched: it recovers */
}

TEST_F(sup_watch, a_worker_that_makes_no_turn_is_killed, struct watch_fx, watch_up, watch_down)
{
	seconds_pass(f, SUP_WORKER_STALL_MS / 1000 - 1, false, false);
	EXPECT_TRUE(!f->s.worker[0].killed);
	seconds_pass(f, 3, false, false);
	EXPECT_TRUE(f->s.worker[0].killed);
}

TEST_F(sup_watch, so_is_one_that_sleeps_through_its_bell, struct watch_fx, watch_up, watch_down)
{
	atomic_store(&f->seat->sleeping, 1);
	seconds_pass(f, (SUP_PROBE_MS + SUP_WORKER_STALL_MS) / 1000 + 3, false, false);
	EXPECT_TRUE(f->s.worker[0].killed);
}

TEST_F(sup_watch, so_is_one_that_keeps_an_old_generation, struct watch_fx, watch_up, watch_down)
{
	f->s.h.read_gen = 5;
	atomic_store(&f->seat->gen, 5);
	seconds_pass(f, 20, true, true);
	EXPECT_TRUE(!f->s.worker[0].killed);
	atomic_store(&f->seat->gen, 2);
	f->s.switch_ms = 0;
	seconds_pass(f, SUP_SWITCH_MS / 1000, true, true);
	EXPECT_TRUE(!f->s.worker[0].killed);
	seconds_pass(f, 2, true, true);
	EXPECT_TRUE(f->s.worker[0].killed);
}

TEST_F(sup_watch, a_writer_that_makes_no_turn_for_a_minute_is_killed, struct watch_fx, watch_up,
       watch_down)
{
	atomic_store(&f->b.h.board->writer_turn_ms, 1);
	seconds_pass(f, SUP_WRITER_STALL_MS / 1000, true, true);
	EXPECT_TRUE(!f->s.writer.killed);
	seconds_pass(f, 3, true, true);
	EXPECT_TRUE(f->s.writer.killed);
	EXPECT_TRUE(!f->s.worker[0].killed);
}
