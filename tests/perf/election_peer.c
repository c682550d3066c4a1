/*
 * election_peer.c - one server of an ensemble, as far as elections go
 *
 *	election_peer SID CONFIG ZXID EPOCH [observer]
 *
 * CONFIG is a file of server lines; SID need not be among them, then it listens nowhere. It votes
 * with ZXID (hexadecimal) and EPOCH, prints the trace of each step, and looks again whenever a line
 * comes in on stdin; it ends with stdin. For tests together with other servers: what it receives is
 * encoded again and must give the same bytes, and configurations must print as they came.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "quorum/election.h"

enum { LINKS = 16, BUFFER = 1 << 16, REDIAL_MS = 200 };

enum link_state { FREE, DIALLING, ACCEPTED, OPEN };

struct link {
	enum link_state state;
	int fd;
	int64_t sid;
	size_t have;
	uint8_t in[BUFFER];
};

/* The newest message for a server, until it is sent. */
struct slot {
	int64_t sid;
	bool full;
	uint64_t redial_ms;
	struct sockaddr_in address; /* for servers that no configuration names */
	size_t size;
	uint8_t bytes[BUFFER];
};

static struct fle fle;
static struct quorum_config config, scratch;
static char text[QUORUM_CONFIG_TEXT_MAX], printed[QUORUM_CONFIG_TEXT_MAX];
static struct link links[LINKS];
static struct slot slots[LINKS];
static uint64_t deadline_ms = UINT64_MAX, begin_ms;
static int64_t me;
static int listener = -1;

static void die(const char *what)
{
	printf("FAILED %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct slot *slot_of(int64_t sid)
{
	struct slot *s = slots;

	while (s < slots + LINKS - 1 && s->sid != sid && s->sid != -1)
		s++;
	s->sid = sid;
	return s;
}

static struct link *link_of(int64_t sid, enum link_state state)
{
	for (struct link *l = links; l < links + LINKS; l++)
		if (l->state == state && l->sid == sid)
			return l;
	return NULL;
}

static struct link *free_link(int fd, enum link_state state, int64_t sid)
{
	for (struct link *l = links; l < links + LINKS; l++)
		if (l->state == FREE) {
			l->state = state;
			l->fd = fd;
			l->sid = sid;
			l->have = 0;
			return l;
		}
	die("too many connections");
	return NULL;
}

static void drop(struct link *l)
{
	if (!l)
		return;
	close(l->fd);
	l->state = FREE;
}

static void send_all(struct link *l, const void *bytes, size_t size)
{
	if (send(l->fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size)
		drop(l);
}

static struct sockaddr_in address_of(int64_t sid)
{
	const struct quorum_member *m = quorum_config_find(&config, sid);
	struct sockaddr_in a = {.sin_family = AF_INET};

	if (!m)
		return slot_of(sid)->address;
	a.sin_port = htons(m->addr[0].election_port);
	inet_pton(AF_INET, quorum_config_host(&config, m->addr[0].host), &a.sin_addr);
	return a;
}

static void dial(int64_t sid)
{
	struct sockaddr_in a = address_of(sid);
	struct slot *s = slot_of(sid);
	int fd, on = 1;

	if (!a.sin_port || link_of(sid, DIALLING) || clock_mono_ms() < s->redial_ms)
		return;
	s->redial_ms = clock_mono_ms() + REDIAL_MS;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) && errno != EINPROGRESS)
		close(fd);
	else
		free_link(fd, DIALLING, sid);
}

/* Send what waits for the server, or see to it that there is a connection. */
static void flush_slot(int64_t sid)
{
	struct slot *s = slot_of(sid);
	struct link *l = link_of(sid, OPEN);

	if (!s->full)
		return;
	if (!l) {
		dial(sid);
		return;
	}
	send_all(l, s->bytes, s->size);
	s->full = l->state != OPEN;
}

static void step(struct fle_event event)
{
	struct fle_out out;
	char line[512];

	event.now_ms = clock_mono_ms() - begin_ms;
	if (fle_step(&fle, &event, &out))
		die("an event was refused");
	fle_trace(&fle, &event, &out, line, sizeof(line));
	printf("%s\n", line);
	deadline_ms = out.deadline_ms;
	out.message.config = jute_text(text);
	for (uint32_t i = 0; i < out.n_to; i++) {
		struct slot *s = slot_of(out.to[i]);
		struct jute_out o = jute_out_of(s->bytes, sizeof(s->bytes));

		fle_put_notification(&o, &out.message);
		s->size = jute_size(&o, s->bytes);
		s->full = true;
		flush_slot(out.to[i]);
	}
	if (out.decided)
		printf("DECIDED %s %" PRId64 " epoch %" PRId64 "\n", fle_state_name(fle.state),
		       fle.vote.leader, fle.vote.peer_epoch);
	fflush(stdout);
}

static void opened(struct link *l)
{
	struct link *old = link_of(l->sid, OPEN);

	drop(old == l ? NULL : old);
	l->state = OPEN;
	step((struct fle_event){.type = FLE_CONNECTED, .connected = {l->sid}});
	flush_slot(l->sid);
}

static void put_own_hello(struct jute_out *out)
{
	static const char any[] = "server.0=0.0.0.0:1:2"; /* nothing to dial */
	const struct quorum_member *m = quorum_config_find(&config, me);

	if (m) {
		fle_put_hello(out, &config, m, false);
		return;
	}
	CHECK(quorum_config_parse(&scratch, any, strlen(any), NULL) == 0);
	scratch.member[0].sid = me;
	fle_put_hello(out, &scratch, scratch.member, false);
}

/* The dial succeeded, or not. */
static void dialled(struct link *l)
{
	uint8_t hello[FLE_HELLO_MAX];
	struct jute_out out = jute_out_of(hello, sizeof(hello));
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		drop(l);
		return;
	}
	put_own_hello(&out);
	send_all(l, hello, jute_size(&out, hello));
	if (l->state == FREE)
		return;
	if (fle_dialled(me, l->sid) == FLE_KEEP)
		opened(l);
	else
		drop(l);
}

