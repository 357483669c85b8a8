#!/bin/sh
# Makes .venv, installs one hashed lock file into it, and puts this tree on its path:
#   tools/setup.sh requirements.lock
set -eu
cd "$(dirname "$0")/.."
lock=$1
venv=.venv

# A version manager's shim may exist and fail, so each candidate has to run.
usable() {
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  for name in ${PYTHON:-} python3.13 python3.12 python3.11 python3.14 python3 python /usr/bin/python3; do
    if usable "$name"; then
      echo "$name"
      return
    fi
  done
  echo "setup: no Python 3.11 or newer runs here; install one, or name it: make install PYTHON=python3.12" >&2
  return 1
}

make_venv() {
  if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv --clear "$venv"
  else
    # Debian keeps ensurepip in the package python3-venv; the system's own pip can fill in.
    "$python" -m venv --clear --without-pip "$venv"
  fi
}

pip() {
  if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$venv/bin/python" -m pip "$@"
  elif "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m pip --python "$venv/bin/python" "$@"
  else
    echo "setup: $python has neither ensurepip nor pip; on Debian or Ubuntu install python3-venv" >&2
    return 1
  fi
}

python=$(find_python)
usable "$venv/bin/python" || make_venv
echo "setup: installing $lock into $venv with $("$venv/bin/python" -V)"
# Wheels only: building a source archive would fetch build tools that no lock file names. The lock
# is whole, so nothing is resolved; and what is never imported is never compiled.
pip --disable-pip-version-check install --quiet --no-deps --no-compile --only-binary :all: \
  --require-hashes -r "$lock"
"$venv/bin/python" tools/link.py
