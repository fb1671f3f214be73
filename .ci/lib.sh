# What the parts of .ci/run share: headers with the time, failing with a sentence, tools that may be missing. Sourced.

current=start
passed=""
skipped=""
was_skipped=""

# section TITLE: closes the section before and opens the next.
section() {
    if [ "$current" != start ] && [ -z "$was_skipped" ]; then
        passed="${passed:+$passed; }${current%%:*}"
    fi
    was_skipped=""
    current=$1
    printf '\n== %02d:%02d  %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$current"
}

# skip WHY: this section is not run, and the last line says so.
skip() {
    echo "SKIPPED: $1"
    skipped="${skipped:+$skipped; }${current%%:*} ($1)"
    was_skipped=yes
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# need COMMAND PACKAGE...: installs the Debian packages when the command is missing.
need() {
    command -v "$1" >/dev/null && return
    install_for "$@"
    command -v "$1" >/dev/null || fail "${*:2} is installed and there is still no $1"
}

# need_library NAME PACKAGE...: as need, for what programs load.
need_library() {
    ldconfig -p | grep "$1" >/dev/null && return
    install_for "$@"
    ldconfig -p | grep "$1" >/dev/null || fail "${*:2} is installed and there is still no $1"
}

install_for() {
    local what=$1
    shift
    if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
        fail "needs $what, which is missing: on Debian, apt-get install $*, or run this as root"
    fi
    echo "installing $*"
    apt-get update >"$scratch/apt.log" 2>&1 || { tail -n 5 "$scratch/apt.log" >&2; fail "apt-get update failed"; }
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$scratch/apt.log" 2>&1 \
        || { tail -n 5 "$scratch/apt.log" >&2; fail "apt-get could not install $*"; }
}

scratch=$(mktemp -d)
server=""

at_exit() {
    local code=$?
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    rm -rf "$scratch"
    if [ "$code" != 0 ]; then
        printf '\n.ci/run FAILED after %02d:%02d in: %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$current" >&2
    fi
}
trap at_exit EXIT
