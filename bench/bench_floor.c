/*
 * bench_floor - what the kernel's sockets allow at most
 *
 * Sockets and framing as a ZooKeeper server has them, and nothing behind: every request gets an
 * answer of the size that a server would send, made without looking at it. One recv and one send
 * per ready connection and turn, TCP_NODELAY, no read until EAGAIN. What a real server does in less
 * CPU time than this it has left out.
 *
 * Processes share the port by SO_REUSEPORT; connections are not handed over. A setData is told to
 * all that have asked the same process for a watch since the last one, whatever they watch.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "jute/codes.h"
#include "jute/records.h"

enum {
	EVENTS_PER_TURN = 64,
	IN_CAP = 2 * 1024 * 1024,  /* a tail and what one recv brings */
	OUT_CAP = 8 * 1024 * 1024, /* answers of one turn of one connection */
	RECV_MAX = 128 * 1024,     /* bytes per turn */
	FRAME_MAX = 1024 * 1024,
	VALUE_MAX = 64 * 1024,
	PROCESSES_MAX = 256,
	BACKLOG = 1024,
	WATCHERS_MAX = 64 * 1024,
	STAT_SIZE = 68,
	NAME_LEN = 14, /* of a child: as the load generator's */
};

struct conn {
	int fd;
	bool open;     /* the handshake is done */
	bool watches;
	uint8_t *tail; /* beginning of a frame */
	size_t tail_len;
	uint8_t *out; /* what the socket did not take: nothing is read while there is some */
	size_t out_len, out_at;
};

static struct {
	int epfd, listener;
	uint16_t port;
	uint32_t processes, value_len, children;
	int64_t last_session;
	uint32_t n_watchers;
	struct conn *watchers[WATCHERS_MAX];
	uint8_t in[IN_CAP], out[OUT_CAP];
} floor_;

static uint8_t zeros[VALUE_MAX + STAT_SIZE];

