# Tidalite: one non-recursive Makefile.  `make help` lists the targets.
#
# Every folder of the product becomes one static library, build/<variant>/lib/<folder>.a, its rooms with it; a unit test in
# tests/unit/<folder>/ links its folder and those below it, nothing above: the layers are linked as they include.

.DEFAULT_GOAL := all
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
JOBS ?= $(shell nproc)

VARIANT ?= release
BUILD ?= build/$(VARIANT)
PERF ?= 1

# ---- compilers ------------------------------------------------------------------------------------------------
ifeq ($(VARIANT),release)
  CC := gcc
  CXX := g++
  OPT := -O2 -g
  JEMALLOC ?= 1
else ifeq ($(VARIANT),debug)
  CC := gcc
  CXX := g++
  OPT := -O1 -g -DTSDB_DEBUG=1
  JEMALLOC ?= 1
else ifeq ($(VARIANT),clang)
  CC := clang-14
  CXX := clang++-14
  OPT := -O2 -g
  JEMALLOC ?= 1
else ifeq ($(VARIANT),asan)
  CC := clang-14
  CXX := clang++-14
  OPT := -O1 -g -DTSDB_DEBUG=1 -fno-omit-frame-pointer
  SAN := -fsanitize=address,undefined -fno-sanitize-recover=all
  JEMALLOC ?= 0
else ifeq ($(VARIANT),tsan)
  CC := clang-14
  CXX := clang++-14
  OPT := -O1 -g -DTSDB_DEBUG=1 -fno-omit-frame-pointer
  SAN := -fsanitize=thread
  JEMALLOC ?= 0
else ifeq ($(VARIANT),fuzz)
  CC := clang-14
  CXX := clang++-14
  OPT := -O1 -g -DTSDB_DEBUG=1 -fno-omit-frame-pointer
  SAN := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
  JEMALLOC ?= 0
else ifeq ($(VARIANT),embed)
  # What goes into libtidalite: code that may lie anywhere, and the allocator of the program that it becomes a part of.
  CC := gcc
  CXX := g++
  OPT := -O2 -g
  PIC := -fPIC
  JEMALLOC ?= 0
else
  $(error unknown VARIANT '$(VARIANT)': release debug clang asan tsan fuzz embed)
endif
PIC ?= -fPIE

WARN := -Werror -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion -Wformat=2 -Wundef -Wvla \
  -Wcast-qual -Wcast-align -Wpointer-arith -Wwrite-strings -Wstrict-prototypes -Wmissing-prototypes \
  -Wold-style-definition -Wimplicit-fallthrough -fno-common
ifeq ($(CC),gcc)
  WARN += -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wstack-usage=32768
else
  WARN += -Wthread-safety
endif
# Value-changing floating point is never allowed: kernels and compilers must agree to the last bit.
FLOAT := -ffp-contract=off -fno-fast-math
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 $(PIC)
CPPFLAGS := -I. -I$(BUILD)/gen -D_GNU_SOURCE -DTSDB_PERF=$(PERF)
CFLAGS := -std=c17 $(OPT) $(SAN) $(FLOAT) $(HARDEN) $(WARN) -pthread -MMD -MP
CXXFLAGS := -std=c++17 $(OPT) $(SAN) -Wall -Wextra -Werror $(HARDEN) -fno-exceptions -fno-rtti -pthread -MMD -MP
LDFLAGS := $(SAN) -pthread -pie -Wl,-z,relro,-z,now
LDLIBS_base := -lm -lzstd
LDLIBS_index := -lre2 -lstdc++
LDLIBS_ingest := -lsnappy -lz -lprotobuf-c -lstdc++
LDLIBS_server := -lmicrohttpd -lgnutls -lcrypt -lyaml -lz
LDLIBS_tools := -lcurl
ifeq ($(JEMALLOC),1)
  CPPFLAGS += -DTSDB_JEMALLOC=1
  LDLIBS_base += -ljemalloc
endif

