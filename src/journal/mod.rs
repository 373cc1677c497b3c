//! Records what was intended and what became of it, in the order in which it happened, for good.
//!
//! - Append-only: entries are neither changed nor removed, and [`Journal::append`] returns only when the entry is on disk.
//! - Each entry carries the SHA-256 of the one before and of its own fields, so that a changed, missing or moved entry is
//!   noticed wherever it is read. The chain is no defence against somebody who rewrites all of it.
//! - A payload too large for an entry is a blob named by its SHA-256, on disk before the entry that names it.
//! - Sequence numbers start at 1 and have no gaps, also when several processes write.
//! - Damage is named and nothing is guessed: a newer format, a broken chain or another program's file is refused.
//!
//! An effect on the world is framed by two entries, the [`Phase::Intent`] before it and the [`Phase::Fact`] after it; an intent
//! without its fact is where a crash struck. Deliberately unknown here: which effects there are. The stages describe themselves
//! by a `noun.verb` and a JSON value.

mod blob;
mod chain;
mod error;
mod schema;

pub use blob::{BLOBS_REMOVED, MAX_BLOB_BYTES};
pub use error::JournalError;

use crate::durable::{Removal, Removed, crash_point, sync_dir};
use crate::types::{RunId, Sha256};
use chain::Link;
use rusqlite::{Connection, Row, TransactionBehavior};
use schema::Selects;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The name of the database in the state directory.
const DATABASE: &str = "journal.db";

/// The largest body of an entry, in bytes of JSON. Larger payloads are blobs.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// How many digests an entry names at most: far below what its body may hold.
const BLOBS_PER_ENTRY: usize = 10_000;

/// The longest name of a kind of entry, in bytes.
const MAX_KIND_BYTES: usize = 64;

/// Whether an entry announces an effect or reports one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Written before the effect: it may have happened from now on.
    Intent,
    /// Written after the effect: it did happen, with this result.
    Fact,
}

impl Phase {
    /// The phase as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Phase::Intent => "intent",
            Phase::Fact => "fact",
        }
    }

    fn from_stored(text: &str) -> Option<Self> {
        [Phase::Intent, Phase::Fact]
            .into_iter()
            .find(|phase| phase.as_str() == text)
    }
}

/// What is to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The run that it belongs to.
    pub run: RunId,
    /// Announced or done.
    pub phase: Phase,
    /// What it is about: two lower-case words joined by a dot, `noun.verb`.
    pub kind: &'static str,
    /// The attempt of the run, from 1, when it belongs to one.
    pub attempt: Option<u32>,
    /// The rest, at most [`MAX_BODY_BYTES`] as JSON.
    pub body: serde_json::Value,
}

/// What was recorded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recorded {
    /// Its place in the journal, from 1, without gaps.
    pub seq: u64,
    /// The version of its layout.
    #[serde(skip_serializing_if = "is_first_version")]
    pub version: u32,
    /// When it was recorded, in milliseconds since 1970-01-01 UTC by the host's clock, which may have been set back.
    pub at_ms: u64,
    /// The run that it belongs to.
    pub run: RunId,
    /// Announced or done.
    pub phase: Phase,
    /// What it is about, as `noun.verb`.
    pub kind: String,
    /// The attempt of the run, from 1, when it belongs to one.
    pub attempt: Option<u32>,
    /// The rest.
    pub body: serde_json::Value,
    /// The link of the chain: covers all of the above and the entry before.
    pub hash: Sha256,
}

fn is_first_version(version: &u32) -> bool {
    *version == 1
}

/// An open journal. It may be sent to another thread, and several processes may have the same one open.
pub struct Journal {
    connection: Connection,
    selects: Selects,
    database: PathBuf,
    blobs: PathBuf,
    access: Access,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

impl Journal {
    /// Opens the journal in `state_dir` for writing, creating the directory (for its owner alone) and the journal if need be.
    ///
    /// # Errors
    /// `Host` when the directory or the database cannot be had, is damaged, of a newer version, or not a journal.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        schema::create_if_absent(state_dir, &state_dir.join(DATABASE))?;
        let journal = Journal::open_existing(state_dir, Access::ReadWrite)?;
        // SQLite has just created its log, and takes no notice when its name cannot be synced. Source: `unixSync`.
        sync_dir(state_dir).map_err(|source| JournalError::Storage {
            path: state_dir.to_owned(),
            source,
        })?;
        Ok(journal)
    }

