//! The tables, their version, and how a database is created and recognised.

use super::JournalError;
use super::chain::Link;
use crate::durable::{Aside, DurableError, crash_point, ensure_dir};
use crate::types::Sha256;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

/// Marks the database as ours: `fact` in ASCII. Source: SQLite, "Database File Format", section 1.3.17.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"fact");

/// The version of the tables that this program writes. Version 1 had neither versions of entries nor the index by key.
const VERSION: i32 = 2;

/// The version of the entries that this program writes: what their hash covers, and what each kind of body holds.
pub(super) const ENTRY_VERSION: u32 = 2;

/// How long one statement waits for another process to finish its own. An append takes milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// AUTOINCREMENT is there for its counter, which remembers the highest number even when its row is gone. The triggers are a
/// guard against slips, not against intent.
const TABLES: &str = "
CREATE TABLE entry (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms   INTEGER NOT NULL,
    run     TEXT NOT NULL,
    phase   TEXT NOT NULL CHECK (phase IN ('intent', 'fact')),
    kind    TEXT NOT NULL,
    attempt INTEGER,
    body    TEXT NOT NULL,
    hash    TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX entry_by_run ON entry (run, seq);
CREATE TRIGGER entry_is_final BEFORE UPDATE ON entry BEGIN SELECT raise(ABORT, 'journal entries are final'); END;
CREATE TRIGGER entry_is_kept BEFORE DELETE ON entry BEGIN SELECT raise(ABORT, 'journal entries are kept'); END;
";

/// What an entry is about, by which it is found again: the order, or the digest of what was asked or judged.
const KEY: &str = "coalesce(json_extract(body, '$.key'), json_extract(body, '$.order_id'))";

/// What version 1 lacks.
const MIGRATION: &str = "ALTER TABLE entry ADD COLUMN version INTEGER NOT NULL DEFAULT 1;";

pub(super) const INSERT: &str = "INSERT INTO entry (seq, at_ms, run, phase, kind, attempt, body, hash, version)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// The values for [`INSERT`].
pub(super) fn row(link: &Link<'_>, hash: Sha256) -> [Value; 9] {
    // SQLite's integers are signed; neither the number of entries nor the time since 1970 comes near the difference.
    let signed = |number: u64| Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let text = |text: &str| Value::Text(text.to_owned());
    [
        signed(link.seq),
        signed(link.at_ms),
        text(link.run),
        text(link.phase),
        text(link.kind),
        link.attempt
            .map_or(Value::Null, |attempt| Value::Integer(attempt.into())),
        text(link.body),
        text(&hash.to_string()),
        Value::Integer(link.version.into()),
    ]
}

/// Each entry with the hash of the one before it, and the conditions under which one is selected.
pub(super) struct Selects {
    select: String,
    /// Of one kind and about one key: the parameters are 1 and 2.
    pub(super) by_key: String,
}

impl Selects {
    fn new(version: i32) -> Self {
        let entry_version = if version > 1 { "e.version" } else { "1 AS version" };
        Selects {
            select: format!(
                "SELECT e.seq, e.at_ms, e.run, e.phase, e.kind, e.attempt, e.body, e.hash, {entry_version},
                p.hash AS previous FROM entry AS e LEFT JOIN entry AS p ON p.seq = e.seq - 1"
            ),
            by_key: format!("e.seq IN (SELECT seq FROM entry WHERE kind = ?1 AND {KEY} = ?2)"),
        }
    }

    /// The statement that reads the entries for which `condition` holds, in their order.
    pub(super) fn of(&self, condition: &str) -> String {
        format!("{} WHERE {condition} ORDER BY e.seq", self.select)
    }
}

/// The runs that have an entry of the first kind and none of the second.
pub(super) const UNCLOSED: &str = "SELECT DISTINCT run FROM entry AS e WHERE kind = ?1
    AND NOT EXISTS (SELECT 1 FROM entry AS c WHERE c.run = e.run AND c.kind = ?2) ORDER BY e.seq";

/// The newest entry that is there, and the newest that ever was.
pub(super) const HIGHEST_SEQS: &str = "SELECT coalesce((SELECT max(seq) FROM entry), 0),
    coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'entry'), 0)";

