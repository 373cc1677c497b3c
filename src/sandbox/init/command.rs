//! Starts the command and waits until nothing of it is left.

use super::Step;
use super::protect::{self, Protected};
use crate::sandbox::cgroup::Groups;
use crate::sandbox::report::SetupFailure;
use crate::sandbox::setup::{Ended, Job, LayerFailure, ReportLine, TREE};
use crate::sandbox::sys::{self, Ending};
use nix::errno::Errno;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the command of the job to its end and answers the last report line of `init`.
pub(super) fn run(job: &Job, groups: &Groups, protected: &Protected<'_>) -> Result<ReportLine, LayerFailure> {
    let mut command = match ready(job)? {
        Ok(command) => command,
        Err(line) => return Ok(line),
    };
    // This is posix_spawn(3): no copy of our memory is made, and a refused execve(2) is our error, not an exit code.
    match command.spawn() {
        Ok(child) => reap(child.id() as i32, job, groups, protected),
        Err(error) => Ok(unusable(job, &error)),
    }
}

/// Gives the command what it reads: the near end of a pipe that holds all of it already, or nothing.
pub(super) fn attach_input(job: &Job) -> Result<(), LayerFailure> {
    let step = "attach standard input";
    if job.stdin.is_empty() {
        let null = File::open("/dev/null").step("open /dev/null")?;
        return sys::dup_onto(null.as_fd(), 0).step(step);
    }
    let (near, far) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).step(step)?;
    // A pipe that takes less, as the kernel gives to whoever has very many, must not leave us waiting.
    rustix::io::ioctl_fionbio(&far, true).step(step)?;
    File::from(far).write_all(job.stdin.as_bytes()).step(step)?;
    sys::dup_onto(near.as_fd(), 0).step(step)
}

/// Becomes the command of the job. Answers only why it could not.
pub(super) fn become_it(job: &Job) -> Result<ReportLine, LayerFailure> {
    Ok(match ready(job)? {
        Ok(mut command) => unusable(job, &command.exec()),
        Err(line) => line,
    })
}

/// Goes to where the command starts and finds its program, or says why it cannot be started.
fn ready(job: &Job) -> Result<Result<Command, ReportLine>, LayerFailure> {
    if nix::unistd::chdir(&job.cwd).is_err() {
        let directory = job.cwd.display().to_string();
        return Ok(Err(ReportLine::NotStarted(SetupFailure::DirectoryMissing {
            directory,
        })));
    }
    let Some(program) = find(job) else {
        let program = job.argv[0].clone();
        return Ok(Err(ReportLine::NotStarted(SetupFailure::ToolMissing { program })));
    };
    if let Some(architecture) = foreign_architecture(&program) {
        // The filter would kill it at its first call, which looks like a crash of its own.
        let rule = format!("seccomp: a program for another architecture ({architecture})");
        return Ok(Err(ReportLine::Denied { rule }));
    }
    // Descriptors of ours were opened to be closed by execve(2); this also marks any that a library opened otherwise.
    sys::close_on_exec_from(super::FIRST_OF_OURS).step("mark descriptors")?;
    let environment = job.env.iter().filter_map(|pair| pair.split_once('='));
    let mut command = Command::new(program);
    command
        .arg0(&job.argv[0])
        .args(&job.argv[1..])
        .env_clear()
        .envs(environment);
    Ok(Ok(command))
}

fn unusable(job: &Job, error: &std::io::Error) -> ReportLine {
    ReportLine::NotStarted(SetupFailure::ProgramUnusable {
        program: job.argv[0].clone(),
        reason: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
            .desc()
            .to_owned(),
    })
}

/// A program with a slash is taken as it is, relative to the working directory; any other is looked up.
fn find(job: &Job) -> Option<PathBuf> {
    let name = &job.argv[0];
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    job.path
        .iter()
        .map(|directory| directory.join(name))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Waits for the command, kills whatever it left behind and waits for that too.
fn reap(command: i32, job: &Job, groups: &Groups, protected: &Protected<'_>) -> Result<ReportLine, LayerFailure> {
    let mut ending = None;
    loop {
        match sys::wait_any() {
            // Once: its number is free then, and what the command left may get it.
            Ok((pid, how)) if pid == command && ending.is_none() => ending = Some(how),
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
    let disk = statvfs("/tmp").step("read what was written")?;
    let used = |all: u64, free: u64| all.saturating_sub(free);
    Ok(ReportLine::Ended(Ended {
        code,
        signal,
        cpu_ms: milliseconds(usage.user_time()) + milliseconds(usage.system_time()),
        // ru_maxrss is in kibibytes. Source: getrusage(2).
        peak_rss_bytes: usage.max_rss() as u64 * 1024,
        written_bytes: used(disk.blocks(), disk.blocks_free()) * disk.fragment_size(),
        written_files: used(disk.files(), disk.files_free()),
        disk_full: disk.blocks_free() == 0,
        inodes_full: disk.files_free() == 0,
        groups: groups.counts(),
        tampered: protected.changed(),
        files: protect::digests(Path::new(TREE), &job.watch),
    }))
}

/// The name of the architecture that a program was made for, when it is not this one. What is no ELF file is none of a
/// foreign one. Source: elf(5), `e_ident` and `e_machine`.
fn foreign_architecture(program: &Path) -> Option<&'static str> {
    const MACHINES: [(u16, &str); 6] = [
        (3, "i386"),
        (40, "arm"),
        (62, "x86_64"),
        (183, "aarch64"),
        (243, "riscv"),
        (21, "powerpc64"),
    ];
    /// `ELFCLASS64`: x32 programs have the machine of x86-64 and the other class.
    const CLASS_64: u8 = 2;
    let mut header = [0; 20];
    File::open(program)
        .and_then(|mut file| file.read_exact(&mut header))
        .ok()?;
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    let machine = u16::from_ne_bytes([header[18], header[19]]);
    let name = MACHINES
        .iter()
        .find(|(number, _)| *number == machine)
        .map_or("unknown", |(_, name)| name);
    match (name == std::env::consts::ARCH, header[4] == CLASS_64) {
        (true, true) => None,
        (true, false) => Some("32-bit"),
        (false, _) => Some(name),
    }
}
