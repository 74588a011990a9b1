#!/bin/sh
# Tests the Python package: scripts/python_tests.sh [release|asan]. Builds its wheel in that preset's tree, whose objects it shares, installs it in
# an environment of its own, and runs pytest there; for release, mypy and ruff as well. Results in JUnit: TREE/python-tests.xml.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
preset=${1:-release}
case $preset in
    release) tree=build sanitize="" ;;
    asan) tree=build-asan sanitize=address,undefined ;;
    *) echo "python_tests.sh: release or asan, not $preset" >&2; exit 2 ;;
esac
rm -f "$tree/python-tests.xml" "$tree/python-mypy.xml"
scripts/install_dependencies.sh --wheel
environment=$root/$tree/python-venv
scripts/python_env.sh "$environment" python/requirements/build.txt python/requirements/test.txt

cmake --preset "$preset" > /dev/null
# The options that decide how the core is compiled are the preset's, so that nothing is compiled twice.
rm -rf "$tree/wheel"
"$environment/bin/python" -m pip wheel . --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$tree/wheel" \
    --config-settings=build-dir="$tree" \
    --config-settings=cmake.define.WSYNC_DEVELOPER=ON --config-settings=cmake.define.WSYNC_INSTALL=ON \
    --config-settings=cmake.define.WSYNC_SANITIZE="$sanitize"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index --force-reinstall "$tree"/wheel/*.whl

status=0
tests() { "$environment/bin/python" -m pytest python/tests --junitxml "$tree/python-tests.xml"; }
if [ "$preset" = asan ]; then
    # The interpreter itself was not built for it: its sanitizer comes first, with the C++ library whose throw it watches.
    # Leaks are not looked for, since the interpreter never frees all that it has.
    LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
        ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 tests || status=1
else
    tests || status=1
    "$environment/bin/mypy" --junit-xml "$tree/python-mypy.xml" -p wsync || status=1
    "$environment/bin/ruff" check --quiet python/wsync python/tests python/engine_tests || status=1
fi
exit "$status"