    /// Opens the journal in `state_dir` for reading, beside whoever writes it; `None` when there is none yet.
    ///
    /// # Errors
    /// `Host` when the database cannot be opened, is damaged, of a newer version, or not a journal.
    pub fn open_read_only(state_dir: &Path) -> Result<Option<Self>, JournalError> {
        let database = state_dir.join(DATABASE);
        match database.try_exists() {
            Ok(false) => Ok(None),
            Ok(true) => Journal::open_existing(state_dir, Access::ReadOnly).map(Some),
            Err(source) => Err(JournalError::Unreadable { path: database, source }),
        }
    }

    fn open_existing(state_dir: &Path, access: Access) -> Result<Self, JournalError> {
        let database = state_dir.join(DATABASE);
        let (connection, selects) = schema::connect(&database, access == Access::ReadOnly)?;
        Ok(Journal {
            connection,
            selects,
            database,
            blobs: state_dir.join("blobs"),
            access,
        })
    }

    /// Adds an entry and returns its place, once it is on disk.
    ///
    /// # Errors
    /// `Internal` for an entry that cannot be recorded as it is (kind, size, read-only journal); `Host` when the database
    /// refuses or the newest entry is damaged.
    pub fn append(&mut self, entry: &Entry) -> Result<u64, JournalError> {
        match self.append_after(&[], |_| Ok::<_, std::convert::Infallible>(entry.clone()))? {
            Ok(seq) => Ok(seq),
            Err(never) => match never {},
        }
    }

