//! The arrows between modules go one way: a module uses those listed above it in `src/lib.rs`, and none below.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Arrows inside one layer. Modules of a layer do not know each other otherwise.
const WITHIN_A_LAYER: [(&str, &str, &str); 2] = [
    (
        "promote",
        "verify",
        "only a verdict that passed is promoted, and `Passed` says so in the signature",
    ),
    ("cli", "config", "the shell is where settings are read and used"),
];

/// The modules of `src/lib.rs` with the number of their layer; layers are separated by blank lines.
fn layers(lib: &str) -> BTreeMap<String, usize> {
    let mut layers = BTreeMap::new();
    let mut layer = 0;
    for line in lib.lines() {
        match line
            .trim()
            .strip_prefix("pub mod ")
            .or_else(|| line.trim().strip_prefix("mod "))
        {
            Some(name) => drop(layers.insert(name.trim_end_matches(';').to_owned(), layer)),
            None if line.trim().is_empty() => layer += 1,
            None => {}
        }
    }
    layers
}

/// The text with comments and the contents of literals blanked out, so that what is left is code; lines stay lines.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = literal_length(rest).unwrap_or(0);
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            out.extend(
                rest[..length]
                    .chars()
                    .map(|character| if character == '\n' { '\n' } else { ' ' }),
            );
            rest = &rest[length..];
        }
    }
    out
}

/// How many bytes of `rest` are a comment or a literal, when it begins with one.
fn literal_length(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if let Some(hashes) = rest
        .strip_prefix('r')
        .map(|raw| raw.len() - raw.trim_start_matches('#').len())
    {
        let opening = format!("r{}\"", "#".repeat(hashes));
        let closing = format!("\"{}", "#".repeat(hashes));
        let body = rest.strip_prefix(&opening)?;
        return Some(
            body.find(&closing)
                .map_or(rest.len(), |end| opening.len() + end + closing.len()),
        );
    }
    if let Some(body) = rest.strip_prefix('"') {
        return Some(1 + closing_quote(body, '"'));
    }
    // A quote that begins a character and not a lifetime: an escape, or one character and a quote.
    let body = rest.strip_prefix('\'')?;
    let is_character = body.starts_with('\\') || body.chars().nth(1) == Some('\'');
    is_character.then(|| 1 + closing_quote(body, '\''))
}

/// The length of a literal's body with its closing quote.
fn closing_quote(body: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, character) in body.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            other if other == quote => return index + other.len_utf8(),
            _ => {}
        }
    }
    body.len()
}

/// Each top-level module that `code` names by a path from the root of the crate, with its line. `depth` is how many
/// modules the file is below the root.
fn named_modules(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut named = Vec::new();
    let from_parents = "super::".repeat(depth);
    for root in ["crate::", from_parents.as_str()] {
        if root.is_empty() {
            continue;
        }
        for (start, _) in code.match_indices(root) {
            let before = code[..start].chars().next_back();
            // Part of a longer path, or of a name.
            if before.is_some_and(|character| character == ':' || character == '_' || character.is_alphanumeric()) {
                continue;
            }
            let line = code[..start].matches('\n').count() + 1;
            named.extend(
                first_names(&code[start + root.len()..])
                    .into_iter()
                    .map(|name| (line, name)),
            );
        }
    }
    named
}

/// The first name of a path, or the first name of each path in braces.
fn first_names(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|character| *character == '_' || character.is_alphanumeric())
            .collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut names = Vec::new();
    let mut nested = 0;
    let mut item_start = Some(0);
    for (index, character) in group.char_indices() {
        if nested == 0 && item_start.is_some() && !character.is_whitespace() {
            names.push(name(&group[index..]));
            item_start = None;
        }
        match character {
            '{' => nested += 1,
            '}' if nested == 0 => break,
            '}' => nested -= 1,
            ',' if nested == 0 => item_start = Some(index),
            _ => {}
        }
    }
    names
}

