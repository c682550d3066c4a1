/* Electors over real sockets: several in one process, on one epoll, each at a loopback address. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "peers/elector_impl.h"
#include "tests/t.h"

enum {
	SIDS = 8,           /* ids 1..7 */
	PORT = 24801,       /* election port of everybody */
	RAW = 256,          /* sockets of the test itself */
	IN_TIME_MS = 10000, /* for what takes much less */
	HELLO_MS = 1000,
	QUIET_MS = 200,
};

struct elect_fx {
	int epoll;
	enum log_level log_level;
	struct quorum_config config[SIDS]; /* one each: no elector shares memory with another */
	struct peer_elector *e[SIDS];
	int64_t leader[SIDS]; /* decided; -1: not yet */
	int raw[RAW], n_raw;
	char text[2048];
};

/* 127.x.y.sid: x and y are this process's, so nobody else is there. */
static const char *host(int64_t sid)
{
	static char text[8][24];
	static unsigned next;
	char *to = text[next++ % 8];

	snprintf(to, sizeof(text[0]), "127.%d.%d.%d", 1 + getpid() % 250, getpid() / 250 % 250,
		 (int)sid);
	return to;
}

static void elect_up(struct elect_fx *f)
{
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < SIDS; i++)
		f->leader[i] = -1;
	f->log_level = log_level_max;
	log_level_max = LOG_ERROR; /* what is wrong here is meant to be */
}

static void elect_down(struct elect_fx *f)
{
	for (int i = 0; i < SIDS; i++)
		if (f->e[i])
			peer_elector_free(f->e[i]);
	while (f->n_raw)
		close(f->raw[--f->n_raw]);
	close(f->epoll);
	log_level_max = f->log_level;
}

/* Participants 1..n. */
static void members(struct elect_fx *f, int n)
{
	size_t used = 0;

	for (int i = 1; i <= n; i++)
		used += (size_t)snprintf(f->text + used, sizeof(f->text) - used,
					 "server.%d=%s:%d:%d\n", i, host(i), PORT - 1, PORT);
}

static struct peer_elector_options defaults(struct elect_fx *f, int sid)
{
	struct peer_elector_options o = {
	    .fle = fle_defaults(sid, QUORUM_PARTICIPANT, (uint64_t)sid),
	    .epoll = f->epoll,
	    .connect_ms = 5000,
	    .hello_ms = HELLO_MS,
	    .bind_retries = 3,
	};

	return o;
}

static void start_with(struct elect_fx *f, const struct peer_elector_options *o)
{
	int64_t sid = o->fle.me;
	struct quorum_config_error error = {0};

	if (quorum_config_parse(&f->config[sid], f->text, strlen(f->text), &error))
		t_fail(__FILE__, __LINE__, "%u: %s in %s", error.line, error.why, f->text);
	f->e[sid] = peer_elector_new(o, &f->config[sid], NULL, clock_mono_ms());
	EXPECT_TRUE(f->e[sid] != NULL);
}

static void start(struct elect_fx *f, int sid)
{
	struct peer_elector_options o = defaults(f, sid);

	start_with(f, &o);
}

static void stop(struct elect_fx *f, int sid)
{
	peer_elector_free(f->e[sid]);
	f->e[sid] = NULL;
}

static void look(struct elect_fx *f, int sid, int64_t zxid)
{
	f->leader[sid] = -1;
	peer_elector_look(f->e[sid], clock_mono_ms(), zxid, 1);
}

static int wait_ms(const struct elect_fx *f, uint64_t end_ms)
{
	uint64_t due = end_ms, now = clock_mono_ms();

	for (int i = 0; i < SIDS; i++)
		if (f->e[i] && peer_elector_deadline_ms(f->e[i]) < due)
			due = peer_elector_deadline_ms(f->e[i]);
	return due > now ? (int)(due - now) : 0;
}

static void turn(struct elect_fx *f, uint64_t end_ms)
{
	struct epoll_event events[32];
	int n = epoll_wait(f->epoll, events, 32, wait_ms(f, end_ms));

	for (int i = 0; i < n; i++) {
		struct peer_source *source = events[i].data.ptr;

		source->ready(source, events[i].events);
	}
	for (int i = 0; i < SIDS; i++) {
		if (!f->e[i])
			continue;
		peer_elector_tick(f->e[i], clock_mono_ms());
		peer_elector_decided(f->e[i], &f->leader[i]);
	}
}

