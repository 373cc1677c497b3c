use super::*;
use crate::types::{FailureClass, Problem as _};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const RUN: &str = "01JZ0000000000000000000001";
const OTHER: &str = "01JZ0000000000000000000002";

fn run(text: &str) -> RunId {
    text.parse().unwrap()
}

fn entry(phase: Phase, kind: &'static str, body: serde_json::Value) -> Entry {
    Entry {
        run: run(RUN),
        phase,
        kind,
        attempt: Some(1),
        body,
    }
}

/// A journal with five entries, closed again.
fn five_entries() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    for number in 1..=5 {
        let entry = entry(Phase::Fact, "test.numbered", json!({ "number": number }));
        assert_eq!(journal.append(&entry).unwrap(), number);
    }
    dir
}

/// Does to a journal what this program never does.
fn tamper(dir: &Path, sql: &str) {
    let connection = Connection::open(dir.join(DATABASE)).unwrap();
    connection
        .execute_batch("DROP TRIGGER entry_is_final; DROP TRIGGER entry_is_kept;")
        .unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn entries_come_back_in_order_and_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let first = entry(
        Phase::Intent,
        "model.ask",
        json!({ "prompt": "a\u{1b}[2J\u{0}b", "price": 0.1 }),
    );
    let second = Entry {
        run: run(OTHER),
        attempt: None,
        ..entry(Phase::Fact, "run.completed", json!(null))
    };
    assert_eq!(journal.append(&first).unwrap(), 1);
    assert_eq!(journal.append(&second).unwrap(), 2);

    let entries = Journal::open_read_only(dir.path()).unwrap().unwrap().entries().unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!(
        (entries[0].seq, entries[0].phase, entries[0].attempt),
        (1, Phase::Intent, Some(1))
    );
    assert_eq!(
        (entries[0].run, entries[0].kind.as_str(), &entries[0].body),
        (first.run, first.kind, &first.body)
    );
    assert_eq!(
        (entries[1].seq, entries[1].phase, entries[1].attempt),
        (2, Phase::Fact, None)
    );
    assert!(entries[0].at_ms > 1_700_000_000_000);

    let of_other = journal.entries_of(run(OTHER)).unwrap();
    assert_eq!(of_other, entries[1..]);
    assert_eq!(journal.check().unwrap().entries, 2);
}

#[test]
fn a_state_directory_is_made_for_its_owner_and_holds_no_leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state/factory");
    assert!(Journal::open_read_only(&state).unwrap().is_none());
    assert!(!state.exists(), "looking creates nothing");
    drop(Journal::open(&state).unwrap());
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(
        fs::metadata(state.join(DATABASE)).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let names: Vec<_> = fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, [DATABASE]);
}

#[test]
fn commits_are_synced_to_a_write_ahead_log() {
    let dir = five_entries();
    let journal = Journal::open(dir.path()).unwrap();
    let text = |pragma: &str| -> String {
        let value: rusqlite::types::Value = journal
            .connection
            .pragma_query_value(None, pragma, |row| row.get(0))
            .unwrap();
        format!("{value:?}")
    };
    assert_eq!(text("journal_mode"), "Text(\"wal\")");
    // Source: SQLite, "PRAGMA synchronous": FULL is 2.
    assert_eq!(text("synchronous"), "Integer(2)");
}

