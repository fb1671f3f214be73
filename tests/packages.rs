//! The cost of each package for a program that depends on it, the packages that it may name, and
//! the files that it ships.
//!
//! For: counts of what cargo itself lists, without the network, so that one dependency too many is
//! noticed when it is added. Not for: licences and advisories (`.ci/packages.sh`), nor for what a
//! package does. Rules: a limit is a promise, not the present number. A finding names the packages
//! or the files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The five packages and their folders, from below. Each may depend on the packages listed with it,
/// also for its tests.
const FLOORS: &[(&str, &str, &[&str])] = &[
    ("singletrack-queues", "queues", &[]),
    ("singletrack-io", "io", &["singletrack-queues"]),
    ("singletrack-web", "web", &[]),
    // Not published, and only tests may use it.
    ("singletrack-test-client", "tests/client", &["singletrack-web"]),
    ("singletrack", ".", &["singletrack-queues", "singletrack-io", "singletrack-web", "singletrack-test-client"]),
    ("singletrack-cli", "cli", &["singletrack", "singletrack-queues", "singletrack-test-client"]),
];
const TEST_CLIENT: &str = "singletrack-test-client";

/// The most packages in the tree of each library, itself included, without those that only build or
/// test it.
const MOST: &[(&str, usize)] =
    &[("singletrack-queues", 7), ("singletrack-io", 33), ("singletrack-web", 29), ("singletrack", 52)];

/// Packages that compile C, or replace the allocator of a whole program.
const NOT_IN_A_LIBRARY: &[&str] = &[
    "cc",
    "cmake",
    "bindgen",
    "pkg-config",
    "mimalloc",
    "libmimalloc-sys",
    "tikv-jemallocator",
    "jemallocator",
    "snmalloc-rs",
];

fn published() -> impl Iterator<Item = (&'static str, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    FLOORS.iter().filter(|(name, ..)| *name != TEST_CLIENT).map(|(name, folder, _)| (*name, root.join(folder)))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Runs cargo and returns its output.
fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.expect("cargo can be started");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The packages that `package` brings with its default features, each once, by name and version.
fn tree(package: &str, edges: &str) -> BTreeSet<String> {
    let format = ["--prefix", "none", "--format", "{p}"];
    let tree =
        cargo(&[&["tree", "--offline", "--locked", "--edges", edges, "--package", package], &format[..]].concat());
    let name_and_version = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    tree.lines().filter(|line| !line.is_empty()).map(name_and_version).collect()
}

#[test]
fn each_library_brings_as_few_packages_as_promised() {
    for (package, most) in MOST {
        let tree = tree(package, "normal");
        assert!(
            tree.contains(&format!("{package} v{}", env!("CARGO_PKG_VERSION"))),
            "not a tree of {package}: {tree:?}"
        );
        let all = tree.iter().map(String::as_str).collect::<Vec<_>>().join("\n  ");
        assert!(tree.len() <= *most, "{package} brings {} packages, {most} are promised:\n  {all}", tree.len());
    }
}

#[test]
fn no_library_compiles_c_or_chooses_an_allocator() {
    for (package, _) in MOST {
        for found in tree(package, "normal,build") {
            let name = found.split(' ').next().unwrap_or_default();
            assert!(
                !NOT_IN_A_LIBRARY.contains(&name),
                "{package} brings {found}: see `cargo tree -p {package} -i {name}`"
            );
        }
    }
    assert!(
        tree("singletrack-cli", "normal").iter().any(|found| found.starts_with("mimalloc ")),
        "the check sees none"
    );
}

/// The dependencies in a manifest: the header of their section, the name, and the rest of the line.
fn dependencies(manifest: &str) -> Vec<(&str, &str, &str)> {
    let (mut section, mut found) = ("", Vec::new());
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && section != "[workspace.dependencies]"
            && let Some((name, rest)) = line.split_once(['=', '.']).filter(|_| !line.starts_with('#'))
        {
            found.push((section, name.trim(), rest));
        }
    }
    found
}

#[test]
fn each_package_names_only_packages_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (at, (package, folder, allowed)) in FLOORS.iter().enumerate() {
        let below: Vec<&str> = FLOORS[..at].iter().map(|(name, ..)| *name).collect();
        assert!(allowed.iter().all(|name| below.contains(name)), "the table has a circle at {package}");
        for (section, name, rest) in dependencies(&read(&root.join(folder).join("Cargo.toml"))) {
            if name != "singletrack" && !name.starts_with("singletrack-") {
                continue;
            }
            assert!(allowed.contains(&name), "{package} names {name} in {section}, which is not below it");
            let for_tests = section == "[dev-dependencies]";
            assert!(for_tests || name != TEST_CLIENT, "{package} needs {name} for more than its tests");
            // With a version, publishing would ask the registry for a package that is published
            // later.
            let is_path_only = rest.contains("path = ") && !rest.contains("version");
            assert!(!for_tests || is_path_only, "{package}: name {name} in {section} by its path alone");
        }
    }
}

#[test]
fn the_five_packages_are_what_cargo_runs_and_one_of_them_is_a_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = read(&root.join("Cargo.toml"));
    let members = manifest.lines().find_map(|line| line.strip_prefix("default-members = ")).expect("default members");
    let members: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    let folders: BTreeSet<&str> =
        FLOORS.iter().filter(|(name, ..)| *name != TEST_CLIENT).map(|(_, folder, _)| *folder).collect();
    assert_eq!(members, folders);
    let programs = published().filter(|(_, folder)| {
        folder.join("src/main.rs").exists()
            || folder.join("src/bin").exists()
            || read(&folder.join("Cargo.toml")).contains("[[bin]]")
    });
    assert_eq!(programs.map(|(name, _)| name).collect::<Vec<_>>(), ["singletrack-cli"]);
}

#[test]
fn each_package_says_what_it_is() {
    for (package, folder) in published() {
        let manifest = read(&folder.join("Cargo.toml"));
        for field in [
            "description = ",
            "keywords = ",
            "categories = ",
            "include = ",
            "repository.workspace",
            "license.workspace",
            "rust-version.workspace",
        ] {
            assert!(manifest.lines().any(|line| line.starts_with(field)), "{package}: no {field} in its manifest");
        }
        assert!(manifest.contains("[package.metadata.docs.rs]"), "{package}: nothing for docs.rs in its manifest");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
            assert_eq!(
                read(&folder.join(licence)),
                read(&root.join(licence)),
                "{package}: {licence} is not the repository's"
            );
        }
    }
}

#[test]
fn each_package_ships_its_sources_its_readme_and_the_licences() {
    for (package, _) in published() {
        let list = cargo(&["package", "--list", "--offline", "--allow-dirty", "--package", package]);
        let shipped: BTreeSet<&str> = list.lines().collect();
        for needed in ["Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
            assert!(shipped.contains(needed), "{package} lacks {needed}");
        }
        let made_by_cargo = ["Cargo.toml.orig", "Cargo.lock", ".cargo_vcs_info.json"];
        let at_the_top = ["Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT"];
        for file in shipped {
            let is_needed = file.starts_with("src/")
                && !file.split(['/', '.']).any(|part| ["tests", "models", "benches"].contains(&part));
            assert!(
                is_needed || made_by_cargo.contains(&file) || at_the_top.contains(&file),
                "{package} ships {file}: see `include`"
            );
        }
    }
}
