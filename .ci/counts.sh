# What .ci/run asks of the costs: that no operation costs more, or less, than is written down, and that it would be seen.
# Sourced.

counts() {
    cargo bench --quiet -p singletrack-queues --bench counts -- "$@"
}

counts_hold() {
    need valgrind valgrind
    # A turn of a queue goes by the clock, so a busy machine may disturb a run. What costs more does so in each.
    counts || counts || counts || fail "an operation costs something else than queues/benches/counts/limits.txt says; see above what to do"
}

# Something is added to each operation: FAULT, and what of the cheapest one must then be said to have grown.
counts_find() {
    local code=0
    counts --break "$1" >"$scratch/stdout" 2>"$scratch/stderr" || code=$?
    [ "$code" != 0 ] || fail "counts --break $1 found nothing"
    grep -q "\"submit to a busy queue\" costs more $2: " "$scratch/stderr" \
        || { cat "$scratch/stderr" >&2; fail "counts --break $1 did not say that a submit costs more $2"; }
    echo "--break $1 is found in $(grep -c ' costs more ' "$scratch/stderr") counts"
}

counts_find_planted_costs() {
    counts_find extra-allocation allocations
    counts_find extra-atomic "locked instructions"
    counts_find extra-system-call "system calls"
    counts_find_sharing
}

# Something that two threads share is added to each operation.
counts_find_sharing() {
    local code=0 sentence='touches more lines of memory that are the same for both'
    counts --break shared-counter >"$scratch/stdout" 2>"$scratch/stderr" || code=$?
    [ "$code" = 1 ] && [ "$(grep -c "$sentence" "$scratch/stderr")" = "$(grep -c '[0-9]$' "$scratch/stdout")" ] \
        || { cat "$scratch/stderr" >&2; fail "counts --break shared-counter is not found in each operation"; }
    echo "--break shared-counter is found in $(grep -c "$sentence" "$scratch/stderr") operations of two threads apart"
}
