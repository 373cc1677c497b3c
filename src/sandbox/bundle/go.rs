//! Go: the system's or an unpacked archive, and the modules it has downloaded.

use super::{Bundle, directory, is_file, on_path, variables};
use crate::sandbox::profile::Operator;
use std::fs;
use std::path::{Path, PathBuf};

/// The Go that the operator's shell would start.
pub(super) fn toolchain(operator: &Operator<'_>) -> Option<Bundle> {
    let program = fs::canonicalize(on_path("go", operator).next()?).ok()?;
    let mut bundle = Bundle {
        env: variables([
            // Another toolchain, a module and a check sum would each be downloaded. Source: `go help environment`.
            ("GOTOOLCHAIN", "local"),
            ("GOPROXY", "off"),
            ("GOSUMDB", "off"),
            // Settings of the operator's account are not shown; those of the tree's are not asked for.
            ("GOENV", "off"),
        ]),
        ..Bundle::default()
    };
    bundle.add_prefix(&program, is_installation);
    bundle.shows(&program).then_some(bundle)
}

/// The module cache. Source: Go Modules Reference, "Module cache"; `go help environment` for the variables.
pub(super) fn cache(operator: &Operator<'_>) -> Option<Bundle> {
    let named = (operator.variable)("GOMODCACHE").filter(|value| !value.is_empty());
    let modules = match named {
        Some(named) => PathBuf::from(named),
        None => {
            let paths = directory("GOPATH", "go", operator)?;
            std::env::split_paths(&paths).next()?.join("pkg/mod")
        }
    };
    // Where a link leads, because a layer lies on a directory and not on a name for it.
    let modules = fs::canonicalize(Some(modules).filter(|modules| modules.is_absolute())?).ok()?;
    modules.is_dir().then(|| Bundle {
        env: variables([("GOMODCACHE", &modules.to_string_lossy())]),
        snapshots: vec![modules],
        ..Bundle::default()
    })
}

/// Whether a directory is a `GOROOT`, by the file that the go command itself looks for. Source: `go help environment`,
/// `GOROOT`; `cmd/go/internal/cfg`, which asks for `pkg/tool`.
fn is_installation(prefix: &Path) -> bool {
    is_file(&prefix.join("bin/go")) && prefix.join("pkg/tool").is_dir()
}

#[cfg(test)]
mod tests {
    use super::super::scene::{operator, program, read};
    use super::*;

    #[test]
    fn an_unpacked_archive_is_granted_and_a_bare_program_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let prefix = fs::canonicalize(directory.path()).unwrap().join("go");
        program(&prefix.join("bin/go"));
        let path = prefix.join("bin").display().to_string();
        assert_eq!(toolchain(&operator(&path, &|_| None)), None);
        fs::create_dir_all(prefix.join("pkg/tool")).unwrap();
        let bundle = toolchain(&operator(&path, &|_| None)).unwrap();
        assert_eq!(read(&bundle), [prefix.as_path()]);
    }

    #[test]
    fn the_module_cache_is_where_the_variables_say() {
        let home = tempfile::tempdir().unwrap();
        for name in ["go/pkg/mod", "first/pkg/mod", "own"] {
            fs::create_dir_all(home.path().join(name)).unwrap();
        }
        let word = |name: &str| home.path().join(name).display().to_string();
        let path = format!("{}:{}", word("first"), word("second"));
        for (name, value, expected) in [
            ("HOME", word(""), "go/pkg/mod"),
            ("GOPATH", path, "first/pkg/mod"),
            ("GOMODCACHE", word("own"), "own"),
        ] {
            let bundle = cache(&operator("", &|asked| (asked == name).then(|| value.clone()))).unwrap();
            assert_eq!(bundle.snapshots, [home.path().join(expected)]);
            assert_eq!(Path::new(&bundle.env["GOMODCACHE"]), home.path().join(expected));
        }
    }
}