static bool all_decided(struct elect_fx *f, void *arg)
{
	(void)arg;
	for (int i = 0; i < SIDS; i++)
		if (f->e[i] && f->leader[i] < 0)
			return false;
	return true;
}

/* Let them run until it is so. */
static bool until(struct elect_fx *f, bool (*so)(struct elect_fx *, void *), void *arg)
{
	uint64_t end_ms = clock_mono_ms() + IN_TIME_MS;
	char line[256];

	while (!so(f, arg) && clock_mono_ms() < end_ms)
		turn(f, end_ms);
	if (so(f, arg))
		return true;
	for (int i = 0; i < SIDS; i++)
		if (f->e[i]) {
			peer_elector_show(f->e[i], line, sizeof(line));
			t_fail(__FILE__, __LINE__, "not in time: %d %s", i, line);
		}
	return false;
}

static void expect_leader(struct elect_fx *f, int64_t leader)
{
	for (int i = 0; i < SIDS; i++)
		if (f->e[i])
			EXPECT_I(f->leader[i], ==, leader);
}

/* --- sockets of the test itself --------------------------------------------------------------- */

/* A connection to elector `sid`, from an address of its own if `from` is not 0. */
static int call(struct elect_fx *f, int sid, int from)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)}, own = to;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, host(sid), &to.sin_addr);
	own.sin_port = 0;
	if (from) {
		inet_pton(AF_INET, host(from), &own.sin_addr);
		EXPECT_I(bind(fd, (struct sockaddr *)&own, sizeof(own)), ==, 0);
	}
	EXPECT_I(connect(fd, (struct sockaddr *)&to, sizeof(to)), ==, 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	EXPECT_TRUE(f->n_raw < RAW);
	return f->raw[f->n_raw++] = fd;
}

static void say(int fd, const void *bytes, size_t size)
{
	EXPECT_I(send(fd, bytes, size, MSG_NOSIGNAL), ==, (ssize_t)size);
}

static void say_hello(int fd, int64_t sid, const char *address)
{
	uint8_t bytes[128];
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));

	jute_put_long(&out, -65536);
	jute_put_long(&out, sid);
	jute_put_buffer(&out, jute_text(address));
	say(fd, bytes, jute_size(&out, bytes));
}

static size_t notification(uint8_t to[128], enum fle_state state, int64_t leader, int64_t zxid,
			   int64_t round)
{
	struct fle_notification n = {state, {leader, zxid, round, 1}, 2, jute_text("")};
	struct jute_out out = jute_out_of(to, 128);

	fle_put_notification(&out, &n);
	return jute_size(&out, to);
}

/* Whatever it is told, it has been closed. */
static bool is_closed(struct elect_fx *f, void *arg)
{
	uint8_t bytes[4096];
	ssize_t n;

	(void)f;
	do
		n = recv(*(int *)arg, bytes, sizeof(bytes), MSG_DONTWAIT);
	while (n > 0);
	return n == 0 || errno != EAGAIN;
}

/* A place where connections are neither taken nor refused. Returns it. */
static int black_hole(struct elect_fx *f, int sid)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), filler;
	const int on = 1;

	inet_pton(AF_INET, host(sid), &at.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	EXPECT_I(bind(fd, (struct sockaddr *)&at, sizeof(at)), ==, 0);
	EXPECT_I(listen(fd, 0), ==, 0);
	f->raw[f->n_raw++] = fd;
	for (int i = 0; i < 4; i++) {
		filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		connect(filler, (struct sockaddr *)&at, sizeof(at));
		f->raw[f->n_raw++] = filler;
	}
	return fd;
}

static size_t memory_of(const struct peer_elector *e)
{
	size_t bytes = 0;

	for (const struct elect_conn *c = e->conns; c; c = c->next)
		bytes += sizeof(*c) + c->in_cap + (c->out ? c->out_size : 0);
	for (unsigned i = 0; i < e->n_peers; i++)
		bytes += sizeof(struct elect_peer) +
			 (e->peers[i]->given ? sizeof(struct elect_given) : 0);
	return bytes;
}

