//! Places at which a test may end the process as a crash would: `SIGKILL`, which nobody can catch or clean up after.
//!
//! Only builds with debug assertions have them; in what is shipped a crash point is nothing.

#[cfg(debug_assertions)]
use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::OnceLock,
    sync::atomic::{AtomicU64, Ordering},
};

#[cfg(debug_assertions)]
struct Armed {
    /// The point at which the process ends: its number, counted from one, or its name.
    at: Option<String>,
    /// Where the name of each point is written when it is passed.
    log: Option<File>,
    passed: AtomicU64,
}

#[cfg(debug_assertions)]
static ARMED: OnceLock<Armed> = OnceLock::new();

/// Arms the crash points of this process: it ends at the one that has `at` as its number or its name, and writes the name of each that it passes as a
/// line of `log`.
///
/// # Errors
/// When the file cannot be created.
#[cfg(debug_assertions)]
pub fn arm_crash_points(at: Option<String>, log: Option<&Path>) -> std::io::Result<()> {
    let log = log.map(File::create).transpose()?;
    // Whoever armed them first has them: a process has one command line.
    let _ = ARMED.set(Armed {
        at,
        log,
        passed: AtomicU64::new(0),
    });
    Ok(())
}

/// A place between two effects. `name` says between which.
pub fn crash_point(name: &str) {
    #[cfg(debug_assertions)]
    if let Some(armed) = ARMED.get() {
        let number = armed.passed.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(mut log) = armed.log.as_ref() {
            // A test that finds its list short fails by itself.
            let _ = writeln!(log, "{name}");
        }
        if armed
            .at
            .as_ref()
            .is_some_and(|at| at == name || *at == number.to_string())
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