# ---- folders ----------------------------------------------------------------------------------------------------
# tools/layers.txt says which folder may include which (rooms count as their folder); what a folder may include, and what
# that includes, is what it links.
LAYER_PAIRS := $(shell awk '/^[a-z]+(\/[a-z_]+)?:/ { split($$1, from, /[:\/]/); print from[1] ":"; \
  for (i = 2; i <= NF; i++) { split($$i, to, "/"); if (to[1] != from[1]) print from[1] ":" to[1] } }' tools/layers.txt | awk '!seen[$$0]++')
FOLDERS := $(patsubst %:,%,$(filter %:,$(LAYER_PAIRS)))
with_below = $(sort $(1) $(foreach d,$(patsubst $(1):%,%,$(filter-out $(1):,$(filter $(1):%,$(LAYER_PAIRS)))),$(call with_below,$(d))))
$(foreach f,$(FOLDERS),$(eval with_below_$(f) := $(call with_below,$(f))))

src_c = $(filter-out server/main.c,$(wildcard $(1)/*.c $(1)/*/*.c))
src_cc = $(wildcard $(1)/*.cc $(1)/*/*.cc)
proto := $(wildcard ingest/proto/*.proto)
gen_c := $(patsubst ingest/proto/%.proto,$(BUILD)/gen/ingest/proto/%.pb-c.c,$(proto))
gen_h := $(gen_c:.c=.h)
obj = $(patsubst %,$(BUILD)/obj/%.o,$(basename $(1)))
objs = $(call obj,$(call src_c,$(1)) $(call src_cc,$(1))) $(if $(filter ingest,$(1)),$(gen_c:.c=.o)) $(if $(filter server,$(1)),$(UI_O))
lib = $(patsubst %,$(BUILD)/lib/%.a,$(1))
ldlibs = $(foreach f,$(1),$(LDLIBS_$(f)))

BIN := $(BUILD)/tidalite

# What people ask for comes one after the other and hands its building to a make below, so that packages are there before
# anything is built, however many jobs are asked for.
FRONT := all run demo test bench deps lib install deb test-deb torture
ifneq ($(filter $(FRONT),$(or $(MAKECMDGOALS),all)),)
.NOTPARALLEL:
endif
BELOW = --no-print-directory $(if $(findstring --jobserver,$(MAKEFLAGS)),,-j$(JOBS))

.PHONY: $(FRONT) bin all-bin help test-bins unit asan tsan clang debug run-unit fuzz fuzz-bins bench-bins \
  format format-check tidy layers headers clean deps-check deps-check-test deps-check-package FORCE test-ui
all: deps-check
	@$(MAKE) $(BELOW) bin
bin: build/tidalite
all-bin: $(BIN)

ifeq ($(VARIANT),release)
build/tidalite: $(BIN)
	@cp -f $< $@.tmp && mv -f $@.tmp $@
else
build/tidalite: $(BIN)
	@true
endif

$(BUILD)/obj/%.o: %.c | $(gen_h)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_$(subst /,_,$*)) -c $< -o $@
$(BUILD)/obj/%.o: %.cc
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) -c $< -o $@

# protobuf-c: oracle and cold messages.  Generated code is not ours to warn about.
$(BUILD)/gen/ingest/proto/%.pb-c.c $(BUILD)/gen/ingest/proto/%.pb-c.h: ingest/proto/%.proto
	@mkdir -p $(BUILD)/gen
	$(Q)protoc-c --c_out=$(BUILD)/gen $<
$(BUILD)/gen/%.o: $(BUILD)/gen/%.c | $(gen_h)
	$(Q)$(CC) -I$(BUILD)/gen $(OPT) $(SAN) -fPIE -w -c $< -o $@
.SECONDARY: $(gen_c) $(gen_h)

# The page is a table of files in the program (ui/README.md). UI=0, or no npm: an empty table. What was asked for may have
# changed since the last make, so that the table is compared each time.
UI ?= 1
UI_SRC := $(wildcard ui/*.* ui/src/*)
UI_O := $(BUILD)/gen/ui_files.o
build/ui/page.c: $(UI_SRC)
	@ui/build.sh page $@
build/ui/none.c: ui/build.sh
	@ui/build.sh none $@
$(UI_O:.o=.c): build/ui/$(if $(filter 0,$(UI)),none,page).c FORCE
	@mkdir -p $(@D)
	@cmp -s $< $@ || cp $< $@
$(UI_O): $(UI_O:.o=.c) server/api/ui_files.h
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c $< -o $@
FORCE:

# An archive is written anew: what is no longer built must not stay in it. `q`: two rooms may have files of one name.
define archive
@mkdir -p $(@D)
@rm -f $@
$(Q)ar qcs $@ $(filter %.o,$^)
endef
define folder_rules
$$(call lib,$(1)): $$(call objs,$(1))
	$$(archive)
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rules,$(f))))

# AVX2 and later live in files of their own; nothing else may be compiled for more than the baseline.
$(foreach f,$(basename $(wildcard */*/*_avx2.c)),$(eval CFLAGS_$(subst /,_,$(f)) := -mavx2 -mbmi2 -mfma))

# Objects, the archives as one group, the system libraries of the folders that are linked (all, unless the target says less).
LINKED = $(FOLDERS)
LINK_MORE :=
define link
@mkdir -p $(@D)
$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call ldlibs,$(LINKED)) $(LINK_MORE) -o $@
endef

$(BIN): $(BUILD)/obj/server/main.o $(call lib,$(FOLDERS))
	$(link)

# ---- the library --------------------------------------------------------------------------------------------------
# tsdb/tidalite.h and all that it needs, in an archive and a shared library that show the names of that header and no other:
# `make lib`. The number in the soname is that of the interface: names and values of a number never change.
VERSION := $(shell sed -n 's/^.define TIDALITE_VERSION "\(.*\)"/\1/p' model/version.h)
SONAME := libtidalite.so.0
EMBEDDED := $(with_below_tsdb)
EMBED_LIBS := $(call ldlibs,$(EMBEDDED))
EMBED_LIBS_PRIVATE := $(filter-out -ljemalloc,$(EMBED_LIBS))
LIBTIDALITE := $(BUILD)/libtidalite.a $(BUILD)/$(SONAME)
ifeq ($(VARIANT),embed)
$(BUILD)/libtidalite.o: $(call lib,$(EMBEDDED))
	$(Q)ld -r --force-group-allocation --whole-archive $^ -o $@.all
	$(Q)objcopy --wildcard --keep-global-symbol='tidalite_*' $@.all $@ && rm -f $@.all
$(BUILD)/libtidalite.a: $(BUILD)/libtidalite.o
	$(archive)
$(BUILD)/$(SONAME): $(BUILD)/libtidalite.o
	$(Q)$(CC) -shared -Wl,-soname,$(SONAME) -Wl,-z,relro,-z,now -Wl,-z,defs -pthread $^ $(EMBED_LIBS) -o $@
endif
.PHONY: lib lib-files
lib-files: $(LIBTIDALITE)
lib: deps-check
	@$(MAKE) $(BELOW) VARIANT=embed lib-files

# ---- installing ---------------------------------------------------------------------------------------------------
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
STATEDIR ?= /var/lib
INTO = $(DESTDIR)$(1)
install: deps-check
	@$(MAKE) $(BELOW) bin
	@$(MAKE) $(BELOW) lib
	install -D -m 0755 build/tidalite '$(call INTO,$(BINDIR))/tidalite'
	install -D -m 0644 tsdb/tidalite.h '$(call INTO,$(INCLUDEDIR))/tidalite.h'
	install -D -m 0644 build/embed/libtidalite.a '$(call INTO,$(LIBDIR))/libtidalite.a'
	install -D -m 0644 build/embed/$(SONAME) '$(call INTO,$(LIBDIR))/$(SONAME)'
	ln -sf $(SONAME) '$(call INTO,$(LIBDIR))/libtidalite.so'
	@install -d '$(call INTO,$(LIBDIR))/pkgconfig' '$(call INTO,$(DATADIR))/bash-completion/completions'
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	  -e 's|@LIBS_PRIVATE@|$(strip $(EMBED_LIBS_PRIVATE))|' packaging/tidalite.pc.in > '$(call INTO,$(LIBDIR))/pkgconfig/tidalite.pc'
	install -D -m 0644 docs/tidalite.1 '$(call INTO,$(DATADIR))/man/man1/tidalite.1'
	install -D -m 0644 docs/libtidalite.3 '$(call INTO,$(DATADIR))/man/man3/libtidalite.3'
	build/tidalite help --completion > '$(call INTO,$(DATADIR))/bash-completion/completions/tidalite'
	@# What is stored is for the server and its group, whatever the umask; a directory that is there stays as it is.
	[ -d '$(call INTO,$(STATEDIR))/tidalite' ] || install -d -m 0750 '$(call INTO,$(STATEDIR))/tidalite'

# Debian packages, built from a clean copy by Debian's own tools: build/deb/*.deb.
DEB := build/deb
.PHONY: install deb test-deb
deb: deps-check-package
	@grep -q '^tidalite ($(VERSION))' packaging/debian/changelog || { echo "packaging/debian/changelog does not begin with version $(VERSION)"; exit 1; }
	@rm -rf $(DEB) && mkdir -p $(DEB)/tidalite
	@git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t $(DEB)/tidalite
	@mv $(DEB)/tidalite/packaging/debian $(DEB)/tidalite/debian
	@# The page was made here: Debian's tools build without a network.
	@$(MAKE) $(BELOW) build/ui/page.c && mkdir -p $(DEB)/tidalite/build/ui && cp build/ui/page.c $(DEB)/tidalite/build/ui/
	@cd $(DEB)/tidalite && dpkg-buildpackage -b -us -uc -j$(JOBS) > ../build.log 2>&1 || { tail -n 60 ../build.log; exit 1; }
	@rm -rf $(DEB)/tidalite && ls -l $(DEB)/*.deb
test-deb: deb
	@python3 tests/package/test_package.py

# ---- tests ----------------------------------------------------------------------------------------------------
# tests/unit/<folder>/test_*.c links <folder> and those below; tests/{model,fault,golden}/test_*.c and the fuzz targets link
# everything. What tests share needs base/ only in tests/support/, and <folder> and those below in tests/support/<folder>/:
# an archive each, linked with its folder, so that a test of base/ cannot reach for what needs the query engine.
SUPPORT_FOLDERS := base $(patsubst tests/support/%/,%,$(filter %/,$(wildcard tests/support/*/)))
support = $(patsubst %,$(BUILD)/lib/support/%.a,$(filter $(1),$(SUPPORT_FOLDERS)))
define support_rules
$(BUILD)/lib/support/$(1).a: $(call obj,$(wildcard tests/support/$(filter-out base/,$(1)/)*.c))
	$$(archive)
