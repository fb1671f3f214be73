//! Rule 1: lib.rs is the table of contents, a module imports only modules that stand below it
//! there, and the files of one folder import each other in one direction.
//!
//! For: comparing every path in a package with the order of its lib.rs (main.rs of the program),
//! and finding circles among the files of a folder, where no table of contents gives an order. Not
//! for: names between a module and the files in its folder, since the module is their door, and
//! they are its parts. Rules: as in `tests/tidy/rules.rs`.

use crate::rules::{PACKAGES, find};
use crate::source::{Named, Source, module_declared, names};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Rule 1: lib.rs is the table of contents; a module imports only modules that stand below it.
pub(crate) fn reading_order(tree: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in PACKAGES {
        let root = |name: &str| tree.iter().find(|f| f.path == format!("{package}/{name}.rs"));
        let Some(lib) = root("lib").or_else(|| root("main")) else {
            continue;
        };
        let (modules, items) = contents(lib, &mut findings);
        let place = |name: &str| modules.iter().position(|m| m == name);
        for file in tree.iter().filter(|f| f.is_rust() && f.path.starts_with(&format!("{package}/"))) {
            let own = module_path(file, package);
            if ["lib", "main"].contains(&own[0]) {
                continue;
            }
            if file.product.trim().is_empty() && !file.code.trim().is_empty() {
                // Tests, which may import anything.
                continue;
            }
            let Some(here) = place(own[0]) else {
                findings.push(find(file, 1, format!("list `mod {};` in {}, or delete the file", own[0], lib.path)));
                continue;
            };
            for named in file.product_names() {
                let Some(target) = of_this_crate(named, own.len()) else {
                    continue;
                };
                let target = items.get(target).map_or(target, String::as_str);
                match place(target) {
                    Some(there) if there < here => findings.push(find(file, named.line, format!(
                        "`{}` stands below `{target}` in {}, so it cannot import it: move what both need to a module below both", own[0], lib.path
                    ))),
                    None if named.parts[0] == "crate" && target != "self" => findings.push(find(file, named.line, format!(
                        "import `{target}` from the module that defines it: {} has no such module", lib.path
                    ))),
                    _ => {}
                }
            }
        }
    }
    findings
}

/// Rule 1, inside folders: the files of a folder do not import each other in a circle.
pub(crate) fn knots(tree: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for (folder, files) in folders(tree) {
        let arrows = arrows(tree, &folder, &files);
        // A file that no other imports, or that imports no other, is in no circle. Such files are
        // removed until none is left.
        let mut knot: BTreeSet<&str> = files.keys().map(String::as_str).collect();
        loop {
            let before = knot.len();
            let within = |a: &Arrow, knot: &BTreeSet<&str>| knot.contains(&*a.from) && knot.contains(&*a.to);
            let kept = |name: &&str| {
                arrows.iter().any(|a| a.from == *name && within(a, &knot))
                    && arrows.iter().any(|a| a.to == *name && within(a, &knot))
            };
            knot = knot.iter().copied().filter(kept).collect();
            if knot.len() == before {
                break;
            }
        }
        let first = arrows.iter().find(|a| knot.contains(&*a.from) && knot.contains(&*a.to));
        findings.extend(first.map(|arrow| {
            let names = knot.iter().copied().collect::<Vec<_>>().join(", ");
            format!(
                "{}:{}: imports `{}`, and both are in a circle: {names}. Move what two of them need to a file below both",
                arrow.file, arrow.line, arrow.to
            )
        }));
    }
    findings
}

/// An import from one file of a folder, or from below it, to another.
struct Arrow {
    from: String,
    to: String,
    file: String,
    line: usize,
}

/// Each folder below a package's `src`, and the files that belong to each of its modules.
fn folders(tree: &[Source]) -> BTreeMap<String, BTreeMap<String, Vec<&Source>>> {
    let mut folders: BTreeMap<String, BTreeMap<String, Vec<&Source>>> = BTreeMap::new();
    for file in tree.iter().filter(|f| f.is_rust()) {
        let Some(package) = PACKAGES.iter().find(|p| file.path.starts_with(&format!("{p}/"))) else { continue };
        let own = module_path(file, package);
        for depth in 1..own.len() {
            let folder = format!("{package}/{}", own[..depth].join("/"));
            folders.entry(folder).or_default().entry(own[depth].to_string()).or_default().push(file);
        }
    }
    folders
}