static void expect_same(const char *what, const void *a, size_t a_size, const void *b,
			size_t b_size)
{
	if (a_size != b_size || memcmp(a, b, a_size) != 0)
		die(what);
	printf("SAME %s %zu\n", what, a_size);
}

static bool greeted(struct link *l, const struct fle_hello *hello, size_t size)
{
	uint8_t again[FLE_HELLO_MAX];
	struct jute_out out = jute_out_of(again, sizeof(again));
	const struct quorum_member *m = quorum_config_find(&config, hello->sid);

	if (m) { /* we would have said the same in its place */
		fle_put_hello(&out, &config, m, false);
		expect_same("hello", again, jute_size(&out, again), l->in, size);
	}
	switch (fle_accepted(me, hello->sid)) {
	case FLE_KEEP:
		l->sid = hello->sid;
		opened(l);
		return l->state == OPEN;
	case FLE_DIAL_BACK:
		drop(link_of(hello->sid, OPEN));
		slot_of(hello->sid)->redial_ms = 0;
		dial(hello->sid);
		break;
	case FLE_CLOSE:
		break;
	}
	drop(l);
	return false;
}

static void heard(struct link *l, struct jute_buf body)
{
	struct fle_notification n;
	uint8_t again[BUFFER];
	struct jute_out out = jute_out_of(again, sizeof(again));

	if (fle_notification_decode(body, &n))
		die("notification");
	fle_put_notification(&out, &n);
	expect_same("notification", again + 4, jute_size(&out, again) - 4, body.data,
		    (size_t)body.len);
	if (quorum_config_parse(&scratch, n.config.data, (size_t)n.config.len, NULL))
		die("configuration");
	expect_same("configuration", printed,
		    quorum_config_print(&scratch, printed, sizeof(printed)), n.config.data,
		    (size_t)n.config.len);
	if (!quorum_config_equal(&scratch, &config))
		die("another configuration");
	step((struct fle_event){.type = FLE_RECEIVE, .receive = {l->sid, &n}});
}

