#include <stdlib.h>

#include "tests/t.h"
#include "writer/table.h"

enum { KEYS = 20000 };

/* x with x * odd = 1: each step doubles the bits that are right. */
static uint64_t inverse(uint64_t odd)
{
	uint64_t x = odd;

	for (int i = 0; i < 6; i++)
		x *= 2 - odd * x;
	return x;
}

static unsigned longest_chain(const struct wtr_table *t)
{
	unsigned longest = 0;

	for (size_t i = 0; i < (size_t)1 << t->bits; i++) {
		unsigned n = 0;

		for (struct wtr_link *l = t->chain[i]; l; l = l->next)
			n++;
		longest = n > longest ? n : longest;
	}
	return longest;
}

/* Keys that meet in one chain whenever the multiplier is the one that was guessed. */
static void add_all(struct wtr_table *t, struct wtr_link *link, uint64_t guess)
{
	for (uint64_t i = 0; i < KEYS; i++) {
		link[i].key = inverse(guess) * i;
		wtr_table_add(t, &link[i]);
	}
}

TEST(writer_table, names_that_met_in_another_table_do_not_meet_in_this)
{
	struct wtr_link *link = calloc(KEYS, sizeof(*link));
	struct wtr_table other, t;

	EXPECT_I(wtr_table_init(&other), ==, 0);
	EXPECT_I(wtr_table_init(&t), ==, 0);
	EXPECT_U(other.secret, !=, t.secret);
	EXPECT_U(t.secret & 1, ==, 1);
	add_all(&t, link, other.secret);
	EXPECT_U(longest_chain(&t), <, KEYS / 20); /* by chance: once in a million runs */
	for (unsigned i = 0; i < KEYS; i++)
		REQUIRE(EXPECT_TRUE(wtr_table_find(&t, link[i].key) == &link[i]));
	for (unsigned i = 0; i < KEYS; i += 2)
		wtr_table_remove(&t, &link[i]);
	for (unsigned i = 0; i < KEYS; i++)
		REQUIRE(EXPECT_TRUE((wtr_table_find(&t, link[i].key) != NULL) == (i % 2 == 1)));
	for (struct wtr_link *l; (l = wtr_table_any(&t));)
		wtr_table_remove(&t, l);
	EXPECT_U(t.count, ==, 0);
	wtr_table_fini(&other);
	wtr_table_fini(&t);
	free(link);
}
