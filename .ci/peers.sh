# What .ci/run asks of the performance runner: that every peer serves every scenario, at a scale that takes seconds, and
# that one which fails is named and spoils nothing else. Figures of that scale say nothing; that all messages arrive, in
# order and unchanged, is verified. Sourced by run.

peers_serve() {
    cargo test --release -p singletrack-performance
    cargo build --release -p singletrack-performance
    # The runner builds this, too, and would below without a linker in its path.
    cargo build --release -p singletrack-cli
    local runner=$target/release/singletrack-performance code=0 peer
    # bun, which has uWebSockets inside, comes through npm: without that it fails, and the others do not.
    rm -rf "$target/release/performance/bun"
    mkdir "$scratch/path"
    ln -s "$(command -v cargo)" "$(command -v rustc)" "$scratch/path"
    timeout 120 env PATH="$scratch/path" "$runner" --smoke S1-64 --peer bun --peer bare --json >"$scratch/figures" 2>"$scratch/stderr" || code=$?
    expect "a peer that cannot be had ends it with" 1 "$code"
    grep -q '^error: bun: npm cannot be started' "$scratch/stderr" || { cat "$scratch/stderr" >&2; fail "it does not say that bun failed"; }
    grep -q '"peer":"bare"' "$scratch/figures" || fail "a peer that failed kept another from being measured"
    code=0
    "$runner" S3 --peer nobody 2>"$scratch/stderr" || code=$?
    expect "a peer that nobody knows ends it with" 2 "$code"

    need npm nodejs npm
    timeout 180 "$runner" --smoke --only server --json >"$scratch/figures" || fail "a peer failed; it is named above"
    for peer in singletrack bare bun tokio-tungstenite axum; do
        grep -q "\"w\":\"S5\".*\"peer\":\"$peer\"" "$scratch/figures" || fail "$peer was not measured with slow members"
    done
    grep -q '"w":"S1-64".*"peer":"fastwebsockets"' "$scratch/figures" || fail "fastwebsockets was not measured"
    echo "$(wc -l <"$scratch/figures") figures of six servers"
}
