#!/usr/bin/env bash
# Sets up and runs every check: ./test.sh [--long] [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")"
. host_tools/setup.sh
python -m parwana.world.runtime >/dev/null
python -m hil_tests.postgresql >/dev/null
ruff check --quiet .
mypy --no-error-summary
# Three processes, since most tests wait for boards rather than compute; a file's tests in one of them, by name, so that no long file comes last; hardware (--bench FILE) wants one: pytest hil_tests --bench FILE
exec python -m pytest -n 3 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder "$@"
