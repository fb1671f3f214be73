# What .ci/run asks of AddressSanitizer: that the tests of the queues, random programs among them, touch no memory that is
# gone and leave none behind. Sourced.
#
# The sanitizer belongs to the nightly compiler; RUSTC_BOOTSTRAP lets the stable one use it. The standard library is not
# instrumented, and need not be: what is freed is poisoned all the same.

asan_holds() {
    # Panics out of a Drop, of a waker and of a logger are forgotten on purpose, since dropping them could panic
    # again: the tests call such a type Sour, and one has such a logger. The tests of waits that would never
    # end leave a runtime behind each, should the wait be one.
    printf 'leak:%s\n' Sour locks::Panics a_logger_that_syncs waits::leaked >"$scratch/forgotten"
    # Left out: a program that is made to hang, whose threads stay behind with all that they hold.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
        ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 \
        LSAN_OPTIONS="suppressions=$scratch/forgotten:print_suppressions=0" \
        cargo test --release --target x86_64-unknown-linux-gnu --target-dir "$target/asan" -p singletrack-queues --test it \
        -- --skip a_program_that_hangs
}
