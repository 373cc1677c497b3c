//! One act, tried inside a real sandbox, and which layer answered: what `[[expect]]` lines are checked with.
//!
//! - The payload is this project's own binary, which does exactly one act and says what the kernel answered. It needs
//!   nothing of the view but the libraries that it is linked to.
//! - An act harms nothing where it is allowed: it opens, connects or asks, and lets go.

use super::error::SandboxError;
use super::launch::Sandbox;
use super::policy::{Command, Network, Policy, Tree};
use super::report::{Outcome, Report};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::mount::MsFlags;
use nix::sched::CloneFlags;
use nix::unistd::AccessFlags;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The hidden subcommand by which this project's binary becomes the payload.
pub(super) const SUBCOMMAND: &str = "sandbox-expect";

/// The name of that binary in the tree.
pub const PAYLOAD: &str = "factory-expect";

/// How long a connection may take to be answered.
const PATIENCE: Duration = Duration::from_secs(2);

/// Something a command may try. Paths are those inside; `~` at the beginning is the operator's home directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// Opens a file for reading, or lists a directory.
    Read {
        /// The file or directory.
        path: PathBuf,
    },
    /// Opens a file for writing, making it when it is not there. Its content stays.
    Write {
        /// The file.
        path: PathBuf,
    },
    /// Starts a program, and ends it at once.
    Exec {
        /// The program.
        path: PathBuf,
    },
    /// Makes an empty file and renames it.
    Rename {
        /// The file to make.
        from: PathBuf,
        /// Its new name.
        to: PathBuf,
    },
    /// Connects to a server.
    Connect {
        /// Its address and port, the path of its socket, or `@` and the abstract name of its socket.
        to: String,
    },
    /// Listens for connections by TCP.
    Listen {
        /// The address and the port, of which zero is any.
        on: SocketAddr,
    },
    /// Makes an anonymous file, which can hold a program.
    Memfd {},
    /// Makes a user namespace of its own, with all capabilities in it.
    Namespace {},
    /// Mounts a file system of its own.
    Mount {},
}

impl Act {
    /// The same act with the operator's home directory in place of `~`.
    #[must_use]
    pub fn at_home(&self, home: Option<&Path>) -> Act {
        let expanded = |path: &PathBuf| match (path.strip_prefix("~"), home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.clone(),
        };
        match self {
            Act::Read { path } => Act::Read { path: expanded(path) },
            Act::Write { path } => Act::Write { path: expanded(path) },
            Act::Exec { path } => Act::Exec { path: expanded(path) },
            Act::Rename { from, to } => Act::Rename {
                from: expanded(from),
                to: expanded(to),
            },
            Act::Connect { to } if to.starts_with('~') => Act::Connect {
                to: expanded(&PathBuf::from(to)).to_string_lossy().into_owned(),
            },
            other => other.clone(),
        }
    }

    /// The host path that the act is about, where it is about one.
    fn path(&self) -> Option<&Path> {
        match self {
            Act::Read { path } | Act::Write { path } | Act::Exec { path } => Some(path),
            Act::Rename { to, .. } => Some(to),
            Act::Connect { to } if to.starts_with('/') => Some(Path::new(to)),
            Act::Connect { .. } | Act::Listen { .. } | Act::Memfd {} | Act::Namespace {} | Act::Mount {} => None,
        }
    }

