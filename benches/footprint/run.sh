#!/usr/bin/env bash
# What a program that reads a secret from Key Vault carries with it: with this
# crate, and with Azure's own. Both packages ask for a managed identity's token
# and print one secret; azure_core, which would be nearer to this crate alone,
# is not what users are told to write, and the client for secrets adds one crate
# to it. Neither program is ever started. Needs the network for the crates
# themselves. Prints a Markdown table.
#
# The build time is what all processes used of the processors, user and system,
# which other programs disturb less than the time that went by: the less of two
# clean release builds, made in turn.
set -euo pipefail
cd "$(dirname "$0")"

# Apart from all other builds, and gone afterwards.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export CARGO_TARGET_DIR=$scratch/target

packages=(tower-bearer azure-sdk)
declare -A seconds size
for package in "${packages[@]}"; do
    cargo fetch --quiet --locked --manifest-path "$package/Cargo.toml"
done
for _ in 1 2; do
    for package in "${packages[@]}"; do
        rm -rf "$CARGO_TARGET_DIR"
        TIMEFORMAT='%U %S'
        took=$({ time cargo build --quiet --release --offline --locked \
            --manifest-path "$package/Cargo.toml" 2>"$scratch/log"; } 2>&1) ||
            { cat "$scratch/log" >&2; exit 1; }
        least=${seconds[$package]:-1000000}
        seconds[$package]=$(awk -v least="$least" '{ s = $1 + $2; print s < least ? s : least }' <<<"$took")
        size[$package]=$(stat -c %s "$CARGO_TARGET_DIR/release/hello-$package")
    done
done

# Everything that is linked or expanded, without the program itself.
crates() {
    cargo tree --offline --locked --manifest-path "$1/Cargo.toml" -e normal --prefix none |
        sed 's/ (\*)$//' | sort -u | grep -vc '^hello-'
}

echo "| hello Key Vault with | crates | clean build, CPU seconds | stripped binary, KiB |"
echo "| --- | --: | --: | --: |"
for package in "${packages[@]}"; do
    printf '| %s | %d | %.0f | %d |\n' "$package" "$(crates "$package")" \
        "${seconds[$package]}" $((size[$package] / 1024))
done
