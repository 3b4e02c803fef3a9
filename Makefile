# Tidalite: one non-recursive Makefile.  `make help` lists the targets.
#
# Every folder of the product becomes one static library, build/<variant>/lib/<folder>.a; a unit test in
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
else
  $(error unknown VARIANT '$(VARIANT)': release debug clang asan tsan fuzz)
endif

WARN := -Werror -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wdouble-promotion -Wformat=2 -Wundef -Wvla \
  -Wcast-qual -Wcast-align -Wpointer-arith -Wwrite-strings -Wstrict-prototypes -Wmissing-prototypes \
  -Wold-style-definition -Wimplicit-fallthrough -fno-common
ifeq ($(CC),gcc)
  WARN += -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wstack-usage=8192
else
  WARN += -Wthread-safety
endif
# Value-changing floating point is never allowed: kernels and compilers must agree to the last bit.
FLOAT := -ffp-contract=off -fno-fast-math
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE
CPPFLAGS := -I. -I$(BUILD)/gen -D_GNU_SOURCE -DTSDB_PERF=$(PERF)
CFLAGS := -std=c17 $(OPT) $(SAN) $(FLOAT) $(HARDEN) $(WARN) -pthread -MMD -MP
CXXFLAGS := -std=c++17 $(OPT) $(SAN) -Wall -Wextra -Werror $(HARDEN) -fno-exceptions -fno-rtti -pthread -MMD -MP
LDFLAGS := $(SAN) -pthread -pie -Wl,-z,relro,-z,now
LDLIBS_base := -lm
LDLIBS_index := -lre2 -lstdc++
LDLIBS_ingest := -lsnappy -lprotobuf-c -lstdc++
LDLIBS_server := -lmicrohttpd -lyaml -lz
ifeq ($(JEMALLOC),1)
  CPPFLAGS += -DTSDB_JEMALLOC=1
  LDLIBS_base += -ljemalloc
endif

# ---- folders, lowest first ------------------------------------------------------------------------------------
FOLDERS := base model compress wal index tsdb ingest query server tools
below_base :=
below_model := base
below_compress := base
below_wal := compress model base
below_index := compress model base
below_tsdb := wal index compress model base
below_ingest := tsdb wal index compress model base
below_query := tsdb wal index compress model base
below_server := query ingest tsdb wal index compress model base
below_tools := query ingest tsdb wal index compress model base
ALL_DOWN := server tools query ingest tsdb wal index compress model base