    fn perform(&self) -> io::Result<()> {
        match self {
            Act::Read { path } if path.is_dir() => fs::read_dir(path).map(drop),
            Act::Read { path } => fs::File::open(path).map(drop),
            Act::Write { path } => OpenOptions::new().append(true).create(true).open(path).map(drop),
            Act::Exec { path } => start(path),
            Act::Rename { from, to } => fs::File::create(from).and_then(|_| fs::rename(from, to)),
            Act::Connect { to } => connect(to),
            Act::Listen { on } => TcpListener::bind(on).map(drop),
            Act::Memfd {} => rustix::fs::memfd_create("expect", rustix::fs::MemfdFlags::CLOEXEC)
                .map(drop)
                .map_err(io::Error::from),
            Act::Namespace {} => nix::sched::unshare(CloneFlags::CLONE_NEWUSER).map_err(io::Error::from),
            Act::Mount {} => {
                // Of a kind that does not exist, so that nothing comes of it where it is allowed. Who may not mount is
                // refused before the kind is looked at. Source: mount(2), `ENODEV`; `fs/namespace.c`, `do_mount`.
                let kind = Some("factory-expect");
                match nix::mount::mount(None::<&str>, "/", kind, MsFlags::empty(), None::<&str>) {
                    Err(Errno::ENODEV) => Ok(()),
                    other => other.map_err(io::Error::from),
                }
            }
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Read { path } => write!(f, "read {}", path.display()),
            Act::Write { path } => write!(f, "write {}", path.display()),
            Act::Exec { path } => write!(f, "exec {}", path.display()),
            Act::Rename { from, to } => write!(f, "rename {} to {}", from.display(), to.display()),
            Act::Connect { to } => write!(f, "connect to {to}"),
            Act::Listen { on } => write!(f, "listen on {on}"),
            Act::Memfd {} => f.write_str("memfd"),
            Act::Namespace {} => f.write_str("namespace"),
            Act::Mount {} => f.write_str("mount"),
        }
    }
}

fn start(path: &Path) -> io::Result<()> {
    let mut child = std::process::Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().map(drop)
}

fn connect(to: &str) -> io::Result<()> {
    if to.starts_with('/') {
        return UnixStream::connect(to).map(drop);
    }
    if let Some(name) = to.strip_prefix('@') {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return UnixStream::connect_addr(&address).map(drop);
    }
    let address: SocketAddr = to.parse().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    TcpStream::connect_timeout(&address, PATIENCE).map(drop)
}

/// What the payload says on its standard output.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Said {
    /// Zero when the act was done.
    errno: i32,
    /// The modes of the file alone would have refused as well.
    modes: bool,
}

/// Does one act, says what came of it, and never returns.
pub(super) fn perform(word: Option<OsString>) -> ! {
    let act: Option<Act> = word.and_then(|word| serde_json::from_slice(word.as_encoded_bytes()).ok());
    let Some(act) = act else { super::sys::exit_now(64) };
    let errno = act.perform().err().map_or(0, |error| match error.kind() {
        io::ErrorKind::TimedOut => libc::ETIMEDOUT,
        _ => error.raw_os_error().unwrap_or(libc::EIO),
    });
    let said = Said {
        errno,
        modes: errno == libc::EACCES && modes_refuse(&act),
    };
    let mut stdout = io::stdout();
    let told = serde_json::to_writer(&mut stdout, &said).map_err(io::Error::from);
    let told = told.and_then(|()| io::Write::flush(&mut stdout));
    super::sys::exit_now(if told.is_ok() { 0 } else { 74 })
}

/// Whether access(2) refuses too: it knows of modes and owners, and nothing of Landlock. Source: landlock(7), "Current
/// limitations", which lists access(2).
fn modes_refuse(act: &Act) -> bool {
    let flags = match act {
        Act::Read { .. } => AccessFlags::R_OK,
        Act::Write { .. } | Act::Rename { .. } => AccessFlags::W_OK,
        Act::Exec { .. } => AccessFlags::X_OK,
        Act::Connect { .. } => AccessFlags::W_OK,
        Act::Listen { .. } | Act::Memfd {} | Act::Namespace {} | Act::Mount {} => return false,
    };
    let asked = |path: &Path| nix::unistd::faccessat(nix::fcntl::AT_FDCWD, path, flags, AtFlags::empty());
    match act.path() {
        None => false,
        // A file that is not there yet is made in its directory.
        Some(path) => match (asked(path), path.parent()) {
            (Err(Errno::ENOENT), Some(parent)) => asked(parent).is_err(),
            (answer, _) => answer.is_err(),
        },
    }
}

/// What became of an act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// Whether it was done.
    pub done: bool,
    /// The error's name, when it was refused.
    pub errno: Option<String>,
    /// The layer that refused it.
    pub layer: Option<&'static str>,
    /// What makes the answer worth less than it seems.
    pub doubt: Option<&'static str>,
}

