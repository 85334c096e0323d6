# What .ci/run and .ci/full share: a scratch folder, a banner with its seconds for each step, and what was skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
scratch=$(mktemp -d)
export XDG_CACHE_HOME=$scratch/cache PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_WARN_SCRIPT_LOCATION=1
# Some tests read real data that lie beside the repository. Without them they skip and say so.
export MUSICJAX_SHARED_DATA=${MUSICJAX_SHARED_DATA:-$root/../shared/data}
test_line=$(grep -m1 'pytest' README.md)

current='' started=$SECONDS skipped='' complete=''

took() { if [ -n "$current" ]; then printf -- '-- %s: %s s\n' "$current" "$((SECONDS - started))"; fi; }

step() { # step NAME: the next step begins
    took
    current=$1 started=$SECONDS
    printf '\n== %s\n' "$current"
}

skip() { # skip WHAT: goes on without it, and says so here and at the end
    echo "SKIPPED: $1"
    skipped+="${skipped:+; }$1"
}

ended() {
    local status=$?
    rm -rf "$scratch"
    took
    if [ -n "$complete" ]; then
        printf '\n== passed in %s s; skipped: %s\n' "$SECONDS" "${skipped:-nothing}"
    else
        printf '\n== FAILED after %s s: %s\n' "$SECONDS" "$current"
        exit $((status ? status : 1)) # bash may report 0 for a job that a signal ended
    fi
}
trap ended EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fresh() { # fresh NAME: a copy of what is committed, in $scratch/NAME
    git clone -q "$root" "$scratch/$1"
}

readme_tests() { # readme_tests NAME PYTHON: README's test line with this Python, in a fresh copy
    fresh "$1"
    (cd "$scratch/$1" && bash -euo pipefail -c "${test_line//python3 /$2 }")
}