/// What is wrong with the arrows of one file; `file` is its path below `src/`.
fn wrong_arrows(layers: &BTreeMap<String, usize>, file: &Path, text: &str) -> Vec<String> {
    let mut modules: Vec<_> = file.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let last = modules.pop().unwrap_or_default();
    modules.extend(
        last.strip_suffix(".rs")
            .filter(|stem| *stem != "mod")
            .map(str::to_owned),
    );
    let Some(from) = modules.first().filter(|module| layers.contains_key(*module)) else {
        return Vec::new(); // lib.rs and main.rs may name everything.
    };
    let mut wrong = Vec::new();
    for (line, to) in named_modules(&code_only(text), modules.len()) {
        let Some(layer) = layers.get(&to) else { continue };
        let is_known_pair = WITHIN_A_LAYER.iter().any(|(one, other, _)| one == from && *other == to);
        if to != *from && *layer >= layers[from] && !is_known_pair {
            wrong.push(format!(
                "src/{}:{line}: {from} → {to}: `{to}` is not above `{from}` in src/lib.rs. Ways out: move the shared type \
                 to `types`, hand the value over as an argument, or let a module below both join them",
                file.display()
            ));
        }
    }
    wrong
}

fn source_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("src/ can be listed") {
        let path = entry.expect("src/ can be listed").path();
        if path.is_dir() {
            files.extend(source_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn modules_use_only_modules_above_them() {
    let source = crate::support::project().join("src");
    let read = |path: &Path| std::fs::read_to_string(path).expect("a source file is readable");
    let layers = layers(&read(&source.join("lib.rs")));
    assert!(
        layers.len() > 10,
        "src/lib.rs lists the modules, one a line: {layers:?}"
    );
    let wrong: Vec<_> = source_files(&source)
        .iter()
        .flat_map(|path| wrong_arrows(&layers, path.strip_prefix(&source).expect("below src/"), &read(path)))
        .collect();
    assert!(wrong.is_empty(), "arrows that go the wrong way:\n{}", wrong.join("\n"));
}

const SMALL_LIB: &str =
    "//! x\n\npub mod types;\n\npub mod order;\npub mod change;\n\npub mod promote;\npub mod verify;\n";

fn wrong_in(file: &str, text: &str) -> Vec<String> {
    wrong_arrows(&layers(SMALL_LIB), Path::new(file), text)
}

#[test]
fn a_wrong_arrow_is_found_in_every_spelling() {
    for text in [
        "use crate::verify::Passed;",
        "use crate::{types::X, verify::{self, Y}};",
        "use crate::{\n    types::X,\n    verify,\n};",
        "fn f() { crate::verify::g(); }",
        "fn f() -> ::std::vec::Vec<crate::verify::X> {}",
        "use super::verify;",
        "const QUOTE: char = '\"'; use crate::verify; const OTHER: &str = \"\\\"\";",
        "fn f<'a>(x: &'a str) { crate::verify::g('\\'') }",
    ] {
        let wrong = wrong_in("order/mod.rs", text);
        assert_eq!(wrong.len(), 1, "{text}: {wrong:?}");
        assert!(wrong[0].contains("order → verify"), "{wrong:?}");
    }
    assert!(wrong_in("order/parse.rs", "\n\nuse super::super::verify;")[0].starts_with("src/order/parse.rs:3: "));
    assert_eq!(
        wrong_in("order.rs", "use crate::change;").len(),
        1,
        "modules of a layer do not know each other"
    );
}

#[test]
fn what_is_no_wrong_arrow_is_left_alone() {
    for (file, text) in [
        (
            "order/mod.rs",
            "use crate::types::RepoPath; use crate::order::parse; use super::types;",
        ),
        (
            "order/mod.rs",
            "//! See [`crate::verify`].\n/* crate::verify */ const X: &str = \"crate::verify\"; // crate::verify",
        ),
        (
            "order/mod.rs",
            "const X: &str = r#\"\" crate::verify\"#; fn f() { other_crate::verify(); }",
        ),
        ("order/parse.rs", "use super::verify;"),
        (
            "promote/mod.rs",
            "use crate::verify::Passed; use crate::{order, change};",
        ),
        ("main.rs", "use crate::verify;"),
    ] {
        assert_eq!(wrong_in(file, text), Vec::<String>::new(), "{text}");
    }
}
