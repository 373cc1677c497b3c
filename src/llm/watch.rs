//! Who ends a program that was asked when the process that asked it is killed.
//!
//! `SIGKILL` leaves nobody to clean up, and `PR_SET_PDEATHSIG` reaches a child and none of its children. So the program's
//! process group is led by a watcher: our own binary once more, which reads from a pipe that only the asking process can write
//! to. When that ends, however it does, the pipe does too, and the watcher kills its group, with itself in it.

use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::process::Stdio;
use tokio::process::{Child, ChildStdin, Command};

/// The hidden subcommand by which this project's binary becomes a watcher.
const SUBCOMMAND: &str = "provider-watch";

/// Becomes the watcher of a provider's process group when the first argument is the hidden subcommand, and then never returns.
///
/// `main` calls this before anything else. A program of others that asks commands calls it in the same place, or names this
/// project's binary to [`Command::watched_by`](super::Command::watched_by).
pub fn watcher_door() {
    if std::env::args_os().nth(1).is_some_and(|word| word == SUBCOMMAND) {
        watch()
    }
}

fn watch() -> ! {
    wait_for_end(io::stdin().lock());
    // Called by hand, it would kill whatever group it happened to be started in.
    if rustix::process::getpgrp() == rustix::process::getpid() {
        let _ = rustix::process::kill_current_process_group(rustix::process::Signal::KILL);
    }
    std::process::exit(0)
}

/// Nobody ever writes; that there is nobody any more who could is the news.
fn wait_for_end(mut pipe: impl Read) {
    let mut byte = [0];
    loop {
        match pipe.read(&mut byte) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// The watcher of one call, which leads a process group.
pub(super) struct Watcher {
    process: Child,
    /// Never written to, only closed by our death.
    _life: Option<ChildStdin>,
}

impl Watcher {
    /// Starts `program`, this project's binary, as a watcher.
    pub(super) fn start(program: &Path) -> io::Result<Self> {
        let mut process = Command::new(program)
            .arg(SUBCOMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let life = process.stdin.take();
        Ok(Watcher { process, _life: life })
    }

    /// The group that it leads; it keeps the number from being used again.
    pub(super) fn group(&self) -> Option<i32> {
        self.process.id().and_then(|id| i32::try_from(id).ok())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Before the pipe closes: the program ended by itself, and what it left running on purpose is not ours to end.
        let _ = self.process.start_kill();
    }
}
