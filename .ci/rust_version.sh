#!/usr/bin/env bash
# No dependency that users build asks for a newer Rust than this crate does.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo metadata --format-version 1 --all-features --locked | python3 -c '
import json, sys

metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]


def version(text):
    return tuple(int(part) for part in ((text or "0") + ".0.0").split(".")[:3])


ours = version(packages[root]["rust_version"])
seen, todo = set(), [root]
while todo:
    node = todo.pop()
    if node in seen:
        continue
    seen.add(node)
    for dependency in nodes[node]["deps"]:
        kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
        if kinds != {"dev"} and dependency["pkg"] != root:
            todo.append(dependency["pkg"])
newest = max((packages[p] for p in seen - {root}), key=lambda p: version(p["rust_version"]))
print(len(seen) - 1, "dependencies with all features; the newest Rust is asked for by",
      newest["name"], newest["version"] + ":", newest["rust_version"])
sys.exit(version(newest["rust_version"]) > ours)
'
