//! Paths inside a repository, as orders and models write them.

use std::fmt;
use std::str::FromStr;

/// The longest path, in bytes, that a system call takes. Source: `PATH_MAX` in limits.h(0p), less the final NUL.
const MAX_PATH_BYTES: usize = 4095;

/// The longest name, in bytes, of one file. Source: `NAME_MAX` in limits.h(0p).
const MAX_COMPONENT_BYTES: usize = 255;

/// A path inside the repository: relative, normal components only, never under `.git`.
///
/// The rule is lexical: what the tree has there (a symbolic link, a file where a directory is due) is asked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoPath(String);

/// Why a text is not a path inside the repository.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum PathError {
    /// Nothing but blanks remains after normalising.
    #[error("the path is empty or names the repository itself")]
    Empty,
    /// It starts at the root of the file system.
    #[error("the path is absolute")]
    Absolute,
    /// It starts with a drive, as in `C:`.
    #[error("the path begins with a drive letter")]
    Drive,
    /// It leaves the repository.
    #[error("the path leaves the repository")]
    Escapes,
    /// The first name begins with two dots, which people and tools take for a step out of the repository.
    #[error("the path begins with two dots")]
    LeadingDots,
    /// It has a backslash, which is a separator on some systems.
    #[error("the path has a backslash; directories are separated by `/`")]
    Backslash,
    /// It has a character that cannot be seen and that steers terminals or splits lines.
    #[error("the path has the control character U+{:04X}", u32::from(*.0))]
    Control(char),
    /// It has a wildcard, and paths are literal.
    #[error("the path has the wildcard `{0}`; paths are literal, so each file has to be named")]
    Wildcard(char),
    /// It lies in git's own directory, or in what some file system takes for it.
    #[error("the path lies in the metadata of the repository (`.git` in some spelling)")]
    Metadata,
    /// It is longer than a system call takes.
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// One of its names is longer than a file system takes.
    #[error("a name in the path is longer than {MAX_COMPONENT_BYTES} bytes")]
    ComponentTooLong,
}

impl RepoPath {
    /// Reads and normalises a path: `.` and doubled slashes go, an inner `..` takes its parent with it.
    ///
    /// # Errors
    /// When the text cannot name a file inside a repository, or names git's own.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        text.chars().try_for_each(refuse_character)?;
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        if starts_with_drive(text) {
            return Err(PathError::Drive);
        }
        let components = fold(text)?;
        for component in &components {
            if component.len() > MAX_COMPONENT_BYTES {
                return Err(PathError::ComponentTooLong);
            }
            if is_dot_git(component) {
                return Err(PathError::Metadata);
            }
        }
        let normal = components.join("/");
        if normal.trim().is_empty() {
            return Err(PathError::Empty);
        }
        // Asked again, because `./c:x` becomes a drive only now.
        if starts_with_drive(&normal) {
            return Err(PathError::Drive);
        }
        if normal.starts_with("..") {
            return Err(PathError::LeadingDots);
        }
        Ok(RepoPath(normal))
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

/// Walks the components as a file system without symbolic links would.
fn fold(text: &str) -> Result<Vec<&str>, PathError> {
    let mut components = Vec::new();
    for component in text.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop().ok_or(PathError::Escapes)?),
            name => components.push(name),
        }
    }
    Ok(components)
}

fn refuse_character(character: char) -> Result<(), PathError> {
    match character {
        '\\' => Err(PathError::Backslash),
        '*' | '?' | '[' => Err(PathError::Wildcard(character)),
        // `is_control` is C0, DEL and C1; the other two end a line for some readers.
        '\u{2028}' | '\u{2029}' => Err(PathError::Control(character)),
        _ if character.is_control() => Err(PathError::Control(character)),
        _ => Ok(()),
    }
}

