#!/bin/sh
# scripts/engine_env.sh wheel: makes the package's wheel, in build/engines/wheel.
# scripts/engine_env.sh DIRECTORY REQUIREMENTS [BASE]: an environment with just those packages (their own requirements are not asked for),
# those of the environment BASE, and wsync from that wheel. It is made again when REQUIREMENTS change. $PYTHON is the interpreter.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
python=${PYTHON:-python3}

if [ "$1" = wheel ]; then
    # From the release tree's objects, with the options of scripts/python_tests.sh.
    scripts/install_dependencies.sh --wheel
    scripts/python_env.sh "$root/build/python-venv" python/requirements/build.txt python/requirements/test.txt
    cmake --preset release > /dev/null
    rm -rf build/engines/wheel
    build/python-venv/bin/python -m pip wheel . --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/engines/wheel \
        --config-settings=build-dir=build --config-settings=cmake.define.WSYNC_SANITIZE= \
        --config-settings=cmake.define.WSYNC_DEVELOPER=ON --config-settings=cmake.define.WSYNC_INSTALL=ON
    exit 0
fi
environment=$1
requirements=$2
stamp=$environment/requirements.installed
if ! cmp -s "$requirements" "$stamp"; then
    echo "making the Python environment $environment from $requirements"
    rm -f "$stamp"
    "$python" -m venv --clear "$environment"
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r "$requirements"
    if [ $# -gt 2 ]; then
        "$environment/bin/python" - "$root/$3" <<'END'
import pathlib, sys, sysconfig
own = pathlib.Path(sysconfig.get_path("purelib"))
(base,) = pathlib.Path(sys.argv[1]).glob("lib/python*/site-packages")
(own / "base.pth").write_text(f"{base}\n")
END
    fi
    cp "$requirements" "$stamp"
fi
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index --force-reinstall build/engines/wheel/*.whl
