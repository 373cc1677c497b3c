//! A disk that refuses: each call by which a run writes something fails in turn, once.
//!
//! The kernel's answer is replaced by strace(1) in the process that was started, not in the sandbox below it. The calls are
//! counted in a run without a fault, and what was hit in the end is read from the record of the run with it.

use super::Ended;
use crate::support::place::Place;
use crate::support::{has, in_parallel};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// What writes to a file system, or makes sure that something is on it.
const CALLS: [&str; 18] = [
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "copy_file_range",
    "fsync",
    "fdatasync",
    "open",
    "openat",
    "creat",
    "mkdir",
    "mkdirat",
    "link",
    "linkat",
    "rename",
    "renameat",
    "renameat2",
    "ftruncate",
];

/// The kernel's answers: a full disk and a broken one for every call, the others for a sample.
const ALWAYS: [&str; 2] = ["ENOSPC", "EIO"];
const SAMPLED: [&str; 2] = ["EROFS", "EDQUOT"];
/// Of how many calls one is in the sample.
const STRIDE: usize = 11;

/// The variable that has every call fail, which takes minutes: `all`, or the first of the calls that do.
const EVERY_CALL: &str = "FACTORY_TEST_FAULTS";
/// Of how many calls one fails otherwise; which ones is different each day, so that all of them have their turn.
const SHARE: usize = 5;

/// The first call that fails, and how far it is to the next.
fn share() -> (usize, usize) {
    match std::env::var(EVERY_CALL).ok().as_deref() {
        Some("all") => (0, 1),
        Some(first) => (first.parse().expect("a number"), SHARE),
        None => {
            let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
            let day = since.as_secs() / (24 * 60 * 60);
            (usize::try_from(day).unwrap_or(0) % SHARE, SHARE)
        }
    }
}

/// One call of the run.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    /// Its place among the calls of that name, from one.
    nth: usize,
    /// Its place among those of them that write below the place, from zero.
    write: usize,
}

/// A call, and what the kernel is made to answer.
#[derive(Debug)]
struct Fault {
    call: Call,
    error: &'static str,
}

/// Whether this host lets a process be traced.
fn can_trace() -> bool {
    let traced = Command::new("strace").args(["--output=/dev/null", "true"]).output();
    has("strace", traced.is_ok_and(|traced| traced.status.success()))
}

/// The run that is disturbed. The model says each time that it is asked.
fn run(place: &Place) -> Vec<String> {
    let provider = format!(
        "--provider=command:sh -c 'echo >> {}; cat {}'",
        place.word("asked"),
        place.word("answers/1.json")
    );
    ["run", "--repo=repository", "--disk-floor=0", &provider, "order.json"]
        .map(str::to_owned)
        .to_vec()
}

/// The same under strace, with these options; gives what strace noted as well.
fn traced(place: &Place, options: &[&str]) -> (Ended, String) {
    let mut command = place.command("strace");
    command
        .args(["--decode-fds=path", "--string-limit=8", "--output=trace"])
        .args(options)
        .arg(crate::support::program())
        .args(run(place));
    let ended = Ended::of(command.output().unwrap());
    (ended, fs::read_to_string(place.path("trace")).unwrap())
}

/// The calls of a run without a fault that write below the place, and none that only read.
fn calls() -> Vec<Call> {
    let place = Place::new();
    let (ended, trace) = traced(&place, &[&format!("--trace={}", CALLS.join(","))]);
    ended.succeeded();
    CALLS.iter().flat_map(|name| of_name(&place, &trace, name)).collect()
}

/// The calls of one name that write.
fn of_name(place: &Place, trace: &str, name: &str) -> Vec<Call> {
    let of_that_name = trace.lines().filter(|line| line.split('(').next() == Some(name));
    let writes = of_that_name.enumerate().filter(|(_, line)| is_a_write(place, line));
    writes
        .enumerate()
        .map(|(write, (index, _))| Call {
            name: name.to_owned(),
            nth: index + 1,
            write,
        })
        .collect()
}

fn is_a_write(place: &Place, line: &str) -> bool {
    let opens = ["open(", "openat("].iter().any(|name| line.starts_with(name));
    let below = ["home", "repository"].map(|name| place.word(name));
    below.iter().any(|below| line.contains(below.as_str())) && (!opens || line.contains("O_CREAT"))
        // A path relative to a descriptor is shown with it, one relative to the working directory is not below.
        || line.contains("\"repository/") && opens && line.contains("O_CREAT")
}

fn shown(place: &Place, line: &str) -> String {
    line.replace(&place.word(""), "")
}

/// Whether the log itself could be synced when an entry was added is seen by the entry being there.
const MOVED_LATER: &str = "what the log has is moved to the database by whoever closes it next";