fn arrows(tree: &[Source], folder: &str, files: &BTreeMap<String, Vec<&Source>>) -> Vec<Arrow> {
    let package = PACKAGES.iter().find(|p| folder.starts_with(&format!("{p}/"))).expect("a folder of a package");
    let inside: Vec<&str> = folder[package.len() + 1..].split('/').collect();
    // The names that the module of the folder offers itself: `super::Handler` may be an item of
    // `sink`.
    let doors = [format!("{folder}.rs"), format!("{folder}/mod.rs")];
    let door = tree.iter().find(|f| doors.contains(&f.path));
    let mut items = BTreeMap::new();
    for named in door.into_iter().flat_map(Source::product_names) {
        let parts: Vec<&String> = named.parts.iter().skip_while(|p| *p == "self").collect();
        if let [first, .., last] = &parts[..]
            && files.contains_key(*first)
        {
            items.insert((*last).clone(), (*first).clone());
        }
    }
    let mut arrows = Vec::new();
    for (from, files_of) in files {
        for file in files_of {
            let own = module_path(file, package);
            for named in file.product_names() {
                let Some(path) = from_root(named, &own) else { continue };
                let Some(next) = path.strip_prefix(&inside[..]).and_then(|rest| rest.first()) else { continue };
                let to = if files.contains_key(*next) { *next } else { items.get(*next).map_or(*next, String::as_str) };
                if files.contains_key(to) && to != from {
                    arrows.push(Arrow {
                        from: from.clone(),
                        to: to.to_string(),
                        file: file.path.clone(),
                        line: named.line,
                    });
                }
            }
        }
    }
    arrows
}

/// A path of this crate, from its root.
fn from_root<'a>(named: &'a Named, own: &[&'a str]) -> Option<Vec<&'a str>> {
    let parts: Vec<&str> = named.parts.iter().map(String::as_str).collect();
    let supers = parts.iter().take_while(|p| **p == "super").count();
    match parts[0] {
        "crate" => Some(parts[1..].to_vec()),
        "super" => Some([&own[..own.len().checked_sub(supers)?], &parts[supers..]].concat()),
        _ => None,
    }
}

/// The module path of a file, from the root of its crate.
fn module_path<'a>(file: &'a Source, package: &str) -> Vec<&'a str> {
    file.path[package.len() + 1..].trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect()
}

/// The module or item of the crate's root that a path starts from: `crate::x::y` and, from one
/// level down, `super::x`.
fn of_this_crate(named: &Named, depth: usize) -> Option<&str> {
    let supers = named.parts.iter().take_while(|p| *p == "super").count();
    let at = match named.parts[0].as_str() {
        "crate" => 1,
        "super" if supers >= depth => supers,
        _ => return None,
    };
    named.parts.get(at).map(String::as_str)
}

/// The modules that lib.rs lists, in order, and the origin of each item that it re-exports.
fn contents(lib: &Source, findings: &mut Vec<String>) -> (Vec<String>, HashMap<String, String>) {
    let (mut modules, mut items, mut line) = (Vec::<String>::new(), HashMap::new(), 1);
    for statement in lib.product.split_inclusive(';') {
        let item = without_attributes(statement);
        let first = line + statement.lines().count() - item.lines().count().max(1);
        line += statement.matches('\n').count();
        let words = item.strip_prefix("pub(crate) ").or(item.strip_prefix("pub ")).unwrap_or(item);
        if let Some(module) = module_declared(item) {
            modules.push(module.to_string());
        } else if let Some(tree) = words.strip_prefix("use ") {
            for named in names(tree) {
                let parts: Vec<&String> = named.parts.iter().filter(|p| *p != "crate" && *p != "self").collect();
                let (Some(module), Some(last)) = (parts.first(), parts.last()) else {
                    continue;
                };
                items.insert(last.to_string(), module.to_string());
                if modules.contains(module) && modules.last() != Some(*module) {
                    findings.push(find(
                        lib,
                        first,
                        format!("put this `use` directly below `mod {module};`, before the next module"),
                    ));
                } else if !modules.contains(module) && lib.product.contains(&format!("mod {module};")) {
                    findings.push(find(lib, first, format!("put this `use` below `mod {module};`, not above it")));
                }
            }
        } else if !item.trim().is_empty() && lib.path.ends_with("lib.rs") {
            findings.push(find(lib, first, "lib.rs is the table of contents: move this into a module"));
        }
    }
    (modules, items)
}

fn without_attributes(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    while rest.starts_with('#') {
        let mut depth = 0;
        let end = rest.find(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            c == ']' && depth == 0
        });
        rest = rest[end.map_or(rest.len(), |e| e + 1)..].trim_start();
    }
    rest
}
