#!/bin/sh
# Makes a Python environment: scripts/python_env.sh [DIRECTORY [REQUIREMENTS...]], that of the tests in build/venv if none is given.
# Does nothing when it is there already and made from today's requirements. $PYTHON is the interpreter, python3 if it is not set.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
environment=${1:-"$root/build/venv"}
if [ $# -gt 0 ]; then shift; fi
if [ $# -eq 0 ]; then set -- "$root/tests/python-requirements.txt"; fi
stamp="$environment/requirements.installed"

if [ -x "$environment/bin/python" ] && cat "$@" | cmp -s - "$stamp"; then
    exit 0
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "python_env.sh: $python lacks venv; install it: apt-get install python3-venv" >&2
    exit 1
fi
echo "making the Python environment $environment: $(cat "$@" | grep -v '^#' | tr '\n' ' ')"
rm -f "$stamp"
mkdir -p "$(dirname "$environment")"
"$python" -m venv --clear "$environment"
cat "$@" > "$environment/requirements.txt"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: -r "$environment/requirements.txt"
cp "$environment/requirements.txt" "$stamp"
