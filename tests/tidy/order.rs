//! Rule 1: lib.rs is the table of contents, and a module imports only modules that stand below it there.
//!
//! For: reading lib.rs of each package and comparing every path in it with that order. Not for: the order of files
//! within a module, which belong together (pool/worker is `pool`), nor for the binary, which sees the library from
//! outside. Rules: as in `tests/tidy/rules.rs`.

use crate::rules::{PACKAGES, find};
use crate::source::{Named, Source, module_declared, names};
use std::collections::HashMap;

/// Rule 1: lib.rs is the table of contents; a module imports only modules that stand below it.
pub(crate) fn reading_order(tree: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in PACKAGES {
        let Some(lib) = tree.iter().find(|f| f.path == format!("{package}/lib.rs")) else {
            continue;
        };
        let (modules, items) = contents(lib, &mut findings);
        let place = |name: &str| modules.iter().position(|m| m == name);
        let main = tree.iter().find(|f| f.path == format!("{package}/main.rs"));
        for file in tree.iter().filter(|f| f.is_rust() && f.path.starts_with(&format!("{package}/"))) {
            let inside = file.path[package.len() + 1..].trim_end_matches(".rs").trim_end_matches("/mod");
            let own: Vec<&str> = inside.split('/').collect();
            // The binary has a table of its own, and sees the library from outside.
            let in_binary = main
                .is_some_and(|m| m.code.split_inclusive(';').any(|s| module_declared(last_line(s)) == Some(own[0])));
            if ["lib", "main", "bin"].contains(&own[0]) || in_binary {
                continue;
            }
            if file.product.trim().is_empty() && !file.code.trim().is_empty() {
                // Tests, which may import anything.
                continue;
            }
            let Some(here) = place(own[0]) else {
                findings.push(find(file, 1, format!("list `mod {};` in {package}/lib.rs, or delete the file", own[0])));
                continue;
            };
            for named in file.product_names() {
                let Some(target) = of_this_crate(named, own.len()) else {
                    continue;
                };
                let target = items.get(target).map_or(target, String::as_str);
                match place(target) {
                    Some(there) if there < here => findings.push(find(file, named.line, format!(
                        "`{}` stands below `{target}` in {package}/lib.rs, so it cannot import it: move what both need to a module below both", own[0]
                    ))),
                    None if named.parts[0] == "crate" && target != "self" => findings.push(find(file, named.line, format!(
                        "import `{target}` from the module that defines it: {package}/lib.rs has no such module"
                    ))),
                    _ => {}
                }
            }
        }
    }
    findings
}

fn last_line(statement: &str) -> &str {
    statement.trim().lines().last().unwrap_or_default()
}

/// The module or item of the crate's root that a path starts from: `crate::x::y` and, from one level down, `super::x`.
fn of_this_crate(named: &Named, depth: usize) -> Option<&str> {
    let supers = named.parts.iter().take_while(|p| *p == "super").count();
    let at = match named.parts[0].as_str() {
        "crate" => 1,
        "super" if supers >= depth => supers,
        _ => return None,
    };
    named.parts.get(at).map(String::as_str)
}

/// The modules that lib.rs lists, in order, and where each item that it re-exports comes from.
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
        } else if !item.trim().is_empty() {
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
