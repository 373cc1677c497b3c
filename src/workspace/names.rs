//! Which names from a tree may reach a disk.

/// The most bytes in one name. Source: `NAME_MAX` of limits.h.
pub(super) const NAME_MAX: usize = 255;
/// The most bytes in a path below the top of a tree. Source: `PATH_MAX` of limits.h, without its final NUL.
pub(super) const PATH_MAX: usize = 4095;

/// What is wrong with an entry's name, when something is.
pub(super) fn defect(name: &[u8]) -> Option<&'static str> {
    match name {
        b"" => Some("its name is empty"),
        b"." | b".." => Some("its name is a step, not a name"),
        _ if name.contains(&b'/') => Some("its name contains a slash"),
        _ if name.contains(&0) => Some("its name contains a NUL"),
        _ if name.len() > NAME_MAX => Some("its name is longer than 255 bytes"),
        _ if is_git_dir(name) => Some("its name is a spelling of .git"),
        _ => None,
    }
}

/// Whether some file system takes the name for `.git`.
///
/// Source: `is_hfs_dotgit` and `is_ntfs_dotgit` of git, which refuse these names for the same reason: HFS+ ignores case
/// and certain code points; NTFS ignores case, trailing dots and blanks, takes `git~1` for its short name, starts a
/// stream name at a colon, and separates directories at a backslash.
fn is_git_dir(name: &[u8]) -> bool {
    is_hfs_git_dir(name) || name.split(|byte| *byte == b'\\').any(is_ntfs_git_dir)
}

fn is_hfs_git_dir(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let ignored = |c: &char| matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}');
    name.chars()
        .filter(|character| !ignored(character))
        .map(|character| character.to_ascii_lowercase())
        .eq(".git".chars())
}

fn is_ntfs_git_dir(name: &[u8]) -> bool {
    let name = name.split(|byte| *byte == b':').next().unwrap_or_default();
    let end = name
        .iter()
        .rposition(|byte| !matches!(byte, b'.' | b' '))
        .map_or(0, |last| last + 1);
    name[..end].eq_ignore_ascii_case(b".git") || name[..end].eq_ignore_ascii_case(b"git~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_git_directory_is_refused() {
        for name in [
            ".git",
            ".GIT",
            ".Git",
            "git~1",
            "GIT~1",
            ".git.",
            ".git ",
            ".git . .",
            ".git::$INDEX_ALLOCATION",
            ".git:x",
            ".git\\hooks",
            "a\\.git",
            ".g\u{200c}it",
            "\u{feff}.git",
            ".gi\u{202e}t",
        ] {
            assert!(defect(name.as_bytes()).is_some(), "{name:?}");
        }
    }

    #[test]
    fn names_that_only_resemble_it_are_kept() {
        for name in [
            ".gitignore",
            ".gitattributes",
            ".gitmodules",
            ".github",
            "git",
            "x.git",
            "git~10",
            "...",
            " ",
            "a\\b",
            "..a",
        ] {
            assert_eq!(defect(name.as_bytes()), None, "{name:?}");
        }
        assert_eq!(defect(b"caf\xe9"), None);
    }

    #[test]
    fn names_that_would_leave_their_directory_are_refused() {
        for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", &[b'a'; 256]] {
            assert!(defect(name).is_some(), "{name:?}");
        }
    }
}
