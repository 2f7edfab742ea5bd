#!/usr/bin/env bash
# Sets up and runs every check: ./test.sh [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")"
. host_tools/setup.sh
python -m parwana.runtime >/dev/null
ruff check --quiet .
mypy --no-error-summary
exec python -m pytest "$@"