/// Why a run may pass although this call failed; nothing when it must not.
fn harmless(line: &str) -> Option<&'static str> {
    let call = line.split('(').next().unwrap_or_default();
    let state = "home/.local/state/factory";
    let is_in = |name: &str| line.contains(&format!("{state}/{name}"));
    match call {
        "fsync" if line.contains(&format!("<{state}>")) => {
            Some("SQLite takes no notice; the journal syncs the directory itself")
        }
        "pwrite64" | "fsync" | "fdatasync" | "ftruncate" if is_in("journal.db>") => Some(MOVED_LATER),
        "fsync" | "fdatasync" if is_in("journal.db-wal>") => Some(MOVED_LATER),
        // While it is written it has no name yet; the other files of a run get theirs at once.
        _ if line.contains("summary.json")
            || call == "fsync" && is_in("runs/")
            || call == "write" && is_in("runs/") && line.contains("(deleted)") =>
        {
            Some("the summary is a copy of what the journal has")
        }
        "write" | "link" | "openat" if line.contains("tmp_object_git2_") => {
            Some("libgit2 writes the object in another way")
        }
        "mkdir" if line.contains("/objects/tmp_objdir-factory-") => Some("libgit2 tries again"),
        "link" if line.contains("repository/.git/refs/") => Some("libgit2 renames where it cannot link"),
        _ => None,
    }
}

/// Words of a message that say where it happened: one of them must be there.
fn place_names(line: &str) -> &'static [&'static str] {
    if line.contains("home/.cache") {
        &[".cache"]
    } else if line.contains("home") {
        &[".local/state"]
    } else {
        &["repository", "branch", "commit"]
    }
}

/// What the kernel said, or what SQLite made of it.
const REASONS: [&str; 8] = [
    "No space left",
    "Input/output error",
    "Read-only file system",
    "quota exceeded",
    "Disk quota exceeded",
    "disk is full",
    "disk I/O error",
    "unable to open database file",
];

/// How often a call is looked for again. The sandbox is looked after while a command runs, so that the number of files that
/// are opened to be read until then is not the same each time.
const TRIES: usize = 12;

/// Runs with one fault, and without it afterwards; says what was not as it has to be. Nothing when the call was not hit.
fn disturb(fault: &Fault) -> Option<Result<(), String>> {
    let mut nth = fault.call.nth;
    for _ in 0..TRIES {
        let place = Place::new();
        let checkout = place.checkout();
        let Fault { call, error } = fault;
        let (ended, trace) = traced(
            &place,
            &[
                &format!("--trace={}", CALLS.join(",")),
                &format!("--inject={}:error={error}:when={nth}", call.name),
            ],
        );
        let hit = trace.lines().find(|line| line.ends_with("(INJECTED)"));
        if let Some(hit) = hit.filter(|line| is_a_write(&place, line)) {
            let hit = shown(&place, hit);
            let judged = judge(&place, &ended, &hit).and_then(|()| match place.checkout() == checkout {
                true => go_on(&place),
                false => Err("the checkout was changed".to_owned()),
            });
            return Some(judged.map_err(|why| format!("{why}\n  {hit}\n{ended:#?}")));
        }
        nth = of_name(&place, &trace, &call.name)
            .get(call.write)
            .map_or(call.nth, |call| call.nth);
    }
    None
}

/// How the run with the fault ended.
fn judge(place: &Place, ended: &Ended, hit: &str) -> Result<(), String> {
    let moved = tip(place).is_some();
    match ended.code {
        Some(0) if harmless(hit).is_none() => return Err("passed, and nothing says why it may".to_owned()),
        Some(0) if !moved => return Err("passed without a commit".to_owned()),
        Some(0) if !is_recorded(place) => return Err("passed, and the journal does not say so".to_owned()),
        Some(0) => {}
        Some(74) => {
            let told = |word: &&str| ended.stderr.contains(*word);
            let labelled = |label: &str| ended.stderr.lines().filter(|line| line.starts_with(label)).count();
            if (labelled("error: "), labelled("help: ")) != (1, 1) {
                return Err("is not explained by one problem".to_owned());
            }
            if !place_names(hit).iter().any(told_of(ended)) || !REASONS.iter().any(told) {
                return Err("does not name where or why".to_owned());
            }
        }
        code => return Err(format!("ended with {code:?}")),
    }
    if asked(place) > 1 {
        return Err("asked the model again".to_owned());
    }
    whole(place)
}

fn told_of(ended: &Ended) -> impl Fn(&&str) -> bool {
    |word| ended.stderr.contains(*word)
}

/// The next start, without the fault.
fn go_on(place: &Place) -> Result<(), String> {
    let before = (tip(place), asked(place));
    let arguments = run(place);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let next = place.call(&arguments);
    let expected = match before.0 {
        Some(_) => "SKIPPED",
        None => "PASS_UNPROVEN",
    };
    let passed = next.code == Some(0) && (next.text().starts_with(expected) || next.text().starts_with("SKIPPED"));
    if !passed {
        return Err(format!("the next start: {next:#?}"));
    }
    if before.0.is_some() && tip(place) != before.0 {
        return Err("the next start moved the branch again".to_owned());
    }
    if asked(place) > before.1 + 1 || asked(place) > 2 {
        return Err("the next start asked more than once".to_owned());
    }
    place.leaves_nothing();
    whole(place)
}

