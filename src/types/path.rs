//! Paths inside a repository, as orders and models write them.

use std::fmt;
use std::str::FromStr;

/// A path inside the repository: relative, normal components only, never under `.git`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(String);

/// Why a text is not a path inside the repository.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// No components remain after normalising.
    #[error("the path is empty or names the repository itself")]
    Empty,
    /// It starts at the root of the file system or a drive.
    #[error("the path is absolute")]
    Absolute,
    /// It leaves the repository.
    #[error("the path leaves the repository")]
    Escapes,
}

impl RepoPath {
    /// Reads and normalises a path.
    ///
    /// # Errors
    /// When the text cannot name a file inside a repository.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        let mut components = Vec::new();
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => drop(components.pop().ok_or(PathError::Escapes)?),
                name => components.push(name),
            }
        }
        if components.is_empty() {
            return Err(PathError::Empty);
        }
        Ok(RepoPath(components.join("/")))
    }

    /// The normal form: components joined by single slashes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, from the top of the repository down.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RepoPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        RepoPath::parse(text)
    }
}

impl serde::Serialize for RepoPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RepoPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RepoPath::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
