#!/usr/bin/env bash
# Prints, as one Markdown table, what one request costs through tower-bearer and
# through other libraries while its token is at hand. Needs valgrind. Takes
# minutes to build and five to run; best on a machine that does nothing else.
#
#   bash benches/peers/cost.sh [--only PART_OF_A_NAME]... [--rounds NUMBER]
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v valgrind >/dev/null || { echo "needs valgrind" >&2; exit 2; }
target=${CARGO_TARGET_DIR:-$PWD/target}/peers-cost
# Each library gets its token from a stub; none may look for another source.
unset GCE_METADATA_HOST GOOGLE_APPLICATION_CREDENTIALS
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
cargo build --quiet --release --manifest-path benches/peers/cost/Cargo.toml --target-dir "$target"
table=$("$target/release/cost" --bench "$@")
echo "$(date -u +%F), $(uname -sm), $(nproc) cores, $(rustc --version | cut -d' ' -f1,2), release profile:"
echo
echo "$table"
