//! Python: the system's, pyenv's, or a virtual environment.

use super::{ALIASES, Bundle, SYSTEM_PATH, component, directory};
use crate::sandbox::profile::Operator;
use std::fs;
use std::path::{Path, PathBuf};

/// The Python that the operator's shell would start: the system's, pyenv's, or that of a virtual environment.
pub(super) fn toolchain(operator: &Operator<'_>) -> Option<Bundle> {
    let interpreter = ["python3", "python"]
        .iter()
        .find_map(|name| find_interpreter(name, operator))?;
    let mut bundle = Bundle::default();
    bundle.add_prefix(&interpreter, is_installation);
    // A virtual environment borrows the library of the interpreter that made it.
    let home = interpreter
        .parent()?
        .parent()
        .map(|prefix| prefix.join("pyvenv.cfg"))
        .and_then(|file| venv_home(&file));
    if let Some(home) = home {
        bundle.add_prefix(&home.join("python3"), is_installation);
    }
    // Behind links, as `bin/python3` of a virtual environment is one: where the program itself lives.
    let real = fs::canonicalize(&interpreter).ok()?;
    bundle.add_prefix(&real, is_installation);
    // What the operator's name leads to, where the directory of the name itself is not shown.
    let program = if bundle.shows(&interpreter) { interpreter } else { real };
    // Orders say `python`; some systems have only `python3`, and some installations only a name with the version.
    for name in ["python3", "python"] {
        let mut directories = bundle
            .path
            .iter()
            .map(PathBuf::as_path)
            .chain(SYSTEM_PATH.iter().map(Path::new));
        if !directories.any(|directory| directory.join(name).exists()) {
            bundle.aliases.insert(name.to_owned(), program.clone());
        }
    }
    if !bundle.aliases.is_empty() {
        bundle.path.push(ALIASES.into());
    }
    Some(bundle)
}

/// Whether a directory is a Python installation or a virtual environment, by what the interpreter itself looks for.
/// Source: the documentation of `sys.prefix` and `site`: the landmark `lib/pythonX.Y/os.py`, and PEP 405.
fn is_installation(prefix: &Path) -> bool {
    let libraries = fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten();
    prefix.join("pyvenv.cfg").is_file()
        || libraries
            .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"python"))
            .any(|entry| entry.path().join("os.py").is_file())
}

/// The first program of that name on the operator's `PATH`, through pyenv's shims to the version they would choose.
fn find_interpreter(name: &str, operator: &Operator<'_>) -> Option<PathBuf> {
    let shims = pyenv_root(operator).map(|root| root.join("shims"));
    std::env::split_paths(operator.search_path)
        .filter(|directory| directory.is_absolute())
        .find_map(|directory| {
            let found = if Some(&directory) == shims.as_ref() {
                pyenv_version(operator)?.join("bin").join(name)
            } else {
                directory.join(name)
            };
            // A shim elsewhere, as those of plug-ins are, is a script that would not work without its manager.
            let is_shim = directory.ends_with("shims") && Some(&directory) != shims.as_ref();
            (!is_shim && fs::metadata(&found).is_ok_and(|metadata| metadata.is_file())).then_some(found)
        })
}

fn pyenv_root(operator: &Operator<'_>) -> Option<PathBuf> {
    directory("PYENV_ROOT", ".pyenv", operator).filter(|root| root.is_dir())
}

/// The directory of the version in force for the operator. A `.python-version` in a tree is not asked: a tree under test
/// has no say in what is granted.
fn pyenv_version(operator: &Operator<'_>) -> Option<PathBuf> {
    let root = pyenv_root(operator)?;
    let text = (operator.variable)("PYENV_VERSION").or_else(|| fs::read_to_string(root.join("version")).ok())?;
    let version = component(text.split([':', '\n']).next()?).filter(|version| *version != "system")?;
    Some(root.join("versions").join(version)).filter(|prefix| prefix.is_dir())
}

/// The directory of the interpreter behind a virtual environment. Source: PEP 405, "Specification".
fn venv_home(file: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    let home = text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim() == "home").then(|| PathBuf::from(value.trim()))
    })?;
    home.is_absolute().then_some(home)
}

#[cfg(test)]
mod tests {
    use super::super::scene::{operator, program};
    use super::*;
    use crate::sandbox::policy::ReadGrant;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_pyenv_shim_leads_to_the_version_in_force() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join(".pyenv");
        program(&root.join("shims/python3"));
        program(&root.join("versions/3.12.1/bin/python3"));
        program(&root.join("versions/3.12.1/bin/python"));
        program(&root.join("versions/3.12.1/lib/python3.12/os.py"));
        fs::write(root.join("version"), "3.12.1\n").unwrap();
        let home_text = home.path().display().to_string();
        let variable = move |name: &str| (name == "HOME").then(|| home_text.clone());
        let path = root.join("shims").display().to_string();
        let bundle = toolchain(&operator(&path, &variable)).unwrap();
        assert_eq!(
            bundle.read,
            [ReadGrant {
                path: root.join("versions/3.12.1"),
                optional: false
            }]
        );
        assert_eq!(bundle.path, [root.join("versions/3.12.1/bin")]);
        assert!(bundle.aliases.is_empty());
    }

    #[test]
    fn a_virtual_environment_brings_the_installation_that_it_borrows_from() {
        let directory = tempfile::tempdir().unwrap();
        let directory = fs::canonicalize(directory.path()).unwrap();
        let (base, venv) = (directory.join("base"), directory.join("venv"));
        program(&base.join("bin/python3"));
        program(&base.join("lib/python3.12/os.py"));
        fs::create_dir_all(venv.join("bin")).unwrap();
        symlink(base.join("bin/python3"), venv.join("bin/python3")).unwrap();
        symlink("python3", venv.join("bin/python")).unwrap();
        fs::write(
            venv.join("pyvenv.cfg"),
            format!("home = {}\n", base.join("bin").display()),
        )
        .unwrap();
        let path = venv.join("bin").display().to_string();
        let bundle = toolchain(&operator(&path, &|_| None)).unwrap();
        let granted: Vec<_> = bundle.read.iter().map(|grant| grant.path.clone()).collect();
        assert_eq!(granted, [venv, base]);
    }

    #[test]
    fn a_link_in_the_home_directory_does_not_grant_the_home_directory() {
        let home = tempfile::tempdir().unwrap();
        let home = fs::canonicalize(home.path()).unwrap();
        let base = home.join(".local/share/uv/python/cpython-3.12");
        program(&base.join("bin/python3"));
        program(&base.join("lib/python3.12/os.py"));
        // What the system's own pip leaves there is a package directory, not a library.
        fs::create_dir_all(home.join(".local/lib/python3.12/site-packages")).unwrap();
        for bin in [home.join("bin"), home.join(".local/bin")] {
            fs::create_dir_all(&bin).unwrap();
            symlink(base.join("bin/python3"), bin.join("python3")).unwrap();
            let path = bin.display().to_string();
            let bundle = toolchain(&operator(&path, &|_| None)).unwrap();
            let granted: Vec<_> = bundle.read.iter().map(|grant| grant.path.clone()).collect();
            assert_eq!(granted, std::slice::from_ref(&base));
            assert_eq!(bundle.path.first(), Some(&base.join("bin")));
        }
    }
}
