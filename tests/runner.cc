// runner.cc - hands the list of C cases (t.h) to googletest; nothing else sees googletest

#include "tests/t.h"

#include <algorithm>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

namespace
{

t_case *cases;

class c_test : public testing::Test
{
      public:
	explicit c_test(void (*run)()) : run_(run)
	{
	}
	void TestBody() override
	{
		run_();
	}

      private:
	void (*run_)();
};

bool before(const t_case *a, const t_case *b)
{
	int by_file = std::strcmp(a->file, b->file);
	return by_file ? by_file < 0 : a->line < b->line;
}

void register_all()
{
	std::vector<t_case *> sorted;
	for (t_case *c = cases; c; c = c->next)
		sorted.push_back(c);
	std::sort(sorted.begin(), sorted.end(), before);
	for (t_case *c : sorted) {
		auto run = c->run;
		testing::RegisterTest(c->suite, c->name, nullptr, nullptr, c->file, c->line,
				      [run]() -> testing::Test * { return new c_test(run); });
	}
}

// The line that .ci/part expects: name, passed, failed.
void write_result()
{
	const char *path = std::getenv("RESULTS"), *name = std::getenv("RESULT_NAME");
	if (!path || !name)
		return;
	const testing::UnitTest &u = *testing::UnitTest::GetInstance();
	std::ofstream(path, std::ios::app)
	    << name << ' ' << u.successful_test_count() << ' ' << u.failed_test_count() << '\n';
}

std::string hex(const void *bytes, size_t len)
{
	std::string out;
	char pair[4];
	for (size_t i = 0; i < len; i++) {
		std::snprintf(pair, sizeof(pair), "%02x ", static_cast<const uint8_t *>(bytes)[i]);
		out += pair;
	}
	return out;
}

} // namespace

extern "C" {

void t_register(struct t_case *c)
{
	c->next = cases;
	cases = c;
}

void t_fail(const char *file, int line, const char *format, ...)
{
	char text[2048];
	va_list args;
	va_start(args, format);
	std::vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	ADD_FAILURE_AT(file, line) << text << "\nSEED=" << t_seed();
}

bool t_failed()
{
	return testing::Test::HasFailure();
}

uint64_t t_seed()
{
	static const uint64_t seed = [] {
		const char *given = std::getenv("SEED");
		if (given && *given)
			return static_cast<uint64_t>(std::strtoull(given, nullptr, 0));
		timespec now;
		clock_gettime(CLOCK_REALTIME, &now);
		return static_cast<uint64_t>(now.tv_nsec) << 20 ^ static_cast<uint64_t>(getpid());
	}();
	return seed;
}

void t_dies_at(const char *file, int line, void (*fn)(void *), void *arg, const char *regex)
{
	testing::ScopedTrace trace(file, line, "t_dies");
	EXPECT_DEATH(fn(arg), regex);
}

bool t_str_at(const char *file, int line, const char *what, const char *got, const char *want)
{
	if (got && want ? !std::strcmp(got, want) : got == want)
		return true;
	t_fail(file, line, "%s\n  is \"%s\"\nnot \"%s\"", what, got ? got : "(null)",
	       want ? want : "(null)");
	return false;
}

bool t_mem_at(const char *file, int line, const char *what, const void *got, const void *want,
	      size_t len)
{
	if (!len || !std::memcmp(got, want, len))
		return true;
	t_fail(file, line, "%s\n  is %s\nnot %s", what, hex(got, len).c_str(),
	       hex(want, len).c_str());
	return false;
}

} // extern "C"

int main(int argc, char **argv)
{
	testing::InitGoogleTest(&argc, argv);
	register_all();
	int status = RUN_ALL_TESTS();
	write_result();
	return status;
}
