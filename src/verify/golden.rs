//! Golden suites: tests that the operator keeps where neither a model nor a repository sees them.
//!
//! - A suite is a directory: `suite.json`, which names its commands, and whatever these need beside it. Inside, it is at
//!   `/golden/NAME`, read-only, for its own commands and for no others.
//! - An order names it by its name and the digest of all that is in it, so that what judges is what was meant.
//! - What judges is a copy of the bytes whose digest was made: the directory itself may change meanwhile.

use crate::order::json::Defects;
use crate::order::{AcceptanceCommand, Golden, canonical_json, is_plain_id, parse_suite};
use crate::types::{FailureClass, Problem, Sha256};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The file of a suite that names its commands.
pub const SUITE_FILE: &str = "suite.json";

/// How many files and directories a suite may have.
const MAX_ENTRIES: usize = 10_000;

/// How many bytes its files may have together.
const MAX_BYTES: u64 = 64 << 20;

/// The version of what the digest of a suite is made of.
const DIGEST: &str = "factory golden suite 1";

/// A suite as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    /// Its name, and the digest of all that is in it.
    pub golden: Golden,
    /// The commands that judge.
    pub commands: Vec<AcceptanceCommand>,
    files: BTreeMap<String, File>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    bytes: Vec<u8>,
    executable: bool,
}

/// Why a suite cannot judge.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// There is no place for suites, because nothing says where the home directory is.
    #[error("there is no directory for golden suites: HOME is not set to an absolute path")]
    NoPlace,
    /// There is no suite of the name.
    #[error("there is no golden suite `{name}`")]
    Missing {
        /// The name.
        name: String,
        /// Where it was looked for.
        place: PathBuf,
    },
    /// It is not what the order means.
    #[error("the golden suite `{name}` has the digest {found}, and the order means {meant}")]
    Other {
        /// The name.
        name: String,
        /// The digest that it has.
        found: Sha256,
        /// The digest that the order names.
        meant: Sha256,
    },
    /// Something in it can be no part of a suite.
    #[error("`{}` can be no part of a golden suite: {reason}", path.display())]
    Entry {
        /// What.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Its commands cannot be read.
    #[error("cannot read `{}`:\n{defects}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong with it.
        defects: Defects,
    },
    /// The file system refuses.
    #[error("cannot {step} `{}`", path.display())]
    Io {
        /// What was being done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Problem for GoldenError {
    fn class(&self) -> FailureClass {
        match self {
            GoldenError::Other { .. } => FailureClass::Order,
            _ => FailureClass::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            GoldenError::NoPlace => "set HOME, or XDG_CONFIG_HOME".to_owned(),
            GoldenError::Missing { place, .. } => format!(
                "put the suite at `{}`, with its commands in {SUITE_FILE}; or correct the name in the order",
                place.display()
            ),
            GoldenError::Other { .. } => {
                "see what changed in the suite, a cache that a program left there included; if it is \
                 right as it is, put the new digest into the order: `factory golden` prints it"
                    .to_owned()
            }
            GoldenError::Entry { .. } => {
                "a suite consists of regular files and directories; take out what is something else".to_owned()
            }
            GoldenError::Manifest { .. } => "correct the places named; `factory golden` checks all suites".to_owned(),
            GoldenError::Io { .. } => "see to it that this user can read the directory of the suites".to_owned(),
        })
    }
}

/// The names of the suites in a directory, which need not be there.
///
/// # Errors
/// `Host` when it cannot be read.
pub fn suite_names(directory: &Path) -> Result<Vec<String>, GoldenError> {
    let failed = |source| GoldenError::Io {
        step: "list",
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().into_string().ok().filter(|name| is_plain_id(name));
        names.extend(name.filter(|_| entry.path().is_dir()));
    }
    names.sort();
    Ok(names)
}

