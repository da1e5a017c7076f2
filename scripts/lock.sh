#!/bin/sh
# Write requirements/*.txt anew: the newest allowed versions, for every platform, with hashes.
# Usage: scripts/lock.sh
set -eu
command -v uv >/dev/null 2>&1 || {
    echo "make lock needs uv on PATH" >&2
    exit 1
}
lock() {
    target=$1
    shift
    uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
        --output-file "requirements/$target.txt" "$@" pyproject.toml
}
lock demo --extra demo --group build
lock dev --all-extras --group dev
# The oldest versions that pyproject.toml allows, so that it promises only what is tested.
lock oldest --all-extras --group dev --resolution lowest-direct
# Versions of RQ that differ in what jobmon hooks. Before RQ 3.0, SpawnWorker fails with redis-py 8.
for version in 1.16 2.0 2.6 2.10; do
    printf 'rq==%s.*\nredis<5.3\n' "$version" | uv pip compile --quiet --upgrade --no-deps \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
        --output-file "requirements/rq-$version.txt" -
done
