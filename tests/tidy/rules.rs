//! Rules 2 to 8 as pure functions: from the files of the repository to a list of findings.
//!
//! For: reporting where a rule is broken, as "path:line: what to do". Not for: reading the disk, or
//! deciding what is allowed, which stands in `tests/tidy.rs` and comes in as arguments. Rules: no
//! rule knows of another. A finding names its remedy. Code that is compiled for tests only may name
//! anything.

use crate::source::{Named, Source};

/// The sources of each package.
pub(crate) const PACKAGES: [&str; 5] = ["src", "queues/src", "io/src", "web/src", "cli/src"];

pub(crate) fn find(file: &Source, line: usize, remedy: impl std::fmt::Display) -> String {
    format!("{}:{line}: {remedy}", file.path)
}

/// Rules 2 to 5: the files in `place` do not name any of `never`: a path (`std::net`), a macro
/// (`info!`), a method (`.elapsed`).
pub(crate) fn never_names(tree: &[Source], place: &str, never: &[&str], because: &str) -> Vec<String> {
    each_name(tree, |file, named| {
        if !file.is_in(place) {
            return None;
        }
        let from_root = absolute(file, named);
        let word = never.iter().find(|word| match (word.strip_suffix('!'), word.strip_prefix('.')) {
            (Some(name), _) => named.is_macro && named.parts.last().is_some_and(|p| p == name),
            (_, Some(name)) => named.is_member && named.parts[0] == name,
            _ => named.has(word) || from_root.as_ref().is_some_and(|path| path.has(word)),
        })?;
        Some(format!("`{place}` never names `{word}`: {because}"))
    })
}

/// `super::x` from the first level, as `crate::x`.
fn absolute(file: &Source, named: &Named) -> Option<Named> {
    let package = PACKAGES.iter().find(|p| file.path.starts_with(&format!("{p}/")))?;
    let inside = file.path[package.len() + 1..].trim_end_matches(".rs").trim_end_matches("/mod");
    let supers = named.parts.iter().take_while(|p| *p == "super").count();
    let own: Vec<&str> = inside.split('/').collect();
    let kept = own.len().checked_sub(supers).filter(|_| supers > 0)?;
    let parts =
        ["crate"].iter().chain(&own[..kept]).map(|p| p.to_string()).chain(named.parts[supers..].iter().cloned());
    Some(Named { parts: parts.collect(), ..*named })
}

/// Rule 4: `library` is named only in the module `door`.
pub(crate) fn one_door(tree: &[Source], library: &str, door: &str) -> Vec<String> {
    each_name(tree, |file, named| {
        let outside = PACKAGES.iter().any(|p| file.path.starts_with(&format!("{p}/"))) && !file.is_in(door);
        (outside && named.parts[0] == library)
            .then(|| format!("`{library}` has one door: use what `{door}` offers, or add to it"))
    })
}

/// A seam: the files in `place` leave `names` to the module `door`, so that something else can be
/// put there.
pub(crate) fn one_seam(tree: &[Source], place: &str, names: &[&str], door: &str, instead: &str) -> Vec<String> {
    let because = format!("use {instead} of `{door}`, where a simulated one can be put");
    let mut findings = never_names(tree, place, names, &because);
    findings.retain(|finding| !finding.starts_with(&format!("{door}.rs:")));
    findings
}

fn each_name(tree: &[Source], finding: impl Fn(&Source, &Named) -> Option<String>) -> Vec<String> {
    let mut findings = Vec::new();
    for file in tree.iter().filter(|f| f.is_rust()) {
        for named in file.product_names() {
            findings.extend(finding(file, named).map(|remedy| find(file, named.line, remedy)));
        }
    }
    findings
}