#[test]
fn an_altered_journal_is_noticed_and_the_place_is_named() {
    let moved = "UPDATE entry SET seq = -3 WHERE seq = 3; UPDATE entry SET seq = 3 WHERE seq = 4;
        UPDATE entry SET seq = 4 WHERE seq = -3;";
    for (what, sql, at) in [
        (
            "changed body",
            "UPDATE entry SET body = '{\"number\":9}' WHERE seq = 3",
            3,
        ),
        (
            "same value, other spelling",
            "UPDATE entry SET body = '{ \"number\":3}' WHERE seq = 3",
            3,
        ),
        ("changed time", "UPDATE entry SET at_ms = at_ms + 1 WHERE seq = 3", 3),
        ("changed version", "UPDATE entry SET version = 1 WHERE seq = 3", 3),
        ("changed attempt", "UPDATE entry SET attempt = NULL WHERE seq = 3", 3),
        ("changed phase", "UPDATE entry SET phase = 'intent' WHERE seq = 3", 3),
        (
            "changed run",
            "UPDATE entry SET run = '01JZ0000000000000000000002' WHERE seq = 3",
            3,
        ),
        ("negative time", "UPDATE entry SET at_ms = -1 WHERE seq = 3", 3),
        ("first removed", "DELETE FROM entry WHERE seq = 1", 2),
        ("one removed", "DELETE FROM entry WHERE seq = 3", 4),
        ("last removed", "DELETE FROM entry WHERE seq = 5", 5),
        ("all removed", "DELETE FROM entry", 5),
        ("two swapped", moved, 3),
        (
            "hash replaced",
            "UPDATE entry SET hash = (SELECT hash FROM entry WHERE seq = 1) WHERE seq = 3",
            3,
        ),
        (
            "one added",
            "INSERT INTO entry SELECT 6, at_ms, run, phase, kind, attempt, body, hash, version FROM entry WHERE seq = 5",
            6,
        ),
        (
            "renumbered after a gap",
            "DELETE FROM entry WHERE seq = 1; UPDATE entry SET seq = seq - 1",
            1,
        ),
    ] {
        let dir = five_entries();
        tamper(dir.path(), sql);
        let mut journal = Journal::open(dir.path()).unwrap();
        for result in [
            journal.check().map(drop),
            journal.check_chain().map(drop),
            journal.entries().map(drop),
        ] {
            match result {
                Err(error @ JournalError::Damaged { seq, .. }) => {
                    assert_eq!(seq, at, "{what}: {error}");
                    assert_eq!(error.class(), FailureClass::Host);
                }
                other => panic!("{what}: {other:?}"),
            }
        }
        if at >= 5 {
            // Whoever builds on the newest entry looks at it first.
            let result = journal.append(&entry(Phase::Fact, "test.numbered", json!(6)));
            assert!(
                matches!(result, Err(JournalError::Damaged { .. })),
                "{what}: {result:?}"
            );
        }
    }
}

#[test]
fn entries_of_one_run_are_checked_too() {
    let dir = five_entries();
    tamper(dir.path(), "UPDATE entry SET body = 'null' WHERE seq = 2");
    let journal = Journal::open(dir.path()).unwrap();
    assert!(matches!(
        journal.entries_of(run(RUN)),
        Err(JournalError::Damaged { seq: 2, .. })
    ));
}

#[test]
fn entries_can_be_neither_changed_nor_removed_by_accident() {
    let dir = five_entries();
    let connection = Connection::open(dir.path().join(DATABASE)).unwrap();
    for sql in ["UPDATE entry SET body = 'null'", "DELETE FROM entry WHERE seq = 5"] {
        assert!(connection.execute_batch(sql).is_err(), "{sql}");
    }
    assert_eq!(Journal::open(dir.path()).unwrap().check().unwrap().entries, 5);
}

#[test]
fn what_is_no_journal_of_ours_is_refused_by_name_and_left_as_it_is() {
    let newer = five_entries();
    tamper(newer.path(), "PRAGMA user_version = 3");
    let older = five_entries();
    tamper(older.path(), "PRAGMA user_version = 0");
    let bare = five_entries();
    tamper(bare.path(), "DROP TABLE entry");
    let foreign = tempfile::tempdir().unwrap();
    Connection::open(foreign.path().join(DATABASE))
        .unwrap()
        .execute_batch("CREATE TABLE entry (seq INTEGER); PRAGMA user_version = 1")
        .unwrap();
    let text = tempfile::tempdir().unwrap();
    fs::write(
        text.path().join(DATABASE),
        "this is a text, long enough to be taken for a header".repeat(20),
    )
    .unwrap();
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join(DATABASE), "").unwrap();

    for (dir, what) in [
        (&newer, "format 3"),
        (&older, "not a journal"),
        (&bare, "lacks tables"),
        (&foreign, "not a journal"),
        (&text, "not a journal"),
        (&empty, "not a journal"),
    ] {
        let before = fs::read(dir.path().join(DATABASE)).unwrap();
        for result in [Journal::open(dir.path()).map(Some), Journal::open_read_only(dir.path())] {
            let error = result.map(drop).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert_eq!(error.class(), FailureClass::Host);
            assert!(error.hint().is_some());
        }
        assert_eq!(fs::read(dir.path().join(DATABASE)).unwrap(), before);
    }
}