    /// Adds the entry that `make` makes of the entries of some kinds, or none when it refuses. No entry of any process comes
    /// between what it was shown and what it made.
    ///
    /// # Errors
    /// Those of [`Journal::append`] and [`Journal::entries`].
    pub fn append_after<E>(
        &mut self,
        kinds: &[&str],
        make: impl FnOnce(&[Recorded]) -> Result<Entry, E>,
    ) -> Result<Result<u64, E>, JournalError> {
        self.require_write_access()?;
        let failed = JournalError::sql("append to", &self.database);
        // IMMEDIATE takes the write lock before anything is read; two writers cannot both build on the same entry.
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(&failed)?;
        let shown = match kinds {
            [] => Vec::new(),
            kinds => {
                let kinds = Which::Kinds(kinds.iter().map(|kind| (*kind).to_owned()).collect());
                read(&transaction, &self.selects, &self.database, &kinds)?
            }
        };
        let entry = match make(&shown) {
            Ok(entry) => entry,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let body = check_entry(&entry)?;
        crash_point(&format!("before the entry {} ({})", entry.kind, entry.phase.as_str()));
        let last = read(&transaction, &self.selects, &self.database, &Which::Newest)?.pop();
        let (seq, previous): (u64, _) = last.map_or((1, chain::GENESIS.to_owned()), |last| {
            (last.seq + 1, last.hash.to_string())
        });
        let (run, at_ms) = (entry.run.to_string(), now_ms());
        let link = Link {
            version: schema::ENTRY_VERSION,
            seq,
            at_ms,
            run: &run,
            phase: entry.phase.as_str(),
            kind: entry.kind,
            attempt: entry.attempt,
            body: &body,
        };
        transaction
            .execute(schema::INSERT, schema::row(&link, link.hash(&previous)))
            .map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        crash_point(&format!("after the entry {} ({})", entry.kind, entry.phase.as_str()));
        Ok(Ok(seq))
    }

    /// All entries, in order, each checked against the one before.
    ///
    /// # Errors
    /// `Host` when the database cannot be read or the chain is broken.
    pub fn entries(&self) -> Result<Vec<Recorded>, JournalError> {
        self.read(&Which::All)
    }

    /// The entries of one run, in order, each checked against the one before it in the journal.
    ///
    /// # Errors
    /// `Host` when the database cannot be read or one of these links is broken.
    pub fn entries_of(&self, run: RunId) -> Result<Vec<Recorded>, JournalError> {
        self.read(&Which::Of(run))
    }

    /// The entries of one kind that are about `key`, in order, each checked like those of [`Journal::entries_of`]: what
    /// their body has under `key`, or else under `order_id`.
    ///
    /// # Errors
    /// `Host` when the database cannot be read or one of these links is broken.
    pub fn entries_about(&self, kind: &str, key: &str) -> Result<Vec<Recorded>, JournalError> {
        self.read(&Which::About {
            kind: kind.to_owned(),
            key: key.to_owned(),
        })
    }

    /// The entries of some kinds, in order, each checked like those of [`Journal::entries_of`].
    ///
    /// # Errors
    /// `Host` when the database cannot be read or one of these links is broken.
    pub fn entries_of_kinds(&self, kinds: &[&str]) -> Result<Vec<Recorded>, JournalError> {
        self.read(&Which::Kinds(kinds.iter().map(|kind| (*kind).to_owned()).collect()))
    }

    /// The runs that have an entry of the kind `opened` and none of the kind `closed`, in the order in which they began.
    ///
    /// # Errors
    /// `Host` when the database cannot be read.
    pub fn unclosed(&self, opened: &str, closed: &str) -> Result<Vec<RunId>, JournalError> {
        let failed = JournalError::sql("read", &self.database);
        let mut statement = self.connection.prepare_cached(schema::UNCLOSED).map_err(&failed)?;
        let runs = statement
            .query_map([opened, closed], |row| row.get::<_, String>(0))
            .map_err(&failed)?;
        runs.map(|run| {
            run.map_err(&failed)?
                .parse()
                .map_err(|_| JournalError::damaged(&self.database, 0, "a run is no run id"))
        })
        .collect()
    }

    /// The place of the newest entry; zero when there is none.
    ///
    /// # Errors
    /// `Host` when the database cannot be read or the newest entry is damaged.
    pub fn newest(&self) -> Result<u64, JournalError> {
        Ok(self.read(&Which::Newest)?.pop().map_or(0, |entry| entry.seq))
    }

    /// Stores a payload and returns the name under which [`Journal::blob`] gives it back, once it is on disk.
    ///
    /// # Errors
    /// `Internal` for a payload above [`MAX_BLOB_BYTES`] or a read-only journal; `Host` when the file system refuses, or has
    /// something else under that name.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Sha256, JournalError> {
        self.require_write_access()?;
        let digest = blob::put(&self.blobs, bytes)?;
        crash_point("a blob is there, no entry names it");
        Ok(digest)
    }

    /// The payload with this digest.
    ///
    /// # Errors
    /// `Host` when there is none, it cannot be read, or its bytes have another digest.
    pub fn blob(&self, digest: Sha256) -> Result<Vec<u8>, JournalError> {
        blob::get(&self.blobs, digest)
    }

    /// Checks the whole chain, entry by entry, and gives the number of entries.
    ///
    /// # Errors
    /// `Host` when the database cannot be read or the chain is broken.
    pub fn check_chain(&self) -> Result<u64, JournalError> {
        let failed = JournalError::sql("read", &self.database);
        let snapshot = self.connection.unchecked_transaction().map_err(&failed)?;
        let mut statement = snapshot.prepare_cached(&self.selects.of("TRUE")).map_err(&failed)?;
        let mut rows = statement.query([]).map_err(&failed)?;
        let mut count = 0;
        while let Some(row) = rows.next().map_err(&failed)? {
            count += 1;
            let entry = checked(row, &self.database)?;
            if entry.seq != count {
                let missing = "an entry before it is missing";
                return Err(JournalError::damaged(&self.database, entry.seq, missing));
            }
        }
        check_newest(&snapshot, &self.database)?;
        Ok(count)
    }

    /// The blobs that `entries` name and none of those entries that `is_needed`, with their bytes on disk. One that was
    /// stored anew within `age` is not among them.
    pub fn unneeded_blobs(
        &self,
        entries: &[Recorded],
        is_needed: impl Fn(&Recorded) -> bool,
        age: Duration,
    ) -> Vec<(Sha256, u64)> {
        blob::unneeded(&self.blobs, entries, is_needed, age)
    }