src_c = $(filter-out server/main.c,$(wildcard $(1)/*.c $(1)/*/*.c))
src_cc = $(wildcard $(1)/*.cc $(1)/*/*.cc)
proto := $(wildcard ingest/proto/*.proto)
gen_c := $(patsubst ingest/proto/%.proto,$(BUILD)/gen/ingest/proto/%.pb-c.c,$(proto))
gen_h := $(gen_c:.c=.h)
objs = $(patsubst %.c,$(BUILD)/obj/%.o,$(call src_c,$(1))) $(patsubst %.cc,$(BUILD)/obj/%.o,$(call src_cc,$(1))) \
  $(if $(filter ingest,$(1)),$(gen_c:.c=.o))
lib = $(BUILD)/lib/$(1).a
libs_down = $(foreach f,$(1),$(call lib,$(f)))
ldlibs = $(foreach f,$(1),$(LDLIBS_$(f)))

BIN := $(BUILD)/tidalite

.PHONY: all bin help run demo test unit check-fast asan tsan clang fuzz bench format format-check tidy layers headers deps clean
all: deps-check bin
bin: build/tidalite

ifeq ($(VARIANT),release)
build/tidalite: $(BIN)
	@cp -f $< $@.tmp && mv -f $@.tmp $@
else
build/tidalite: $(BIN)
	@true
endif

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_$(subst /,_,$*)) -c $< -o $@
$(BUILD)/obj/%.o: %.cc
	@mkdir -p $(@D)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) -c $< -o $@

# protobuf-c: oracle and cold messages.  Generated code is not ours to warn about.
$(BUILD)/gen/ingest/proto/%.pb-c.c $(BUILD)/gen/ingest/proto/%.pb-c.h: ingest/proto/%.proto
	@mkdir -p $(BUILD)/gen
	$(Q)protoc-c --c_out=$(BUILD)/gen $<
$(BUILD)/gen/%.o: $(BUILD)/gen/%.c
	$(Q)$(CC) -I$(BUILD)/gen $(OPT) $(SAN) -fPIE -w -c $< -o $@
.SECONDARY: $(gen_c) $(gen_h)

define folder_rules
$$(call lib,$(1)): $$(call objs,$(1))
	@mkdir -p $$(@D)
	@rm -f $$@
	$$(Q)ar qcs $$@ $$(filter %.o,$$^) 
$$(patsubst %.c,$$(BUILD)/obj/%.o,$$(call src_c,$(1))): | $$(if $$(filter ingest server tools,$(1)),$$(gen_h))
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rules,$(f))))

# AVX2 and later live in files of their own; nothing else may be compiled for more than the baseline.
$(foreach f,$(basename $(wildcard compress/simd/*_avx2.c)),$(eval CFLAGS_$(subst /,_,$(f)) := -mavx2 -mbmi2))

$(BIN): $(BUILD)/obj/server/main.o $(call libs_down,$(ALL_DOWN))
	$(Q)$(CC) $(LDFLAGS) $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call ldlibs,$(ALL_DOWN)) -o $@

# ---- tests ----------------------------------------------------------------------------------------------------
# tests/unit/<folder>/test_*.c links <folder> and below; tests/{model,fault,golden}/test_*.c link everything.
UNIT_SRC := $(wildcard tests/unit/*/test_*.c)
WIDE_SRC := $(wildcard tests/model/test_*.c tests/fault/test_*.c tests/golden/test_*.c)
SUPPORT_SRC := $(wildcard tests/support/*.c)
SUPPORT_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(SUPPORT_SRC))
unit_folder = $(word 3,$(subst /, ,$(1)))
TEST_BINS := $(patsubst %.c,$(BUILD)/%,$(UNIT_SRC) $(WIDE_SRC))
FUZZ_TARGETS := $(notdir $(patsubst %/,%,$(dir $(wildcard tests/fuzz/*/fuzz.c))))
FUZZ_REPLAY := $(foreach t,$(FUZZ_TARGETS),$(BUILD)/tests/fuzz/$(t)/replay)

define unit_rule
$(BUILD)/$(basename $(1)): $(BUILD)/obj/$(basename $(1)).o $(SUPPORT_OBJ) $(call libs_down,$(call unit_folder,$(1)) $(below_$(call unit_folder,$(1))))
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(LDFLAGS) $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group \
	  $(call ldlibs,$(call unit_folder,$(1)) $(below_$(call unit_folder,$(1)))) -lcmocka -o $$@
endef
$(foreach s,$(UNIT_SRC),$(eval $(call unit_rule,$(s))))

define wide_rule
$(BUILD)/$(basename $(1)): $(BUILD)/obj/$(basename $(1)).o $(SUPPORT_OBJ) $(call libs_down,$(ALL_DOWN))
	@mkdir -p $$(@D)
	$$(Q)$$(CC) $$(LDFLAGS) $$(filter %.o,$$^) -Wl,--start-group $$(filter %.a,$$^) -Wl,--end-group \
	  $(call ldlibs,$(ALL_DOWN)) -lcmocka -o $$@
endef
$(foreach s,$(WIDE_SRC),$(eval $(call wide_rule,$(s))))
$(patsubst %.c,$(BUILD)/obj/%.o,$(UNIT_SRC) $(WIDE_SRC) $(SUPPORT_SRC)): | $(gen_h)

# A fuzz target is tests/fuzz/<name>/fuzz.c with LLVMFuzzerTestOneInput; `make test` replays its corpus/.
$(BUILD)/tests/fuzz/%/replay: $(BUILD)/obj/tests/fuzz/%/fuzz.o $(BUILD)/obj/tests/fuzz/replay_main.o $(call libs_down,$(ALL_DOWN))
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call ldlibs,$(ALL_DOWN)) -o $@
$(BUILD)/tests/fuzz/%/fuzz: $(BUILD)/obj/tests/fuzz/%/fuzz.o $(call libs_down,$(ALL_DOWN))
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call ldlibs,$(ALL_DOWN)) -o $@
.SECONDARY: $(patsubst %,$(BUILD)/obj/tests/fuzz/%/fuzz.o,$(FUZZ_TARGETS))
$(patsubst %,$(BUILD)/obj/tests/fuzz/%/fuzz.o,$(FUZZ_TARGETS)): | $(gen_h)