endef
$(foreach f,$(SUPPORT_FOLDERS),$(eval $(call support_rules,$(f))))

UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
WIDE_SRC := $(wildcard tests/model/test_*.c tests/fault/test_*.c tests/golden/test_*.c)
TEST_BINS := $(patsubst %.c,$(BUILD)/%,$(UNIT_SRC) $(WIDE_SRC))
FUZZ_TARGETS := $(notdir $(patsubst %/,%,$(dir $(wildcard tests/fuzz/*/fuzz.c))))
FUZZ_REPLAY := $(foreach t,$(FUZZ_TARGETS),$(BUILD)/tests/fuzz/$(t)/replay)
FUZZ_BINS := $(foreach t,$(FUZZ_TARGETS),$(BUILD)/tests/fuzz/$(t)/fuzz)

$(TEST_BINS): LINK_MORE := -lcmocka
$(TEST_BINS): $(BUILD)/%: $(BUILD)/obj/%.o
	$(link)
define unit_rules
$(filter $(BUILD)/tests/unit/$(1)/%,$(TEST_BINS)): LINKED = $(with_below_$(1))
$(filter $(BUILD)/tests/unit/$(1)/%,$(TEST_BINS)): $(call lib,$(with_below_$(1))) $(call support,$(with_below_$(1)))
endef
$(foreach f,$(sort $(foreach s,$(UNIT_SRC),$(word 3,$(subst /, ,$(s))))),$(eval $(call unit_rules,$(f))))
$(filter-out $(BUILD)/tests/unit/%,$(TEST_BINS)) $(FUZZ_REPLAY) $(FUZZ_BINS): $(call lib,$(FOLDERS)) $(call support,$(FOLDERS))

# A fuzz target is tests/fuzz/<name>/fuzz.c with LLVMFuzzerTestOneInput; `make test` replays its corpus/.
$(FUZZ_REPLAY): $(BUILD)/%/replay: $(BUILD)/obj/%/fuzz.o $(BUILD)/obj/tests/fuzz/replay_main.o
	$(link)
$(FUZZ_BINS): LINK_MORE := -fsanitize=fuzzer
$(FUZZ_BINS): $(BUILD)/%/fuzz: $(BUILD)/obj/%/fuzz.o
	$(link)

# Benchmarks use what tests use to make requests. The embedding example is what a developer copies: it must compile.
BENCH_BINS := $(patsubst %.c,$(BUILD)/%,$(wildcard bench/*.c))
EXAMPLE_BINS := $(patsubst %.c,$(BUILD)/%,$(wildcard examples/*.c))
# They include the header as it is installed.
$(foreach f,$(basename $(wildcard examples/*.c)),$(eval CFLAGS_$(subst /,_,$(f)) := -Itsdb))
$(BENCH_BINS): $(call support,$(FOLDERS))
$(BENCH_BINS) $(EXAMPLE_BINS): $(BUILD)/%: $(BUILD)/obj/%.o $(call lib,$(FOLDERS))
	$(link)

# T=word narrows to suites whose path contains the word; nothing matched is an error, not a success.
T ?=
TEST_RUN := python3 tests/run_tests.py --build $(BUILD) $(if $(T),--filter '$(T)')
test: deps-check-test
	@$(MAKE) $(BELOW) test-bins bin
	@$(TEST_RUN) --e2e
test-bins: $(filter-out /,$(if $(T),$(foreach b,$(TEST_BINS) $(FUZZ_REPLAY),$(if $(findstring $(T),$(b)),$(b))),$(TEST_BINS) $(FUZZ_REPLAY) $(EXAMPLE_BINS) $(BENCH_BINS)))
unit: test-bins
	@$(TEST_RUN)

# The page in Debian's chromium, by playwright-core; skipped, with a word, where there is no npm or no chromium.
test-ui:
	@$(MAKE) $(BELOW) bin
	@tests/ui/run.sh $(T)

asan tsan clang debug:
	@$(MAKE) $(BELOW) VARIANT=$@ test-bins $(if $(filter clang,$@),all-bin)
	@$(MAKE) $(BELOW) VARIANT=$@ run-unit
run-unit:
	@$(TEST_RUN) $(if $(filter tsan,$(VARIANT)),--concurrent)

# Schedules over all actors and faults from a random seed on, for so long; then kills under load. What fails names its seed.
SECONDS ?= 600
TORTURE := $(BUILD)/tests/fault/test_crash_all $(BUILD)/tests/fault/test_crash $(BUILD)/tests/fault/test_crash_blocks
# The whole engine beside a map, and every file damaged in every way: a seed takes seconds.
TORTURE_WHOLE := $(BUILD)/tests/model/test_engine $(BUILD)/tests/fault/test_damage_matrix
torture: deps-check-test
	@$(MAKE) $(BELOW) $(TORTURE) $(TORTURE_WHOLE) bin
	@from=$$((RANDOM * 32768 + RANDOM)); first=$$from; end=$$(($$(date +%s) + $(SECONDS))); \
	while [ $$(date +%s) -lt $$end ]; do \
	  for t in $(TORTURE); do TSDB_SEED_FROM=$$from TSDB_SEEDS=100 $$t '*random_schedules*' > build/torture.log 2>&1 || { cat build/torture.log; exit 1; }; done; \
	  for t in $(TORTURE_WHOLE); do TSDB_SEED_FROM=$$from TSDB_SEEDS=10 $$t > build/torture.log 2>&1 || { cat build/torture.log; exit 1; }; done; \
	  from=$$((from + 100)); done; echo "torture: seeds $$first to $$((from - 1)) of $(words $(TORTURE)) tests, and 10 of every 100 of $(words $(TORTURE_WHOLE)) that take longer"
	@TIDALITE_BINARY=build/tidalite TIDALITE_KILLS=$${TIDALITE_KILLS:-200} python3 tests/e2e/test_torture.py

SECONDS_EACH ?= 60
fuzz:
	@$(MAKE) $(BELOW) VARIANT=fuzz fuzz-bins
	@for t in $(FUZZ_TARGETS); do echo "fuzz $$t for $(SECONDS_EACH) s"; mkdir -p build/fuzz/found/$$t; \
	  build/fuzz/tests/fuzz/$$t/fuzz -max_total_time=$(SECONDS_EACH) -print_final_stats=1 -rss_limit_mb=2048 \
	  -artifact_prefix=build/fuzz/found/$$t/ build/fuzz/found/$$t tests/fuzz/$$t/corpus; done
	@echo "100,000 expressions beside the naive evaluator"
	@$(MAKE) $(BELOW) VARIANT=asan build/asan/tests/model/test_query
	@TSDB_QUERY_DATA_SETS=250 build/asan/tests/model/test_query
fuzz-bins: $(FUZZ_BINS)

# ---- people ---------------------------------------------------------------------------------------------------
DEPS ?= install
deps: deps-check-test
deps-check:
	@tools/deps.sh $(DEPS) build
	$(deps_page)
deps-check-test:
	@tools/deps.sh $(DEPS) test
	$(deps_page)
deps-check-package:
	@tools/deps.sh $(DEPS) package
# For the page alone; a build does without.
deps_page = $(if $(filter 0,$(UI)),,@tools/deps.sh $(DEPS) page || echo "no npm: the page will be left out")

bench: deps-check-test
	@$(MAKE) $(BELOW) bench-bins bin
	@python3 bench/bench.py $(BENCH_ARGS)
bench-bins: $(BENCH_BINS)
RUN_ARGS ?=
run: deps-check
	@$(MAKE) $(BELOW) bin
	@exec build/tidalite serve --storage.tsdb.path=./data $(RUN_ARGS)
demo: deps-check-test
	@$(MAKE) $(BELOW) bin
	@python3 tests/e2e/demo.py --binary build/tidalite $(DEMO_ARGS)

# ---- house ----------------------------------------------------------------------------------------------------
OUR_C := $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h' 2>/dev/null)
format:
	clang-format -i $(OUR_C)
format-check:
	@clang-format --dry-run -Werror $(OUR_C) && echo "format: $(words $(OUR_C)) files clean"
# One file a call: with several, clang-tidy 14 reports an uninitialised va_list that is not there. What is clean is looked at
# again when its object is built again, or the checks have changed.
CLANG_TIDY ?= clang-tidy-14
TIDY_OK := $(patsubst %.c,$(BUILD)/tidy/%.ok,$(filter-out tests/% bench/%,$(filter %.c,$(OUR_C))))
$(TIDY_OK): $(BUILD)/tidy/%.ok: %.c $(BUILD)/obj/%.o .clang-tidy
	@mkdir -p $(@D)
	@out=$$($(CLANG_TIDY) --quiet --warnings-as-errors='*' $< -- -std=c17 $(CPPFLAGS) $(CFLAGS_$(subst /,_,$*)) -ffp-contract=off 2>&1) \
	  || { printf '%s\n' "$$out"; exit 1; }
	@touch $@
tidy: $(TIDY_OK)
	@echo "tidy: $(words $(TIDY_OK)) files clean"
layers:
	@awk -f tools/check_layers.awk tools/layers.txt $(filter-out tests/% bench/% examples/%,$(OUR_C))
# Every header compiles alone.
headers: $(gen_h)
	@for h in $(filter-out tests/% bench/%,$(filter %.h,$(OUR_C))); do printf '#include "%s"\n' "$$h" | $(CC) $(CPPFLAGS) -std=c17 $(WARN) -fsyntax-only -x c - \
	  || { echo "does not compile alone: $$h"; exit 1; }; done; echo "headers: all compile alone"
clean:
	rm -rf build
help:
	@sed -n 's/^## //p' tools/make-help.txt

Q := $(if $(V),,@)
-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
