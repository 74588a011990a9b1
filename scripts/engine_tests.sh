#!/bin/sh
# Tests wsync with real engines: scripts/engine_tests.sh [SUITE...], all of python/engine_tests/suites.txt if none is given.
# Makes each suite's environment in build/engines (again when its requirements change), installs the package there, and runs pytest.
# Results in JUnit: build/engine-tests-SUITE.xml. A test that does not run is a failure there, and so is a suite that takes 15 minutes.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
unset PYTHONDONTWRITEBYTECODE # vLLM and torch compile for half a minute in each process that keeps no bytecode
suites=python/engine_tests/suites.txt
if [ $# -eq 0 ]; then set -- $(grep -v '^#' "$suites" | cut -d' ' -f1); fi
for suite in "$@"; do rm -f "build/engine-tests-$suite.xml"; done
scripts/engine_env.sh wheel

status=0
for suite in "$@"; do
    line=$(grep "^$suite " "$suites") || { echo "engine_tests.sh: $suites has no suite $suite" >&2; exit 2; }
    pins=$(echo "$line" | tr -s ' ' | cut -d' ' -f2)
    requirements=${pins%+*} base=${pins#"$requirements"}
    tests=$(echo "$line" | tr -s ' ' | cut -d' ' -f3-)
    environment=build/engines/${requirements%.txt}
    if [ -n "$base" ]; then
        base=${base#+}
        scripts/engine_env.sh "build/engines/${base%.txt}" "python/engine_tests/$base"
        base=build/engines/${base%.txt}
    fi
    scripts/engine_env.sh "$environment" "python/engine_tests/$requirements" $base
    began=$(date +%s)
    (cd python/engine_tests && exec timeout --foreground --kill-after 10 900 "$root/$environment/bin/python" -m pytest -q -p no:warnings --durations=5 --junitxml "$root/build/engine-tests-$suite.xml" $tests) || status=1
    echo "engine_tests.sh: $suite took $(($(date +%s) - began)) s"
done
exit "$status"
