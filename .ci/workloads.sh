# What .ci/run asks of the bench that compares us with others: that each workload still gives the right result on everybody who
# does it, and that it refuses what it does not know. How fast anybody is, is not asked here. Sourced.

workloads_program() {
    local program
    program=$(cargo bench --quiet -p singletrack-queues --bench workloads --no-run --message-format=json \
        | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
    [ -x "$program" ] || fail "there is no bench of the workloads"
    echo "$program"
}

workloads() {
    local program
    program=$(workloads_program)
    "$program" "$@"
}

# Each verifies its result and ends the program with 1 if that is wrong.
workloads_hold() {
    workloads --json --rounds 1 --scale 0.002 >"$scratch/workloads"
    local line='^\{"peer":"[a-z_]+","w":"Q[0-9]+[a-z]?","metric":"[^"]+","value":[0-9.e-]+,"cpu_s":[0-9.e-]+,"allocator":"(glibc|mimalloc)"\}$'
    if grep -Ev "$line" "$scratch/workloads"; then fail "these lines are not what scripts read"; fi
    local w known allocator
    known=$(workloads --help | sed -n 's/^  \(Q[0-9]*[a-z]*\) .*/\1/p')
    [ -n "$known" ] || fail "workloads --help names no workload"
    for w in $known; do
        for allocator in glibc mimalloc; do
            grep -q "\"w\":\"$w\".*\"allocator\":\"$allocator\"" "$scratch/workloads" || fail "nobody did $w with $allocator"
        done
    done
    echo "$(grep -c . "$scratch/workloads") figures of $(wc -w <<<"$known") workloads, all results as they must be"
}

# A build beside itself: every row of ours has a ratio.
workloads_compare() {
    local program lines
    program=$(workloads_program)
    "$program" Q2 Q20g --against "$program" --json --rounds 3 --scale 0.002 >"$scratch/workloads"
    local line='^\{"w":"Q[0-9]+[a-z]?","metric":"[^"]+","allocator":"(glibc|mimalloc)","ours":[0-9.e-]+,"theirs":[0-9.e-]+,"ratio":[0-9.e-]+,"cpu_ratio":[0-9.e-]+,"rounds":3\}$'
    if grep -Ev "$line" "$scratch/workloads"; then fail "these lines are not what scripts read"; fi
    lines=$(grep -c . "$scratch/workloads")
    [ "$lines" = 6 ] || fail "$lines rows were compared instead of 6"
    echo "a build is compared with itself: $lines rows"
}

# ARGUMENTS... WHAT: ends with 2, and says what is wrong.
workloads_refuse() {
    local code=0 sentence=${*: -1}
    workloads "${@:1:$#-1}" >"$scratch/stdout" 2>"$scratch/stderr" || code=$?
    [ "$code" = 2 ] || fail "workloads ${*:1:$#-1} ended with $code"
    grep -qi -- "$sentence" "$scratch/stderr" \
        || { cat "$scratch/stderr" >&2; fail "workloads ${*:1:$#-1} did not say: $sentence"; }
    [ ! -s "$scratch/stdout" ] || fail "workloads ${*:1:$#-1} measured something"
}

workloads_refuse_bad_arguments() {
    workloads_refuse Q99 "no workload of that name; there are Q1"
    workloads_refuse Q1 --peer nobody "no peer of that name; there are singletrack"
    workloads_refuse --rounds 0 "0 is not in 1..=1000"
    workloads_refuse --scale 11 "above 0 and at most 10"
    workloads_refuse --scale nan "above 0 and at most 10"
    workloads_refuse --workers 2,0 "0 is not in 1..=1024"
    workloads_refuse --workers many "invalid digit"
    workloads_refuse --json Q1 --peer rayon "nothing was measured"
    workloads_refuse --allocator jemalloc "possible values: glibc, mimalloc, both"
    workloads_refuse --against "$scratch/none" "cannot be used: no such file"
    workloads_refuse --against "$scratch" "is a folder"
    workloads_refuse --against "$(workloads_program)" --peer tokio "cannot be used with"
    echo "12 bad arguments are refused with 2 and a sentence"
}
