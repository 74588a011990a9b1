#!/bin/sh
# Tests wsync in each vLLM of python/engine_tests/matrix, in process: scripts/engine_matrix.sh [VERSION...]. Each has an environment of its own that
# shares all but vLLM itself, torch among it, with the one of `make test-engines`. Results in JUnit: build/engine-matrix-VERSION.xml.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
unset PYTHONDONTWRITEBYTECODE
if [ $# -eq 0 ]; then set -- $(ls python/engine_tests/matrix | sed -n 's/^vllm-\(.*\)\.txt$/\1/p'); fi
scripts/engine_env.sh wheel
base=build/engines/requirements
scripts/engine_env.sh "$base" python/engine_tests/requirements.txt
status=0
for version in "$@"; do
    environment=build/engines/vllm-$version
    scripts/engine_env.sh "$environment" "python/engine_tests/matrix/vllm-$version.txt" "$base"
    echo "vLLM $version"
    (cd python/engine_tests && exec "$root/$environment/bin/python" -m pytest -q -p no:warnings --junitxml "$root/build/engine-matrix-$version.xml" \
        test_vllm_sources.py test_vllm.py test_vllm_rollback.py test_vllm_faults.py) || status=1
done
exit "$status"
