#!/usr/bin/env bash
# Runs each fuzz target from its corpus: scripts/fuzz.sh [SECONDS, 60 if none]. What it finds lies in build-fuzz/findings.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
cmake --preset fuzz > /dev/null
cmake --build --preset fuzz -j "$(nproc)"
findings=build-fuzz/findings
mkdir -p "$findings"
ran=0
failed=0
for target in build-fuzz/bin/fuzz_*; do
    name=${target##*/fuzz_}
    # New inputs go into a folder of the build; the committed corpus is read alone.
    mkdir -p "build-fuzz/corpus/$name" "fuzz/corpus/$name"
    echo "$name: $seconds s"
    if ! "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$findings/$name-" \
        "build-fuzz/corpus/$name" "fuzz/corpus/$name" > "build-fuzz/$name.log" 2>&1; then
        tail -n 40 "build-fuzz/$name.log"
        failed=$((failed + 1))
    else
        grep -E "stat::number_of_executed_units" "build-fuzz/$name.log" || true
    fi
    ran=$((ran + 1))
done
echo "$ran fuzz targets, $failed with findings"
[ "$ran" -gt 0 ] && [ "$failed" -eq 0 ]
