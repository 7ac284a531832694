#!/usr/bin/env bash
# `key_vault`, `token` and `doctor` against `embedded_azure` as programs of their
# own, as a new user would run them: with flags and environment alone. Then what
# they say when things are wrong.
set -euo pipefail
cd "$(dirname "$0")/.."

scratch=.ci/scratch/examples
mkdir -p "$scratch"
cargo build --quiet --example embedded_azure --example key_vault --example token --example doctor
bin=${CARGO_TARGET_DIR:-target}/debug/examples

# The time limit is for the case that nobody is left to stop it.
"$bin/embedded_azure" --secret db=s3cret --identity worker --for-seconds 300 \
    >"$scratch/server.out" 2>"$scratch/server.err" &
server=$!
# Another one, for its certificate.
"$bin/embedded_azure" --for-seconds 300 >"$scratch/other.out" 2>/dev/null &
other=$!
trap 'kill "$server" "$other" 2>/dev/null || true; wait "$server" "$other" 2>/dev/null || true' EXIT
for _ in $(seq 200); do
    grep -q '^# Ready' "$scratch/server.out" && grep -q '^# Ready' "$scratch/other.out" && break
    sleep 0.1
done
other_roots=$(sed -n "s/^export SSL_CERT_FILE='\(.*\)'/\1/p" "$scratch/other.out")
sed 's/\(SECRET=\).*/\1…/' "$scratch/server.out"
eval "$(grep '^export ' "$scratch/server.out")"
worker=$(sed -n 's/^# identity worker: client id //p' "$scratch/server.out")
unset SSL_CERT_DIR HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
audience=https://vault.azure.net

failures=0

program=key_vault
# What a single thing goes wrong with is told in one line.
one_line=yes

# The program's arguments, expected exit code and text:
# run TITLE CODE TEXT [NAME=VALUE…] -- ARGUMENTS
run() {
    local title=$1 expected=$2 text=$3 code=0
    shift 3
    local environment=()
    while [ "$1" != -- ]; do
        environment+=("$1")
        shift
    done
    shift
    printf '\n-- %s: %s\n' "$program" "$title"
    timeout 100 env "${environment[@]}" "$bin/$program" "$@" >"$scratch/out" 2>"$scratch/err" || code=$?
    sed 's/"access_token": ".*"/"access_token": (not shown here)/' "$scratch/out"
    cat "$scratch/err"
    if [ "$code" != "$expected" ] || ! cat "$scratch/out" "$scratch/err" | grep -qF -- "$text"; then
        echo "WRONG: exit code $code (expected $expected), or no text: $text"
        failures=$((failures + 1))
    fi
    if [ "$expected" = 1 ] && [ "$one_line" = yes ] && [ "$(wc -l <"$scratch/err")" != 1 ]; then
        echo "WRONG: not one line on stderr"
        failures=$((failures + 1))
    fi
    if grep -qF -- "$AZURE_CLIENT_SECRET" "$scratch/out" "$scratch/err"; then
        echo "WRONG: the client secret was shown"
        failures=$((failures + 1))
    fi
}

vault=(--vault "$VAULT_URL" --secret db --audience "$audience")
identity=(AZURE_TENANT_ID= AZURE_CLIENT_SECRET=)

run "client secret" 0 'credential:     ClientSecretCredential' -- "${vault[@]}"
run "system-assigned identity" 0 'credential:     ManagedIdentityCredential' \
    "${identity[@]}" AZURE_CLIENT_ID= -- "${vault[@]}"
run "user-assigned identity" 0 "AppId:$worker" \
    "${identity[@]}" AZURE_CLIENT_ID="$worker" -- "${vault[@]}"
run "another API version" 0 'db = "s3cret"' -- "${vault[@]}" --api-version 7.5

run "wrong secret" 1 AADSTS7000215 AZURE_CLIENT_SECRET=wrong -- "${vault[@]}"
run "a secret that is missing" 1 'AZURE_CLIENT_SECRET' AZURE_CLIENT_SECRET= -- "${vault[@]}"
run "no such identity" 1 'no identity' \
    "${identity[@]}" AZURE_CLIENT_ID=00000000-0000-0000-0000-000000000000 -- "${vault[@]}"
run "unknown host" 1 'name its audience with --audience' -- --vault "$VAULT_URL" --secret db
run "another audience" 1 '401' -- --vault "$VAULT_URL" --secret db --audience https://graph.microsoft.com
run "untrusted certificate" 1 'is not trusted' SSL_CERT_FILE="$other_roots" SSL_CERT_DIR= -- "${vault[@]}"
run "no managed identity here" 1 'does not look like an Azure virtual machine' "${identity[@]}" \
    AZURE_CLIENT_ID= AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:1 -- "${vault[@]}"
run "Entra is down" 1 'refused' AZURE_AUTHORITY_HOST=https://localhost:1 -- "${vault[@]}"
run "the vault is down" 1 'no answer from https://localhost:1' -- --vault https://localhost:1 --secret db --audience "$audience"
run "no such secret" 1 'SecretNotFound' -- --vault "$VAULT_URL" --secret none --audience "$audience"
run "plain HTTP to another host" 1 'localhost' -- --vault http://vault.example.com --secret db --audience "$audience"
run "no URL" 1 'is no URL of a vault' -- --vault 'not a url' --secret db
run "an option that is none" 1 'usage:' -- --volt x

