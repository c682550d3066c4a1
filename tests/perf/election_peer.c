/*
 * election_peer.c - one server of an ensemble, as far as elections go
 *
 *	election_peer SID CONFIG ZXID EPOCH [observer]
 *
 * CONFIG is a file of server lines; SID need not be among them, then it listens nowhere. It votes
 * with ZXID (hexadecimal) and EPOCH, prints the trace of each step, and looks again whenever a line
 * comes in on stdin; it ends with stdin. All the rest is peers/elector.h. For tests together with
 * other servers: what it receives is encoded again and must give the same bytes, and configurations
 * must print as they came.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "peers/elector.h"
#include "peers/source.h"

static struct quorum_config config;

static void die(const char *what)
{
	printf("FAILED %s: %s\n", what, strerror(errno));
	exit(1);
}

static void expect_same(const char *what, const void *a, size_t a_size, struct jute_buf b)
{
	if (b.len < 0 || a_size != (size_t)b.len || memcmp(a, b.data, a_size) != 0)
		die(what);
	printf("SAME %s %zu\n", what, a_size);
}

/* What was understood says the same as what came. */
static void compare(struct jute_buf body)
{
	static uint8_t again[FLE_FRAME_MAX];
	static char text[QUORUM_CONFIG_TEXT_MAX];
	static struct quorum_config theirs;
	struct jute_out out = jute_out_of(again, sizeof(again));
	struct fle_notification n;

	if (fle_notification_decode(body, &n))
		die("notification");
	fle_put_notification(&out, &n);
	expect_same("notification", again + 4, jute_size(&out, again) - 4, body);
	if (quorum_config_parse(&theirs, n.config.data, (size_t)n.config.len, NULL))
		die("configuration");
	expect_same("configuration", text, quorum_config_print(&theirs, text, sizeof(text)),
		    n.config);
	if (!quorum_config_equal(&theirs, &config))
		die("another configuration");
}

static void trace(void *arg, const char *line, const struct jute_buf *received)
{
	(void)arg;
	if (received)
		compare(*received);
	printf("%s\n", line);
	fflush(stdout);
}

static void read_config(const char *path)
{
	static char file[QUORUM_CONFIG_TEXT_MAX];
	FILE *f = fopen(path, "r");
	size_t size = f ? fread(file, 1, sizeof(file), f) : 0;

	if (!f || quorum_config_parse(&config, file, size, NULL))
		die(path);
	fclose(f);
}

static void tell_decided(struct peer_elector *e)
{
	char line[256];
	int64_t sid;

	if (!peer_elector_decided(e, &sid))
		return;
	peer_elector_show(e, line, sizeof(line));
	printf("DECIDED %s\n", line);
	fflush(stdout);
}

/* False: stdin has ended. */
static bool turn(struct peer_elector *e, int epoll, bool *look)
{
	uint64_t now = clock_mono_ms(), due = peer_elector_deadline_ms(e);
	struct epoll_event events[16];
	char line[64];
	int n = epoll_wait(epoll, events, 16,
			   due <= now         ? 0
			   : due - now > 1000 ? 1000
					      : (int)(due - now));

	if (n < 0)
		die("epoll");
	for (int i = 0; i < n; i++) {
		struct peer_source *source = events[i].data.ptr;

		if (source)
			source->ready(source, events[i].events);
		else if (read(STDIN_FILENO, line, sizeof(line)) > 0)
			*look = true;
		else
			return false;
	}
	peer_elector_tick(e, clock_mono_ms());
	tell_decided(e);
	return true;
}

int main(int argc, char **argv)
{
	struct epoll_event in = {.events = EPOLLIN};
	struct peer_elector_options options = {
	    .connect_ms = 5000, .hello_ms = 2000, .trace = trace};
	struct peer_elector *e;
	bool look = true;

	if (argc < 5) {
		fprintf(stderr, "usage: election_peer SID CONFIG ZXID EPOCH [observer]\n");
		return 2;
	}
	read_config(argv[2]);
	options.fle = fle_defaults(strtoll(argv[1], NULL, 10),
				   argc > 5 ? QUORUM_OBSERVER : QUORUM_PARTICIPANT, 1);
	options.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll_ctl(options.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &in) < 0)
		die("stdin");
	e = peer_elector_new(&options, &config, NULL, clock_mono_ms());
	if (!e)
		die("elector");
	do {
		if (look)
			peer_elector_look(e, clock_mono_ms(), (int64_t)strtoull(argv[3], NULL, 16),
					  strtoll(argv[4], NULL, 10));
		look = false;
	} while (turn(e, options.epoll, &look));
	peer_elector_free(e);
	return 0;
}
