#!/usr/bin/env bash
# The lines of Rust in each folder, without comments, blank lines, tests and models: .ci/lines.sh [--most N] DIR...
# With N it fails if all folders together have more. Test modules stand at the end of a file, or in a file `tests.rs`.
set -euo pipefail
cd "$(dirname "$0")/.."
most=
[ "${1:-}" != --most ] || { most=$2; shift 2; }
[ $# -gt 0 ] || { echo "usage: .ci/lines.sh [--most N] DIR..." >&2; exit 2; }
sum=0
for dir in "$@"; do
    [ -d "$dir" ] || { echo "$dir is no folder" >&2; exit 2; }
    # A room is a folder and the file beside it.
    mapfile -t files < <({ find "$dir" -name '*.rs'; [ ! -f "$dir.rs" ] || echo "$dir.rs"; } | grep -v -e /models/ -e 'tests\.rs$' | sort)
    lines=$(awk '
        FNR == 1 { rest = 0 }
        /^#\[cfg\(.*test/ { held = 1; next }
        held && /^(pub(\(crate\))? )?mod [a-z_]+ \{/ { rest = 1 }
        { held = 0 }
        rest || /^[[:space:]]*(\/\/.*)?$/ { next }
        { lines++ }
        END { print lines + 0 }' "${files[@]}")
    printf '%6d %s\n' "$lines" "$dir"
    sum=$((sum + lines))
done
printf '%6d in total\n' "$sum"
if [ -n "$most" ] && [ "$sum" -gt "$most" ]; then
    echo "that is more than $most" >&2
    exit 1
fi
