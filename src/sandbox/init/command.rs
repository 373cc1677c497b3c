//! Starts the command and waits until nothing of it is left.

use super::Step;
use crate::sandbox::report::SetupFailure;
use crate::sandbox::setup::{LayerFailure, ReportLine, Setup};
use crate::sandbox::sys::{self, Ending};
use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the command of the setup to its end and answers the last report line of `init`.
pub(super) fn run(setup: &Setup) -> Result<ReportLine, LayerFailure> {
    if nix::unistd::chdir(&setup.cwd).is_err() {
        let directory = setup.cwd.display().to_string();
        return Ok(ReportLine::NotStarted(SetupFailure::DirectoryMissing { directory }));
    }
    let Some(program) = find(setup) else {
        let program = setup.argv[0].clone();
        return Ok(ReportLine::NotStarted(SetupFailure::ToolMissing { program }));
    };
    // Descriptors of ours were opened to be closed by execve(2); this also marks any that a library opened otherwise.
    sys::close_on_exec_from(super::REPORT_FD).step("mark descriptors")?;
    let environment = setup.env.iter().filter_map(|pair| pair.split_once('='));
    // This is posix_spawn(3): no copy of our memory is made, and a refused execve(2) is our error, not an exit code.
    let spawned = Command::new(program)
        .arg0(&setup.argv[0])
        .args(&setup.argv[1..])
        .env_clear()
        .envs(environment)
        .spawn();
    match spawned {
        Ok(child) => reap(child.id() as i32),
        Err(error) => Ok(ReportLine::NotStarted(SetupFailure::ProgramUnusable {
            program: setup.argv[0].clone(),
            reason: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
                .desc()
                .to_owned(),
        })),
    }
}

/// A program with a slash is taken as it is, relative to the working directory; any other is looked up.
fn find(setup: &Setup) -> Option<PathBuf> {
    let name = &setup.argv[0];
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    setup
        .path
        .iter()
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Waits for the command, kills whatever it left behind and waits for that too.
fn reap(command: i32) -> Result<ReportLine, LayerFailure> {
    let mut ending = None;
    loop {
        match sys::wait_any() {
            Ok((pid, how)) if pid == command => ending = Some(how),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => break,
            Err(errno) => return Err(errno).step("wait for the command"),
        }
        // Everything but ourselves. In the pid namespace of the sandbox that is exactly what the command started.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    }
    let (code, signal) = match ending {
        Some(Ending::Exited(code)) => (Some(code), None),
        Some(Ending::Signaled(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    // Our copies are the last: the parent sees the streams end now, and not only when the namespaces are torn down.
    sys::close_streams();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).step("read what was used")?;
    let milliseconds = |time: nix::sys::time::TimeVal| (time.tv_sec() * 1000 + time.tv_usec() / 1000) as u64;
    Ok(ReportLine::Ended {
        code,
        signal,
        cpu_ms: milliseconds(usage.user_time()) + milliseconds(usage.system_time()),
        // ru_maxrss is in kibibytes. Source: getrusage(2).
        peak_rss_bytes: usage.max_rss() as u64 * 1024,
    })
}
