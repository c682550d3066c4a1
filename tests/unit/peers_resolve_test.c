#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "peers/resolve.h"
#include "tests/t.h"

enum { WAIT_MS = 20000 };

struct asker {
	struct peer_source source;
	int epoll, called;
};

static void called(struct peer_source *source, uint32_t events)
{
	struct asker *a = (struct asker *)source;

	(void)events;
	a->called++;
}

static void up(struct asker *a)
{
	a->source.ready = called;
	a->epoll = epoll_create1(EPOLL_CLOEXEC);
}

static void down(struct asker *a)
{
	close(a->epoll);
}

/* Wait for the answer as a loop would. */
static int answer(struct asker *a, struct peer_lookup *l, struct peer_address *to)
{
	struct epoll_event event;
	int n = peer_lookup_end(l, to);

	while (n == -EAGAIN) {
		if (epoll_wait(a->epoll, &event, 1, WAIT_MS) != 1)
			return -ETIMEDOUT;
		((struct peer_source *)event.data.ptr)->ready(event.data.ptr, event.events);
		n = peer_lookup_end(l, to);
	}
	return n;
}

static const char *printed(const char *host)
{
	static char text[PEER_ADDRESS_TEXT_MAX];
	struct peer_address a;

	return peer_address_of(&a, host, 2888) ? peer_address_print(&a, text) : "a name";
}

TEST(peers_resolve, addresses_are_told_from_names)
{
	EXPECT_STR(printed("10.1.2.3"), "10.1.2.3:2888");
	EXPECT_STR(printed("::1"), "[::1]:2888");
	EXPECT_STR(printed("[0:0:0:0:0:0:0:1]"), "[::1]:2888");
	EXPECT_STR(printed("::ffff:10.1.2.3"), "10.1.2.3:2888");
	EXPECT_STR(printed("localhost"), "a name");
	EXPECT_STR(printed("10.1.2"), "a name");
	EXPECT_STR(printed(""), "a name");
	EXPECT_STR(printed("[]"), "a name");
	EXPECT_STR(printed("[::1"), "a name");
}

TEST_F(peers_resolve, an_address_is_its_own_answer, struct asker, up, down)
{
	struct peer_address to[PEER_ADDRESSES_MAX];
	struct peer_lookup *l = peer_lookup_begin(f->epoll, &f->source, "127.0.0.9", 1);
	char text[PEER_ADDRESS_TEXT_MAX];

	REQUIRE(EXPECT_TRUE(l));
	EXPECT_I(answer(f, l, to), ==, 1);
	EXPECT_STR(peer_address_print(&to[0], text), "127.0.0.9:1");
}

TEST_F(peers_resolve, a_name_is_asked_for_and_ipv4_comes_first, struct asker, up, down)
{
	struct peer_address to[PEER_ADDRESSES_MAX];
	struct peer_lookup *l = peer_lookup_begin(f->epoll, &f->source, "localhost", 25000);
	char text[PEER_ADDRESS_TEXT_MAX];

	REQUIRE(EXPECT_TRUE(l));
	REQUIRE(EXPECT_I(answer(f, l, to), >=, 1));
	EXPECT_STR(peer_address_print(&to[0], text), "127.0.0.1:25000");
}

TEST_F(peers_resolve, a_name_that_cannot_be_is_an_error, struct asker, up, down)
{
	struct peer_address to[PEER_ADDRESSES_MAX];
	struct peer_lookup *l = peer_lookup_begin(f->epoll, &f->source, "no such host..", 1);

	REQUIRE(EXPECT_TRUE(l));
	EXPECT_I(answer(f, l, to), <, 0);
}

TEST_F(peers_resolve, an_abandoned_lookup_calls_nobody, struct asker, up, down)
{
	struct epoll_event event;

	for (int i = 0; i < 20; i++) {
		struct peer_lookup *l =
		    peer_lookup_begin(f->epoll, &f->source, i % 2 ? "localhost" : "127.0.0.1", 1);

		REQUIRE(EXPECT_TRUE(l));
		peer_lookup_abandon(l);
	}
	EXPECT_I(epoll_wait(f->epoll, &event, 1, 0), ==, 0);
	EXPECT_I(f->called, ==, 0);
}
