#!/usr/bin/env bash
# Every public type, trait, function and method has an example that compiles: .ci/examples.sh [PACKAGE...]
# Without names it looks at the four libraries. It lists the items that have none, and where they are, and fails.
# Fields, variants, constants, modules and what a type has of other traits need no example. Needs jq.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
[ $# -gt 0 ] || set -- singletrack-queues singletrack-io singletrack-web singletrack

# From the root down to all that a user can name. Rustdoc names the language of a block after its backticks. What
# a macro wrote has the place of its owner, and cannot carry an example.
lacking='
def compiles: [scan("(?m)^ *```+ *([^`\n]*)$")[0]] | to_entries
    | any(.key % 2 == 0 and (.value | test("compile_fail|ignore|text|toml|sh|console|json|http") | not));
def item($name): {place: "\(.span.filename):\(.span.begin[0])", line: .span.begin[0], $name, has: (.docs // "" | compiles)};
.index as $index
| def get: $index[tostring] | select(. != null and .crate_id == 0);
  def members($owner): get | select(.inner.function and .span != $owner.span) | item("\($owner.name)::\(.name)");
  def reach: get
    | if .inner.module then .inner.module.items[] | reach
      elif .inner.use then .inner.use.id | select(. != null) | reach
      elif .inner.function or .inner.type_alias or .inner.macro then item(.name)
      elif .inner.trait then . as $owner | item(.name), (.inner.trait.items[] | members($owner))
      elif .inner.struct or .inner.enum or .inner.union then
          . as $owner | item(.name), (.inner[].impls[] | get | select(.inner.impl.trait == null) | .inner.impl.items[] | members($owner))
      else empty end;
  [.root | reach] | unique_by(.place, .name)
| sort_by((.place | split(":")[0]), .line)
| (.[] | select(.has | not) | "\(.place): \(.name)"), "\(map(select(.has)) | length) of \(length) have an example"'

failed=
for package in "$@"; do
    # The JSON of rustdoc is not stable yet.
    RUSTC_BOOTSTRAP=1 cargo rustdoc --quiet -p "$package" --lib --all-features -- -Z unstable-options --output-format json
    found=$(jq -r "$lacking" "$CARGO_TARGET_DIR/doc/${package//-/_}.json")
    sed '$s/^/'"$package: /" <<<"$found"
    [ "$(wc -l <<<"$found")" = 1 ] || failed=yes
    # A reader of JSON that finds nothing would be content with everything.
    [[ ${found##*$'\n'} != 0* ]] || failed=yes
done
[ -z "$failed" ] || { echo "FAILED: the listed items have no example that compiles" >&2; exit 1; }