/// Rule 6: `unsafe` only in the files listed, each block and impl below a SAFETY sentence, denied
/// elsewhere.
pub(crate) fn unsafe_is_listed(tree: &[Source], listed: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in tree.iter().filter(|f| f.is_rust()) {
        let is_listed = listed.contains(&file.path.as_str());
        let uses: Vec<usize> = file.names.iter().filter(|n| n.parts == ["unsafe"]).map(|n| n.line).collect();
        if let (false, Some(&line)) = (is_listed, uses.first()) {
            findings.push(find(
                file,
                line,
                "do this without `unsafe`, or argue for the file's place in the list of tests/tidy.rs",
            ));
        }
        if is_listed && uses.is_empty() {
            findings.push(find(file, 1, "has no `unsafe` any more: take it off the list in tests/tidy.rs"));
        }
        // lib.rs may allow it for the modules that it lists. Their files are checked one by one.
        let allows = ["allow(unsafe_code)", "expect(unsafe_code)"].iter().any(|a| file.code.contains(a));
        if allows && !is_listed && !file.path.ends_with("lib.rs") {
            findings.push(find(file, 1, "do not allow `unsafe_code` in a file that is not listed in tests/tidy.rs"));
        }
        let code: Vec<&str> = file.code.lines().collect();
        let comments: Vec<&str> = file.comments.lines().collect();
        for line in uses {
            let after = code[line - 1].split("unsafe").nth(1).unwrap_or_default().trim_start();
            let needs = after.is_empty() || after.starts_with('{') || after.starts_with("impl");
            if needs && !has_safety_comment(&code, &comments, line - 1) {
                findings.push(find(file, line, "write `// SAFETY:` above it: who guarantees what this needs?"));
            }
        }
    }
    for path in listed.iter().filter(|path| !tree.iter().any(|f| f.path == **path)) {
        findings.push(format!("{path}:1: no such file: take it off the list in tests/tidy.rs"));
    }
    let is_root =
        |f: &&Source| PACKAGES.iter().any(|p| f.path == format!("{p}/lib.rs") || f.path == format!("{p}/main.rs"));
    for lib in tree.iter().filter(is_root) {
        let denied = ["deny(unsafe_code)", "forbid(unsafe_code)"].iter().any(|d| lib.code.contains(d));
        let by_manifest = tree.iter().any(|f| f.path == "Cargo.toml" && f.text.contains("\nunsafe_code = \"deny\""));
        if !denied && !by_manifest {
            findings.push(find(lib, 1, "add `#![deny(unsafe_code)]`, so that only listed files can allow it"));
        }
    }
    findings
}

/// Searches upwards from `line` through its statement, then through the comment above.
fn has_safety_comment(code: &[&str], comments: &[&str], line: usize) -> bool {
    let is_comment = |l: usize| code[l].trim().is_empty() && !comments[l].trim().is_empty();
    let mut at = line;
    while at > 0 && !is_comment(at - 1) {
        let above = code[at - 1].trim_end();
        let in_statement = !above.is_empty() && !above.ends_with([';', '{', '}']) || above.trim().starts_with("#[");
        if !in_statement {
            return false;
        }
        at -= 1;
    }
    (0..at).rev().take_while(|&l| is_comment(l)).any(|l| comments[l].contains("SAFETY:"))
}

/// The number of lines, without the examples in the docs: a type with many methods has many.
fn lines(file: &Source) -> usize {
    let mut example = false;
    let counts = |line: &&str| {
        let fence = line.trim_start().strip_prefix("///").is_some_and(|doc| doc.trim_start().starts_with("```"));
        let counts = !example && !fence;
        example ^= fence;
        counts
    };
    file.text.lines().filter(counts).count()
}

/// Rule 7: a file has one job, states it in its first line, and has a name with a meaning.
pub(crate) fn one_job(tree: &[Source], limit: usize, long: &[(&str, &str)]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in tree.iter().filter(|f| f.is_rust()) {
        let lines = lines(file);
        let excuse = long.iter().find(|(path, _)| *path == file.path);
        if lines > limit && excuse.is_none() {
            findings.push(find(
                file,
                limit,
                format!("{lines} lines: has it one job? Cut it, or give the reason in tests/tidy.rs"),
            ));
        }
        if lines <= limit && excuse.is_some() {
            findings.push(find(file, 1, "is no longer long: take it off the list in tests/tidy.rs"));
        }
        if !file.text.starts_with("//! ") {
            findings.push(find(file, 1, "open with `//!`: what it is for, what it is not for, its rules"));
        }
        let empty_names = ["util", "utils", "helper", "helpers", "common", "misc"];
        if let Some(part) = file.path.trim_end_matches(".rs").split('/').find(|p| empty_names.contains(p)) {
            findings.push(find(file, 1, format!("`{part}` says nothing: name the file after its job")));
        }
    }
    findings
}

/// The allowed reasons for a sleep in a test: nothing else can be waited for, or slowness is the
/// subject.
const SLEEPS: [&str; 3] = ["the block under test sleeps: ", "the peer under test is slow: ", "between two looks: "];

