#!/usr/bin/env bash
# The source files of the queues that a block passes from its submission to its execution, counted in a profile of a build
# that inlines nothing: .ci/files.sh [--most N]; with N it fails if there are more. Needs valgrind.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo bench --quiet -p singletrack-queues --bench counts --profile dev -- --files "$@"
