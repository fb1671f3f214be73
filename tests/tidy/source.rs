//! A reader of Rust text that is just good enough for the house rules.
//!
//! For: telling code from comments and strings, product code from test code, and listing every path
//! that code names (`use a::{b, c}` is two paths). Not for: types, macros or anything a compiler
//! must know. It leaves out what it cannot understand, so a rule can miss a clever line but does
//! not invent one. Rules: every view of a file keeps its line breaks, so a position in one view is
//! the same line in all. No dependencies, no regular expressions.

use std::{fs, path::Path};

/// One text file of the repository, with the views that the rules use.
pub(crate) struct Source {
    /// Relative to the root of the repository, with `/` between its parts.
    pub(crate) path: String,
    /// The text on disk.
    pub(crate) text: String,
    /// Without comments and without the insides of strings; a `.md` or `.sh` file has none.
    pub(crate) code: String,
    /// Only the comments. For a file that is not Rust, everything.
    pub(crate) comments: String,
    /// `code` without what is compiled for tests only.
    pub(crate) product: String,
    /// Every path that `code` names, in order.
    pub(crate) names: Vec<Named>,
}

/// A path as code names it: `use std::{fs, io::Read}` names `std::fs` and `std::io::Read`.
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) parts: Vec<String>,
    /// Followed by `!`: a macro is called.
    pub(crate) is_macro: bool,
    /// Stands behind a dot: a method or a field.
    pub(crate) is_member: bool,
    /// Stands in the code of the product, not in what is compiled for tests only.
    pub(crate) in_product: bool,
}

impl Named {
    /// Whether `wanted` ("std::thread") stands somewhere in the path.
    pub(crate) fn has(&self, wanted: &str) -> bool {
        (0..self.parts.len()).any(|at| {
            let mut rest = self.parts[at..].iter();
            wanted.split("::").all(|part| rest.next().is_some_and(|p| p == part))
        })
    }
}