/* --- elections -------------------------------------------------------------------------------- */

static void elect(struct elect_fx *f, int n)
{
	members(f, n);
	for (int i = 1; i <= n; i++)
		start(f, i);
	for (int i = 1; i <= n; i++)
		look(f, i, 0x100000000 + i);
	until(f, all_decided, NULL);
}

/* One connection for a pair, the same at both ends. */
static bool all_connected(struct elect_fx *f, void *arg)
{
	(void)arg;
	for (int i = 1; i < SIDS; i++)
		for (int j = 1; j < SIDS; j++)
			if (i != j && f->e[i] && f->e[j] && !elect_peer_find(f->e[i], j)->conn)
				return false;
	return true;
}

static int option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	EXPECT_I(getsockopt(fd, level, name, &value, &len), ==, 0);
	return value;
}

static void expect_connection(const struct elect_conn *c, bool accepted)
{
	EXPECT_I(c->accepted, ==, accepted);
	EXPECT_I(option(c->fd, IPPROTO_TCP, TCP_NODELAY), ==, 1);
	EXPECT_I(option(c->fd, SOL_SOCKET, SO_KEEPALIVE), ==, 1);
	EXPECT_I(option(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT), ==, HELLO_MS);
}

TEST_F(peers_elector, the_best_vote_wins_and_the_greater_id_keeps_the_connection, struct elect_fx,
       elect_up, elect_down)
{
	uint64_t began = clock_mono_ms();

	/* All dial all at once. */
	elect(f, 5);
	expect_leader(f, 5);
	EXPECT_U(clock_mono_ms() - began, >=, QUIET_MS);
	EXPECT_U(clock_mono_ms() - began, <, 3000);
	REQUIRE(EXPECT_TRUE(until(f, all_connected, NULL)));
	for (int i = 1; i <= 5; i++)
		for (int j = 1; j <= 5; j++)
			if (i != j)
				expect_connection(elect_peer_find(f->e[i], j)->conn, j > i);
	EXPECT_I(f->e[5]->fle.state, ==, FLE_LEADING);
	EXPECT_I(f->e[1]->fle.state, ==, FLE_FOLLOWING);
}

TEST_F(peers_elector, members_that_are_down_or_swallow_calls_delay_nobody, struct elect_fx,
       elect_up, elect_down)
{
	uint64_t began = clock_mono_ms();

	members(f, 5);
	black_hole(f, 5); /* 4 refuses */
	for (int i = 1; i <= 3; i++)
		start(f, i);
	for (int i = 1; i <= 3; i++)
		look(f, i, 0x100000000);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 3);
	EXPECT_U(clock_mono_ms() - began, <, 3000);
}

TEST_F(peers_elector, without_a_quorum_there_is_no_leader_and_who_comes_late_makes_one,
       struct elect_fx, elect_up, elect_down)
{
	uint64_t end = clock_mono_ms() + 5 * QUIET_MS;

	members(f, 3);
	start(f, 1);
	look(f, 1, 0x100000009);
	while (clock_mono_ms() < end)
		turn(f, end);
	EXPECT_I(f->leader[1], ==, -1);
	start(f, 2);
	look(f, 2, 0x100000001);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 1);
	/* They serve epoch 2; the third has a better log, and joins all the same. */
	peer_elector_serving(f->e[1], clock_mono_ms(), 2);
	peer_elector_serving(f->e[2], clock_mono_ms(), 2);
	start(f, 3);
	look(f, 3, 0x100000099);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 1);
	EXPECT_I(f->e[3]->fle.vote.peer_epoch, ==, 2);
}

TEST_F(peers_elector, the_death_of_the_leader_leads_to_another, struct elect_fx, elect_up,
       elect_down)
{
	elect(f, 3);
	expect_leader(f, 3);
	stop(f, 3);
	look(f, 1, 0x200000007);
	look(f, 2, 0x200000006);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 1);
	start(f, 3);
	look(f, 3, 0x100000003);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 1);
}

