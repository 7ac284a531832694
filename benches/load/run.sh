#!/usr/bin/env bash
# The example `proxy` under load, with and without the layer in turn, through
# refreshes, a hang of the identity endpoint and a revocation. Takes minutes;
# with --smoke a few seconds, and then only failures count, not figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

install() { apt-get install --quiet --yes wrk nghttp2-client >/dev/null; }
if ! { command -v wrk && command -v h2load; } >/dev/null; then
    install || { apt-get update --quiet >/dev/null && install; }
fi

cargo build --quiet --release --example proxy
export PROXY=${CARGO_TARGET_DIR:-target}/release/examples/proxy
# Not by way of cargo, which would end alone when it is told to stop.
program=$(cargo bench --quiet --no-run --bench load --message-format json |
    sed --quiet 's/.*"executable":"\([^"]*\)".*/\1/p' | tail --lines 1)
exec "$program" "$@"
