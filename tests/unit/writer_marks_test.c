#include "tests/t.h"
#include "writer/marks.h"

TEST(writer_marks, the_newest_one_behind_which_there_is_more)
{
	struct wtr_marks m = {0};

	EXPECT_I(wtr_marks_far(&m, 1000, 0), ==, 0);
	wtr_marks_add(&m, 0x100000000, 0);
	wtr_marks_add(&m, 0x100000005, 100);
	wtr_marks_add(&m, 0x100000007, 300);
	EXPECT_I(wtr_marks_far(&m, 300, 0), ==, 0x100000005);
	EXPECT_I(wtr_marks_far(&m, 301, 0), ==, 0x100000007);
	EXPECT_I(wtr_marks_far(&m, 400, 299), ==, 0x100000005);
	EXPECT_I(wtr_marks_far(&m, 400, 300), ==, 0x100000000);
	EXPECT_I(wtr_marks_far(&m, 400, 399), ==, 0x100000000);
	EXPECT_I(wtr_marks_far(&m, 400, 400), ==, 0);
}

TEST(writer_marks, the_oldest_go)
{
	struct wtr_marks m = {0};

	for (int i = 0; i < 2 * WTR_MARKS; i++)
		wtr_marks_add(&m, 1 + i, 10 * (uint64_t)i);
	EXPECT_I(wtr_marks_far(&m, 20 * WTR_MARKS, 10 * WTR_MARKS - 1), ==, 1 + WTR_MARKS);
	EXPECT_I(wtr_marks_far(&m, 20 * WTR_MARKS, 10 * WTR_MARKS), ==, 0);
	EXPECT_I(wtr_marks_far(&m, 20 * WTR_MARKS, 9), ==, 2 * WTR_MARKS);
}