TEST_F(peers_elector, broken_connections_only_cost_time, struct elect_fx, elect_up, elect_down)
{
	const struct linger reset = {1, 0};
	uint64_t end = clock_mono_ms() + 5 * QUIET_MS, random = t_seed();
	int broken = 0;

	members(f, 5);
	for (int i = 1; i <= 5; i++)
		start(f, i);
	for (int i = 1; i <= 5; i++)
		look(f, i, 0x100000000 + i % 3);
	while (clock_mono_ms() < end) {
		turn(f, end);
		for (int i = 1; i <= 5; i++)
			for (struct elect_conn *c = f->e[i]->conns; c; c = c->next) {
				random = random * 6364136223846793005u + 1442695040888963407u;
				if (c->state == ELECT_DEAD || random >> 60)
					continue;
				setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
				shutdown(c->fd, SHUT_RDWR);
				broken++;
			}
	}
	EXPECT_I(broken, >, 0);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 5);
}

static bool is_connected_to_1(struct elect_fx *f, void *arg)
{
	(void)arg;
	return elect_peer_find(f->e[3], 1)->conn != NULL;
}

static bool is_lost_to_1(struct elect_fx *f, void *arg)
{
	return !is_connected_to_1(f, arg);
}

TEST_F(peers_elector, names_and_several_addresses_are_tried_one_after_the_other, struct elect_fx,
       elect_up, elect_down)
{
	struct peer_elector_options o = defaults(f, 3);
	uint64_t began = clock_mono_ms();
	struct elect_peer *p;

	snprintf(f->text, sizeof(f->text), "server.1=%s:1:%d\n", host(7), PORT);
	start(f, 1); /* it does not look, so it calls nobody */
	/* In the order of hosts: not a name; swallows calls; nobody there; where it is. */
	snprintf(f->text, sizeof(f->text),
		 "server.1=%s:7:%d|%s:3:%d|1.no-such-host.invalid:5:6|%s:1:2\n"
		 "server.2=%s:1:2\nserver.3=%s:1:%d\n",
		 host(7), PORT, host(5), PORT, host(6), host(2), host(3), PORT);
	black_hole(f, 5);
	o.several = true;
	start_with(f, &o);
	look(f, 3, 0x100000000);
	REQUIRE(EXPECT_TRUE(until(f, is_connected_to_1, NULL)));
	p = elect_peer_find(f->e[3], 1);
	EXPECT_U(p->dial.tried, ==, 4);
	EXPECT_U(clock_mono_ms() - began, <, 5000);
	/* The one that answered is the first next time. */
	shutdown(p->conn->fd, SHUT_RDWR);
	REQUIRE(EXPECT_TRUE(until(f, is_lost_to_1, NULL)));
	began = clock_mono_ms();
	REQUIRE(EXPECT_TRUE(until(f, is_connected_to_1, NULL)));
	EXPECT_U(clock_mono_ms() - began, <, ELECT_ONE_OF_MANY_MS);
}

static bool is_listening(struct elect_fx *f, void *arg)
{
	return f->e[*(int *)arg]->listen.n > 0;
}

TEST_F(peers_elector, a_name_of_our_own_and_ipv6_are_listened_at, struct elect_fx, elect_up,
       elect_down)
{
	int one = 1, two = 2, probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), port;
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t len = sizeof(any);
	bool ipv6 = bind(probe, (struct sockaddr *)&any, sizeof(any)) == 0;

	getsockname(probe, (struct sockaddr *)&any, &len);
	port = ipv6 ? ntohs(any.sin6_port) : PORT;
	close(probe);
	snprintf(f->text, sizeof(f->text), "server.1=localhost:2:%d\nserver.2=%s:2:%d\n", port,
		 ipv6 ? "[::1]" : host(2), port == 65535 ? port - 1 : port + 1);
	start(f, 1);
	start(f, 2);
	REQUIRE(EXPECT_TRUE(until(f, is_listening, &one)));
	REQUIRE(EXPECT_TRUE(until(f, is_listening, &two)));
	look(f, 1, 1);
	look(f, 2, 2);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 2);
}

/* --- calls ------------------------------------------------------------------------------------ */

