#!/usr/bin/env bash
# Sets up and shows a feeder living through three short months: ./demo.sh [options of `parwana demo`]
set -euo pipefail
cd "$(dirname "$0")"
. host_tools/setup.sh
python -m parwana.world.runtime >/dev/null
exec parwana demo "$@"
