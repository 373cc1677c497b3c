//! Answers that were recorded before.

use super::exchange::read_regular;
use super::{Answer, Finish, LlmError, MAX_ANSWER_BYTES, Usage};
use crate::types::Sha256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The most recorded answers in one directory.
const MAX_RECORDINGS: usize = 10_000;

/// The most bytes of the notes on an answer.
const MAX_NOTES_BYTES: u64 = 64 << 10;

/// A directory of recorded answers: `1.json`, `2.json`, `3.txt`, … in the order of their numbers.
///
/// The n-th request gets the n-th file as it is. A request whose key names a sub-directory is answered from there, and each
/// directory keeps its own place. Where `1.notes.json` lies beside, it says which model answered, how the answer ended and what
/// it cost. Files with other names are ignored.
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
        let notes = read_notes(path)?;
        // Only now: an answer that could not be read has not been given.
        recordings.used += 1;
        let text = String::from_utf8(raw.clone()).map_err(|_| LlmError::NotText {
            from: path.display().to_string(),
        })?;
        Ok(Answer {
            text,
            raw,
            model: notes.model,
            usage: notes.usage,
            finish: notes.finish,
        })
    }

    /// Leaves out the next answer for requests with this key.
    pub(super) fn pass_over(&mut self, key: &str) {
        // An answer that cannot be read is told of when it is asked for.
        let _ = self.next(key);
    }

    /// The sub-directory that the key names, if the key is a plain name and there is one.
    fn dir_for(&self, key: &str) -> PathBuf {
        Some(self.dir.join(key))
            .filter(|dir| is_plain_name(key) && dir.is_dir())
            .unwrap_or_else(|| self.dir.clone())
    }
}

/// Whether a key can name a sub-directory.
pub(super) fn is_plain_name(key: &str) -> bool {
    let mut components = Path::new(key).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(name)), None) if name == key)
}

/// The largest number that an answer of a directory has; nothing when there is none.
pub(super) fn last_number(dir: &Path) -> Result<u64, LlmError> {
    let list = Recordings::list(dir)?;
    Ok(list.files.last().and_then(|path| number_of(path)).unwrap_or(0))
}

/// Where the notes on a recorded answer are.
pub(super) fn notes_path(answer: &Path) -> PathBuf {
    answer.with_extension("notes.json")
}

/// What is known of a recorded answer besides its text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Notes {
    /// The digest of the request that it answers.
    request: Option<Sha256>,
    model: Option<String>,
    finish: Finish,
    usage: Option<Usage>,
}

impl Notes {
    pub(super) fn of(answer: &Answer, request: Sha256) -> Self {
        Notes {
            request: Some(request),
            model: answer.model.clone(),
            finish: answer.finish,
            usage: answer.usage,
        }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("notes are plain data");
        bytes.push(b'\n');
        bytes
    }
}

/// The notes on an answer; without any, it is whole and its price is not known.
fn read_notes(answer: &Path) -> Result<Notes, LlmError> {
    let path = notes_path(answer);
    let unreadable = |source| LlmError::ReplayRead {
        path: path.clone(),
        source,
    };
    match read_regular(&path, MAX_NOTES_BYTES) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| unreadable(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Notes {
            request: None,
            model: None,
            finish: Finish::Complete,
            usage: None,
        }),
        Err(error) => Err(unreadable(error)),
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
    read_regular(path, MAX_ANSWER_BYTES as u64).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => LlmError::TooLarge {
            from: path.display().to_string(),
        },
        _ => LlmError::ReplayRead {
            path: path.to_owned(),
            source,
        },
    })
}