/* Where the test itself takes calls, as server `sid`. */
static int take_calls(struct elect_fx *f, int sid)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	const int on = 1;

	inet_pton(AF_INET, host(sid), &at.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	EXPECT_I(bind(fd, (struct sockaddr *)&at, sizeof(at)), ==, 0);
	EXPECT_I(listen(fd, 64), ==, 0);
	return f->raw[f->n_raw++] = fd;
}

/* Run for so long; the number of calls that came. */
static int count_calls(struct elect_fx *f, int listener, uint64_t ms)
{
	uint64_t end = clock_mono_ms() + ms;
	int calls = 0, fd;

	while (clock_mono_ms() < end) {
		turn(f, end);
		while ((fd = accept(listener, NULL, NULL)) >= 0) {
			close(fd);
			calls++;
		}
	}
	return calls;
}

TEST_F(peers_elector, who_does_not_answer_is_called_less_and_less_often, struct elect_fx, elect_up,
       elect_down)
{
	int listener, calls;

	members(f, 3);
	listener = take_calls(f, 2); /* it never calls back */
	start(f, 1);
	look(f, 1, 0x100000001);
	calls = count_calls(f, listener, 1100); /* at 0, 200, 600 */
	EXPECT_I(calls, >=, 2);
	EXPECT_I(calls, <=, 3);
}

TEST_F(peers_elector, who_calls_with_a_smaller_id_is_called_back_at_once_where_it_says,
       struct elect_fx, elect_up, elect_down)
{
	char there[64];
	int listener, fd;

	members(f, 3);
	start(f, 3); /* it looks for nobody, and calls nobody */
	listener = take_calls(f, 6);
	EXPECT_I(count_calls(f, listener, 50), ==, 0);
	snprintf(there, sizeof(there), "%s:%d", host(6), PORT);
	for (int i = 0; i < 2; i++) {
		fd = call(f, 3, 0);
		say_hello(fd, 1, there);
		EXPECT_I(count_calls(f, listener, 100), ==, 1);
		EXPECT_TRUE(until(f, is_closed, &fd));
	}
	/* One that has no address, and that no configuration names. */
	fd = call(f, 3, 0);
	say_hello(fd, 0, "0.0.0.0:1");
	EXPECT_TRUE(until(f, is_closed, &fd));
	EXPECT_U(f->e[3]->n_strangers, ==, 0);
}

TEST_F(peers_elector, a_connection_that_breaks_while_it_looks_is_made_anew_without_a_timer,
       struct elect_fx, elect_up, elect_down)
{
	struct peer_elector_options o = defaults(f, 3);
	int listener;

	members(f, 3);
	listener = take_calls(f, 1);
	o.fle.wait_min_ms = o.fle.wait_max_ms = 60000;
	start_with(f, &o);
	look(f, 3, 0x100000001);
	EXPECT_I(count_calls(f, listener, 900), >=, 2);
}

