# alignpro: the commands a person types. CMake and Ninja do the work underneath.
#
#   make            build/alignpro
#   make demo       the whole method on the bundled world, ends in alignpro-demo/run/report.html
#   make test       the quick tests
#   make test-full  and the sanitizers, more shapes, fuzz smoke
#   make experiment  three worlds, two prompters, two targets, three seeds: an hour and a half; resumes where it was stopped
#   make bench      the benchmarks
#   make install    PREFIX (default /usr/local), DESTDIR
#   make deb        Debian packages, in build-deb/deb

BUILD ?= build
JOBS  ?= $(shell nproc)
DEMO  ?= alignpro-demo
EXPERIMENT ?= alignpro-experiment
PREFIX ?= /usr/local

.PHONY: all deps demo test test-full test-sanitize bench experiment install deb clean

all: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD) -j $(JOBS) alignpro

deps:
	@sh tools/install_deps.sh

$(BUILD)/build.ninja: CMakeLists.txt | deps
	@cmake -S . -B $(BUILD) -G Ninja >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }

demo: all
	@$(BUILD)/alignpro demo --dir $(DEMO)

experiment: all
	@sh tools/experiment.sh $(BUILD) $(EXPERIMENT)

test: deps $(BUILD)/build.ninja
	@ninja -C $(BUILD) -j $(JOBS)
	@sh tools/run_tests.sh $(BUILD)

test-sanitize: deps
	@cmake -S . -B $(BUILD)-sanitize -G Ninja -DAP_SANITIZE=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo >$(BUILD)-sanitize.log 2>&1 || { cat $(BUILD)-sanitize.log; exit 1; }
	@ninja -C $(BUILD)-sanitize -j $(JOBS)
	@sh tools/run_tests.sh $(BUILD)-sanitize

test-full: test test-sanitize
	@sh tools/fuzz_smoke.sh
	@ALIGNPRO_TEST_FULL=1 sh tools/run_tests.sh $(BUILD)

bench: deps $(BUILD)/build.ninja
	@sh bench/run.sh $(BUILD)

install: all
	@ninja -C $(BUILD) -j $(JOBS) libalignpro manual
	@cmake --install $(BUILD) --prefix $(PREFIX)

deb: deps
	@cmake -S . -B $(BUILD)-deb -G Ninja -DCMAKE_INSTALL_PREFIX=/usr >$(BUILD)-deb.log 2>&1 || { cat $(BUILD)-deb.log; exit 1; }
	@ninja -C $(BUILD)-deb -j $(JOBS) alignpro libalignpro manual
	@cd $(BUILD)-deb && cpack >cpack.log 2>&1 || { cat cpack.log; exit 1; }
	@ls $(BUILD)-deb/deb/*.deb

clean:
	rm -rf $(BUILD) $(BUILD)-sanitize $(BUILD)-deb $(BUILD)-fuzz $(BUILD)*.log
