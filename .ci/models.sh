#!/usr/bin/env bash
# The models of the cache's concurrency (src/cache/models): the slot under loom,
# in every order of its steps with up to three preemptions, and whole flights,
# permits and the tasks that keep keys warm under shuttle, in random orders.
#
#   LOOM_MAX_PREEMPTIONS=100 TOWER_BEARER_SCHEDULES=1000000 bash .ci/models.sh
#
# takes the slot through every order there is, and each flight through so many
# random ones. A failing order is printed; `shuttle::replay` plays it again.
set -euo pipefail
cd "$(dirname "$0")/.."
# Optimised enough to run fast, not so much that it takes long to build.
export CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=none CARGO_INCREMENTAL=0
target=${CARGO_TARGET_DIR:-target}
for checker in loom shuttle; do
    RUSTFLAGS="${RUSTFLAGS:-} --cfg tower_bearer_$checker" \
        cargo test --quiet --lib --no-default-features --target-dir "$target/$checker" \
        models -- --nocapture
done
