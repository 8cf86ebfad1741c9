#!/usr/bin/env bash
# The Go that builds the test servers: installed by us only where asked (INSTALL=1) or on CI, and only where a server is
# missing. Any Go from 1.19 on will do: it fetches the one that the servers need.
set -euo pipefail
cd "$(dirname "$0")/../.."

if command -v go >/dev/null || [ -z "$(.venv/bin/python -m tests.servers --missing)" ]; then
    exit 0
fi
if { [ "${CI:-}" = true ] || [ "${INSTALL:-}" = 1 ]; } && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends golang-go ca-certificates >&2
fi
