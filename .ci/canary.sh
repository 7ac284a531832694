#!/usr/bin/env bash
# Whether a secret gets into any output (T14): all tests and examples, with
# everything that they print, searched for the secrets that they work with. In
# tests a secret has the word "canary" in it, or is one of those below.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$PWD/.ci/scratch/canary
mkdir -p "$scratch"

RUST_BACKTRACE=1 cargo test --quiet --all-features -- --nocapture \
    >"$scratch/tests.log" 2>&1 || { tail -n 40 "$scratch/tests.log" >&2; exit 1; }
bash .ci/examples.sh >"$scratch/examples.log" 2>&1

secrets=(
    canary
    the-client-secret-of-the-embedded-Azure
    # What every signed token begins with.
    eyJ
)
for secret in "${secrets[@]}"; do
    if grep --line-number --fixed-strings -- "$secret" "$scratch"/*.log | cut -c 1-160; then
        echo "canary: \"$secret\" is in an output" >&2
        exit 1
    fi
done
echo "canary: ${#secrets[@]} secrets, none in $(cat "$scratch"/*.log | wc -l) lines of output"
