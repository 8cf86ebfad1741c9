#!/usr/bin/env bash
# What the test servers are made of: the Go that builds most of them, PostgreSQL, spin, jq and the like. Installed by us only where
# asked (INSTALL=1) or on CI, and only where one is missing. Any Go from 1.19 on will do: it fetches the one that they need.
set -euo pipefail
cd "$(dirname "$0")/../.."

may_install() { { [ "${CI:-}" = true ] || [ "${INSTALL:-}" = 1 ]; } && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

missing=$(.venv/bin/python -m tests.servers --missing)
mapfile -t packages < <(sed -n 's/^package://p' <<<"$missing")
if grep -qvE '^(package:|$)' <<<"$missing" && ! command -v go >/dev/null; then
    packages+=(golang-go ca-certificates)
fi
if [ ${#packages[@]} -gt 0 ] && may_install; then
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then # the programs, not a server of the system
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        -o Dpkg::Options::=--force-confold "${packages[@]}" >&2
fi