# Nothing is configured, no metadata service is there, and no tool is installed.
nothing=(AZURE_TENANT_ID= AZURE_CLIENT_ID= AZURE_CLIENT_SECRET= PATH=/nowhere HOME="$PWD/$scratch"
    AZURE_POD_IDENTITY_AUTHORITY_HOST=http://127.0.0.1:1)
secret_string="RunAs=App;AppId=$AZURE_CLIENT_ID;TenantId=$AZURE_TENANT_ID;AppKey='$AZURE_CLIENT_SECRET'"
wrong_string="RunAs=App;ClientId=$AZURE_CLIENT_ID;TenantId=$AZURE_TENANT_ID;AppKey='$AZURE_CLIENT_SECRET'"
machine=(AZURE_TENANT_ID= AZURE_CLIENT_ID= AZURE_CLIENT_SECRET=)

# What the last run printed has to be one JSON object, and is the token's own.
is_json() {
    if ! python3 -c 'import json, sys; assert type(json.load(sys.stdin)) is dict' <"$scratch/out"; then
        echo "WRONG: not one JSON object"
        failures=$((failures + 1))
    fi
    if [ "$(grep -c access_token "$scratch/out")" != "$1" ]; then
        echo "WRONG: the token was shown, or not, against the options"
        failures=$((failures + 1))
    fi
}

program=token
one_line=no
resource=(--resource "$audience")
run "nothing configured" 1 'ways to get a token' "${nothing[@]}" -- "${resource[@]}"
run "an identity that is found" 0 '"credential": "ManagedIdentityCredential"' "${machine[@]}" -- "${resource[@]}"
is_json 0
run "a string with a secret" 0 '"credential": "ClientSecretCredential"' "${nothing[@]}" \
    -- "${resource[@]}" --connection-string "$secret_string"
is_json 0
run "a string in the variable" 0 "\"app_id\": \"$AZURE_CLIENT_ID\"" "${nothing[@]}" \
    AzureServicesAuthConnectionString="$secret_string" -- "${resource[@]}" --show
is_json 1
run "a user-assigned identity" 0 "\"app_id\": \"$worker\"" "${machine[@]}" \
    -- "${resource[@]}" --connection-string "RunAs=App;AppId=$worker"
run "its own tenant" 0 "\"tenant_id\": \"$AZURE_TENANT_ID\"" "${nothing[@]}" \
    -- "${resource[@]}" --connection-string "$secret_string" --tenant "$AZURE_TENANT_ID"

one_line=yes
run "a wrong secret" 1 AADSTS7000215 "${nothing[@]}" \
    -- "${resource[@]}" --connection-string "RunAs=App;AppId=$AZURE_CLIENT_ID;TenantId=$AZURE_TENANT_ID;AppKey=wrong"
run "a misspelt key" 1 'write AppId' "${nothing[@]}" -- "${resource[@]}" --connection-string "$wrong_string"
run "a quote that is not closed" 1 'is not closed' "${nothing[@]}" \
    -- "${resource[@]}" --connection-string "${secret_string%\'}"
run "a wrong string in the variable" 1 'AzureServicesAuthConnectionString' "${nothing[@]}" \
    AzureServicesAuthConnectionString="$wrong_string" -- "${resource[@]}"
run "no resource" 1 'usage:' "${nothing[@]}" -- --show
run "an option that is none" 1 'argument 1' "${nothing[@]}" -- "$secret_string"
run "an option without its value" 1 '--resource wants a value' "${nothing[@]}" -- --resource --show

program=doctor
one_line=no
run "nothing configured" 1 'finds nothing that works' "${nothing[@]}" -- "${resource[@]}"
run "an application in the environment" 0 'DefaultAzureCredential takes ClientSecretCredential' PATH=/nowhere -- "${resource[@]}"
run "what TokenProvider takes meanwhile" 0 'TokenProvider takes ManagedIdentityCredential' PATH=/nowhere -- "${resource[@]}"
run "a managed identity" 0 'DefaultAzureCredential takes ManagedIdentityCredential' "${machine[@]}" PATH=/nowhere -- "${resource[@]}"
run "a wrong secret in the environment" 1 'DefaultAzureCredential stops at ClientSecretCredential' "${nothing[@]}" \
    AZURE_TENANT_ID="$AZURE_TENANT_ID" AZURE_CLIENT_ID="$AZURE_CLIENT_ID" AZURE_CLIENT_SECRET=wrong \
    -- "${resource[@]}"
run "a string" 0 'selects an application with a secret' "${nothing[@]}" \
    -- "${resource[@]}" --connection-string "$secret_string"
run "a string in the variable" 0 'finds nothing that works' "${nothing[@]}" \
    AzureServicesAuthConnectionString="$secret_string" -- "${resource[@]}"
run "a string that selects nothing" 1 'given without AppId' "${nothing[@]}" \
    -- --connection-string "$wrong_string"
run "a selection that is none" 1 'AZURE_TOKEN_CREDENTIALS is "devv"' "${nothing[@]}" \
    AZURE_TOKEN_CREDENTIALS=devv -- "${resource[@]}"
run "an option that is none" 1 'usage:' "${nothing[@]}" -- "$secret_string"

[ "$failures" = 0 ] || exit 1
echo "examples: all as expected"
