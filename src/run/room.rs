//! Is there room on disk? Asked before a run and before each attempt: a disk that fills up in the middle of something is
//! the one thing that everything here can only report.

use super::failure::{Failure, Situation};
use crate::types::{Bytes, FailureClass};
use std::path::{Path, PathBuf};

/// Files that must still fit, on file systems that count them.
const INODES_FLOOR: u64 = 1000;

/// Refuses when the file system of one of `places` has less than `floor` bytes left for us. A place that does not exist yet
/// is judged by the directory in which it will be made. A floor of nothing asks for nothing.
///
/// # Errors
/// `Host` with the place, what is left and what is wanted.
pub(super) fn check(places: &[(&str, &Path)], floor: Bytes) -> Result<(), Failure> {
    places
        .iter()
        .try_for_each(|(what, place)| check_one(what, place, floor))
}

fn check_one(what: &str, place: &Path, floor: Bytes) -> Result<(), Failure> {
    let existing = existing(place);
    // What cannot be asked is found out by whoever writes there.
    let Ok(left) = rustix::fs::statvfs(&existing) else {
        return Ok(());
    };
    let bytes = left.f_bavail.saturating_mul(left.f_frsize);
    let short = if bytes < floor.0 {
        format!("{} left, and {floor} wanted", Bytes(bytes))
    } else if floor.0 > 0 && left.f_files > 0 && left.f_favail < INODES_FLOOR {
        format!("room for {} files left, and for {INODES_FLOOR} wanted", left.f_favail)
    } else {
        return Ok(());
    };
    let message = format!("the disk that holds {what} `{}` is nearly full", place.display());
    Err(Failure::plain(FailureClass::Host, message)
        .because(short)
        .in_situation(Situation::Storage)
        .with_hint("free some space, such as with `factory gc`, or lower the floor with --disk-floor"))
}

fn existing(place: &Path) -> PathBuf {
    let found = place.ancestors().find(|ancestor| ancestor.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_above_what_is_left_is_refused_with_both_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("not/yet");
        check(&[("the cache", &place)], Bytes(1)).unwrap();
        let failure = check(&[("the cache", &place)], Bytes(u64::MAX)).unwrap_err();
        assert_eq!(failure.situation, Situation::Storage);
        assert!(failure.message.contains("the cache") && failure.causes[0].contains("wanted"));
    }
}