static void readable(struct link *l)
{
	ssize_t got = recv(l->fd, l->in + l->have, sizeof(l->in) - l->have, 0);
	struct fle_hello hello;
	struct jute_buf body;
	int64_t size;
	size_t need;

	if (got <= 0) {
		if (got == 0 || errno != EAGAIN)
			drop(l);
		return;
	}
	l->have += (size_t)got;
	while (l->state != FREE) {
		size = l->state == ACCEPTED ? fle_hello_decode(l->in, l->have, &hello, &need)
					    : fle_frame_decode(l->in, l->have, &body, &need);
		if (size < 0)
			die("bytes of a peer");
		if (size == 0)
			return;
		if (l->state == OPEN)
			heard(l, body);
		else if (!greeted(l, &hello, (size_t)size))
			return;
		l->have -= (size_t)size;
		memmove(l->in, l->in + size, l->have);
	}
}

static void listen_here(void)
{
	struct sockaddr_in a = address_of(me);
	int on = 1;

	if (!quorum_config_find(&config, me))
		return;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&a, sizeof(a)) || listen(listener, 16))
		die("listen");
}

static void read_config(const char *path)
{
	static char file[QUORUM_CONFIG_TEXT_MAX];
	FILE *f = fopen(path, "r");
	size_t size = f ? fread(file, 1, sizeof(file), f) : 0;

	if (!f || quorum_config_parse(&config, file, size, NULL))
		die(path);
	fclose(f);
	quorum_config_print(&config, text, sizeof(text));
}

/* False: stdin has ended. */
static bool turn(const struct fle_event *look)
{
	struct pollfd polls[LINKS + 2] = {{STDIN_FILENO, POLLIN, 0}, {listener, POLLIN, 0}};
	uint64_t now = clock_mono_ms() - begin_ms;
	uint64_t wait = deadline_ms > now ? deadline_ms - now : 0;
	char line[64];
	int fd;

	for (int i = 0; i < LINKS; i++)
		polls[i + 2] = (struct pollfd){links[i].state == FREE ? -1 : links[i].fd,
					       links[i].state == DIALLING ? POLLOUT : POLLIN, 0};
	if (poll(polls, LINKS + 2, wait > 1000 ? 1000 : (int)wait) < 0)
		die("poll");
	if (polls[0].revents) {
		if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
			return false;
		step(*look);
	}
	if (polls[1].revents && (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		free_link(fd, ACCEPTED, -1);
	for (int i = 0; i < LINKS; i++) {
		/* What was closed or begun in this turn is not what was polled. */
		if (!polls[i + 2].revents || links[i].fd != polls[i + 2].fd)
			continue;
		if (links[i].state == DIALLING)
			dialled(&links[i]);
		else if (links[i].state != FREE)
			readable(&links[i]);
	}
	if (clock_mono_ms() - begin_ms >= deadline_ms)
		step((struct fle_event){.type = FLE_TIMEOUT});
	for (struct slot *s = slots; s < slots + LINKS; s++)
		if (s->sid >= 0)
			flush_slot(s->sid);
	return true;
}

int main(int argc, char **argv)
{
	struct fle_options options;
	struct fle_event look = {.type = FLE_LOOK};

	if (argc < 5) {
		fprintf(stderr, "usage: election_peer SID CONFIG ZXID EPOCH [observer]\n");
		return 2;
	}
	me = strtoll(argv[1], NULL, 10);
	read_config(argv[2]);
	look.look.last_zxid = (int64_t)strtoull(argv[3], NULL, 16);
	look.look.current_epoch = strtoll(argv[4], NULL, 10);
	for (int i = 0; i < LINKS; i++)
		slots[i].sid = -1;
	options = fle_defaults(me, argc > 5 ? QUORUM_OBSERVER : QUORUM_PARTICIPANT, 1);
	begin_ms = clock_mono_ms();
	fle_init(&fle, &options, &config, NULL);
	listen_here();
	step(look);
	while (turn(&look))
		;
	return 0;
}