static bool has_said(struct elect_fx *f, void *arg)
{
	uint8_t byte;

	(void)f;
	return recv(*(int *)arg, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

TEST_F(peers_elector, the_newest_connection_of_a_server_is_the_one_that_counts, struct elect_fx,
       elect_up, elect_down)
{
	uint8_t vote[128];
	size_t size = notification(vote, FLE_LOOKING, 2, 0x100000002, 1);
	int old, new;

	members(f, 3);
	start(f, 1);
	look(f, 1, 0x100000001);
	old = call(f, 1, 0);
	say_hello(old, 2, "h:1");
	REQUIRE(EXPECT_TRUE(until(f, has_said, &old)));
	new = call(f, 1, 6);
	say_hello(new, 2, "h:1");
	EXPECT_TRUE(until(f, is_closed, &old));
	REQUIRE(EXPECT_TRUE(until(f, has_said, &new)));
	EXPECT_TRUE(elect_peer_find(f->e[1], 2)->doubled); /* from two addresses */
	say(new, vote, size);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 2);
}

/* --- the log ---------------------------------------------------------------------------------- */

/* How often the file says it. */
static int lines_with(FILE *log, const char *what)
{
	char line[1024];
	int n = 0;

	rewind(log);
	while (fgets(line, sizeof(line), log))
		n += strstr(line, what) != NULL;
	return n;
}

TEST_F(peers_elector, the_log_tells_what_changed_and_who_is_missing_once, struct elect_fx, elect_up,
       elect_down)
{
	FILE *log = tmpfile();
	int stderr_fd = dup(STDERR_FILENO);
	uint64_t end;

	REQUIRE(EXPECT_TRUE(log != NULL));
	log_level_max = LOG_INFO;
	dup2(fileno(log), STDERR_FILENO);
	members(f, 3);
	start(f, 1);
	look(f, 1, 0x100000001);
	for (end = clock_mono_ms() + 700; clock_mono_ms() < end;)
		turn(f, end); /* several dials */
	start(f, 2);
	look(f, 2, 0x100000002);
	until(f, all_decided, NULL);
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	EXPECT_I(lines_with(log, " I "), ==, 5);
	EXPECT_I(lines_with(log, "election: LOOKING zxid=0x100000001 epoch=1 round=1"), ==, 1);
	EXPECT_I(lines_with(log, "election: server 2 is heard again"), ==, 1);
	EXPECT_I(lines_with(log, "election: FOLLOWING leader=2 zxid=0x100000002 epoch=1 round="),
		 ==, 1);
	EXPECT_I(lines_with(log, "election: LEADING leader=2 "), ==, 1);
	/* 1 misses 2 and 3, 2 misses 3: once, however often they are called. */
	EXPECT_I(lines_with(log, " W "), ==, 3);
	EXPECT_I(lines_with(log, "Connection refused"), ==, 3);
	fclose(log);
}

/* --- configurations --------------------------------------------------------------------------- */

static bool has_heard(struct elect_fx *f, void *arg)
{
	return peer_elector_heard_config(f->e[*(int *)arg]) != NULL;
}

TEST_F(peers_elector, a_newer_configuration_is_told_and_taken_before_anything_else, struct elect_fx,
       elect_up, elect_down)
{
	struct peer_elector_options o;
	int one = 1;

	/* 1 knows of 1 and 3 alone, which is down; 2 and 4 know better. */
	snprintf(f->text, sizeof(f->text), "server.1=%s:1:%d\nserver.3=%s:1:%d\nversion=1\n",
		 host(1), PORT, host(3), PORT);
	o = defaults(f, 1);
	o.fle.reconfig = true;
	start_with(f, &o);
	look(f, 1, 0x100000009);
	snprintf(f->text, sizeof(f->text),
		 "server.1=%s:1:%d\nserver.2=%s:1:%d\nserver.4=%s:1:%d\nversion=100000001\n",
		 host(1), PORT, host(2), PORT, host(4), PORT);
	start(f, 2);
	look(f, 2, 0x100000001);
	REQUIRE(EXPECT_TRUE(until(f, has_heard, &one)));
	EXPECT_I(f->e[1]->fle.proposal.leader, ==, 1);
	EXPECT_I(peer_elector_heard_config(f->e[1])->version, ==, 0x100000001);
	f->config[4] = *peer_elector_heard_config(f->e[1]);
	peer_elector_config(f->e[1], clock_mono_ms(), &f->config[4], NULL, QUORUM_PARTICIPANT);
	EXPECT_TRUE(peer_elector_heard_config(f->e[1]) == NULL);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 1);
}

TEST_F(peers_elector, with_other_addresses_it_listens_and_connects_anew, struct elect_fx, elect_up,
       elect_down)
{
	int two = 2;

	elect(f, 3);
	expect_leader(f, 3);
	/* 2 moves to another address, and 4 comes in. */
	snprintf(f->text, sizeof(f->text),
		 "server.1=%s:1:%d\nserver.2=%s:1:%d\nserver.3=%s:1:%d\nserver.4=%s:1:%d\n"
		 "version=1\n",
		 host(1), PORT, host(6), PORT, host(3), PORT, host(4), PORT);
	start(f, 4);
	for (int i = 1; i <= 3; i++) {
		f->config[SIDS - i] = f->config[4];
		peer_elector_config(f->e[i], clock_mono_ms(), &f->config[SIDS - i], NULL,
				    QUORUM_PARTICIPANT);
	}
	REQUIRE(EXPECT_TRUE(until(f, is_listening, &two)));
	EXPECT_STR(f->e[2]->listen.own[0].host, host(6));
	for (int i = 1; i <= 4; i++)
		look(f, i, i == 2 ? 0x200000000 : 0x100000000);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 2);
}

