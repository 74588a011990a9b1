#!/bin/sh
# A real RL loop: scripts/demo_grpo.sh [OPTION...]; options are those of examples/grpo/run.py, `--help` lists them.
# Makes its environment in build/engines (vLLM's, which the engine tests use too, and a few packages beside it) and the package's wheel.
set -eu
cd "$(dirname "$0")/.."

scripts/engine_env.sh wheel
scripts/engine_env.sh build/engines/requirements python/engine_tests/requirements.txt
scripts/engine_env.sh build/engines/grpo examples/grpo/requirements.txt build/engines/requirements
mkdir -p build/grpo
exec build/engines/grpo/bin/python examples/grpo/run.py --folder build/grpo --json build/grpo/run.json --plot build/grpo/run.png "$@"