#[test]
fn several_writers_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let dir = &dir;
            scope.spawn(move || {
                let mut journal = Journal::open(dir.path()).unwrap();
                for number in 0..25 {
                    journal
                        .append(&entry(Phase::Fact, "test.written", json!([writer, number])))
                        .unwrap();
                }
            });
        }
    });
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.check().unwrap().entries, 100);
    for writer in 0..4 {
        let written = journal.entries().unwrap().into_iter().map(|entry| entry.body);
        let own: Vec<_> = written
            .filter(|body| body[0] == writer)
            .map(|body| body[1].clone())
            .collect();
        assert_eq!(
            own,
            (0..25).map(|number| json!(number)).collect::<Vec<_>>(),
            "in its own order"
        );
    }
}

#[test]
fn a_reader_does_not_wait_for_a_writer() {
    let dir = five_entries();
    let mut writer = Connection::open(dir.path().join(DATABASE)).unwrap();
    let transaction = writer
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let journal = Journal::open_read_only(dir.path()).unwrap().unwrap();
    assert_eq!(journal.check().unwrap().entries, 5);
    transaction.rollback().unwrap();
}

#[test]
fn a_journal_opened_for_reading_is_not_written() {
    let dir = five_entries();
    let mut journal = Journal::open_read_only(dir.path()).unwrap().unwrap();
    for result in [
        journal.append(&entry(Phase::Fact, "test.numbered", json!(6))).map(drop),
        journal.put_blob(b"x").map(drop),
    ] {
        assert!(matches!(result, Err(JournalError::ReadOnly { .. })));
    }
}

#[test]
fn an_entry_that_could_not_be_found_again_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    for kind in [
        "",
        "run",
        "run.",
        ".run",
        "Run.opened",
        "run.opened.twice",
        "run opened",
        "run.öffnen",
        "1.a",
    ] {
        let result = journal.append(&entry(Phase::Fact, kind, json!(1)));
        assert!(matches!(result, Err(JournalError::Kind { .. })), "{kind}");
    }
    let large = json!("x".repeat(MAX_BODY_BYTES));
    let result = journal.append(&entry(Phase::Fact, "test.large", large));
    assert!(matches!(result, Err(JournalError::TooLarge { .. })));
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let result = journal.append(&entry(Phase::Fact, "test.deep", deep));
    assert!(matches!(result, Err(JournalError::Body { .. })));
    assert_eq!(journal.check().unwrap().entries, 0);
}

#[test]
fn blobs_are_stored_once_and_checked_when_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let digest = journal.put_blob(b"payload").unwrap();
    assert_eq!(journal.put_blob(b"payload").unwrap(), digest);
    assert_eq!(journal.blob(digest).unwrap(), b"payload");
    assert_eq!(journal.put_blob(b"").unwrap(), Sha256::EMPTY);
    assert_eq!(journal.blob(Sha256::EMPTY).unwrap(), b"");

    let (name, rest) = (digest.to_string()[..2].to_owned(), digest.to_string()[2..].to_owned());
    let path = dir.path().join("blobs").join(name).join(rest);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, "other").unwrap();
    assert!(matches!(journal.blob(digest), Err(JournalError::BlobDamaged { .. })));
    assert!(matches!(
        journal.put_blob(b"payload"),
        Err(JournalError::BlobDamaged { .. })
    ));
    fs::remove_file(&path).unwrap();
    assert!(matches!(journal.blob(digest), Err(JournalError::BlobMissing { .. })));
}

#[test]
fn damaged_pages_are_an_error_and_no_panic() {
    let dir = five_entries();
    let path = dir.path().join(DATABASE);
    let whole = fs::read(&path).unwrap();
    for at in (100..whole.len()).step_by(97) {
        let mut bytes = whole.clone();
        for byte in bytes.iter_mut().skip(at).take(16) {
            *byte ^= 0xa5;
        }
        fs::write(&path, &bytes).unwrap();
        // Some bytes are unused; whatever is reported as whole must be the whole.
        match Journal::open_read_only(dir.path()).and_then(|journal| journal.unwrap().check()) {
            Ok(checked) => assert_eq!(checked.entries, 5, "at {at}"),
            Err(error) => assert_eq!(error.class(), FailureClass::Host, "at {at}: {error}"),
        }
    }
    for length in (0..whole.len()).step_by(512) {
        fs::write(&path, &whole[..length]).unwrap();
        let result = Journal::open_read_only(dir.path()).and_then(|journal| journal.unwrap().check());
        assert!(result.is_err(), "cut to {length} bytes");
    }
}

