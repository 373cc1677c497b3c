//! C and C++: the system's compilers and make, or an unpacked compiler.

use super::{Bundle, on_path};
use crate::sandbox::profile::Operator;
use std::fs;
use std::path::Path;

/// The C compiler that the operator's shell would start. That of the system comes with `@system`, and so do make, cmake and
/// the headers.
pub(super) fn toolchain(operator: &Operator<'_>) -> Option<Bundle> {
    let compiler = ["cc", "gcc", "clang"]
        .iter()
        .find_map(|name| on_path(name, operator).next())?;
    let program = fs::canonicalize(compiler).ok()?;
    let mut bundle = Bundle::default();
    bundle.add_prefix(&program, is_installation);
    bundle.shows(&program).then_some(bundle)
}

/// Whether a directory is an installation of GCC or Clang, by the directory of the compiler's own headers.
/// Source: GCC manual, "Directory Options"; Clang user's manual, "Resource directory".
fn is_installation(prefix: &Path) -> bool {
    ["lib/gcc", "lib/clang"].iter().any(|name| prefix.join(name).is_dir())
}

#[cfg(test)]
mod tests {
    use super::super::scene::{operator, program, read};
    use super::*;

    #[test]
    fn a_compiler_of_its_own_is_granted_by_its_headers() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = fs::canonicalize(directory.path()).unwrap();
        program(&prefix.join("bin/clang"));
        let path = prefix.join("bin").display().to_string();
        assert_eq!(toolchain(&operator(&path, &|_| None)), None);
        fs::create_dir_all(prefix.join("lib/clang")).unwrap();
        assert_eq!(
            read(&toolchain(&operator(&path, &|_| None)).unwrap()),
            [prefix.as_path()]
        );
    }
}
