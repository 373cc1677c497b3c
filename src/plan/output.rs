//! The files of a plan's directory, by name.

use crate::order::sort_files;

/// The file that says what the others are. It is written last and removed first: a directory without it has no whole plan.
pub const MANIFEST: &str = "manifest.json";

/// Whether a file of this name holds an order of a plan.
pub fn is_order_file(name: &str) -> bool {
    !sort_files([name]).is_empty()
}

/// The names that a new plan would have to replace, the manifest first; other files are of no concern.
pub fn in_the_way<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    let names = names.into_iter().map(|name| name.as_ref().to_owned());
    let (manifest, orders): (Vec<_>, Vec<_>) = names
        .filter(|name| name == MANIFEST || is_order_file(name))
        .partition(|name| name == MANIFEST);
    manifest.into_iter().chain(sort_files(orders)).collect()
}
