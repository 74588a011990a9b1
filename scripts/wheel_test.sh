#!/bin/sh
# Tries wheels where nothing of wsync's build is: scripts/wheel_test.sh [WHEEL...], those of dist/ if none is given. As root.
#
# Makes a bare Debian system in a folder (debootstrap: python3 and what it needs, no -dev package, no library of the wheel's), installs the
# wheel that fits its Python there in an empty environment, without an index, and runs python/tests/bare.py: two processes, a sync, the command.
# A wheel of the stable ABI is tried with each later interpreter that is on the path here, in an empty environment of its own.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
if [ $# -eq 0 ]; then set -- dist/*.whl; fi
bare=$root/build-wheel/bare
if [ ! -e "$bare/complete" ]; then
    command -v debootstrap > /dev/null || apt-get install -y --no-install-recommends debootstrap
    rm -rf "$bare"
    mkdir -p "$bare"
    debootstrap --variant=minbase --include=python3,python3-venv "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$bare" > "$bare.log"
    touch "$bare/complete"
fi

for wheel in "$@"; do
    name=${wheel##*/}
    case $name in
    *-cp311-cp311-*)
        echo "$name: in a bare system"
        rm -rf "$bare/try"
        mkdir "$bare/try"
        cp "$wheel" python/tests/bare.py "$bare/try/"
        # Its own /proc, and shared memory as a machine has it; both go with the mount namespace.
        unshare --mount sh -eu -c '
            mount -t proc proc "$1/proc"
            mount -t tmpfs tmpfs "$1/dev/shm"
            exec chroot "$1" /usr/bin/env -i PATH=/usr/bin:/bin HOME=/try sh -eu -c "
                for file in /usr/lib/*/libfmt.so* /usr/lib/*/liburing.so* /usr/lib/*/libisal.so* /usr/include/stdio.h; do
                    if [ -e \"\$file\" ]; then echo not bare: \$file; exit 1; fi
                done
                python3 -m venv /try/venv
                /try/venv/bin/pip install --quiet --no-index /try/*.whl
                PATH=/try/venv/bin:/usr/bin:/bin /try/venv/bin/python /try/bare.py"' sh "$bare"
        ;;
    *-abi3-*)
        for python in python3.12 python3.13 python3.14; do
            "$python" -c "" 2> /dev/null || { echo "$name: no $python here, not tried"; continue; }
            echo "$name: $("$python" --version)"
            "$python" -m venv --clear "build-wheel/try-$python"
            "build-wheel/try-$python/bin/python" -m pip install --quiet --disable-pip-version-check --no-index "$wheel"
            PATH="$root/build-wheel/try-$python/bin:$PATH" "build-wheel/try-$python/bin/python" python/tests/bare.py
        done
        ;;
    *) echo "wheel_test.sh: $name is for an interpreter that no test here has" >&2; exit 1 ;;
    esac
done