TEST_F(peers_elector, observers_and_strangers_learn_who_leads, struct elect_fx, elect_up,
       elect_down)
{
	struct peer_elector_options o = defaults(f, 7);

	members(f, 3);
	for (int i = 1; i <= 3; i++)
		start(f, i);
	for (int i = 1; i <= 3; i++)
		look(f, i, 0x100000000 + i);
	o.fle.role = QUORUM_OBSERVER;
	start_with(f, &o);
	look(f, 7, 0x900000000);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 3);
	EXPECT_I(f->e[7]->fle.state, ==, FLE_OBSERVING);
	EXPECT_U(f->e[7]->listen.n, ==, 0);
}

/* --- the hostile ------------------------------------------------------------------------------ */

TEST_F(peers_elector, bytes_that_make_no_sense_close_that_connection_alone, struct elect_fx,
       elect_up, elect_down)
{
	static const uint8_t huge[] = {0x7f, 0xff, 0xff, 0xff, 1, 2, 3}, none[4];
	static const uint8_t version[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 2};
	uint8_t noise[600];
	int fd[6];

	members(f, 3);
	start(f, 1);
	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(0x80 + i * 7);
	for (int i = 0; i < 6; i++)
		fd[i] = call(f, 1, 0);
	say(fd[0], noise, sizeof(noise));
	say(fd[1], version, sizeof(version));
	say_hello(fd[2], 2, "no address");
	say_hello(fd[3], 2, "10.0.0.1:3888");
	say(fd[3], huge, sizeof(huge));
	say_hello(fd[4], 9, "10.0.0.1:3888");
	say(fd[4], none, sizeof(none));
	say_hello(fd[5], 1, "10.0.0.1:3888"); /* our own id */
	for (int i = 0; i < 6; i++)
		EXPECT_TRUE(until(f, is_closed, &fd[i]));
	start(f, 2);
	start(f, 3);
	for (int i = 1; i <= 3; i++)
		look(f, i, 0x100000000 + i);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 3);
}

TEST_F(peers_elector, bodies_that_are_no_notification_are_skipped, struct elect_fx, elect_up,
       elect_down)
{
	static const uint8_t short_one[] = {0, 0, 0, 3, 1, 2, 3};
	uint8_t vote[128];
	size_t size = notification(vote, FLE_LOOKING, 2, 0x100000002, 1);
	int fd;

	members(f, 3);
	start(f, 1);
	look(f, 1, 0x100000001);
	fd = call(f, 1, 0);
	say_hello(fd, 2, host(2));
	EXPECT_TRUE(until(f, is_closed, &fd)); /* no port: not an address */
	fd = call(f, 1, 0);
	say_hello(fd, 2, "h:1");
	say(fd, short_one, sizeof(short_one));
	/* One byte at a time. */
	for (size_t i = 0; i < size; i++) {
		say(fd, vote + i, 1);
		turn(f, clock_mono_ms());
	}
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 2);
}

static bool few_greet(struct elect_fx *f, void *arg)
{
	(void)arg;
	return f->e[1]->n_greetings == 0;
}

TEST_F(peers_elector, who_says_half_a_hello_is_dropped_in_time_and_keeps_nobody_out,
       struct elect_fx, elect_up, elect_down)
{
	static const uint8_t half[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
	uint64_t began = clock_mono_ms();

	members(f, 3);
	start(f, 1);
	look(f, 1, 0x100000001);
	for (int i = 0; i < 100; i++) {
		say(call(f, 1, 0), half, i % 2 ? sizeof(half) : 0);
		turn(f, clock_mono_ms());
		EXPECT_U(f->e[1]->n_greetings, <=, PEER_ELECTOR_GREETINGS);
	}
	start(f, 2);
	look(f, 2, 0x100000002);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 2);
	REQUIRE(EXPECT_TRUE(until(f, few_greet, NULL)));
	EXPECT_U(clock_mono_ms() - began, >=, HELLO_MS);
}

