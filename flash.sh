#!/usr/bin/env bash
# Puts the firmware on a meter: ./flash.sh --port /dev/ttyUSB0
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/host_tools/setup.sh" >&2
exec parwana flash "$@"
