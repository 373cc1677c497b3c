//! Starts the command and waits until nothing of it is left.

use super::Step;
use crate::sandbox::report::SetupFailure;
use crate::sandbox::setup::{LayerFailure, ReportLine, Setup};
use crate::sandbox::sys::{self, Ending, Forked};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::convert::Infallible;
use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
    let image = Image::new(setup, &program)?;
    let null =
        nix::fcntl::open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).step("open /dev/null")?;
    // Closed by a successful execve(2); otherwise it carries the reason.
    let (refused, refusal) = nix::unistd::pipe2(OFlag::O_CLOEXEC).step("make a pipe")?;
    match sys::fork().step("start the command")? {
        Forked::Child => image.replace_process(&null, refusal),
        Forked::Parent(pid) => {
            drop(refusal);
            match read_errno(refused) {
                Some(errno) => Ok(ReportLine::NotStarted(SetupFailure::ProgramUnusable {
                    program: setup.argv[0].clone(),
                    reason: errno.desc().to_owned(),
                })),
                None => reap(pid),
            }
        }
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

/// The arguments of `execve(2)`.
struct Image {
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Image {
    fn new(setup: &Setup, program: &Path) -> Result<Self, LayerFailure> {
        let text = |text: &str| {
            CString::new(text)
                .map_err(|_| Errno::EINVAL)
                .step("pass a word with a NUL byte")
        };
        Ok(Image {
            program: text(&program.to_string_lossy())?,
            argv: setup.argv.iter().map(|word| text(word)).collect::<Result<_, _>>()?,
            env: setup.env.iter().map(|pair| text(pair)).collect::<Result<_, _>>()?,
        })
    }

    /// In the new process: becomes the command, or says why not and ends.
    fn replace_process(&self, null: &OwnedFd, refusal: OwnedFd) -> ! {
        // In place of the report channel, which the command must not have.
        if sys::dup_onto(refusal.as_fd(), super::REPORT_FD).is_err() {
            sys::exit_now(127);
        }
        let Err(errno) = self.exec(null);
        // If this fails too, the pipe closes empty and the exit code is the whole story.
        let refusal = sys::take_received(super::REPORT_FD);
        let _ = nix::unistd::write(refusal.as_fd(), &(errno as i32).to_ne_bytes());
        sys::exit_now(127)
    }

    /// Leaves nothing open but the standard streams and the refusal pipe under the number of the report channel.
    fn exec(&self, null: &OwnedFd) -> Result<Infallible, Errno> {
        sys::dup_onto(null.as_fd(), 0)?;
        sys::close_range(super::REPORT_FD + 1)?;
        sys::set_close_on_exec(super::REPORT_FD)?;
        nix::unistd::execve(&self.program, &self.argv, &self.env)
    }
}

fn read_errno(refused: OwnedFd) -> Option<Errno> {
    let mut bytes = [0; 4];
    std::fs::File::from(refused).read_exact(&mut bytes).ok()?;
    Some(Errno::from_raw(i32::from_ne_bytes(bytes)))
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