static void listen_on(uint16_t port)
{
	const int on = 1;
	const struct sockaddr_in addr = {.sin_family = AF_INET,
					 .sin_port = htons(port),
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};

	floor_.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(floor_.listener >= 0);
	setsockopt(floor_.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(floor_.listener, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(floor_.listener, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(floor_.listener, BACKLOG) < 0) {
		fprintf(stderr, "bench_floor: port %u: %s\n", port, strerror(errno));
		exit(1);
	}
	floor_.epfd = epoll_create1(EPOLL_CLOEXEC);
	CHECK(floor_.epfd >= 0);
	CHECK(epoll_ctl(floor_.epfd, EPOLL_CTL_ADD, floor_.listener, &ev) == 0);
}

static void accept_some(void)
{
	const int on = 1;

	for (int i = 0; i < EVENTS_PER_TURN; i++) {
		const int fd = accept4(floor_.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct conn *c = fd < 0 ? NULL : calloc(1, sizeof(*c));
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

		if (fd < 0)
			return;
		CHECK(c != NULL);
		c->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		CHECK(epoll_ctl(floor_.epfd, EPOLL_CTL_ADD, fd, &ev) == 0);
	}
}

static void drop(struct conn *c)
{
	for (uint32_t i = 0; c->watches && i < floor_.n_watchers; i++)
		if (floor_.watchers[i] == c)
			floor_.watchers[i--] = floor_.watchers[--floor_.n_watchers];
	close(c->fd);
	free(c->tail);
	free(c->out);
	free(c);
}

static bool shake(struct conn *c, const uint8_t *frame, size_t len, struct jute_out *out)
{
	struct jute_in in = jute_in_of(frame, len);
	struct zk_connect_request request;
	struct zk_connect_response response;
	uint8_t *length = jute_reserve(out, 4), *begin = out->next;

	if (length == NULL || zk_connect_request_decode(&in, &request) < 0)
		return false;
	response = (struct zk_connect_response){.timeout_ms = request.timeout_ms,
						.session_id = request.session_id,
						.passwd = jute_buf_of(zeros, 16),
						.has_read_only = request.has_read_only};
	if (response.session_id == 0)
		response.session_id = ++floor_.last_session;
	zk_connect_response_encode(out, &response);
	be32_put(length, (uint32_t)(out->next - begin));
	c->open = true;
	return !out->failed;
}

/* The path at the beginning of most requests; null when there is none. */
static struct jute_buf path_of(struct jute_in in)
{
	return jute_get_buffer(&in);
}

static void put_names(struct jute_out *out)
{
	char name[NAME_LEN + 1];

	jute_put_int(out, (int32_t)floor_.children);
	for (uint32_t i = 0; i < floor_.children; i++) {
		snprintf(name, sizeof(name), "node-%09u", i % 1000000000);
		jute_put_ustring(out, jute_text(name));
	}
}

static void put_multi(struct jute_in in, struct jute_out *out)
{
	struct zk_multi_op op;

	while (zk_multi_next(&in, &op) == 1) {
		zk_multi_header_encode(out, &(struct zk_multi_header){op.type, false, 0});
		if (op.type == ZK_OP_CREATE || op.type == ZK_OP_CREATE2)
			jute_put_ustring(out, op.create.path);
		if (op.type == ZK_OP_SET_DATA || op.type == ZK_OP_CREATE2)
			jute_put_bytes(out, zeros, STAT_SIZE);
	}
	zk_multi_end(out);
}

static void note_watch(struct conn *c, struct jute_in in)
{
	(void)jute_get_buffer(&in);
	if (!jute_get_boolean(&in) || c->watches || floor_.n_watchers == WATCHERS_MAX)
		return;
	c->watches = true;
	floor_.watchers[floor_.n_watchers++] = c;
}

/* A watcher that does not take it at once is not told: its client says so. */
static void tell_watchers(struct jute_buf path)
{
	uint8_t frame[256];
	struct jute_out out = jute_out_of(frame, sizeof(frame));
	const struct zk_reply_header header = {.xid = ZK_XID_NOTIFICATION, .zxid = -1};
	const struct zk_watcher_event event = {
	    .type = ZK_EVENT_DATA_CHANGED, .state = ZK_STATE_SYNC_CONNECTED, .path = path};
	uint8_t *length = jute_reserve(&out, 4);

	zk_reply_header_encode(&out, &header);
	zk_watcher_event_encode(&out, &event);
	be32_put(length, (uint32_t)(out.next - length - 4));
	for (uint32_t i = 0; i < floor_.n_watchers && !out.failed; i++) {
		struct conn *c = floor_.watchers[i];

		c->watches = false;
		(void)!send(c->fd, frame, (size_t)(out.next - frame), MSG_NOSIGNAL);
	}
	floor_.n_watchers = 0;
}

/* false: the connection ends after this answer. */
static bool put_body(int32_t type, struct jute_in in, struct jute_out *out)
{
	switch (type) {
	case ZK_OP_GET_DATA:
		jute_put_int(out, (int32_t)floor_.value_len);
		jute_put_bytes(out, zeros, floor_.value_len + STAT_SIZE);
		break;
	case ZK_OP_EXISTS:
	case ZK_OP_SET_DATA:
	case ZK_OP_SET_ACL:
		jute_put_bytes(out, zeros, STAT_SIZE);
		break;
	case ZK_OP_GET_CHILDREN:
	case ZK_OP_GET_CHILDREN2:
		put_names(out);
		if (type == ZK_OP_GET_CHILDREN2)
			jute_put_bytes(out, zeros, STAT_SIZE);
		break;
	case ZK_OP_CREATE:
	case ZK_OP_SYNC:
		jute_put_ustring(out, path_of(in));
		break;
	case ZK_OP_CREATE2:
		jute_put_ustring(out, path_of(in));
		jute_put_bytes(out, zeros, STAT_SIZE);
		break;
	case ZK_OP_MULTI:
		put_multi(in, out);
		break;
	default:
		return type != ZK_OP_CLOSE_SESSION;
	}
	return true;
}

static bool answer(struct conn *c, const uint8_t *frame, size_t len, struct jute_out *out)
{
	struct jute_in in = jute_in_of(frame, len);
	struct zk_reply_header header = {.zxid = 1};
	uint8_t *length;
	int32_t type;
	bool go_on;

	if (!c->open)
		return shake(c, frame, len, out);
	header.xid = jute_get_int(&in);
	type = jute_get_int(&in);
	length = jute_reserve(out, 4);
	if (in.failed || length == NULL)
		return false;
	zk_reply_header_encode(out, &header);
	if (type == ZK_OP_GET_DATA || type == ZK_OP_EXISTS)
		note_watch(c, in);
	else if (type == ZK_OP_SET_DATA && floor_.n_watchers)
		tell_watchers(path_of(in));
	go_on = put_body(type, in, out);
	be32_put(length, (uint32_t)(out->next - length - 4));
	return go_on && !out->failed;
}

/* Answer the whole frames of in[0..len), keep the rest. false: close after sending. */
static bool answer_all(struct conn *c, size_t len, struct jute_out *out)
{
	size_t at = 0;

	while (len - at >= 4) {
		const size_t frame = be32_get(floor_.in + at);

		if (frame > FRAME_MAX)
			return false;
		if (len - at - 4 < frame)
			break;
		if (!answer(c, floor_.in + at + 4, frame, out))
			return false;
		at += 4 + frame;
	}
	free(c->tail);
	c->tail = NULL;
	c->tail_len = len - at;
	if (c->tail_len > 0) {
		c->tail = malloc(c->tail_len);
		CHECK(c->tail != NULL);
		memcpy(c->tail, floor_.in + at, c->tail_len);
	}
	return true;
}

static void watch(struct conn *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	CHECK(epoll_ctl(floor_.epfd, EPOLL_CTL_MOD, c->fd, &ev) == 0);
}

/* false: the peer is gone. */
static bool send_or_keep(struct conn *c, size_t len)
{
	ssize_t n = len > 0 ? send(c->fd, floor_.out, len, MSG_NOSIGNAL) : 0;

	if (n < 0 && errno != EAGAIN)
		return false;
	n = n < 0 ? 0 : n;
	if ((size_t)n == len)
		return true;
	c->out_len = len - (size_t)n;
	c->out_at = 0;
	c->out = malloc(c->out_len);
	CHECK(c->out != NULL);
	memcpy(c->out, floor_.out + n, c->out_len);
	watch(c, EPOLLOUT);
	return true;
}

static bool flush(struct conn *c)
{
	const ssize_t n = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN;
	c->out_at += (size_t)n;
	if (c->out_at == c->out_len) {
		free(c->out);
		c->out = NULL;
		watch(c, EPOLLIN);
	}
	return true;
}

static bool serve(struct conn *c)
{
	struct jute_out out = jute_out_of(floor_.out, OUT_CAP);
	bool go_on;
	ssize_t n;

	if (c->out != NULL)
		return flush(c);
	if (c->tail_len > 0)
		memcpy(floor_.in, c->tail, c->tail_len);
	n = recv(c->fd, floor_.in + c->tail_len, RECV_MAX, 0);
	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	go_on = answer_all(c, c->tail_len + (size_t)n, &out);
	return send_or_keep(c, (size_t)(out.next - floor_.out)) && go_on;
}

static _Noreturn void run(void)
{
	struct epoll_event ev[EVENTS_PER_TURN];

	listen_on(floor_.port);
	for (;;) {
		const int n = epoll_wait(floor_.epfd, ev, EVENTS_PER_TURN, -1);

		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (c == NULL)
				accept_some();
			else if (!serve(c))
				drop(c);
		}
	}
}

static uint32_t number(const char *text, uint32_t min, uint32_t max)
{
	char *end;
	const unsigned long n = strtoul(text, &end, 10);

	if (end == text || *end != '\0' || n < min || n > max) {
		fprintf(stderr, "bench_floor: %s is not from %u to %u\n", text, min, max);
		exit(2);
	}
	return (uint32_t)n;
}

static void parse(int argc, char **argv)
{
	int c;

	floor_.processes = 1;
	floor_.value_len = 100;
	floor_.children = 100;
	while ((c = getopt(argc, argv, "w:v:c:")) != -1) {
		if (c == 'w')
			floor_.processes = number(optarg, 1, PROCESSES_MAX);
		else if (c == 'v')
			floor_.value_len = number(optarg, 0, VALUE_MAX);
		else if (c == 'c')
			floor_.children = number(optarg, 0, 10000);
		else
			optind = argc;
	}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: bench_floor [-w PROCESSES] [-v BYTES of a value] "
				"[-c CHILDREN] PORT\n");
		exit(2);
	}
	floor_.port = (uint16_t)number(argv[optind], 1, 65535);
}

int main(int argc, char **argv)
{
	struct rlimit files;

	parse(argc, argv);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	for (uint32_t i = 1; i < floor_.processes; i++) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGTERM);
			floor_.last_session = (int64_t)i << 32;
			break;
		}
	}
	run();
}