/// Reads the files written by people: Rust, Markdown, manifests, scripts, pages.
pub(crate) fn read_tree(root: &Path) -> Vec<Source> {
    fn walk(dir: &Path, root: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(dir).expect("a directory of the repository can be listed").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if name == "target" || (name.starts_with('.') && name != ".ci") {
                continue;
            }
            if path.is_dir() {
                walk(&path, root, found);
            } else if [".rs", ".md", ".toml", ".sh", ".html"].iter().any(|e| name.ends_with(e)) || name == "run" {
                // A file may vanish between listing and reading while somebody works in the tree.
                let Ok(text) = fs::read_to_string(&path) else {
                    continue;
                };
                let path = path.strip_prefix(root).expect("the walk starts at the root");
                found.push((path.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    tree(found.iter().map(|(path, text)| (path.as_str(), text.as_str())))
}

/// The same from given texts, for the samples of the rules.
pub(crate) fn tree<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Source> {
    let mut tests = Vec::new();
    let mut files: Vec<Source> = files.into_iter().map(|(path, text)| Source::new(path, text, &mut tests)).collect();
    // `#[cfg(test)] mod models;` makes a test of the whole file, and of the modules below it.
    for file in &mut files {
        let module = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        if tests.iter().any(|t| module == t || module.starts_with(&format!("{t}/"))) {
            file.product = blank(&file.product);
            file.names.iter_mut().for_each(|named| named.in_product = false);
        }
    }
    files
}

impl Source {
    fn new(path: &str, text: &str, test_modules: &mut Vec<String>) -> Source {
        let (code, comments) = if path.ends_with(".rs") { split(text) } else { (blank(text), text.to_string()) };
        let (product, tests) = without_tests(&code);
        // `mod x;` in a/lib.rs or a/mod.rs is a/x.rs; in a/b.rs it is a/b/x.rs.
        let stem = path.trim_end_matches(".rs");
        let (dir, name) = stem.rsplit_once('/').unwrap_or(("", stem));
        let dir = if ["lib", "main", "mod"].contains(&name) { dir } else { stem };
        for module in tests.iter().filter_map(|t| module_declared(t)) {
            test_modules.push(format!("{dir}/{module}"));
        }
        let mut names = names(&code);
        let lines: Vec<&str> = product.lines().collect();
        for named in &mut names {
            named.in_product = lines.get(named.line - 1).is_some_and(|l| !l.trim().is_empty());
        }
        Source { path: path.into(), text: text.into(), code, comments, product, names }
    }

    /// The names in the code of the product.
    pub(crate) fn product_names(&self) -> impl Iterator<Item = &Named> {
        self.names.iter().filter(|named| named.in_product)
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the file is the module at `module` ("src/ws") or stands below it.
    pub(crate) fn is_in(&self, module: &str) -> bool {
        let rest = self.path.strip_prefix(module);
        rest.is_some_and(|r| r == ".rs" || r.starts_with('/'))
    }
}

/// The name in `mod name;`, whatever its visibility.
pub(crate) fn module_declared(statement: &str) -> Option<&str> {
    let (before, after) = statement.split_once("mod ")?;
    let alone = before.trim_end().ends_with([']', ')']) || before.trim().is_empty() || before.trim().ends_with("pub");
    let name = after.trim_end().trim_end_matches(';').trim();
    (alone && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(name)
}

/// Every path that `code` names, groups taken apart.
pub(crate) fn names(code: &str) -> Vec<Named> {
    let chars: Vec<char> = code.chars().collect();
    let (mut found, mut at, mut line, mut counted) = (Vec::new(), 0, 1, 0);
    while at < chars.len() {
        let starts = is_word(chars[at]) && !chars[at].is_numeric() && (at == 0 || !is_word(chars[at - 1]));
        if starts {
            line += chars[counted..at].iter().filter(|&&c| c == '\n').count();
            counted = at;
            at = one_path(&chars, at, line, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path from `at`, below `before`; returns the position after it.
fn one_path(chars: &[char], mut at: usize, mut line: usize, before: &[String], found: &mut Vec<Named>) -> usize {
    let (mut parts, first) = (before.to_vec(), at);
    loop {
        let start = at;
        while at < chars.len() && is_word(chars[at]) {
            at += 1;
        }
        let word: String = chars[start..at].iter().collect();
        // `a::{self}` is `a`; `a::*` and `a::<T>` end here.
        if !word.is_empty() && (word != "self" || before.is_empty()) {
            parts.push(word);
        }
        if chars.get(at..at + 2) != Some(&[':', ':']) {
            break;
        }
        at += 2;
        if chars.get(at) == Some(&'{') {
            at += 1;
            while at < chars.len() && chars[at] != '}' {
                // `as name` after a path of the group is a new name, not a path: go to the comma.
                if is_word(chars[at]) {
                    let end = one_path(chars, at, line, &parts, found);
                    line += chars[at..end].iter().filter(|&&c| c == '\n').count();
                    at = end;
                    while at < chars.len() && !matches!(chars[at], ',' | '}') {
                        at += 1;
                    }
                } else {
                    line += usize::from(chars[at] == '\n');
                    at += 1;
                }
            }
            return at + 1;
        }
    }
    let is_macro = chars.get(at) == Some(&'!') && chars.get(at + 1) != Some(&'=');
    let is_member = first > 1 && chars[first - 1] == '.' && chars[first - 2] != '.';
    found.push(Named { line, parts, is_macro, is_member, in_product: true });
    at
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { ' ' }).collect()
}

/// Code and comments, each with the other blanked out; strings keep only their quotes.
fn split(text: &str) -> (String, String) {
    let chars: Vec<char> = text.chars().collect();
    let (mut code, mut comments) = (String::new(), String::new());
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let (length, comment, keep) = match rest {
            ['/', '/', ..] => (rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()), true, 0),
            ['/', '*', ..] => (block_comment(rest), true, 0),
            ['"', ..] => (string(rest), false, 1),
            ['r', '"' | '#', ..] if at == 0 || !is_word(chars[at - 1]) || chars[at - 1] == 'b' => {
                (raw_string(rest), false, 1)
            }
            ['\'', '\\', ..] => (2 + rest.iter().skip(3).position(|&c| c == '\'').unwrap_or(0) + 2, false, 1),
            ['\'', _, '\'', ..] => (3, false, 1),
            _ => (1, false, 1),
        };
        for (i, &c) in rest[..length.clamp(1, rest.len())].iter().enumerate() {
            let inside = if c == '\n' { '\n' } else { ' ' };
            comments.push(if comment { c } else { inside });
            code.push(if !comment && i < keep { c } else { inside });
        }
        at += length.clamp(1, rest.len());
    }
    (code, comments)
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != '"' {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `r"..."`, `r#"..."#`; a raw identifier (`r#type`) is one letter of code.
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 1;
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let body = 2 + hashes;
    rest[body..].windows(end.len()).position(|w| w == end).map_or(rest.len(), |p| body + p + end.len())
}

/// `code` with every item under a `#[cfg(test)]` blanked out, and those items.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut product: Vec<char> = code.chars().collect();
    let mut items = Vec::new();
    let mut at = 0;
    while at + 5 < product.len() {
        let attribute = product[at..].starts_with(&['#', '[', 'c', 'f', 'g', '(']);
        let whole_file = product[at..].starts_with(&['#', '!', '[', 'c', 'f', 'g', '(']);
        if attribute || whole_file {
            let end = after_brackets(&product, at);
            let condition: String = product[at..end].iter().collect();
            let only_tests = ["(test", " test", "(doctest"].iter().any(|t| condition.contains(t));
            if only_tests && !condition.contains("not(test") {
                let stop = if whole_file { product.len() } else { after_item(&product, end) };
                items.push(product[end..stop].iter().collect());
                product[at..stop].iter_mut().filter(|c| **c != '\n').for_each(|c| *c = ' ');
            }
            at = end;
        } else {
            at += 1;
        }
    }
    (product.into_iter().collect(), items)
}

/// The position after the bracket, of any kind, that opens first at or after `at`.
fn after_brackets(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match chars[at] {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' if depth == 1 => return at + 1,
            ']' | ')' | '}' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    at
}

/// The position after the item, statement or field that starts at `at`.
fn after_item(chars: &[char], mut at: usize) -> usize {
    let words: String = chars[at..].iter().take(200).collect();
    let words = words.trim_start();
    let is_item =
        ["pub", "fn", "mod", "impl", "struct", "enum", "use", "const", "static", "trait", "type", "unsafe", "#"]
            .iter()
            .any(|k| words.starts_with(k));
    while at < chars.len() {
        match chars[at] {
            '{' => return after_brackets(chars, at),
            '(' | '[' => at = after_brackets(chars, at),
            ';' => return at + 1,
            ',' if !is_item => return at + 1,
            _ => at += 1,
        }
    }
    at
}
