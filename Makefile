# Paddock: one Makefile, GNU make, no configure step.
#
#   make            everything for this machine: server, tools, benchmarks           (build/rel)
#   make run        install what is missing, build, start a server on port 2181      (data/)
#   make ensemble   the same with three servers that replicate, ports 2181 to 2183      (data/ensemble)
#   make test       install what is missing, build, run every test; build/test-results has the counts
#   make test-unit  the unit tests alone. T='jute_*' picks, SEED=n repeats, V=asan changes the build
#   make test-sim   the simulated ensembles for SIM_SECONDS, and the mistakes that they must find
#   make asan       unit tests and corpus under AddressSanitizer; likewise ubsan, tsan, clang
#   make fuzz       every fuzz target for SECONDS=30; F=jute_request picks one
#   make bench      the comparison with the other servers
#   make tidy       law of includes, widths, sizes;  make format  rewrite with clang-format
#   make install    DESTDIR, prefix;  make deps  packages of a build;  make clean
#
# VERBOSE=1 shows the commands.
# V is the variant: rel, asan, ubsan, tsan, fuzz, clang. Each has objects of its own in build/$(V).
# Sources are found: FOLDER/*.c, tests/unit/*.c; a program each: bench/bench_*.c, tests/perf/*.c,
# tests/fuzz/*_fuzz.c.

V       ?= rel
O       := build/$(V)
SECONDS ?= 30
prefix  ?= /usr/local
RESULTS ?= $(CURDIR)/build/test-results
export RESULTS
Q       := $(if $(VERBOSE),,@)

FOLDERS := base jute shm storage quorum peers writer workers supervisor ctl
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
HARD    := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fno-omit-frame-pointer
ifeq ($(origin CC),default)
CC      := gcc
CXX     := g++
endif

# The sanitizers bring an allocator of their own: there shm/ makes its arena from malloc.
FLAGS.rel   := -O2 -g $(HARD)
FLAGS.asan  := -O1 -g -DDEBUG -DSHM_ARENA_MALLOC -fsanitize=address,undefined \
	       -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS.ubsan := -O1 -g -DDEBUG -fsanitize=undefined -fno-sanitize-recover=all
FLAGS.tsan  := -O1 -g -DDEBUG -DSHM_ARENA_MALLOC -fsanitize=thread
FLAGS.fuzz  := -O1 -g -DDEBUG -DFUZZING -DSHM_ARENA_MALLOC \
	       -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
FLAGS.clang := $(FLAGS.rel)
# CHECK(!"why this cannot be") is meant.
ifneq ($(filter fuzz clang,$(V)),)
CC      := clang
WARN    += -Wno-string-conversion
endif

CFLAGS   = -std=gnu11 -D_GNU_SOURCE -D_LGPL_SOURCE -I. $(WARN) $(FLAGS.$(V)) -pthread -MMD -MP
CXXFLAGS = -std=c++14 -I. -Wall -Wextra -Werror $(FLAGS.$(V)) -pthread -MMD -MP
LDFLAGS  = $(filter -fsanitize=% -fno-sanitize%,$(FLAGS.$(V))) -pthread -rdynamic \
	   -Wl,-z,relro,-z,now
LIBS    := $(if $(findstring SHM_ARENA_MALLOC,$(FLAGS.$(V))),,-ljemalloc) -lurcu-common -llz4 \
	   -lxxhash -ldeflate -lcrypto -lsystemd