impl Suite {
    /// Reads the suite of a name from the directory of suites.
    ///
    /// # Errors
    /// `Host`, when it is not there or is no suite.
    pub fn read(directory: &Path, name: &str) -> Result<Self, GoldenError> {
        let place = directory.join(name);
        if !is_plain_id(name) || !place.is_dir() {
            return Err(GoldenError::Missing {
                name: name.to_owned(),
                place,
            });
        }
        let mut reading = Reading::default();
        reading.directory(&place, "")?;
        let path = place.join(SUITE_FILE);
        let Some(manifest) = reading.files.get(SUITE_FILE) else {
            return Err(GoldenError::Io {
                step: "find",
                path,
                source: io::ErrorKind::NotFound.into(),
            });
        };
        let commands = parse_suite(&manifest.bytes).map_err(|defects| GoldenError::Manifest { path, defects })?;
        let digests = reading.files.iter();
        let digests: Vec<_> = digests
            .map(|(path, file)| (path, Sha256::of(&file.bytes), file.executable))
            .collect();
        Ok(Suite {
            golden: Golden {
                name: name.to_owned(),
                sha256: Sha256::of(&canonical_json(&json!([DIGEST, digests]))),
            },
            commands,
            files: reading.files,
        })
    }

    /// Reads the suite that an order names.
    ///
    /// # Errors
    /// As for [`Suite::read`]; `Order` when it has another digest.
    pub fn find(directory: Option<&Path>, wanted: &Golden) -> Result<Self, GoldenError> {
        let suite = Suite::read(directory.ok_or(GoldenError::NoPlace)?, &wanted.name)?;
        match suite.golden.sha256 == wanted.sha256 {
            true => Ok(suite),
            false => Err(GoldenError::Other {
                name: wanted.name.clone(),
                found: suite.golden.sha256,
                meant: wanted.sha256,
            }),
        }
    }

    /// How many files are in it.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Writes its files into a new directory, readable for whoever a command runs as.
    ///
    /// # Errors
    /// `Host` when the file system refuses.
    pub fn write(&self, place: &Path) -> Result<(), GoldenError> {
        let failed = |path: &Path, source| GoldenError::Io {
            step: "write",
            path: path.to_owned(),
            source,
        };
        let directory = |path: &Path| fs::DirBuilder::new().mode(0o755).recursive(true).create(path);
        directory(place).map_err(|error| failed(place, error))?;
        for (name, file) in &self.files {
            let path = place.join(name);
            let written = directory(path.parent().unwrap_or(place))
                .and_then(|()| fs::write(&path, &file.bytes))
                .and_then(|()| {
                    let mode = if file.executable { 0o755 } else { 0o644 };
                    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                });
            written.map_err(|error| failed(&path, error))?;
        }
        Ok(())
    }
}

/// A suite that is being read.
#[derive(Default)]
struct Reading {
    files: BTreeMap<String, File>,
    entries: usize,
    bytes: u64,
}

