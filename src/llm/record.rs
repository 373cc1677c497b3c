//! A provider whose answers are kept for [`Replay`](super::Replay).

use super::replay::{self, Notes};
use super::{Answer, LlmError, Provider, Request, request_digest};
use crate::durable::{DurableError, ensure_dir, write_atomic, write_new};
use std::path::{Path, PathBuf};

/// How often somebody else may take the number of an answer first.
const MAX_TRIES: u32 = 100;

/// Asks another provider and writes each answer to a directory, from which it can be replayed.
///
/// An answer becomes the next file `N.txt` in the sub-directory that the key of its request names, else in the directory
/// itself; `N.notes.json` beside it has the model, the usage, the end and the digest of the request. What is there is never
/// written over. Failures are not recorded, and neither are answers that were recalled from the journal and not asked for.
#[derive(Debug)]
pub struct Record {
    dir: PathBuf,
    inner: Box<Provider>,
}

impl Record {
    /// Makes the directory.
    ///
    /// # Errors
    /// `Host` when it cannot be made.
    pub fn new(dir: &Path, inner: Provider) -> Result<Self, LlmError> {
        let record = Record {
            dir: dir.to_owned(),
            inner: Box::new(inner),
        };
        ensure_dir(dir).map_err(|source| record.refused(source))?;
        Ok(record)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn inner(&self) -> &Provider {
        &self.inner
    }

    pub(super) fn inner_mut(&mut self) -> &mut Provider {
        &mut self.inner
    }

    /// An answer that cannot be recorded is a failure: somebody counts on the recording.
    pub(super) async fn ask(&mut self, request: &Request) -> Result<Answer, LlmError> {
        let answer = Box::pin(self.inner.ask(request)).await?;
        match self.write(request, &answer) {
            Err(LlmError::Record { dir, source, .. }) => Err(LlmError::Record {
                dir,
                source,
                usage: answer.usage,
            }),
            written => written.map(|()| answer),
        }
    }

    fn write(&self, request: &Request, answer: &Answer) -> Result<(), LlmError> {
        let dir = match replay::is_plain_name(&request.key) {
            true => self.dir.join(&request.key),
            false => self.dir.clone(),
        };
        ensure_dir(&dir).map_err(|source| self.refused(source))?;
        let number = self.write_text(&dir, answer)?;
        let notes = Notes::of(answer, request_digest(request)).to_bytes();
        write_atomic(&replay::notes_path(&dir.join(format!("{number}.txt"))), &notes, 0o600)
            .map_err(|source| self.refused(source))
    }

    /// Writes the text under the next free number.
    fn write_text(&self, dir: &Path, answer: &Answer) -> Result<u64, LlmError> {
        let mut number = replay::last_number(dir)? + 1;
        for _ in 0..MAX_TRIES {
            match write_new(&dir.join(format!("{number}.txt")), answer.text.as_bytes()) {
                Ok(()) => return Ok(number),
                Err(DurableError::Exists { .. }) => number += 1,
                Err(source) => return Err(self.refused(source)),
            }
        }
        Err(self.refused(DurableError::Exists { path: dir.to_owned() }))
    }

    fn refused(&self, source: DurableError) -> LlmError {
        LlmError::Record {
            dir: self.dir.clone(),
            usage: None,
            source,
        }
    }
}