fn starts_with_drive(text: &str) -> bool {
    matches!(text.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

/// Whether some file system would open git's directory for this name.
///
/// Case is folded on many. NTFS drops trailing dots and blanks, takes what follows a colon for a stream of the file, and
/// gives `.git` the short name `git~1`. HFS+ and case-folding ext4 ignore invisible code points. Source: `is_ntfs_dotgit`
/// and `is_hfs_dotgit` in git, and `Default_Ignorable_Code_Point` in the Unicode character database.
fn is_dot_git(component: &str) -> bool {
    let visible: String = component
        .chars()
        .filter(|character| !is_ignorable(*character))
        .collect();
    let file = visible.split(':').next().unwrap_or_default();
    let name = file.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    let short_name = |number: &str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    name == ".git" || name.strip_prefix("git~").is_some_and(short_name)
}

fn is_ignorable(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(text: &str) -> Result<String, PathError> {
        RepoPath::parse(text).map(|path| path.to_string())
    }

    #[test]
    fn a_path_is_folded_to_one_spelling() {
        for (text, expected) in [
            ("./src//a.py", "src/a.py"),
            ("src/x/../a.py", "src/a.py"),
            ("src/", "src"),
            (".github/x", ".github/x"),
            (".gitignore", ".gitignore"),
            ("a/..b", "a/..b"),
            ("git~x", "git~x"),
            ("12:x", "12:x"),
        ] {
            assert_eq!(normal(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn each_refusal_has_its_own_name() {
        for (text, error) in [
            ("", PathError::Empty),
            ("a/..", PathError::Empty),
            ("./ ", PathError::Empty),
            ("/etc/passwd", PathError::Absolute),
            ("C:/x", PathError::Drive),
            ("./c:x", PathError::Drive),
            ("a/../../b", PathError::Escapes),
            ("...", PathError::LeadingDots),
            ("a\\b", PathError::Backslash),
            ("a\u{85}b", PathError::Control('\u{85}')),
            ("a\u{2029}b", PathError::Control('\u{2029}')),
            ("a?.py", PathError::Wildcard('?')),
        ] {
            assert_eq!(normal(text), Err(error), "{text:?}");
        }
        assert_eq!(normal(&"a/".repeat(2048)), Err(PathError::TooLong));
        assert_eq!(normal(&"a".repeat(256)), Err(PathError::ComponentTooLong));
        assert!(normal(&"a".repeat(255)).is_ok());
    }

    #[test]
    fn git_metadata_is_refused_in_every_spelling() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            ".git.",
            ".git . .",
            "git~1",
            "GIT~1",
            "GIT~12",
            "git~1. ",
            ".git:stream",
            ".git::$INDEX_ALLOCATION",
            ".git ::$DATA",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{ad}t",
            ".git\u{202e}",
        ] {
            for path in [name.to_owned(), format!("{name}/config"), format!("sub/{name}/hooks/x")] {
                assert_eq!(normal(&path), Err(PathError::Metadata), "{path:?}");
            }
        }
    }

    /// Text made of the pieces that matter here, so that interesting paths are not a matter of luck.
    fn pathlike() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("/"),
            Just("."),
            Just(".."),
            Just(".git"),
            Just("GIT~1"),
            Just(" "),
            Just(":"),
            Just("\u{200d}"),
            Just("a"),
            Just("c:"),
            Just("\u{e9}"),
            Just("\\"),
            Just("\u{7f}"),
        ];
        prop_oneof![
            proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
            any::<String>()
        ]
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_inside_and_out_of_git(text in pathlike()) {
            if let Ok(path) = RepoPath::parse(&text) {
                prop_assert!(!path.as_str().starts_with('/'));
                for component in path.components() {
                    prop_assert!(!matches!(component, "" | "." | ".."));
                    prop_assert!(!component.eq_ignore_ascii_case(".git"));
                }
                prop_assert_eq!(RepoPath::parse(path.as_str()), Ok(path.clone()), "the normal form is a fixed point");
            }
        }
    }
}
