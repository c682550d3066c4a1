/*
 * t.h - test cases in C, run by googletest
 *
 *	TEST(suite, what_it_proves) { EXPECT_I(f(1), ==, 2); }
 *	TEST_F(suite, what_it_proves, struct fixture, up, down) { ... f->member ... }
 *
 * Each case links itself into a list before main(); runner.cc hands the list to googletest, so
 * that filters, shards and repeats work as ever. TEST_F gives the body a zeroed fixture `f`, made
 * by up(f) and undone by down(f); when up fails an expectation the body is left out.
 *
 * EXPECT_I, EXPECT_U (signed, unsigned 64 bits), EXPECT_TRUE, EXPECT_STR and EXPECT_MEM print both
 * sides, go on after a failure, and are true when they held. REQUIRE(EXPECT_..) returns from the
 * case when it did not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct t_case {
	const char *suite, *name, *file;
	int line;
	void (*run)(void);
	struct t_case *next;
};

void t_register(struct t_case *c);

/* Fail the running case, with a text. */
void t_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Has the running case failed so far? */
bool t_failed(void);

/* The seed of this run: SEED of the environment, else a fresh one; printed with each failure. */
uint64_t t_seed(void);

/* Expect that fn(arg), run in a child, dies and that its stderr matches the POSIX regex. */
void t_dies_at(const char *file, int line, void (*fn)(void *), void *arg, const char *regex);

bool t_str_at(const char *file, int line, const char *what, const char *got, const char *want);
bool t_mem_at(const char *file, int line, const char *what, const void *got, const void *want,
	      size_t len);

#ifdef __cplusplus
}
#else

#include <inttypes.h>
#include <string.h>

#define TEST(suite_, name_)                                                                        \
	static void t_##suite_##_##name_(void);                                                    \
	__attribute__((constructor)) static void t_reg_##suite_##_##name_(void)                    \
	{                                                                                          \
		static struct t_case c = {                                                         \
		    #suite_, #name_, __FILE__, __LINE__, t_##suite_##_##name_, NULL};              \
		t_register(&c);                                                                    \
	}                                                                                          \
	static void t_##suite_##_##name_(void)

#define TEST_F(suite_, name_, fixture_, up_, down_)                                                \
	static void t_##suite_##_##name_##_body(fixture_ *f);                                      \
	TEST(suite_, name_)                                                                        \
	{                                                                                          \
		static fixture_ fixture;                                                           \
		memset(&fixture, 0, sizeof(fixture));                                              \
		up_(&fixture);                                                                     \
		if (!t_failed())                                                                   \
			t_##suite_##_##name_##_body(&fixture);                                     \
		down_(&fixture);                                                                   \
	}                                                                                          \
	static void t_##suite_##_##name_##_body(fixture_ *f)

#define T_COMPARE(type_, format_, a_, op_, b_)                                                     \
	({                                                                                         \
		type_ t_left = (type_)(a_), t_right = (type_)(b_);                                 \
		bool t_held = t_left op_ t_right;                                                  \
		if (!t_held)                                                                       \
			t_fail(__FILE__, __LINE__, "%s: %" format_ " %s %" format_,                \
			       #a_ " " #op_ " " #b_, t_left, #op_, t_right);                       \
		t_held;                                                                            \
	})

#define EXPECT_I(a_, op_, b_) T_COMPARE(int64_t, PRId64, a_, op_, b_)
#define EXPECT_U(a_, op_, b_) T_COMPARE(uint64_t, PRIu64, a_, op_, b_)
#define EXPECT_TRUE(cond_)                                                                         \
	((cond_) ? true : (t_fail(__FILE__, __LINE__, "%s: false", #cond_), false))
#define EXPECT_STR(got_, want_)       t_str_at(__FILE__, __LINE__, #got_, got_, want_)
#define EXPECT_MEM(got_, want_, len_) t_mem_at(__FILE__, __LINE__, #got_, got_, want_, len_)
#define REQUIRE(expectation_)                                                                      \
	do {                                                                                       \
		if (!(expectation_))                                                               \
			return;                                                                    \
	} while (0)
#define t_dies(fn_, arg_, regex_) t_dies_at(__FILE__, __LINE__, fn_, arg_, regex_)

#endif