impl Reading {
    fn directory(&mut self, directory: &Path, prefix: &str) -> Result<(), GoldenError> {
        let failed = |source| GoldenError::Io {
            step: "list",
            path: directory.to_owned(),
            source,
        };
        for entry in fs::read_dir(directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let refused = |reason: &str| GoldenError::Entry {
                path: path.clone(),
                reason: reason.to_owned(),
            };
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(refused(&format!(
                    "there are more than {MAX_ENTRIES} files and directories"
                )));
            }
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.filter(|name| !name.contains(char::is_control));
            let name = name.ok_or_else(|| refused("its name is not UTF-8, or has control characters"))?;
            let name = format!("{prefix}{name}");
            let metadata = fs::symlink_metadata(&path).map_err(failed)?;
            if metadata.is_dir() {
                self.directory(&path, &format!("{name}/"))?;
            } else if metadata.is_file() {
                let file = self.file(&path)?;
                self.files.insert(name, file);
            } else if metadata.is_symlink() {
                return Err(refused("it is a symbolic link, and what that leads to has no digest"));
            } else {
                return Err(refused("it is neither a file nor a directory"));
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<File, GoldenError> {
        let failed = |source| GoldenError::Io {
            step: "read",
            path: path.to_owned(),
            source,
        };
        // Not through a link, nor waiting for a pipe, that took its place just now.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
        let file = file.map_err(failed)?;
        let executable = file.metadata().map_err(failed)?.permissions().mode() & 0o111 != 0;
        let left = MAX_BYTES - self.bytes;
        let mut bytes = Vec::new();
        file.take(left + 1).read_to_end(&mut bytes).map_err(failed)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > left {
            return Err(GoldenError::Entry {
                path: path.to_owned(),
                reason: format!("the files have more than {} MiB together", MAX_BYTES >> 20),
            });
        }
        self.bytes += length;
        Ok(File { bytes, executable })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMANDS: &str = r#"{"schema_version": 1, "commands": [{"argv": ["sh", "/golden/api/run.sh"]}]}"#;

    fn place() -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("api/data")).unwrap();
        fs::write(place.path().join("api/suite.json"), COMMANDS).unwrap();
        fs::write(place.path().join("api/run.sh"), "exit 0\n").unwrap();
        fs::write(place.path().join("api/data/one"), "1").unwrap();
        place
    }

    fn digest(place: &tempfile::TempDir) -> Sha256 {
        Suite::read(place.path(), "api").unwrap().golden.sha256
    }

    #[test]
    fn the_digest_changes_with_every_byte_name_and_mode() {
        let place = place();
        let file = |name: &str| place.path().join("api").join(name);
        let first = digest(&place);
        assert_eq!(digest(&place), first);
        fs::write(file("data/one"), "2").unwrap();
        let other_byte = digest(&place);
        fs::write(file("data/one"), "1").unwrap();
        fs::set_permissions(file("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let other_mode = digest(&place);
        fs::set_permissions(file("run.sh"), fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(file("data/one"), file("data/two")).unwrap();
        let other_name = digest(&place);
        fs::rename(file("data/two"), file("data/one")).unwrap();
        fs::write(file("more"), "").unwrap();
        let one_more = digest(&place);
        fs::remove_file(file("more")).unwrap();
        assert_eq!(digest(&place), first);
        for other in [other_byte, other_mode, other_name, one_more] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn the_copy_has_the_same_digest() {
        let (place, copy) = (place(), tempfile::tempdir().unwrap());
        fs::set_permissions(place.path().join("api/run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
        let suite = Suite::read(place.path(), "api").unwrap();
        suite.write(&copy.path().join("api")).unwrap();
        assert_eq!(Suite::read(copy.path(), "api").unwrap(), suite);
        assert_eq!(suite.file_count(), 3);
    }

    #[test]
    fn what_has_no_digest_is_refused() {
        let refused = |make: &dyn Fn(&Path)| {
            let place = place();
            make(&place.path().join("api"));
            Suite::read(place.path(), "api").unwrap_err().to_string()
        };
        let link = |dir: &Path| std::os::unix::fs::symlink("/etc/passwd", dir.join("data/link")).unwrap();
        assert!(refused(&link).contains("symbolic link"));
        let pipe = |dir: &Path| nix::unistd::mkfifo(&dir.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refused(&pipe).contains("neither a file nor a directory"));
        let large = |dir: &Path| {
            let file = fs::File::create(dir.join("large")).unwrap();
            file.set_len(MAX_BYTES).unwrap();
        };
        assert!(refused(&large).contains("64 MiB together"));
        let name = |dir: &Path| fs::write(dir.join("a\nb"), "").unwrap();
        assert!(refused(&name).contains("control characters"));
        let nothing = |dir: &Path| fs::remove_file(dir.join(SUITE_FILE)).unwrap();
        assert!(refused(&nothing).contains("cannot find"));
        let wrong = |dir: &Path| fs::write(dir.join(SUITE_FILE), "{}").unwrap();
        assert!(refused(&wrong).contains("schema_version"));
    }

    #[test]
    fn a_suite_is_found_by_name_and_digest_only() {
        let place = place();
        let wanted = |name: &str, sha256| Golden {
            name: name.to_owned(),
            sha256,
        };
        let find = |wanted: &Golden| Suite::find(Some(place.path()), wanted);
        let right = wanted("api", digest(&place));
        assert_eq!(find(&right).unwrap().golden, right);
        assert!(matches!(
            find(&wanted("api", Sha256::EMPTY)),
            Err(GoldenError::Other { .. })
        ));
        for name in ["apis", "..", "../api", ".", ""] {
            assert!(
                matches!(find(&wanted(name, right.sha256)), Err(GoldenError::Missing { .. })),
                "{name}"
            );
        }
        assert!(matches!(Suite::find(None, &right), Err(GoldenError::NoPlace)));
        fs::write(place.path().join("file"), "").unwrap();
        assert_eq!(suite_names(place.path()).unwrap(), ["api"]);
        assert_eq!(suite_names(&place.path().join("none")).unwrap(), [] as [&str; 0]);
    }
}
