#!/bin/sh
# Make a virtual environment from a lock file, with jobmon itself in it (editable).
# Usage: scripts/venv.sh PYTHON FOLDER LOCK
set -eu
python=$1 folder=$2 lock=$3

if ! command -v "$python" >/dev/null 2>&1; then
    echo "jobmon needs Python 3.11 or later; there is no '$python' here (make PYTHON=... $0)" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "jobmon needs Python 3.11 or later; $("$python" --version) is too old." >&2
    echo "Name another one: make PYTHON=python3.12 ..." >&2
    exit 1
fi

# The stamp keeps what the environment was made from: a touched file alone changes nothing.
stamp=$folder/.ready
made_from=$(cat "$lock" pyproject.toml scripts/venv.sh | cksum; "$python" --version)
if [ -x "$folder/bin/python" ] && [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$made_from" ]; then
    touch "$stamp"
    exit 0
fi

echo "setting up $folder from $lock"
rm -f "$stamp"
if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --allow-existing --python "$python" "$folder"
    uv pip sync --quiet --require-hashes --python "$folder/bin/python" "$lock"
    uv pip install --quiet --no-deps --no-build-isolation --python "$folder/bin/python" -e .
else
    "$python" -m venv "$folder" || {
        echo "'$python -m venv' failed: install your system's venv package, or uv" >&2
        exit 1
    }
    # The lock names everything; resolving again trips over extras with newer releases.
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --require-hashes -r "$lock"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --no-build-isolation -e .
fi
printf '%s\n' "$made_from" >"$stamp"
