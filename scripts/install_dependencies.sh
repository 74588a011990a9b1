#!/bin/sh
# Installs the Debian packages that wsync builds and tests with, those that are missing: scripts/install_dependencies.sh [--fuzz|--bench|--wheel]
# Prints what it installs; says nothing and does nothing when all are there. Without root it prints the command and fails.
set -eu

packages="
    g++ make cmake ninja-build pkg-config
    libfmt-dev libcli11-dev nlohmann-json3-dev libxxhash-dev libisal-dev libssl-dev liburing-dev
    libgtest-dev libgmock-dev librapidcheck-dev
    python3 python3-venv unzip"
if [ "${1:-}" = "--fuzz" ]; then packages="$packages clang-14 libclang-rt-14-dev"; fi
if [ "${1:-}" = "--bench" ]; then packages="$packages libbenchmark-dev"; fi
# The headers of Debian's own python3; another one on the path brings its own.
if [ "${1:-}" = "--wheel" ]; then packages="$packages python3-dev"; fi

if ! command -v dpkg-query >/dev/null 2>&1; then
    echo "install_dependencies.sh: no Debian system; see the list in scripts/install_dependencies.sh for what is needed" >&2
    exit 0
fi
missing=""
# shellcheck disable=SC2086 # a list of words
installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages 2>/dev/null | sed -n 's/ installed$//p' || true)
for package in $packages; do
    if ! printf '%s\n' "$installed" | grep -qxF "$package"; then missing="$missing $package"; fi
done
if [ -z "$missing" ]; then exit 0; fi

command="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" != 0 ]; then
    echo "install_dependencies.sh: these packages are missing; as root: $command" >&2
    exit 1
fi
echo "installing what is missing:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086
if ! $command; then
    # The lists of packages may be old, or not there at all.
    apt-get update
    $command
fi
