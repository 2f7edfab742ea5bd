# Sourced by demo.sh, test.sh, flash.sh and people: makes build/venv, sets $repo, puts the tools on PATH. Needs python3 >= 3.11 with venv.
[ -n "${BASH_VERSION:-}" ] || { echo "parwana: this needs bash: type bash, then . host_tools/setup.sh" >&2; return 1; }
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$repo/build/venv
fail() { echo "parwana: $*" >&2; return 1; } # no exit: it would close the terminal of who sources this

command -v python3 >/dev/null || fail "python3 is missing; on Debian: apt-get install python3 python3-venv" || return 1
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "python3 is $(python3 -V 2>&1 | cut -d' ' -f2), 3.11 or newer is needed (Debian 12 or later)" || return 1
python3 -c 'import ensurepip, venv' 2>/dev/null || fail "python3-venv is missing; on Debian: apt-get install python3-venv" || return 1

mkdir -p "$repo/build"
exec 9>"$repo/build/setup.lock" && { flock -n 9 || { echo "parwana: waiting for another set-up to end (build/setup.lock)"; flock -w 900 9; }; } ||
    fail "another set-up has not ended for 15 minutes (build/setup.lock)" || return 1
stamp=$(cat "$repo/constraints.txt" "$repo/pyproject.toml" | sha256sum | cut -d' ' -f1)-$(python3 -V | tr -d ' ')
if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
    echo "parwana: installing Python packages into build/venv"
    case $(cat "$venv/stamp" 2>/dev/null) in
    *-"$(python3 -V | tr -d ' ')") ;; # of this Python: bring it up to date
    *) rm -rf "$venv" && python3 -m venv "$venv" ;;
    esac
    # By uv, in a tenth of pip's time; by pip where there is none, or it does not find the way out that pip does.
    # Not compiled: what is imported is compiled then.
    by_pip() { "$venv/bin/pip" install --no-compile --quiet --disable-pip-version-check -c "$repo/constraints.txt" "$@"; }
    by_uv() { "$venv/bin/uv" pip install --no-cache --quiet --python "$venv/bin/python3" -c "$repo/constraints.txt" "$@"; }
    { by_pip --only-binary uv uv && by_uv -e "$repo[dev]" || by_pip -e "$repo[dev]"; } >"$repo/build/pip.log" 2>&1 ||
        { tail -5 "$repo/build/pip.log" >&2; fail "pip could not install the packages; see build/pip.log" || return 1; }
    echo "$stamp" >"$venv/stamp"
fi
exec 9>&-
PATH=$venv/bin:$PATH
unset PYTHONDONTWRITEBYTECODE # many programs start here: each would compile all of it anew
