//! Answers that were recorded before.

use super::{Answer, Finish, LlmError, MAX_ANSWER_BYTES};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

/// The most recorded answers in one directory.
const MAX_RECORDINGS: usize = 10_000;

/// A directory of recorded answers: `1.json`, `2.json`, `3.txt`, … in the order of their numbers.
///
/// The n-th request gets the n-th file as it is. A request whose key names a sub-directory is answered from there, and each
/// directory keeps its own place. Files with other names are ignored.
#[derive(Debug)]
pub struct Replay {
    dir: PathBuf,
    recordings: BTreeMap<PathBuf, Recordings>,
}

#[derive(Debug)]
struct Recordings {
    files: Vec<PathBuf>,
    used: usize,
}

impl Replay {
    /// Looks into the directory; the answers are read when they are asked for.
    ///
    /// # Errors
    /// `ProviderPermanent` when the directory cannot be read or holds neither recorded answers nor sub-directories.
    pub fn open(dir: &Path) -> Result<Self, LlmError> {
        let unreadable = |source| LlmError::ReplayDirectory {
            dir: dir.to_owned(),
            source,
        };
        let recordings = Recordings::list(dir)?;
        let mut entries = fs::read_dir(dir).map_err(unreadable)?;
        if recordings.files.is_empty() && !entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir())) {
            return Err(LlmError::ReplayEmpty { dir: dir.to_owned() });
        }
        Ok(Replay {
            dir: dir.to_owned(),
            recordings: BTreeMap::from([(dir.to_owned(), recordings)]),
        })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The next answer for requests with this key.
    pub(super) fn next(&mut self, key: &str) -> Result<Answer, LlmError> {
        let dir = self.dir_for(key);
        if !self.recordings.contains_key(&dir) {
            self.recordings.insert(dir.clone(), Recordings::list(&dir)?);
        }
        let exhausted = |count| LlmError::ReplayExhausted {
            dir: dir.clone(),
            count,
        };
        let recordings = self.recordings.get_mut(&dir).ok_or_else(|| exhausted(0))?;
        let count = recordings.files.len();
        let path = recordings.files.get(recordings.used).ok_or_else(|| exhausted(count))?;
        let raw = read_answer(path)?;
        // Only now: an answer that could not be read has not been given.
        recordings.used += 1;
        let text = String::from_utf8(raw.clone()).map_err(|_| LlmError::NotText {
            from: path.display().to_string(),
        })?;
        Ok(Answer {
            text,
            raw,
            model: None,
            usage: None,
            finish: Finish::Complete,
        })
    }

    /// Leaves out the next answer for requests with this key.
    pub(super) fn pass_over(&mut self, key: &str) {
        // An answer that cannot be read is told of when it is asked for.
        let _ = self.next(key);
    }

    /// The sub-directory that the key names, if the key is a plain name and there is one.
    fn dir_for(&self, key: &str) -> PathBuf {
        let mut components = Path::new(key).components();
        let is_plain =
            matches!((components.next(), components.next()), (Some(Component::Normal(name)), None) if name == key);
        Some(self.dir.join(key))
            .filter(|dir| is_plain && dir.is_dir())
            .unwrap_or_else(|| self.dir.clone())
    }
}

impl Recordings {
    fn list(dir: &Path) -> Result<Self, LlmError> {
        let unreadable = |source| LlmError::ReplayDirectory {
            dir: dir.to_owned(),
            source,
        };
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let Some(number) = number_of(&path) else { continue };
            if let Some(other) = files.insert(number, path.clone()) {
                return Err(LlmError::ReplayAmbiguous {
                    number,
                    one: other,
                    other: path,
                });
            }
            if files.len() > MAX_RECORDINGS {
                let many = format!("more than {MAX_RECORDINGS} recorded answers");
                return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, many)));
            }
        }
        Ok(Recordings {
            files: files.into_values().collect(),
            used: 0,
        })
    }
}

/// The number of a recorded answer, when the name is that of one.
fn number_of(path: &Path) -> Option<u64> {
    if !matches!(path.extension()?.to_str()?, "json" | "txt") {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    let is_number = stem.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| stem.parse().ok()).flatten()
}

fn read_answer(path: &Path) -> Result<Vec<u8>, LlmError> {
    let unreadable = |source| LlmError::ReplayRead {
        path: path.to_owned(),
        source,
    };
    // Looked at before it is opened, because opening a FIFO waits for a writer.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(unreadable(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        )));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_ANSWER_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > MAX_ANSWER_BYTES {
        return Err(LlmError::TooLarge {
            from: path.display().to_string(),
        });
    }
    Ok(bytes)
}
