#!/usr/bin/env bash
# Makes .venv in the checkout with the locked dependencies, anew only when the lock changes, and puts the project itself in
# it, again when pyproject.toml changes. Installs nothing outside the checkout, unless CI=true on a machine where we are root.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv=.venv

digest() { sha256sum "$1" | cut -d' ' -f1; }

made_from() { [ -x "$venv/bin/python" ] && [ "$(cat "$venv/.$1" 2>/dev/null)" = "$(digest "$1")" ]; }

find_python() { # a name on PATH may be a shim that fails, so each one is tried by running it
    local name
    for name in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    return 1
}

may_install() { [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

system_install() {
    echo "CI=true: installing $*" >&2
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" >&2
}

make_venv() {
    local python package
    if ! python=$(find_python); then
        may_install && system_install python3 python3-venv
        if ! python=$(find_python); then
            echo "rotatord needs Python 3.11 or newer, and no python3 on PATH is. Install it:" >&2
            echo "    apt-get install python3 python3-venv        (Debian 12, Ubuntu 24.04 or newer)" >&2
            echo "    dnf install python3.12                      (Fedora, RHEL)" >&2
            echo "or name one: make setup PYTHON=/path/to/python3.12" >&2
            exit 1
        fi
    fi

    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        package=$("$python" -c 'import sys; print(f"python3.{sys.version_info.minor}-venv")')
        may_install && system_install "$package"
        if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            echo "$("$python" --version) has no venv module. Install it:" >&2
            echo "    apt-get install $package" >&2
            exit 1
        fi
    fi

    echo "setup: $venv with $("$python" --version) and the locked dependencies" >&2
    "$python" -m venv --clear "$venv"
    $pip install --require-hashes --only-binary :all: --requirement requirements.lock
    digest requirements.lock >"$venv/.requirements.lock"
}

pip="$venv/bin/python -m pip --quiet --disable-pip-version-check"
if ! made_from requirements.lock; then
    make_venv
fi
if ! made_from pyproject.toml; then
    # setuptools warns about every editable installation; what it says is shown where it fails
    if ! said=$($pip install --no-deps --no-build-isolation --editable . 2>&1); then
        echo "$said" >&2
        exit 1
    fi
    digest pyproject.toml >"$venv/.pyproject.toml"
fi
