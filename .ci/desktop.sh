# The windows of examples/desktop: installing what they need, building them, driving them on an Xvfb. Sourced by run.
#
# They are built here alone, in one profile and in one go: apart, they would be built with other features of the same
# libraries, which is once more.

desktop=(singletrack-egui singletrack-gtk singletrack-desktop-test)
without_desktop=("${desktop[@]/#/--exclude=}")

desktop_windows() {
    need Xvfb xvfb
    need pkg-config pkg-config
    # The software renderer, and what windows of winit load when they run.
    need_library libEGL.so.1 libegl1 libgl1 libgl1-mesa-dri
    need_library libxkbcommon-x11.so.0 libxkbcommon-x11-0 libx11-xcb1 libxcursor1 libxi6 libxrandr2
    pkg-config --exists gtk4 || install_for "the gtk4 library" libgtk-4-dev fonts-dejavu-core
    local packages=("${desktop[@]/#/--package=}")
    cargo clippy "${packages[@]}" --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc "${packages[@]}" --no-deps --document-private-items
    cargo build "${packages[@]}"
    # Two at a time: each has a program and an X server of its own to feed.
    cargo test "${packages[@]}" --test windows -- --test-threads 2
    echo "pictures: $(ls "$target"/desktop/*.png | wc -l) in $target/desktop"
}