fn tip(place: &Place) -> Option<String> {
    let branches = place.git(&["for-each-ref", "--format=%(objectname)", "refs/heads/factory/WO-01"]);
    (!branches.is_empty()).then_some(branches)
}

/// Whether the last entry of the run is there.
fn is_recorded(place: &Place) -> bool {
    let status = place.call(&["status"]);
    status.code == Some(0) && status.text().contains("PASS_UNPROVEN")
}

fn asked(place: &Place) -> usize {
    fs::read_to_string(place.path("asked")).map_or(0, |asked| asked.lines().count())
}

/// The repository has no damage, the branch is absent or has the change, and the journal is what was written.
fn whole(place: &Place) -> Result<(), String> {
    // It fails by itself when there is damage.
    place.git(&["fsck", "--strict", "--no-dangling"]);
    if tip(place).is_some() && place.git(&["show", "factory/WO-01:x.txt"]) != "hello" {
        return Err("the branch has something else than the change".to_owned());
    }
    let check = place.call(&["journal", "check"]);
    match check.code {
        Some(0) => Ok(()),
        _ => Err(format!("the journal: {check:#?}")),
    }
}

#[test]
fn whatever_the_disk_refuses_is_told_and_the_next_start_carries_on() {
    if !can_trace() {
        return;
    }
    let calls = calls();
    for name in [
        "write",
        "pwrite64",
        "fsync",
        "openat",
        "mkdir",
        "link",
        "renameat2",
        "ftruncate",
    ] {
        let found = calls.iter().filter(|call| call.name == name).count();
        assert!(found > 0, "the run made no call of {name}");
    }
    let (first, every) = share();
    println!("calls {first}, {first} + {every}, … ({EVERY_CALL}=all for every one)");
    let sampled = calls.iter().step_by(STRIDE);
    let taken = calls.iter().skip(first).step_by(every);
    let faults = taken.flat_map(|call| ALWAYS.map(|error| (call, error)));
    let faults: Vec<_> = faults
        .chain(sampled.flat_map(|call| SAMPLED.map(|error| (call, error))))
        .map(|(call, error)| Fault {
            call: call.clone(),
            error,
        })
        .collect();
    println!("{} calls, {} faults", calls.len(), faults.len());
    let told = in_parallel(&faults, |fault| {
        disturb(fault).map(|told| told.map_err(|why| format!("{fault:?}\n{why}")))
    });
    let missed = told.iter().filter(|told| told.is_none()).count();
    let wrong: Vec<_> = told.into_iter().flatten().filter_map(Result::err).collect();
    println!("{missed} faults hit another call");
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(
        missed * 50 < faults.len(),
        "{missed} of {} faults hit another call",
        faults.len()
    );
}

/// The objects of a commit are synced by threads of their own, which strace follows by what they sync: together with the
/// sandbox, which does not touch these.
#[test]
fn a_sync_that_fails_beside_others_ends_the_run_and_the_next_start_carries_on() {
    if !can_trace() {
        return;
    }
    let paths = {
        let place = Place::new();
        let (ended, trace) = traced(&place, &["--follow-forks", "--trace=fsync"]);
        ended.succeeded();
        let synced = trace.lines().filter_map(|line| line.split_once('<')?.1.split_once('>'));
        let objects = place.word("repository/.git/objects");
        let below: BTreeSet<_> = synced
            .filter(|(path, _)| path.starts_with(&objects))
            .map(|(path, _)| path[objects.len()..].to_owned())
            .collect();
        below
    };
    // Blob, tree, their directories and the store are the same each time; the commit is not.
    let (mut hit, mut wrong) = (0, Vec::new());
    for (path, error) in paths.iter().flat_map(|path| ALWAYS.map(|error| (path, error))) {
        let place = Place::new();
        let (ended, trace) = traced(
            &place,
            &[
                "--follow-forks",
                "--trace=fsync",
                &format!("--trace-path={}{path}", place.word("repository/.git/objects")),
                &format!("--inject=fsync:error={error}:when=1"),
            ],
        );
        let Some(line) = trace.lines().find(|line| line.ends_with("(INJECTED)")) else {
            continue;
        };
        hit += 1;
        let line = shown(&place, line);
        let told = judge(&place, &ended, &line).and_then(|()| match tip(&place) {
            None => go_on(&place),
            Some(_) => Err("the branch moved to what may not be on disk".to_owned()),
        });
        wrong.extend(told.err().map(|why| format!("{why}\n  {line}\n{ended:#?}")));
    }
    assert!(hit >= 6, "{hit} of {paths:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
