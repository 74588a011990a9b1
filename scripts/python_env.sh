#!/bin/sh
# Makes a Python environment: scripts/python_env.sh [DIRECTORY [REQUIREMENTS]], that of the tests in build/venv if none is given.
# Does nothing when it is there already and made from today's requirements.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
environment=${1:-"$root/build/venv"}
requirements=${2:-"$root/tests/python-requirements.txt"}
stamp="$environment/requirements.installed"

if [ -x "$environment/bin/python" ] && cmp -s "$requirements" "$stamp"; then
    exit 0
fi
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    echo "python_env.sh: python3 lacks venv; install it: apt-get install python3-venv" >&2
    exit 1
fi
echo "making the Python environment $environment: $(grep -v '^#' "$requirements" | tr '\n' ' ')"
rm -f "$stamp"
mkdir -p "$(dirname "$environment")"
python3 -m venv --clear "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r "$requirements"
cp "$requirements" "$stamp"
