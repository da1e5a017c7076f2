#!/bin/sh
# Make a virtual environment like the development one but for what LOCK names: another RQ.
# Usage: scripts/rq.sh DEVELOPMENT FOLDER LOCK
set -eu
development=$1 folder=$2 lock=$3

echo "setting up $folder from $lock"
rm -rf "$folder"
"$development/bin/python" -m venv --without-pip "$folder"
site=$("$folder/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rest=$("$development/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if command -v uv >/dev/null 2>&1; then
    uv pip install --quiet --no-deps --require-hashes --python "$folder/bin/python" -r "$lock"
else
    "$development/bin/python" -m pip --python "$folder/bin/python" install --quiet \
        --disable-pip-version-check --no-deps --require-hashes -r "$lock"
fi
# After its own packages those of the other, whose .pth files count too.
echo "import site; site.addsitedir('$rest')" >"$site/development.pth"
touch "$folder/.ready"
