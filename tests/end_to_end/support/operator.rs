//! Somebody who runs `factory`: places of their own, and profiles that grant Python packages.

use super::{program, project};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Somebody who runs `factory`, with an empty home for its settings, records and cache, which goes away with it.
pub(crate) struct Operator {
    scratch: TempDir,
}

/// How `factory run --json` ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// The exit code of the process.
    pub(crate) code: Option<i32>,
    /// What it told, event by event.
    pub(crate) events: Vec<Value>,
    /// What it printed for people.
    pub(crate) stderr: String,
}

impl Operator {
    pub(crate) fn new() -> Self {
        // Not below /tmp, which the view replaces by one of its own: packages in here can be granted.
        let scratch = tempfile::Builder::new()
            .prefix("factory-test-")
            .tempdir_in("/var/tmp")
            .unwrap();
        Operator { scratch }
    }

    /// A place for one case: a directory of its own.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        let place = self.scratch.path().join("cases").join(name);
        fs::create_dir_all(&place).unwrap();
        place
    }

    /// Writes the profile `name`: the built-in `verify`, with a directory of Python packages.
    pub(crate) fn grant(&self, name: &str, packages: &Path) {
        let built_in = fs::read_to_string(project().join("sandbox-profiles/verify.toml")).unwrap();
        let mut profile: toml::Table = toml::from_str(&built_in).unwrap();
        let packages = self.grantable(packages).display().to_string();
        profile.insert("name".to_owned(), name.into());
        profile["fs"]["read"]
            .as_array_mut()
            .unwrap()
            .push(packages.clone().into());
        let variables = profile["env"]["set"].as_table_mut().unwrap();
        variables.insert("PYTHONPATH".to_owned(), packages.into());
        let directory = self.scratch.path().join("config/factory/profiles");
        fs::create_dir_all(&directory).unwrap();
        fs::write(
            directory.join(format!("{name}.toml")),
            toml::to_string(&profile).unwrap(),
        )
        .unwrap();
    }

    /// The directory itself, or a copy of it where none can be granted: `/tmp` inside is the command's own.
    fn grantable(&self, directory: &Path) -> PathBuf {
        let directory = directory.canonicalize().unwrap();
        if !directory.starts_with("/tmp") {
            return directory;
        }
        let copy = self
            .scratch
            .path()
            .join("packages")
            .join(directory.file_name().unwrap());
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        let copied = Command::new("cp")
            .arg("--recursive")
            .args([&directory, &copy])
            .status()
            .unwrap();
        assert!(copied.success());
        copy
    }

    /// `factory` with these arguments. Trees are exported once for all cases; runs of a place are recorded in it.
    pub(crate) fn factory(&self, place: &Path) -> Command {
        let mut factory = Command::new(program());
        factory
            .env("XDG_CONFIG_HOME", self.scratch.path().join("config"))
            .env("XDG_CACHE_HOME", self.scratch.path().join("cache"))
            .env("XDG_STATE_HOME", place.join("state"));
        for name in ["PROVIDER", "MODEL", "BASE_URL", "API_KEY", "LOG"] {
            factory.env_remove(format!("FACTORY_{name}"));
        }
        factory
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        let text = String::from_utf8(output.stdout.clone()).unwrap();
        Ran {
            code: output.status.code(),
            // What is no event is shown as it is: a line for people that strayed into the events is a defect.
            events: text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|_| line.into()))
                .collect(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// How often an event of this name was told.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.events.iter().filter(|event| event["event"] == name).count()
    }

    /// The last event.
    pub(crate) fn completed(&self) -> &Value {
        static NOTHING: Value = Value::Null;
        self.events.last().unwrap_or(&NOTHING)
    }

    /// The summary of the run; null when it was refused before there was one.
    pub(crate) fn summary(&self) -> &Value {
        &self.completed()["summary"]
    }
}

/// Python packages that the project's own `scripts/test` installs, one directory for each set.
pub(crate) struct Packages {
    directory: PathBuf,
}

impl Packages {
    /// Those below `FACTORY_TEST_PYTHON`, else those that `scripts/test` left beside what cargo built.
    pub(crate) fn find() -> Option<Self> {
        let beside = || Some(program().ancestors().nth(2)?.join("test-python"));
        let named = std::env::var_os("FACTORY_TEST_PYTHON").map(PathBuf::from);
        let directory = named.or_else(beside)?;
        let found = ["pytest", "pytest-pillow"]
            .iter()
            .all(|set| directory.join(set).is_dir());
        if !found {
            println!(
                "no Python packages in {}: scripts/test installs them",
                directory.display()
            );
        }
        found.then_some(Packages { directory })
    }

    /// The directory of a set.
    pub(crate) fn set(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
