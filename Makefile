# The verbs of wsync; `make help` lists them. The build itself is CMake's (CMakePresets.json).
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
CMAKE_QUIET = > /dev/null

.PHONY: help deps build demo demo-grpo test check bench bench-bars bench-peers fuzz asan tsan test-python test-python-asan wheel test-engines test-engines-matrix bench-stall bench-refit gpu-check docs clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r verb what; do printf '  make %-14s %s\n' "$$verb" "$$what"; done

deps: ## install the Debian packages that are missing
	@scripts/install_dependencies.sh

build: deps ## build everything into build/; the tool is build/bin/wsync
	@cmake --preset release $(CMAKE_QUIET)
	@cmake --build --preset release -j $(JOBS)

demo: deps ## real weights, every way, then faults before your eyes
	@cmake --preset release $(CMAKE_QUIET)
	@cmake --build --preset release -j $(JOBS) --target wsync_tool
	@scripts/demo.sh

demo-grpo: deps ## a real RL loop on this machine: a trainer, vLLM, and wsync between them; GRPO="--steps 5" and other options
	@scripts/demo_grpo.sh $(GRPO)

test: build ## build, then all tests
	@scripts/python_env.sh
	@ctest --preset release -j $(JOBS) --output-junit $(CURDIR)/build/tests.xml

check: ## the layers, the style, the documents' links and the engines' suites
	@scripts/check_layers.py
	@scripts/check_style.py
	@scripts/check_docs.py
	@scripts/check_suites.py

bench: deps ## measure every way on this machine, beside its limits
	@cmake --preset release $(CMAKE_QUIET)
	@cmake --build --preset release -j $(JOBS) --target wsync_tool
	@build/bin/wsync bench

bench-bars: deps ## judge every bar of speed and memory on this machine; BARS="--output FILE" and other options
	@cmake --preset release $(CMAKE_QUIET)
	@cmake --build --preset release -j $(JOBS) --target wsync_tool
	@bench/bars.py $(BARS)

bench-peers: deps ## wsync beside the tools of today: the same bytes, the same rounds; PEERS="--quick" and other options
	@cmake --preset release $(CMAKE_QUIET)
	@cmake --build --preset release -j $(JOBS) --target wsync_tool peers_fleet_driver
	@scripts/python_env.sh $(CURDIR)/build/peers-venv bench/peers/requirements.txt
	@build/peers-venv/bin/python bench/peers/run.py $(PEERS)

fuzz: ## each fuzz target for FUZZ_SECONDS (60), from its corpus
	@scripts/install_dependencies.sh --fuzz
	@scripts/fuzz.sh $(FUZZ_SECONDS)

asan: deps ## the same tests under address and undefined-behaviour sanitizers
	@cmake --preset asan $(CMAKE_QUIET)
	@cmake --build --preset asan -j $(JOBS)
	@scripts/python_env.sh $(CURDIR)/build-asan/venv
	@ctest --preset asan -j $(JOBS)

tsan: deps ## the same tests under the thread sanitizer
	@cmake --preset tsan $(CMAKE_QUIET)
	@cmake --build --preset tsan -j $(JOBS)
	@scripts/python_env.sh $(CURDIR)/build-tsan/venv
	@ctest --preset tsan -j $(JOBS)

test-python: deps ## the Python package's tests, its types and its style
	@scripts/python_tests.sh

test-python-asan: deps ## the Python package's tests with a core built with address and undefined-behaviour sanitizers
	@scripts/python_tests.sh asan

wheel: deps ## wheels in dist/ for machines without this build, and a try of them on a bare system; PYTHONS="python3.11 python3.12"
	@scripts/wheel.sh $(PYTHONS)
	@scripts/wheel_test.sh

test-engines: deps ## wsync in real engines (python/engine_tests/suites.txt), in environments of their own; SUITES="vllm" for some
	@scripts/engine_tests.sh $(SUITES)

test-engines-matrix: deps ## wsync in each vLLM that docs/vllm.md lists; VERSIONS="0.27.0" for some
	@scripts/engine_matrix.sh $(VERSIONS)

bench-stall: deps ## how long a real vLLM stands still for new weights, beside its own reload; STALL="--rounds 3" and other options
	@scripts/engine_env.sh wheel
	@scripts/engine_env.sh build/engines/requirements python/engine_tests/requirements.txt
	@scripts/engine_env.sh build/engines/stall bench/engines/requirements.txt build/engines/requirements
	@build/engines/stall/bin/python bench/engines/stall.py $(STALL)

bench-refit: deps ## an FSDP trainer's weights to one receiver, beside gloo and torch.distributed.checkpoint; REFIT="--rounds 3" and other options
	@scripts/engine_env.sh wheel
	@scripts/engine_env.sh build/engines/refit bench/refit/requirements.txt
	@build/engines/refit/bin/python bench/refit/run.py $(REFIT)

gpu-check: build ## the tests that need a GPU; fails where none ran
	@ctest --preset release -L gpu --no-tests=error

docs: ## check the documents: links, schemas, verbs
	@scripts/check_docs.py

clean: ## remove what was built
	rm -rf build build-asan build-tsan build-fuzz build-bench build-python build-wheel dist