/// Rule 8: nothing unfinished, no test switched off in silence, no test that sleeps and hopes.
pub(crate) fn nothing_unfinished(tree: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in tree.iter().filter(|f| f.is_rust()) {
        let of_tests = file.path.split('/').any(|part| part == "tests");
        let text: Vec<&str> = file.text.lines().collect();
        for named in &file.names {
            let last = named.parts.last().map(String::as_str).unwrap_or_default();
            if named.is_macro && ["todo", "unimplemented", "dbg"].contains(&last) {
                findings.push(find(file, named.line, format!("finish what `{last}!` stands for")));
            }
            let in_test = of_tests || !named.in_product;
            let comment = text[named.line - 1].split_once("// ").map_or("", |(_, c)| c);
            let reason = SLEEPS.iter().find_map(|reason| comment.strip_prefix(reason));
            if in_test && named.has("thread::sleep") && reason.is_none_or(|r| r.len() < 10) {
                findings.push(find(
                    file,
                    named.line,
                    "wait for the condition, with a deadline, instead of sleeping and hoping; or say why with one of SLEEPS in tests/tidy/rules.rs",
                ));
            }
        }
        for (i, line) in file.code.lines().enumerate().filter(|(_, l)| l.contains("#[ignore]")) {
            findings.push(find(
                file,
                i + 1,
                format!("say why the test is off: `{} = \"...\"]`", line.trim().trim_end_matches(']')),
            ));
        }
    }
    findings
}

/// Rule 8, second half: a file named in a comment or a document exists, and no document names
/// somebody's machine.
pub(crate) fn comments_name_what_exists(tree: &[Source], exists: impl Fn(&str) -> bool) -> Vec<String> {
    let homes = ["home", "root", "Users", "work", "workspace"].map(|dir| format!("/{dir}/"));
    let mut findings = Vec::new();
    for file in tree {
        for (i, line) in file.comments.lines().enumerate() {
            for token in line.split('`').skip(1).step_by(2).filter(|t| is_file_name(t)) {
                let token = token.trim_start_matches("./");
                let known = tree.iter().any(|f| f.path == token || f.path.ends_with(&format!("/{token}")));
                if !known && !exists(token) {
                    findings.push(find(file, i + 1, format!("`{token}` does not exist: name what took its place")));
                }
            }
        }
        for (i, line) in file.text.lines().enumerate() {
            let is_start = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-~>)}/".contains(c));
            if homes.iter().any(|home| line.match_indices(home.as_str()).any(|(at, _)| is_start(at))) {
                findings.push(find(file, i + 1, "name no path of one machine: say it relative to the repository"));
            }
        }
    }
    findings
}

/// Rule 7: comments keep to so many columns. A row of a table, and what has no space to break at,
/// may be longer.
pub(crate) fn comments_are_narrow(tree: &[Source], columns: usize) -> Vec<String> {
    let mut findings = Vec::new();
    for file in tree.iter().filter(|f| f.is_rust()) {
        let mut in_code = false;
        for (i, line) in file.text.lines().enumerate() {
            let comment = ["//! ", "/// ", "// "].iter().find_map(|mark| line.trim_start().strip_prefix(mark));
            let Some(comment) = comment else {
                in_code &= line.trim_start().starts_with("//");
                continue;
            };
            in_code ^= comment.trim_start().starts_with("```");
            let may_be_long = in_code || comment.starts_with('|') || !comment.trim().contains(' ');
            if line.chars().count() > columns && !may_be_long {
                findings.push(find(file, i + 1, format!("break this comment: it is wider than {columns} columns")));
            }
        }
    }
    findings
}

/// Rule 7: words that a better one took the place of stay away from comments and names.
pub(crate) fn no_retired_words(
    tree: &[Source],
    retired: &[(&str, &str)],
    is_exempt: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut findings = Vec::new();
    for file in tree.iter().filter(|f| f.is_rust() && !is_exempt(&f.path)) {
        for (i, line) in file.text.lines().enumerate() {
            for (word, instead) in retired {
                if line.to_lowercase().contains(word) {
                    findings.push(find(file, i + 1, format!("do not write `{word}`: write {instead}")));
                }
            }
        }
    }
    findings
}

/// A token that can only be a place in this repository: x/y.rs, x/Y.md, or anything below src/.
fn is_file_name(token: &str) -> bool {
    let plain = token.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let by_end = token.ends_with(".rs")
        || token.contains('/') && [".md", ".sh", ".toml", ".html"].iter().any(|e| token.ends_with(e));
    let by_start = ["src/", "queues/", "io/", "web/", "cli/", "tests/", "examples/", ".ci/"]
        .iter()
        .any(|s| token.starts_with(s) && token.len() > s.len());
    plain && !token.starts_with(['/', '.']) && (by_end || by_start) || plain && token.starts_with(".ci/")
}