/// Creates an empty journal at `database` unless there is a file already.
///
/// It is built aside and published whole, so that an empty or half-made file under that name is damage and nothing else.
pub(super) fn create_if_absent(state_dir: &Path, database: &Path) -> Result<(), JournalError> {
    let refused = |source| JournalError::Storage {
        path: state_dir.to_owned(),
        source,
    };
    ensure_dir(state_dir).map_err(refused)?;
    let exists = database.try_exists().map_err(|source| JournalError::Unreadable {
        path: database.to_owned(),
        source,
    })?;
    if exists {
        return Ok(());
    }
    Aside::remove_abandoned(database).map_err(refused)?;
    let aside = Aside::create(database).map_err(refused)?;
    build(aside.path()).map_err(JournalError::sql("create", database))?;
    crash_point("the journal is built, and has no name yet");
    match aside.publish_new() {
        // Another process was faster; its journal is as good as ours.
        Ok(()) | Err(DurableError::Exists { .. }) => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

fn build(path: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", VERSION)?;
    connection.execute_batch(TABLES)?;
    connection.execute_batch(&key_index())?;
    // Last: the mode is a mark in the file, and switching to it leaves no log behind when the connection closes.
    switch_to_wal(&connection)?;
    connection.close().map_err(|(_, error)| error)
}

/// SQLite answers with the mode that it is in now, and a switch that the disk refused is no error to it.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    let mut mode = String::new();
    // To the end: the answer comes before the file is written.
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    if mode == "wal" {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    let what = format!("the journal mode stayed `{mode}`");
    Err(rusqlite::Error::SqliteFailure(code, Some(what)))
}

fn key_index() -> String {
    format!("CREATE INDEX entry_by_key ON entry (kind, {KEY});")
}

/// Opens the database at `path`, if it is a journal of a version that we know. One of an older version is brought up to
/// date when it is opened for writing; its entries stay as they are.
pub(super) fn connect(path: &Path, read_only: bool) -> Result<(Connection, Selects), JournalError> {
    let access = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    };
    let failed = JournalError::sql("open", path);
    let mut connection =
        Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(&failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
    let mut version = recognise(&connection, path)?;
    // FULL syncs the log at each commit. Without it SQLite may lose what it acknowledged when the power fails.
    connection.pragma_update(None, "synchronous", "FULL").map_err(&failed)?;
    connection
        .pragma_update(None, "trusted_schema", false)
        .map_err(&failed)?;
    if version < VERSION && !read_only {
        migrate(&mut connection).map_err(JournalError::sql("bring up to date", path))?;
        version = VERSION;
    }
    let selects = Selects::new(version);
    check_tables(&connection, path, &selects)?;
    Ok((connection, selects))
}

/// All or nothing: a crash leaves the old version or the new one.
fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // Another process may have done it while we waited for the lock.
    if version < VERSION {
        transaction.execute_batch(MIGRATION)?;
        transaction.execute_batch(&key_index())?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()
}

/// The version of the tables, if they are ours.
fn recognise(connection: &Connection, path: &Path) -> Result<i32, JournalError> {
    let foreign = |source| JournalError::NotAJournal {
        path: path.to_owned(),
        source,
    };
    let number = |pragma: &str| match connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => Err(foreign(Some(error))),
        other => other.map_err(JournalError::sql("open", path)),
    };
    if number("application_id")? != APPLICATION_ID {
        return Err(foreign(None));
    }
    match number("user_version")? {
        found if found > VERSION => Err(JournalError::Newer {
            path: path.to_owned(),
            found,
            known: VERSION,
        }),
        found if found < 1 => Err(foreign(None)),
        found => Ok(found),
    }
}

fn check_tables(connection: &Connection, path: &Path, selects: &Selects) -> Result<(), JournalError> {
    for statement in [selects.of("TRUE").as_str(), HIGHEST_SEQS] {
        match connection.prepare(statement) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::Unknown) => {
                return Err(JournalError::Tables {
                    path: path.to_owned(),
                    source: error,
                });
            }
            other => drop(other.map_err(JournalError::sql("open", path))?),
        }
    }
    Ok(())
}

/// Lets SQLite check its own pages.
pub(super) fn check_pages(connection: &Connection, path: &Path) -> Result<(), JournalError> {
    let answer: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(JournalError::sql("check", path))?;
    match answer.as_str() {
        "ok" => Ok(()),
        problem => Err(JournalError::Pages {
            path: path.to_owned(),
            problem: problem.to_owned(),
        }),
    }
}
