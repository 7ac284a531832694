#!/usr/bin/env bash
# Breaks the crate in places where it must not break, one at a time, in a copy
# of its own, and sees that tests go red. Ends with 1 if one stays green.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=${CARGO_TARGET_DIR:-$PWD/target}/mutations
copy=$scratch/copy
# Apart from the crate's own: cargo would take one's build for the other's.
export CARGO_TARGET_DIR=$scratch/target
survivors=0

# mutate WHAT FILE PERL-EXPRESSION TEST...
mutate() {
    local what=$1 file=$2 change=$3
    shift 3
    rm -rf "$copy" && mkdir -p "$copy"
    git ls-files -z | xargs -0 cp --parents -t "$copy"
    perl -0pi -e "$change" "$copy/$file"
    if cmp -s "$file" "$copy/$file"; then
        echo "$what: found nothing to change in $file" >&2
        exit 2
    fi
    local tests=()
    for test in "$@"; do tests+=(--test "$test"); done
    local output=$scratch/output
    if (cd "$copy" && RUST_BACKTRACE=0 timeout 600 cargo test --quiet --no-fail-fast "${tests[@]}") \
        >"$output" 2>&1; then
        echo "SURVIVED: $what"
        survivors=$((survivors + 1))
    elif ! grep -qE '^test result: FAILED' "$output"; then
        echo "$what: did not get as far as the tests" >&2
        tail -n 20 "$output" >&2
        exit 2
    else
        echo "red: $what"
        sed -n '/^failures:$/,/^test result/{s/^    \([a-z0-9_]*\)$/    \1/p}' "$output" | sort -u
    fi
}

mutate "generation compare: each 401 is taken for one of the current token" \
    src/cache/slot/mod.rs \
    's/if entry\.generation > refused\.generation/if entry.generation == u64::MAX/' \
    layer_401 cache simulation

mutate "detached flight: whoever gives up takes the fetch along" \
    src/cache/acquire.rs \
    's/Self \{\s*refused: Refused::Own\(refused\),\s*\.\.(Self::new\([^)]*\))\s*\}/let mut this = $1; this.refused = Refused::Own(refused); this/;
     s/\z/impl Drop for Acquire { fn drop(&mut self) { if self.outcome.is_some() { for id in 0..99 { self.slot.abandon(id); } } } }\n/' \
    cache_cancellation layer_cancellation simulation

mutate "back-off: a failure is no reason to wait" \
    src/cache/schedule.rs \
    's/(pub\(crate\) fn back_off\([^{]*\{)/$1 if !error.message().is_empty() { return Duration::ZERO; }/' \
    cache_outages simulation

mutate "wall clock: a token is good while the monotonic clock says so" \
    src/cache/schedule.rs \
    's/now\.monotonic < self\.unusable_at\.monotonic && now\.wall < self\.unusable_at\.wall/now.monotonic < self.unusable_at.monotonic/' \
    cache clocks simulation

mutate "skew: a token is sent until the moment of its end" \
    src/cache/schedule.rs \
    's/let skew = [^;]*;/let skew = Duration::ZERO;/' \
    cache clocks simulation

mutate "forced refreshes: each 401 may force one" \
    src/cache/schedule.rs \
    's/let paused = [^;]*;\s*if paused \|\| self\.allowance < 1\.0/let _ = proven; if self.allowance < f64::NEG_INFINITY/' \
    layer_401 cache simulation

exit $((survivors > 0))
