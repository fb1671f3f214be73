# Checks of the packages as others get them: the licences, duplicates and advisories of their
# dependencies, no dependency that is not used, and that each can be built from the files that it
# ships. Sourced.
#
# How many packages each brings, and what it may name, is in tests/packages.rs.

published=(singletrack-queues singletrack-io singletrack-web singletrack singletrack-cli)

# need_cargo NAME: installs cargo-NAME where it is missing. Compiled outside the checkout, once, and
# kept with cargo's programs.
need_cargo() {
    command -v "cargo-$1" >/dev/null && return
    echo "installing cargo-$1, which takes some minutes once"
    cargo install --quiet --locked "cargo-$1" >"$scratch/install" 2>&1 || {
        tail -n 5 "$scratch/install" >&2
        fail "cargo-$1 is missing and could not be installed"
    }
}

dependencies_allowed() {
    need_cargo deny
    # All packages of the lock file must be at hand, also those of other systems, for cargo to
    # describe them.
    cargo fetch --locked --quiet
    cargo deny --locked check --hide-inclusion-graph licenses bans sources
}

# They come from a repository of their own, which not every machine can reach.
advisories() {
    if cargo deny --locked fetch db >"$scratch/advisories" 2>&1; then
        cargo deny --locked check --disable-fetch advisories
    else
        skip "their database cannot be reached"
    fi
}

dependencies_used() {
    need_cargo machete
    cargo machete
}

packages_build() {
    # Cargo keeps what it unpacked of them under their version, which stays the same while they change.
    rm -rf "${CARGO_HOME:-$HOME/.cargo}"/registry/{src,cache,index}/-*/singletrack* \
        "${CARGO_HOME:-$HOME/.cargo}"/registry/index/-* "$target/package"
    cargo package --offline --allow-dirty "${published[@]/#/--package=}" >"$scratch/package" 2>&1 || {
        tail -n 40 "$scratch/package" >&2
        fail "the packages cannot be built from what they ship"
    }
    grep -c "^ *Packaged" "$scratch/package" | sed 's/$/ packages, each built from what it ships/'
}
