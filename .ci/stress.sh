# What .ci/run asks of the models and of the stress test: that they pass, and that they can fail. Sourced.

# The check of the stress test that must catch each bug of `stress --break NAME`.
declare -A caught_by=(
    [two-at-once]=one-at-a-time
    [order-swapped]=order
    [block-lost]=no-loss
    [block-twice]=no-duplicate
    [barrier-overtaken]=barriers
    [width-exceeded]=widths
    [barrier-bypassed]=chains
    [resume-lost]=suspend
    [timer-early]=timers
    [signal-lost]=sources
    [class-ignored]=classes
    [low-starved]=ageing
    [boost-lost]=boosts
    [urgency-ignored]=urgency
    [class-swapped]=class-order
    [low-forgotten]=no-starvation
    [main-swapped]=main-order
    [main-lost]=main-no-loss
    [wake-lost]=main-wakes
    [wake-twice]=main-wakes
    [local-astray]=main-values
    [cancel-ignored]=work-items
    [captures-kept]=item-captures
    [notify-twice]=item-notify
    [permit-twice]=semaphores
    [permit-lost]=semaphore-line
    [activated-early]=inactive
    [value-missing]=specifics
    [tick-early]=tickers
    [tick-lost]=ticks-counted
    [addition-twice]=merged-sums
    [replacement-lost]=last-values
    [end-twice]=source-end
    [event-lost]=event-bytes
    [event-beside]=event-exclusion
    [event-end-twice]=event-ends
    [bytes-lost]=channel-bytes
    [water-ignored]=channel-water
    [channel-overtaken]=channel-barriers
    [member-forgotten]=groups
    [number-skipped]=apply
    [piece-skipped]=scopes
    [block-nested]=scope-alone
    [target-ignored]=targets
    [once-twice]=once
    [deadline-early]=deadlines
)

loom() {
    RUSTFLAGS="--cfg queues_loom" cargo test -p singletrack-queues --release --lib --target-dir "$target/loom"
}

loom_models() {
    loom | tee "$scratch/loom.log"
    grep -q '^test result: ok\. [1-9]' "$scratch/loom.log" || fail "no loom model was run"
}

# The names of the checks that did not hold, from the JSON of a run.
broken_checks() {
    grep -oE '"name":"[^"]*","ok":false' "$1" | cut -d '"' -f 4 | sort -u | tr '\n' ' '
}

stress_holds() {
    local code=0
    "$bin" stress --seconds "$1" --json >"$scratch/stress.json" 2>"$scratch/stderr" || code=$?
    cat "$scratch/stress.json"
    [ "$code" = 0 ] || { cat "$scratch/stderr" >&2; fail "stress ended with code $code: $(broken_checks "$scratch/stress.json")"; }
    grep -q '^{"ok":true,' "$scratch/stress.json" || fail "stress ended with code 0, but its JSON does not begin with ok"
    grep -q '"checks":\[{' "$scratch/stress.json" || fail "stress made no checks"
}

stress_finds_planted_bugs() {
    local names name code=0 broken
    # An unknown name is refused with the list of the known ones: so the table above can be checked to be complete.
    "$bin" stress --break no-such-bug >"$scratch/stdout" 2>"$scratch/stderr" || code=$?
    [ "$code" = 2 ] || fail "stress --break no-such-bug ended with code $code, not 2"
    names=$(grep -oE '\b[a-z]+(-[a-z]+)+\b' "$scratch/stderr" | grep -vx no-such-bug | sort -u)
    for name in "${!caught_by[@]}"; do
        grep -qx -e "$name" <<<"$names" || fail "stress does not offer --break $name: $(cat "$scratch/stderr")"
    done
    for name in $names; do
        [ -n "${caught_by[$name]:-}" ] || fail "say in .ci/stress.sh which check catches --break $name"
        code=0
        timeout 120 "$bin" stress --seconds "$1" --json --break "$name" >"$scratch/stress.json" 2>"$scratch/stderr" || code=$?
        [ "$code" = 1 ] || { cat "$scratch/stderr" >&2; fail "stress --break $name ended with code $code, not 1"; }
        broken=$(broken_checks "$scratch/stress.json")
        case " $broken" in
            *" ${caught_by[$name]} "*) echo "--break $name is caught by: $broken" ;;
            *) fail "--break $name must be caught by ${caught_by[$name]}; broken were: $broken" ;;
        esac
    done
}

# The same bugs, where ordinary calls can plant them, noticed by random programs alone.
random_programs_find_planted_bugs() {
    local name code
    for name in two-at-once order-swapped block-lost block-twice barrier-overtaken resume-lost timer-early cancel-ignored \
        permit-twice value-missing addition-twice end-twice member-forgotten number-skipped; do
        code=0
        timeout 120 "$bin" stress --only random-programs --seconds "$1" --break "$name" >"$scratch/stdout" 2>"$scratch/stderr" || code=$?
        [ "$code" = 1 ] || { cat "$scratch/stderr" >&2; fail "random programs with --break $name ended with code $code, not 1"; }
        echo "--break $name is caught by random programs: $(grep -m 1 seen: "$scratch/stdout")"
    done
}
