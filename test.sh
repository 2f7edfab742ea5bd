#!/usr/bin/env bash
# Sets up and runs every check: ./test.sh [--long] [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")"
. host_tools/setup.sh
# What each of the processes below would do for itself: compile contracts and tests.
(
    python -c 'from parwana.chain.contracts import NAMES, load; [load(name) for name in NAMES]'
    python -m pytest --collect-only -q
) >/dev/null &
compiled=$!
python -m parwana.world.runtime >/dev/null
# The rest is fetched meanwhile; without assets and Chromium the tests in a browser say so, and are left out.
(
    python -m hil_tests.postgresql
    python -m parwana.web.assets || true
    python -m hil_tests.chromium || true
) >/dev/null &
fetched=$!
ruff check --quiet .
mypy --no-error-summary
wait "$fetched"
wait "$compiled" || true # pytest says below what it cannot collect
# Five processes, since most tests wait for boards rather than compute; a file's tests in one of them, by name, so that no long file comes last; hardware (--bench FILE) wants one: pytest hil_tests --bench FILE
hang_s=900
for word in "$@"; do [ "$word" != --long ] || hang_s=5400; done  # a flash of 0.2 s an operation takes its hour
exec python -m pytest -o "faulthandler_timeout=$hang_s" -n 5 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder "$@"
