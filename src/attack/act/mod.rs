//! The payload's acts: one hostile thing each, by name.
//!
//! - An act that succeeded says so in a few words; one that was refused names the error.
//! - Harmless when nothing contains it: loops are bounded, processes end by themselves, mounts are made in a mount
//!   namespace of the payload's own wherever one can be had, and where success would hurt the host the call is made with
//!   an argument that the kernel refuses only after it has asked for the right.

mod calls;
mod files;
mod network;
mod processes;
mod resources;
mod tells;

use super::sys::{self, Arg};
use nix::errno::Errno;
use std::ffi::CString;
use std::io;
use std::time::Duration;

pub(super) use calls::{add_session_key, filter, join_session_keyring};
pub(super) use network::give_address;

/// An act that was refused.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) errno: Errno,
    pub(super) what: String,
}

/// What an act answers.
pub(super) type Done = Result<String, Refused>;

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Refused {
            errno,
            what: String::new(),
        }
    }
}

impl From<rustix::io::Errno> for Refused {
    fn from(errno: rustix::io::Errno) -> Self {
        Errno::from_raw(errno.raw_os_error()).into()
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused {
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
            what: error.to_string(),
        }
    }
}

/// A refusal in our own words.
fn refused(errno: Errno, what: impl Into<String>) -> Done {
    Err(Refused {
        errno,
        what: what.into(),
    })
}

/// An act by its name.
pub(super) fn find(name: &str) -> Option<fn(&[String]) -> Done> {
    [
        calls::ACTS,
        files::ACTS,
        network::ACTS,
        processes::ACTS,
        resources::ACTS,
        tells::ACTS,
    ]
    .into_iter()
    .flatten()
    .find(|(known, _)| *known == name)
    .map(|(_, act)| *act)
}

/// Names and functions.
type Acts = &'static [(&'static str, fn(&[String]) -> Done)];

/// Text without line ends, and not without end.
pub(super) fn one_line(text: &str) -> String {
    let text: String = text
        .chars()
        .take(4096)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if text.trim().is_empty() { "it".to_owned() } else { text }
}

/// The argument at a position, without the token that comes last.
fn word(words: &[String], at: usize) -> Result<&str, Refused> {
    words.get(at).map(String::as_str).ok_or(Refused::from(Errno::EINVAL))
}

fn number(words: &[String], at: usize) -> Result<i64, Refused> {
    word(words, at)?.parse().map_err(|_| Refused::from(Errno::EINVAL))
}

/// All arguments but the token that comes last.
fn but_token(words: &[String]) -> &[String] {
    words.split_last().map_or(&[], |(_, rest)| rest)
}

fn token(words: &[String]) -> &str {
    words.last().map_or("trial-without-token", String::as_str)
}

fn path_bytes(path: &str) -> Result<Vec<u8>, Refused> {
    Ok(CString::new(path)
        .map_err(|_| Refused::from(Errno::EINVAL))?
        .into_bytes_with_nul())
}

fn nap(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// The exit code of a child, with 128 and the signal where one ended it.
pub(super) fn wait_for(child: i32) -> Result<i32, Errno> {
    use nix::sys::wait::{WaitStatus, waitpid};
    loop {
        match waitpid(nix::unistd::Pid::from_raw(child), None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(code),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Does something in a child, which then ends with the error number, or zero.
fn in_child(body: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
    match sys::fork()? {
        None => std::process::exit(body().map_or_else(|errno| errno as i32, |()| 0)),
        Some(child) => match wait_for(child)? {
            0 => Ok(()),
            code if code > 128 => Err(Errno::EINTR),
            code => Err(Errno::from_raw(code)),
        },
    }
}

/// Tries everything in turn: what worked, or the last refusal.
fn any<T>(items: impl IntoIterator<Item = T>, mut attempt: impl FnMut(T) -> Done) -> Done {
    let (mut worked, mut last) = (Vec::new(), Refused::from(Errno::ENOENT));
    for item in items {
        match attempt(item) {
            Ok(what) => worked.push(what),
            Err(refused) => last = refused,
        }
    }
    if worked.is_empty() {
        Err(last)
    } else {
        Ok(worked.join(", "))
    }
}

/// Moves mounts of this process out of the host's sight, where that is possible at all.
fn own_mount_namespace() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    let none: Option<&str> = None;
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        let _ = mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none);
    }
}

/// Makes a call with numbers only.
fn call(number: i64, arguments: &[i64]) -> Result<i64, Errno> {
    let mut words: Vec<Arg<'_>> = arguments.iter().map(|value| Arg::Int(*value)).collect();
    sys::syscall(number, &mut words)
}

/// A call that the kernel refuses for its argument when the caller has the right, and otherwise for the right.
fn reached(name: &str, result: Result<i64, Errno>) -> Done {
    match result {
        Ok(_) => Ok(name.to_owned()),
        Err(errno @ (Errno::EPERM | Errno::ENOSYS | Errno::EACCES | Errno::EOPNOTSUPP)) => refused(errno, name),
        Err(errno) => Ok(format!("reach {name} ({errno:?})")),
    }
}