impl Sandbox {
    /// Tries one act under a policy. The payload is this project's binary, which lies in the tree as [`PAYLOAD`].
    ///
    /// # Errors
    /// As for [`Sandbox::run`]; `Host` when the payload cannot be started inside.
    pub async fn try_act(&self, policy: &Policy, tree: &Tree, act: &Act) -> Result<Reply, SandboxError> {
        let words = serde_json::to_string(act).map_err(|error| SandboxError::Channel { source: error.into() })?;
        let command = Command::new([format!("./{PAYLOAD}"), SUBCOMMAND.to_owned(), words]);
        let report = self.run(policy, tree, &command, None).await?;
        let said: Said = said(&report)?;
        let errno = (said.errno != 0).then(|| Errno::from_raw(said.errno));
        Ok(Reply {
            done: errno.is_none(),
            errno: errno.map(|errno| format!("{errno:?}")),
            layer: errno.map(|errno| layer(act, errno, said.modes, policy.network)),
            doubt: errno.and_then(|errno| doubt(act, errno)),
        })
    }
}

fn said(report: &Report) -> Result<Said, SandboxError> {
    let parsed = serde_json::from_slice(&report.stdout.to_bytes()).ok();
    parsed
        .filter(|_| report.outcome == Outcome::Exit { code: 0 })
        .ok_or_else(|| SandboxError::Payload {
            outcome: format!("{:?}", report.outcome),
            stderr: String::from_utf8_lossy(&report.stderr.to_bytes()).trim().to_owned(),
        })
}

/// The layer that answers an act with an error. Where two would, the one that is asked first.
fn layer(act: &Act, errno: Errno, modes: bool, network: Network) -> &'static str {
    let by_network = matches!(act, Act::Connect { to } if !to.starts_with('/')) || matches!(act, Act::Listen { .. });
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => "view: it is not there",
        Errno::EROFS => "mounts: read-only",
        Errno::EACCES if modes => "modes of the file",
        Errno::EACCES => "Landlock",
        Errno::ENOSYS => "seccomp",
        Errno::EPERM if matches!(act, Act::Connect { to } if to.starts_with('@')) => "Landlock",
        Errno::EPERM => "seccomp",
        _ if by_network && network == Network::None => "network namespace: no interface is up",
        _ if by_network => "network namespace: nothing but its own loopback",
        _ => "kernel",
    }
}

/// A file that is not on the host cannot be hidden from a command.
fn doubt(act: &Act, errno: Errno) -> Option<&'static str> {
    let absent = errno == Errno::ENOENT && act.path().is_some_and(|path| path.symlink_metadata().is_err());
    absent.then_some("this host has no such path either")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_directory_is_the_operators() {
        let act = Act::Read {
            path: "~/.ssh/id".into(),
        };
        let expected = Act::Read {
            path: "/srv/ann/.ssh/id".into(),
        };
        assert_eq!(act.at_home(Some(Path::new("/srv/ann"))), expected);
        assert_eq!(act.at_home(None), act);
    }

    #[test]
    fn every_error_has_the_layer_that_gives_it() {
        let read = Act::Read { path: "/x".into() };
        let connect = Act::Connect {
            to: "127.0.0.1:22".to_owned(),
        };
        for (act, errno, modes, expected) in [
            (&read, Errno::ENOENT, false, "view: it is not there"),
            (&read, Errno::EACCES, false, "Landlock"),
            (&read, Errno::EACCES, true, "modes of the file"),
            (&connect, Errno::EACCES, false, "Landlock"),
            (
                &connect,
                Errno::ENETUNREACH,
                false,
                "network namespace: no interface is up",
            ),
            (&Act::Memfd {}, Errno::ENOSYS, false, "seccomp"),
            (&Act::Mount {}, Errno::EPERM, false, "seccomp"),
        ] {
            assert_eq!(layer(act, errno, modes, Network::None), expected, "{act} {errno}");
        }
    }

    #[test]
    fn what_an_act_does_where_nothing_is_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        for act in [
            Act::Write { path: file.clone() },
            Act::Read { path: file.clone() },
            Act::Read {
                path: directory.path().to_owned(),
            },
            Act::Exec { path: "/bin/sh".into() },
            Act::Rename {
                from: file.clone(),
                to: directory.path().join("other"),
            },
            Act::Listen {
                on: "127.0.0.1:0".parse().unwrap(),
            },
            Act::Memfd {},
        ] {
            act.perform().unwrap_or_else(|error| panic!("{act}: {error}"));
        }
        let gone = Act::Read { path: file }.perform().unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ENOENT));
    }
}