/* Send frame after frame and listen to nothing, until the other end has had enough. */
static int flood(struct elect_fx *f, int fd, const uint8_t *frame, size_t size, size_t *most)
{
	uint64_t end_ms = clock_mono_ms() + IN_TIME_MS;
	size_t at = 0;
	int sent = 0;

	while (clock_mono_ms() < end_ms) {
		ssize_t n = send(fd, frame + at, size - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return sent;
		at = n > 0 ? (at + (size_t)n) % size : at;
		sent += n > 0 && at == 0;
		if (n < 0 || sent % 64 == 0)
			turn(f, clock_mono_ms() + 1);
		if (memory_of(f->e[1]) > *most)
			*most = memory_of(f->e[1]);
	}
	t_fail(__FILE__, __LINE__, "%d sent, and it takes more", sent);
	return sent;
}

TEST_F(peers_elector, a_flood_costs_bounded_memory_and_who_does_not_listen_is_closed,
       struct elect_fx, elect_up, elect_down)
{
	uint8_t vote[128];
	/* Of an older round: each is answered. */
	size_t size = notification(vote, FLE_LOOKING, 2, 0x100000002, 0), most = 0;
	const int small = 1;
	uint64_t began = clock_mono_ms();
	int fd;

	members(f, 3);
	start(f, 1);
	look(f, 1, 0x100000001);
	fd = call(f, 1, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	say_hello(fd, 2, "h:1");
	EXPECT_I(flood(f, fd, vote, size, &most), >, 1000);
	EXPECT_U(clock_mono_ms() - began, >=, HELLO_MS);
	EXPECT_U(most, <, 256 << 10);
	EXPECT_TRUE(elect_peer_find(f->e[1], 2)->conn == NULL);
}

TEST_F(peers_elector, strangers_are_bounded, struct elect_fx, elect_up, elect_down)
{
	uint8_t vote[128];
	size_t size = notification(vote, FLE_LOOKING, 5, 0, 1);

	members(f, 3);
	start(f, 1);
	look(f, 1, 0x100000001);
	for (int i = 0; i < 200; i++) {
		int fd = call(f, 1, 0);

		say_hello(fd, 1000 + i, "127.0.0.1:1");
		say(fd, vote, size);
		turn(f, clock_mono_ms());
	}
	EXPECT_U(f->e[1]->n_strangers, ==, PEER_ELECTOR_STRANGERS);
	EXPECT_U(memory_of(f->e[1]), <, 4 << 20);
	start(f, 2);
	look(f, 2, 0x100000002);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	expect_leader(f, 2);
}

/* --- the port --------------------------------------------------------------------------------- */

TEST_F(peers_elector, a_port_that_is_taken_is_a_fault_until_it_is_free, struct elect_fx, elect_up,
       elect_down)
{
	struct peer_elector_options o = defaults(f, 1);
	int one = 1, taken;

	members(f, 3);
	taken = black_hole(f, 1);
	o.bind_retries = 1;
	start_with(f, &o);
	EXPECT_I(peer_elector_fault(f->e[1]), ==, -EADDRINUSE);
	while (f->n_raw)
		close(f->raw[--f->n_raw]);
	(void)taken;
	REQUIRE(EXPECT_TRUE(until(f, is_listening, &one)));
	EXPECT_I(peer_elector_fault(f->e[1]), ==, 0);
}

TEST_F(peers_elector, what_it_shows_names_state_vote_and_connections, struct elect_fx, elect_up,
       elect_down)
{
	char line[256], little[8];

	members(f, 3);
	start(f, 1);
	look(f, 1, 0x100000001);
	peer_elector_show(f->e[1], line, sizeof(line));
	EXPECT_STR(line, "LOOKING vote=1 epoch=1 zxid=0x100000001 round=1 connected=nobody");
	EXPECT_U(peer_elector_show(f->e[1], little, sizeof(little)), ==, 7);
	EXPECT_STR(little, "LOOKING");
	start(f, 2);
	look(f, 2, 0x100000002);
	REQUIRE(EXPECT_TRUE(until(f, all_decided, NULL)));
	peer_elector_show(f->e[1], line, sizeof(line));
	EXPECT_STR(line, "FOLLOWING vote=2 epoch=1 zxid=0x100000002 round=1 connected=2");
}