MAIN    := supervisor/paddockd.c ctl/paddock.c
SRC     := $(filter-out $(MAIN),$(wildcard $(FOLDERS:=/*.c)))
OBJ     := $(SRC:%.c=$(O)/%.o)
BASE    := $(filter $(O)/base/% $(O)/jute/%,$(OBJ))
BENCH   := $(patsubst bench/%.c,%,$(wildcard bench/bench_*.c))
HELPERS := $(patsubst %.c,$(O)/%.o,$(filter-out bench/bench_%,$(wildcard bench/*.c)))
UNIT    := $(patsubst %.c,$(O)/%.o,$(wildcard tests/unit/*.c))
FUZZ    := $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))
F       ?= $(FUZZ)
SIM     := $(wildcard tests/sim/*.c)
WHOLE   := $(wildcard tests/simwhole/*.c)
PERF    := $(patsubst tests/perf/%.c,%,$(wildcard tests/perf/*.c))

PROGRAMS := $(addprefix $(O)/,$(basename $(notdir $(MAIN))))

all: $(PROGRAMS) $(BENCH:%=$(O)/%)

$(O)/paddockd: $(O)/supervisor/paddockd.o $(OBJ)
$(O)/paddock: $(O)/ctl/paddock.o $(OBJ)
$(PROGRAMS):
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BENCH:%=$(O)/%): $(O)/%: $(O)/bench/%.o $(HELPERS) $(BASE)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lxxhash -lcrypto -lm

$(O)/unit: $(O)/tests/runner.o $(UNIT) $(OBJ)
	@echo "  LINK $@"
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ $(LIBS) -lgtest

$(PERF:%=$(O)/%): $(O)/%: $(O)/tests/perf/%.o $(OBJ)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# The simulator, and the same with the mistakes of quorum/bug.h compiled in.
$(O)/sim: $(SIM:%.c=$(O)/%.o) $(filter $(O)/quorum/%,$(OBJ)) $(BASE)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(O)/sim_bugs: $(patsubst %.c,$(O)/bugs/%.o,$(SIM) $(wildcard quorum/*.c)) $(BASE)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# Whole servers in one process. What touches the world is left out, and put in by $(WHOLE) in its
# place; system calls and a few functions are diverted there.
OUTSIDE := base/clock.c base/log.c writer/log_thread.c writer/helper.c writer/main.c $(wildcard peers/*.c)
DIVERT  := epoll_create1 epoll_ctl epoll_wait getrandom pthread_create setpriority usleep _exit \
	   shm_tree_new shm_tree_loaded sto_dir_make wtr_apply wtr_ensemble_drop
comma   := ,
INSIDE  := $(filter-out $(OUTSIDE),$(filter base/% jute/% shm/% storage/% quorum/% writer/%,$(SRC)))
WRONG   := $(filter storage/% writer/% quorum/%,$(INSIDE))

$(O)/sim_whole: $(patsubst %.c,$(O)/%.o,$(WHOLE) $(INSIDE))
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS) $(DIVERT:%=-Wl$(comma)--wrap=%) -o $@ $^ $(LIBS)

$(O)/sim_whole_bugs: $(patsubst %.c,$(O)/bugs/%.o,$(WHOLE) $(WRONG)) \
		     $(patsubst %.c,$(O)/%.o,$(filter-out $(WRONG),$(INSIDE)))
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS) $(DIVERT:%=-Wl$(comma)--wrap=%) -o $@ $^ $(LIBS)

$(O)/bugs/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $< (SIM_BUGS)"
	$(Q)$(CC) $(CFLAGS) -DSIM_BUGS -c -o $@ $<

$(FUZZ:%=$(O)/replay_%): $(O)/replay_%: $(O)/tests/fuzz/%_fuzz.o $(O)/tests/fuzz/replay.o $(OBJ)
	@echo "  LINK $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(FUZZ:%=build/fuzz/%): build/fuzz/%: build/fuzz/tests/fuzz/%_fuzz.o $(SRC:%.c=build/fuzz/%.o)
	@echo "  LINK $@"
	$(Q)clang -fsanitize=fuzzer,address,undefined -pthread -o $@ $^ $(LIBS)

$(O)/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

$(O)/%.o: %.cc
	@mkdir -p $(@D)
	@echo "  CXX  $<"
	$(Q)$(CXX) $(CXXFLAGS) -c -o $@ $<

# --- run -------------------------------------------------------------------------------------

run: deps
	$(MAKE) all
	@mkdir -p data
	@test -e data/zoo.cfg || printf '%s\n' tickTime=2000 dataDir=$(CURDIR)/data clientPort=2181 \
		'4lw.commands.whitelist=*' > data/zoo.cfg
	$(O)/paddockd data/zoo.cfg

ensemble: deps
	$(MAKE) all
	supervisor/ensemble

install: all
	install -d $(DESTDIR)$(prefix)/sbin $(DESTDIR)$(prefix)/bin
	install -m 755 $(O)/paddockd $(DESTDIR)$(prefix)/sbin/paddockd
	install -m 755 $(O)/paddock $(DESTDIR)$(prefix)/bin/paddock
	install -d $(DESTDIR)$(prefix)/lib/systemd/system $(DESTDIR)$(prefix)/share/doc/paddock
	sed 's|@prefix@|$(prefix)|' supervisor/paddockd.service \
		> $(DESTDIR)$(prefix)/lib/systemd/system/paddockd.service
	install -m 644 docs/*.md supervisor/zoo.cfg $(DESTDIR)$(prefix)/share/doc/paddock

deps:
	@.ci/deps build

# --- test ------------------------------------------------------------------------------------

# Build with all the jobs that were asked for; then one part after the other, all of them.
test:
	@.ci/deps test
	@mkdir -p build && : > $(RESULTS)
	$(MAKE) all test-build
	$(MAKE) -k -j1 test-unit test-corpus test-sim test-bench test-e2e

test-build: $(O)/unit $(FUZZ:%=$(O)/replay_%) $(PERF:%=$(O)/%) $(O)/sim $(O)/sim_bugs $(O)/sim_whole \
	    $(O)/sim_whole_bugs

test-unit: $(O)/unit
	@.ci/part unit-$(V) $(O)/unit --gtest_brief=1 $(if $(T),'--gtest_filter=$(T)')

test-corpus: $(FUZZ:%=$(O)/replay_%)
	@for f in $(FUZZ); do \
		.ci/part corpus-$(V)-$$f $(O)/replay_$$f tests/corpus/$$f || failed=1; \
	done; test -z "$$failed"

# SIM_SECONDS and WHOLE_SEEDS of seeds; the mistakes of quorum/bug.h and base/bug.h, each given a
# minute, in the release build.
SIM_SECONDS   ?= $(if $(filter rel,$(V)),35,10)
# The others of base/bug.h take longer than a minute, or are not found yet.
FOUND := EPOCH_START_LOGGED SYNC_EARLY APPLIED_BEHIND_INSTALL WRITE_BEHIND_SYNC SYNC_BY_MASTER INFORM_TOO_EARLY
WHOLE_SEEDS   ?= $(if $(filter rel,$(V)),60,10)

test-sim: $(O)/sim $(O)/sim_bugs $(O)/sim_whole $(O)/sim_whole_bugs
	@.ci/part sim-$(V) $(O)/sim --seconds $(SIM_SECONDS) || failed=1; \
	.ci/part sim-whole-$(V) $(O)/sim_whole --seed 1 --seeds $(WHOLE_SEEDS) || failed=1; \
	$(if $(filter rel,$(V)),.ci/part sim-bugs $(O)/sim_bugs --bugs || failed=1;) \
	$(if $(filter rel,$(V)),.ci/part sim-whole-bugs $(O)/sim_whole_bugs --bugs $(FOUND) || failed=1;) \
	test -z "$$failed"

test-bench: all
	@if test -e bench/smoke; then .ci/part bench bench/smoke; fi

test-e2e: all
	@if test -e tests/e2e/run; then tests/e2e/run; fi

asan ubsan tsan clang:
	$(MAKE) V=$@ all test-build
	$(MAKE) V=$@ -k -j1 test-unit test-corpus test-sim

fuzz:
	@.ci/deps test
	$(MAKE) V=fuzz $(F:%=build/fuzz/%)
	@for f in $(F); do \
		mkdir -p build/corpus/$$f; \
		build/fuzz/$$f -max_total_time=$(SECONDS) -timeout=10 -artifact_prefix=build/corpus/$$f. \
			build/corpus/$$f tests/corpus/$$f || exit 1; \
	done

bench: all
	bench/compare

# --- form ------------------------------------------------------------------------------------

tidy:
	@.ci/part tidy tests/tidy

format:
	clang-format -i $$(git ls-files '*.c' '*.h' '*.cc')

clean:
	rm -rf build

.PHONY: all run ensemble install deps test test-build test-unit test-corpus test-sim test-bench test-e2e \
	asan ubsan tsan clang fuzz bench tidy format clean
.SECONDARY:
-include $(shell find $(O) -name '*.d' 2>/dev/null)