    /// Removes blobs, except those that were stored anew within `age`. `run` is whom the entries belong to that say so
    /// first. Returns how many bytes that freed of those that each blob was said to have.
    ///
    /// # Errors
    /// `Host` when the journal cannot be written, or a blob cannot be removed.
    pub fn remove_blobs(
        &mut self,
        run: RunId,
        unneeded: &[(Sha256, u64)],
        age: Duration,
    ) -> Result<Removed, JournalError> {
        let mut removed = Removed::default();
        for some in unneeded.chunks(BLOBS_PER_ENTRY) {
            let digests: Vec<_> = some.iter().map(|(digest, _)| digest).collect();
            self.append(&Entry {
                run,
                phase: Phase::Intent,
                kind: BLOBS_REMOVED,
                attempt: None,
                body: serde_json::json!({ "blobs": digests }),
            })?;
            crash_point("the removal of blobs is announced, none is removed");
            for (digest, bytes) in some {
                if blob::remove(&self.blobs, *digest, age)? {
                    removed.add(*bytes);
                }
            }
        }
        Ok(removed)
    }

    /// Removes what a kill left beside blobs that were being stored, once it is older than `age`.
    ///
    /// # Errors
    /// `Host` when the directory cannot be read, or a file cannot be removed.
    pub fn remove_asides(&self, age: Duration, removal: Removal) -> Result<Removed, JournalError> {
        blob::remove_asides(&self.blobs, age, removal)
    }

    /// Checks the database, the whole chain, and every blob that an entry names.
    ///
    /// # Errors
    /// `Host` when the database cannot be read or anything is damaged or missing.
    pub fn check(&self) -> Result<Checked, JournalError> {
        schema::check_pages(&self.connection, &self.database)?;
        let entries = self.entries()?;
        let mut checked = Checked {
            entries: entries.len() as u64,
            ..Checked::default()
        };
        let removed = blob::removed(&entries);
        for digest in blob::named(&entries) {
            match self.blob(digest) {
                Ok(_) => checked.blobs += 1,
                Err(JournalError::BlobMissing { .. }) if removed.contains(&digest) => checked.removed += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(checked)
    }

    fn read(&self, which: &Which) -> Result<Vec<Recorded>, JournalError> {
        // One snapshot, so that a writer cannot come between two looks at the same journal.
        let snapshot = self
            .connection
            .unchecked_transaction()
            .map_err(JournalError::sql("read", &self.database))?;
        read(&snapshot, &self.selects, &self.database, which)
    }

    fn require_write_access(&self) -> Result<(), JournalError> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(JournalError::ReadOnly {
                path: self.database.clone(),
            }),
        }
    }
}

/// What a check looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Entries, each of which continues the chain.
    pub entries: u64,
    /// Blobs, each of which has the digest that it is named by.
    pub blobs: u64,
    /// Blobs that are gone because their time was over.
    pub removed: u64,
}

/// The entries that are wanted.
#[derive(Debug, Clone)]
enum Which {
    All,
    Newest,
    Of(RunId),
    About { kind: String, key: String },
    Kinds(Vec<String>),
}

/// Reads entries and checks that each continues the chain, and that the newest one is still there.
fn read(
    connection: &Connection,
    selects: &Selects,
    database: &Path,
    which: &Which,
) -> Result<Vec<Recorded>, JournalError> {
    let failed = JournalError::sql("read", database);
    let (condition, parameters) = match which {
        Which::All => ("TRUE", Vec::new()),
        Which::Newest => ("e.seq = (SELECT max(seq) FROM entry)", Vec::new()),
        Which::Of(run) => ("e.run = ?1", vec![run.to_string()]),
        Which::About { kind, key } => (selects.by_key.as_str(), vec![kind.clone(), key.clone()]),
        Which::Kinds(kinds) => (
            "e.kind IN (SELECT value FROM json_each(?1))",
            vec![serde_json::json!(kinds).to_string()],
        ),
    };
    let mut statement = connection.prepare_cached(&selects.of(condition)).map_err(&failed)?;
    let mut rows = statement
        .query(rusqlite::params_from_iter(parameters))
        .map_err(&failed)?;
    let mut entries: Vec<Recorded> = Vec::new();
    while let Some(row) = rows.next().map_err(&failed)? {
        let entry = checked(row, database)?;
        if matches!(which, Which::All) && entry.seq != entries.len() as u64 + 1 {
            return Err(JournalError::damaged(
                database,
                entry.seq,
                "an entry before it is missing",
            ));
        }
        entries.push(entry);
    }
    check_newest(connection, database)?;
    Ok(entries)
}