/// Each format as it was written when it was current. All of them must open for ever, and be written to.
#[test]
fn journals_of_every_version_keep_opening() {
    for version in ["journal-v1", "journal-v2"] {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(version);
        let recorded = fs::read_to_string(fixture.join("entries.json")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::copy(fixture.join(DATABASE), dir.path().join(DATABASE)).unwrap();
        // For reading it stays as it is, and says the same.
        let reader = Journal::open_read_only(dir.path()).unwrap().unwrap();
        let entries = serde_json::to_string_pretty(&reader.entries().unwrap()).unwrap() + "\n";
        assert_eq!(entries, recorded, "{version}");
        drop(reader);
        assert_eq!(
            fs::read(dir.path().join(DATABASE)).unwrap(),
            fs::read(fixture.join(DATABASE)).unwrap(),
            "{version}"
        );
        let mut journal = Journal::open(dir.path()).unwrap();
        assert_eq!(journal.check_chain().unwrap(), 3, "{version}");
        let entries = serde_json::to_string_pretty(&journal.entries().unwrap()).unwrap() + "\n";
        assert_eq!(entries, recorded, "{version}");
        let continued = entry(Phase::Fact, "test.continued", json!({ "key": "k" }));
        assert_eq!(journal.append(&continued).unwrap(), 4, "{version}");
        assert_eq!(
            journal.entries_about("test.continued", "k").unwrap().len(),
            1,
            "{version}"
        );
        assert_eq!(journal.check_chain().unwrap(), 4, "{version}");
    }
}

#[test]
fn entries_are_found_by_what_they_are_about_and_runs_by_what_they_lack() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let mut add = |id: &str, kind, body| {
        let entry = Entry {
            run: run(id),
            ..entry(Phase::Fact, kind, body)
        };
        journal.append(&entry).unwrap()
    };
    add(RUN, "run.opened", json!({ "order_id": "WO-1" }));
    add(RUN, "test.numbered", json!({ "key": "a", "order_id": "WO-1" }));
    add(OTHER, "run.opened", json!({ "order_id": "WO-2" }));
    add(OTHER, "test.numbered", json!({ "key": "a" }));
    add(RUN, "run.completed", json!({ "order_id": "WO-1" }));
    let about = |kind: &str, key: &str| -> Vec<u64> {
        let entries = journal.entries_about(kind, key).unwrap();
        entries.iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(about("test.numbered", "a"), [2, 4]);
    assert_eq!(about("run.opened", "WO-2"), [3]);
    assert_eq!(about("test.numbered", "WO-1"), [0; 0], "the key is what it is about");
    assert_eq!(journal.unclosed("run.opened", "run.completed").unwrap(), [run(OTHER)]);
    assert_eq!(journal.newest().unwrap(), 5);
}

#[test]
fn a_check_reads_the_blobs_that_entries_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(dir.path()).unwrap();
    let (kept, gone) = (journal.put_blob(b"kept").unwrap(), journal.put_blob(b"gone").unwrap());
    let names = json!({ "answer": kept, "evidence": gone });
    journal.append(&entry(Phase::Fact, "test.names", names)).unwrap();
    assert_eq!(journal.check().unwrap().blobs, 2);
    let digits = gone.to_string();
    fs::remove_file(dir.path().join("blobs").join(&digits[..2]).join(&digits[2..])).unwrap();
    assert!(matches!(journal.check(), Err(JournalError::BlobMissing { digest, .. }) if digest == gone));
    let removal = entry(Phase::Fact, BLOBS_REMOVED, json!({ "blobs": [gone] }));
    journal.append(&removal).unwrap();
    let checked = journal.check().unwrap();
    assert_eq!((checked.entries, checked.blobs, checked.removed), (2, 1, 1));
}

#[test]
fn a_journal_can_be_sent_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Journal>();
}
