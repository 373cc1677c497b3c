//! The tables, their version, and how a database is created and recognised.

use super::JournalError;
use super::chain::Link;
use crate::durable::{Aside, DurableError, ensure_dir};
use crate::types::Sha256;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// Marks the database as ours: `fact` in ASCII. Source: SQLite, "Database File Format", section 1.3.17.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"fact");

/// The version of the tables that this program writes.
const VERSION: i32 = 1;

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
    hash    TEXT NOT NULL
) STRICT;
CREATE INDEX entry_by_run ON entry (run, seq);
CREATE TRIGGER entry_is_final BEFORE UPDATE ON entry BEGIN SELECT raise(ABORT, 'journal entries are final'); END;
CREATE TRIGGER entry_is_kept BEFORE DELETE ON entry BEGIN SELECT raise(ABORT, 'journal entries are kept'); END;
";

pub(super) const INSERT: &str = "INSERT INTO entry (seq, at_ms, run, phase, kind, attempt, body, hash)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";

/// The values for [`INSERT`].
pub(super) fn row(link: &Link<'_>, hash: Sha256) -> [Value; 8] {
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
    ]
}

/// Each entry with the hash of the one before it. The condition follows.
pub(super) const SELECT: &str =
    "SELECT e.seq, e.at_ms, e.run, e.phase, e.kind, e.attempt, e.body, e.hash, p.hash AS previous
    FROM entry AS e LEFT JOIN entry AS p ON p.seq = e.seq - 1";

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
    let aside = Aside::create(database).map_err(refused)?;
    build(aside.path()).map_err(JournalError::sql("create", database))?;
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
    // Last: the mode is a mark in the file, and switching to it leaves no log behind when the connection closes.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.close().map_err(|(_, error)| error)
}

/// Opens the database at `path`, if it is a journal of a version that we know.
pub(super) fn connect(path: &Path, read_only: bool) -> Result<Connection, JournalError> {
    let access = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    };
    let failed = JournalError::sql("open", path);
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(&failed)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(&failed)?;
    recognise(&connection, path)?;
    // FULL syncs the log at each commit. Without it SQLite may lose what it acknowledged when the power fails.
    connection.pragma_update(None, "synchronous", "FULL").map_err(&failed)?;
    connection
        .pragma_update(None, "trusted_schema", false)
        .map_err(&failed)?;
    Ok(connection)
}

fn recognise(connection: &Connection, path: &Path) -> Result<(), JournalError> {
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
        VERSION => {}
        found if found > VERSION => {
            return Err(JournalError::Newer {
                path: path.to_owned(),
                found,
                known: VERSION,
            });
        }
        _ => return Err(foreign(None)),
    }
    for statement in [SELECT, HIGHEST_SEQS] {
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