/// A chain cannot show that its end was cut off; the counter that SQLite keeps beside the table can.
fn check_newest(connection: &Connection, database: &Path) -> Result<(), JournalError> {
    let (newest, counted): (i64, i64) = connection
        .query_row(schema::HIGHEST_SEQS, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(JournalError::sql("read", database))?;
    if newest != counted {
        let seq = u64::try_from(newest.max(counted)).unwrap_or(0);
        return Err(JournalError::damaged(
            database,
            seq,
            "it is missing or was never counted",
        ));
    }
    Ok(())
}

/// Turns a row into an entry, if its hash is the one that its fields and the entry before give.
fn checked(row: &Row<'_>, database: &Path) -> Result<Recorded, JournalError> {
    let seq = number(row, "seq").ok_or_else(|| JournalError::damaged(database, 0, "its place is no place"))?;
    let damaged = |what| JournalError::damaged(database, seq, what);
    let text = |column: &str| row.get::<_, String>(column).map_err(|_| damaged("a field is no text"));
    let at_ms = number(row, "at_ms").ok_or_else(|| damaged("its time is no time"))?;
    let attempt = row.get("attempt").map_err(|_| damaged("its attempt is no number"))?;
    let version = row.get("version").map_err(|_| damaged("its version is no number"))?;
    let (run, phase, kind, body, stored) = (
        text("run")?,
        text("phase")?,
        text("kind")?,
        text("body")?,
        text("hash")?,
    );
    let previous: Option<String> = row
        .get("previous")
        .map_err(|_| damaged("the entry before has no hash"))?;
    let previous = match (seq, previous) {
        (1, None) => chain::GENESIS.to_owned(),
        (1, Some(_)) => return Err(damaged("an entry comes before the first")),
        (_, Some(previous)) => previous,
        (_, None) => return Err(damaged("the entry before it is missing")),
    };
    let link = Link {
        version,
        seq,
        at_ms,
        run: &run,
        phase: &phase,
        kind: &kind,
        attempt,
        body: &body,
    };
    let hash = link.hash(&previous);
    if hash.to_string() != stored {
        return Err(damaged("its hash does not fit its fields and the entry before"));
    }
    Ok(Recorded {
        seq,
        version,
        at_ms,
        run: run.parse().map_err(|_| damaged("its run is no run id"))?,
        phase: Phase::from_stored(&phase).ok_or_else(|| damaged("its phase is unknown"))?,
        body: serde_json::from_str(&body).map_err(|_| damaged("its body is no JSON"))?,
        kind,
        attempt,
        hash,
    })
}

/// A number that is never negative. SQLite's integers are signed.
fn number(row: &Row<'_>, column: &str) -> Option<u64> {
    u64::try_from(row.get::<_, i64>(column).ok()?).ok()
}

/// Refuses what could not be found again, and gives the body as it is stored.
fn check_entry(entry: &Entry) -> Result<String, JournalError> {
    if !is_kind(entry.kind) {
        return Err(JournalError::Kind { kind: entry.kind });
    }
    let body = entry.body.to_string();
    if body.len() > MAX_BODY_BYTES {
        return Err(JournalError::TooLarge {
            what: entry.kind,
            bytes: body.len(),
            max: MAX_BODY_BYTES,
        });
    }
    // JSON nested too deeply can be written but not read: it would look like damage for ever after.
    serde_json::from_str::<serde_json::Value>(&body).map_err(|source| JournalError::Body {
        kind: entry.kind,
        source,
    })?;
    Ok(body)
}

fn is_kind(kind: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
    };
    kind.len() <= MAX_KIND_BYTES
        && kind
            .split_once('.')
            .is_some_and(|(noun, verb)| is_word(noun) && is_word(verb))
}

fn now_ms() -> u64 {
    // A clock before 1970 is recorded as 1970: the order of entries is their sequence number, never their time.
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
