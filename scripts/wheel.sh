#!/bin/sh
# Makes wheels in dist/ for machines without wsync's build: scripts/wheel.sh [PYTHON...], for python3.11 and python3.12 if none is given.
#
# They are for glibc 2.28 and later (manylinux_2_28): the compiler of the PyPI package ziglang has the stubs of that glibc and a C++ library
# that it links statically; the other libraries are Debian's archives. The one of 3.12 has the stable ABI, for every later Python too.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
platform=manylinux_2_28_x86_64
target=x86_64-linux-gnu.2.28
work=$root/build-wheel
scripts/install_dependencies.sh --wheel
scripts/python_env.sh "$work/tools" python/requirements/wheel.txt

zig=$("$work/tools/bin/python" -c 'import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / "zig")')
toolchain=$work/toolchain
mkdir -p "$toolchain/include/openssl" "$toolchain/include/x86_64-linux-gnu"
cat > "$toolchain/clang++.new" <<END
#!/bin/sh
exec "$zig" c++ -target $target -g0 "\$@"
END
chmod +x "$toolchain/clang++.new"
# Left alone when it is the same, so that a cache of compilations knows it again.
cmp -s "$toolchain/clang++.new" "$toolchain/clang++" || cp -p "$toolchain/clang++.new" "$toolchain/clang++"
# The libraries' headers alone: those of Debian's glibc, beside them, are not this target's.
for header in fmt CLI nlohmann xxhash.h liburing liburing.h isa-l; do ln -sfn "/usr/include/$header" "$toolchain/include/$header"; done
ln -sf /usr/include/openssl/* /usr/include/x86_64-linux-gnu/openssl/* "$toolchain/include/openssl/"
for header in /usr/include/x86_64-linux-gnu/python3*; do
    if [ -d "$header" ]; then ln -sfn "$header" "$toolchain/include/x86_64-linux-gnu/${header##*/}"; fi
done

mkdir -p dist "$work/raw"
if [ $# -eq 0 ]; then set -- python3.11 python3.12; fi
for python in "$@"; do
    if ! version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); then
        echo "wheel.sh: no $python here; its wheel is not made"
        continue
    fi
    PYTHON=$python scripts/python_env.sh "$work/python$version" python/requirements/build.txt
    rm -f "$work"/raw/*.whl dist/*-cp"$(echo "$version" | tr -d .)"-*.whl
    "$work/python$version/bin/python" -m pip wheel . --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$work/raw" \
        --config-settings=build-dir="$work/build$version" \
        --config-settings=cmake.define.CMAKE_TOOLCHAIN_FILE="$root/cmake/manylinux.cmake" \
        --config-settings=cmake.define.WSYNC_TOOLCHAIN="$toolchain" \
        --config-settings=cmake.define.WSYNC_BUNDLE=ON
    # Refuses what needs more of the system than the platform promises.
    PATH="$work/tools/bin:$PATH" "$work/tools/bin/auditwheel" repair --plat "$platform" --wheel-dir dist "$work"/raw/*.whl
done
ls dist/*.whl
