#!/usr/bin/env bash
# Reads a secret from the embedded Azure with Microsoft's own Python clients,
# to show that it is true to Azure. Without the clients: skipped, and said so.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=.ci/scratch/python_clients
venv=$scratch/venv
mkdir -p "$scratch"
# A run that was cut off must leave no answers for the next.
rm -f "$scratch/server.out" "$scratch/server.err"

skip() {
    echo "python clients: SKIPPED: $1"
    exit 0
}

command -v python3 >/dev/null || skip "there is no python3"
[ -x "$venv/bin/python" ] || python3 -m venv "$venv" >"$scratch/venv.log" 2>&1 ||
    skip "no virtual environment could be made: $(tail -n 1 "$scratch/venv.log")"
timeout 300 "$venv/bin/pip" install --quiet azure-identity azure-keyvault-secrets \
    >"$scratch/pip.log" 2>&1 ||
    skip "pip could not install azure-identity and azure-keyvault-secrets: $(tail -n 1 "$scratch/pip.log")"

cargo build --quiet --example embedded_azure
server="${CARGO_TARGET_DIR:-target}/debug/examples/embedded_azure"
# The time limit is for the case that nobody is left to stop it.
"$venv/bin/python" .ci/python_certificate.py "$scratch/own.pem" "$scratch/stranger.pem"
"$server" --certificate "$scratch/own.pem" --secret db=s3cret --identity worker --hosts --for-seconds 120 \
    >"$scratch/server.out" 2>"$scratch/server.err" &
server_pid=$!
trap 'kill "$server_pid" 2>/dev/null || true; wait "$server_pid" 2>/dev/null || true' EXIT

for _ in $(seq 100); do
    grep -q '^# Ready' "$scratch/server.out" && break
    kill -0 "$server_pid" 2>/dev/null || {
        echo "python clients: the embedded Azure did not start:" >&2
        cat "$scratch/server.err" >&2
        exit 1
    }
    sleep 0.1
done
grep -q '^# Ready' "$scratch/server.out" || {
    echo "python clients: the embedded Azure was not ready within 10 s" >&2
    exit 1
}

worker=$(sed -n 's/^# identity worker: client id //p' "$scratch/server.out")
(
    # In this shell alone, so that what these variables were before still holds
    # for everything else.
    eval "$(grep '^export ' "$scratch/server.out")"
    unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy no_proxy
    # These would lead the clients to another source of managed identity.
    unset IDENTITY_ENDPOINT IDENTITY_HEADER IMDS_ENDPOINT MSI_ENDPOINT MSI_SECRET
    unset AZURE_FEDERATED_TOKEN_FILE IDENTITY_SERVER_THUMBPRINT IDENTITY_API_VERSION
    unset DEFAULT_IDENTITY_CLIENT_ID
    EMBEDDED_HOSTS=$(sed -n 's/^# host //p' "$scratch/server.out") \
        CERTIFICATE=$scratch/own.pem STRANGER=$scratch/stranger.pem \
        WORKER_CLIENT_ID=$worker timeout 60 "$venv/bin/python" .ci/python_clients.py
)