BENCH_SRC := $(wildcard bench/*.c)
BENCH_BINS := $(patsubst %.c,$(BUILD)/%,$(BENCH_SRC))
# The embedding example: what a developer copies must compile.
EXAMPLE_BINS := $(patsubst %.c,$(BUILD)/%,$(wildcard examples/*.c))
$(BUILD)/examples/%: $(BUILD)/obj/examples/%.o $(call libs_down,$(ALL_DOWN))
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call ldlibs,$(ALL_DOWN)) -o $@

# T=word narrows to suites whose path contains the word; nothing matched is an error, not a success.
T ?=
TEST_RUN := python3 tests/run_tests.py --build $(BUILD) $(if $(T),--filter '$(T)')
test: deps-check-test
	@$(MAKE) --no-print-directory -j$(JOBS) test-bins bin
	@$(TEST_RUN) --e2e
test-bins: $(filter-out /,$(if $(T),$(foreach b,$(TEST_BINS) $(FUZZ_REPLAY),$(if $(findstring $(T),$(b)),$(b))),$(TEST_BINS) $(FUZZ_REPLAY) $(EXAMPLE_BINS) $(BENCH_BINS)))
unit: test-bins
	@$(TEST_RUN)
.PHONY: test-bins

asan tsan clang debug:
	@$(MAKE) --no-print-directory VARIANT=$@ -j$(JOBS) test-bins $(if $(filter clang,$@),all-bin)
	@$(MAKE) --no-print-directory VARIANT=$@ run-unit
all-bin: $(BIN)
run-unit:
	@$(TEST_RUN) $(if $(filter tsan,$(VARIANT)),--concurrent)
.PHONY: all-bin run-unit debug

SECONDS_EACH ?= 60
fuzz:
	@$(MAKE) --no-print-directory VARIANT=fuzz -j$(JOBS) fuzz-bins
	@for t in $(FUZZ_TARGETS); do echo "fuzz $$t for $(SECONDS_EACH) s"; mkdir -p build/fuzz/found/$$t; \
	  build/fuzz/tests/fuzz/$$t/fuzz -max_total_time=$(SECONDS_EACH) -print_final_stats=1 -rss_limit_mb=2048 \
	  -artifact_prefix=build/fuzz/found/$$t/ build/fuzz/found/$$t tests/fuzz/$$t/corpus; done
fuzz-bins: $(patsubst %,$(BUILD)/tests/fuzz/%/fuzz,$(FUZZ_TARGETS))
.PHONY: fuzz-bins

# ---- benchmarks -----------------------------------------------------------------------------------------------
$(BUILD)/bench/%: $(BUILD)/obj/bench/%.o $(call libs_down,$(ALL_DOWN))
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call ldlibs,$(ALL_DOWN)) -o $@
bench: deps-check-test
	@$(MAKE) --no-print-directory -j$(JOBS) bench-bins bin
	@python3 bench/bench.py $(BENCH_ARGS)
bench-bins: $(BENCH_BINS)
.PHONY: bench-bins

# ---- people ---------------------------------------------------------------------------------------------------
DEPS ?= install
deps-check:
	@tools/deps.sh $(DEPS) build
deps-check-test:
	@tools/deps.sh $(DEPS) test
.PHONY: deps-check deps-check-test

RUN_ARGS ?=
run: deps-check
	@$(MAKE) --no-print-directory -j$(JOBS) bin
	@exec build/tidalite serve --storage.tsdb.path=./data $(RUN_ARGS)
demo: deps-check-test
	@$(MAKE) --no-print-directory -j$(JOBS) bin
	@python3 tests/e2e/demo.py --binary build/tidalite $(DEMO_ARGS)

# ---- house ----------------------------------------------------------------------------------------------------
OUR_C := $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h' 2>/dev/null)
format:
	clang-format -i $(OUR_C)
format-check:
	@clang-format --dry-run -Werror $(OUR_C) && echo "format: $(words $(OUR_C)) files clean"
# One file a call: with several, clang-tidy 14 reports an uninitialised va_list that is not there.
tidy: $(gen_h)
	@printf '%s\n' $(filter-out tests/% bench/%,$(filter %.c,$(OUR_C))) | xargs -P $(JOBS) -I{} \
	  clang-tidy --quiet --warnings-as-errors='*' {} -- -std=c17 $(CPPFLAGS) -ffp-contract=off
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
