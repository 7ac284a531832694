#!/usr/bin/env bash
# AzureCliCredential against the Azure CLI itself: not installed, not signed in,
# signed in to the embedded Azure, no more, and with nobody to ask. It runs in a network
# of its own that has nothing but loopback. What is missing for that: skipped,
# and said so.
#
# The Azure CLI and all that it needs are 730 MB and take a minute or two to
# install, so .ci/run leaves this out.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=$PWD/.ci/scratch/azure_cli
venv=$scratch/venv

skip() {
    echo "azure cli: SKIPPED: $1"
    exit 0
}

if [ "${1:-}" != --in-a-network-of-its-own ]; then
    mkdir -p "$scratch"
    command -v python3 >/dev/null || skip "there is no python3"
    unshare -rn true 2>/dev/null || skip "no network namespace can be made here"
    for directory in /usr/local/bin /usr/bin /bin; do
        [ ! -e "$directory/az" ] || skip "there is another Azure CLI in $directory"
    done
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" >"$scratch/venv.log" 2>&1 ||
        skip "no virtual environment could be made: $(tail -n 1 "$scratch/venv.log")"
    [ -x "$venv/bin/az" ] || timeout 900 "$venv/bin/pip" install --quiet azure-cli \
        >"$scratch/pip.log" 2>&1 ||
        skip "pip could not install azure-cli: $(tail -n 1 "$scratch/pip.log")"
    cargo build --quiet --example embedded_azure
    tests=$(cargo test --quiet --no-run --test developer_tools --message-format json |
        sed -n 's/.*"executable":"\([^"]*developer_tools[^"]*\)".*/\1/p')
    exec unshare -rn timeout 300 bash .ci/azure_cli.sh --in-a-network-of-its-own "$tests"
fi

tests=$2
server="${CARGO_TARGET_DIR:-target}/debug/examples/embedded_azure"
ip link set lo up
# The tests refuse to run without it.
export NETWORK="of its own"

unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
unset AzureCLIPath SSL_CERT_DIR
# It keeps everything below this, and is new each time.
rm -rf "$scratch/home"
mkdir -p "$scratch/home"
export HOME=$scratch/home AZURE_CONFIG_DIR=$scratch/home/.azure
# No upload of telemetry is tried.
export AZURE_CORE_COLLECT_TELEMETRY=false
without=/usr/local/bin:/usr/bin:/bin

# What the credential says: check NAME-OF-THE-TEST
check() {
    printf '\n-- %s\n' "$1"
    "$tests" --exact "real_azure_cli::$1" --ignored --nocapture >"$scratch/out" 2>&1 || {
        cat "$scratch/out"
        exit 1
    }
    grep -q '1 passed' "$scratch/out" || {
        echo "no such test: $1"
        exit 1
    }
    grep -E '^(Unavailable|Configuration|Rejected|Unreachable|IsAuthenticated)' "$scratch/out"
}

PATH=$without check it_is_not_installed
export PATH=$venv/bin:$without
az version --output tsv --query '"azure-cli"' | sed 's/^/azure-cli /'
check nobody_is_signed_in
AZURE_CONFIG_DIR=/proc/none check it_has_nowhere_to_write

"$server" --for-seconds 240 >"$scratch/server.out" 2>"$scratch/server.err" &
server_pid=$!
trap 'kill "$server_pid" 2>/dev/null || true; wait "$server_pid" 2>/dev/null || true' EXIT
for _ in $(seq 600); do
    grep -q '^# Ready' "$scratch/server.out" && break
    sleep 0.1
done
eval "$(grep '^export ' "$scratch/server.out")"
# The server takes its own away when it stops.
cp "$SSL_CERT_FILE" "$scratch/roots.pem"
export SSL_CERT_FILE=$scratch/roots.pem REQUESTS_CA_BUNDLE=$scratch/roots.pem

# A cloud of its own, whose authority Microsoft's knows nothing of.
az config set core.instance_discovery=false --only-show-errors
az cloud register --name embedded --skip-endpoint-discovery \
    --endpoint-active-directory "$AZURE_AUTHORITY_HOST" \
    --endpoint-resource-manager "$AZURE_AUTHORITY_HOST" \
    --endpoint-active-directory-resource-id https://management.azure.com/
az cloud set --name embedded --only-show-errors
az login --service-principal --username "$AZURE_CLIENT_ID" --password "$AZURE_CLIENT_SECRET" \
    --tenant "$AZURE_TENANT_ID" --allow-no-subscriptions --skip-subscription-discovery \
    --output none
check an_application_is_signed_in
check the_tenant_is_not_there
check the_subscription_is_not_there
REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt check the_certificate_is_not_trusted

entries=$AZURE_CONFIG_DIR/service_principal_entries.json
cp "$entries" "$scratch/entries.json"
sed -i "s/$AZURE_CLIENT_SECRET/wrong/" "$entries"
check the_secret_has_become_wrong
rm "$entries"
check the_sign_in_is_lost
mv "$scratch/entries.json" "$entries"

kill "$server_pid"
wait "$server_pid" 2>/dev/null || true
check the_provider_is_down
