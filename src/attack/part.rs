//! The parts that this program plays as a process of a trial, behind a hidden subcommand.
//!
//! - `act`: the payload. One hostile act, one line: `did …` or `errno=…`.
//! - `caller`: who starts a launcher. Has what a careless operator has: open descriptors, a permissive umask, ignored
//!   signals, a terminal, keys; then becomes the launcher.
//! - `launch`: this project's sandbox as any other program would embed it, under a policy from a file.
//! - `plain`: the launcher that contains nothing, for controls.
//! - `private`: namespaces of its own with root's rights in them, for controls that need rights or would hurt.
//!
//! Each is a process with one thread when it begins, which is why `main` asks here before anything else.

use super::AttackError;
use super::act::{self, Refused};
use super::sys::{self, Arg};
use crate::sandbox::{Command as SandboxCommand, Outcome, Policy, Sandbox, Stream, Tree};
use crate::types::escape_control;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{getegid, geteuid, setsid};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// The hidden subcommand.
pub(super) const DOOR: &str = "attack-part";

/// The variable with which the runner hands the secret to the caller, who does not pass it on.
pub(super) const SECRET: &str = "FACTORY_ATTACK_SECRET";

/// The exit code of `launch` when the sandbox refuses, and of `private` when the kernel does.
pub(super) const REFUSED: i32 = 97;

/// The exit code of `launch` when a limit ended the command.
pub(super) const LIMIT: i32 = 98;

/// Plays a part when the arguments say so, and then never returns.
pub(super) fn play() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|word| word != DOOR) {
        return;
    }
    let words: Vec<String> = arguments.map(|word| word.to_string_lossy().into_owned()).collect();
    let code = match words.split_first() {
        Some((role, rest)) if role == "act" => do_act(rest),
        Some((role, rest)) if role == "caller" => caller(rest),
        Some((role, rest)) if role == "launch" => launch(rest),
        Some((role, rest)) if role == "private" => private(rest),
        Some((role, rest)) if role == "plain" => plain(rest),
        _ => 2,
    };
    std::process::exit(code)
}

/// Does one act and prints its line.
fn do_act(words: &[String]) -> i32 {
    let Some((name, arguments)) = words.split_first() else {
        return 2;
    };
    let Some(act) = act::find(name) else { return 2 };
    let (line, code) = match act(arguments) {
        Ok(what) => (format!("did {}", act::one_line(&what)), 0),
        Err(Refused { errno, what }) => (format!("errno={errno:?} {}", act::one_line(&what)), 1),
    };
    // Nobody is told when nobody listens.
    let _ = writeln!(io::stdout(), "{line}");
    code
}

/// What `launch` reads.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    policy: Policy,
    layers: Vec<PathBuf>,
}

/// Writes what `launch` reads.
pub(super) fn write_spec(path: &Path, policy: &Policy, tree: &Path) -> Result<(), AttackError> {
    let spec = Spec {
        policy: policy.clone(),
        layers: vec![tree.to_owned()],
    };
    let text = serde_json::to_vec(&spec).map_err(io::Error::from);
    text.and_then(|text| fs::write(path, text))
        .map_err(|source| AttackError::Scratch {
            path: path.to_owned(),
            source,
        })
}

/// Runs a command in this project's sandbox and passes its output on, escaped where somebody might read it.
fn launch(words: &[String]) -> i32 {
    let Some((spec, argv)) = words.split_first() else {
        return 2;
    };
    match launched(spec, argv) {
        Ok(outcome) => match outcome {
            Outcome::Exit { code } => code,
            Outcome::Signal { signal } => 128 + signal,
            Outcome::Limit { .. } => LIMIT,
            Outcome::Denied { .. } | Outcome::Tampered { .. } | Outcome::Setup { .. } => REFUSED,
        },
        Err(error) => {
            let _ = writeln!(io::stderr(), "refused: {error:#}");
            REFUSED
        }
    }
}

fn launched(spec: &str, argv: &[String]) -> Result<Outcome, Box<dyn std::error::Error>> {
    let spec: Spec = serde_json::from_slice(&fs::read(spec)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sandbox = Sandbox::start(&std::env::current_exe()?)?;
    let tree = Tree { layers: spec.layers };
    let command = SandboxCommand::new(argv.iter().cloned());
    let terminal = io::stdout().is_terminal();
    let mut sink = |stream: Stream, bytes: &[u8]| {
        let text = match terminal {
            true => escape_control(&String::from_utf8_lossy(bytes)).into_bytes(),
            false => bytes.to_vec(),
        };
        let _ = match stream {
            Stream::Stdout => io::stdout().write_all(&text).and_then(|()| io::stdout().flush()),
            Stream::Stderr => io::stderr().write_all(&text),
        };
    };
    let report = runtime.block_on(sandbox.run(&spec.policy, &tree, &command, Some(&mut sink)))?;
    if !matches!(report.outcome, Outcome::Exit { .. }) {
        let _ = writeln!(io::stderr(), "{}", serde_json::to_string(&report.outcome)?);
    }
    Ok(report.outcome)
}

/// Becomes a caller with things to lose, and then the launcher.
fn caller(words: &[String]) -> i32 {
    let [outside, traits, argv @ ..] = words else { return 2 };
    let Some((program, arguments)) = argv.split_first() else {
        return 2;
    };
    let traits: Vec<&str> = traits.split(',').filter(|one| !one.is_empty()).collect();
    let outside = Path::new(outside);
    let secret = std::env::var(SECRET).unwrap_or_default();
    if let Err(error) = careless(outside) {
        let _ = writeln!(io::stderr(), "the caller cannot be careless: {error}");
        return 2;
    }
    let mut command = Command::new(program);
    command.args(arguments).env_remove(SECRET);
    for one in &traits {
        if let Err(error) = become_like(one, outside, &secret, &mut command) {
            let _ = writeln!(io::stderr(), "the caller cannot be `{one}`: {error}");
            return 2;
        }
    }
    if traits.contains(&"terminal") {
        return match at_terminal(&mut command, outside) {
            Ok(code) => code,
            Err(error) => {
                let _ = writeln!(io::stderr(), "the caller has no use of its terminal: {error}");
                2
            }
        };
    }
    let error = command.exec();
    let _ = writeln!(io::stderr(), "cannot start `{program}`: {error}");
    2
}

/// What every caller is: descriptors open across `execve(2)`, a umask that forbids nothing, an ignored signal and a
/// blocked one.
fn careless(outside: &Path) -> io::Result<()> {
    let directory = fs::File::open(outside)?;
    let secret = fs::File::open(outside.join("secret"))?;
    fcntl(&directory, FcntlArg::F_DUPFD(7))?;
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    fcntl(&secret, FcntlArg::F_DUPFD(most.min(5001) as i32 - 1))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    // `struct kernel_sigaction` with SIG_IGN as the handler and nothing else. Source: rt_sigaction(2).
    let mut ignore = [0_u8; 32];
    ignore[0] = 1;
    let mut words = [
        Arg::Int(i64::from(libc::SIGUSR2)),
        Arg::Bytes(&mut ignore),
        Arg::Null,
        Arg::Int(8),
    ];
    sys::syscall(libc::SYS_rt_sigaction, &mut words)?;
    SigSet::from(Signal::SIGUSR1).thread_block()?;
    Ok(())
}

fn become_like(one: &str, outside: &Path, secret: &str, command: &mut Command) -> io::Result<()> {
    match one {
        "terminal" | "silent-input" | "loader" => {}
        "free-terminal" => drop(setsid()?),
        "keyring" => {
            act::join_session_keyring()?;
            act::add_session_key(secret)?;
        }
        "socket-input" => command_with_socket(outside, command)?,
        "groups" => {
            if geteuid().is_root() {
                let group = nix::unistd::Gid::from_raw(424_242);
                nix::unistd::setgroups(&[group])?;
                nix::unistd::chown(&outside.join("group"), None, Some(group))?;
            }
        }
        "no-userns" => {
            own_mounts(true)?;
            fs::write("/proc/sys/user/max_user_namespaces", "0")?;
        }
        "alias" => {
            own_mounts(false)?;
            let none: Option<&str> = None;
            let home = outside.join("../home");
            mount(Some(&home), &outside.join("open"), none, MsFlags::MS_BIND, none)?;
        }
        "masked-proc" => {
            own_mounts(false)?;
            let none: Option<&str> = None;
            mount(Some("tmpfs"), "/proc/sys", Some("tmpfs"), MsFlags::MS_RDONLY, none)?;
        }
        "no-landlock" => act::filter(&[(libc::SYS_landlock_create_ruleset, libc::ENOSYS)], None)?,
        "fake-landlock" => act::filter(&[(libc::SYS_landlock_restrict_self, 0)], None)?,
        "no-seccomp" => act::filter(&[(libc::SYS_seccomp, libc::EPERM)], Some(libc::EPERM))?,
        "fake-seccomp" => act::filter(&[(libc::SYS_seccomp, 0)], Some(0))?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(())
}

/// Moves into a private mount namespace; in a user namespace too when the caller may not otherwise, or when asked to.
fn own_mounts(user: bool) -> io::Result<()> {
    if user || unshare(CloneFlags::CLONE_NEWNS).is_err() {
        let (uid, gid) = (geteuid(), getegid());
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    Ok(())
}

/// Gives the launcher a socket as its standard input on which the descriptor of a secret waits.
fn command_with_socket(outside: &Path, command: &mut Command) -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
    use std::os::fd::AsRawFd as _;
    let (near, far) = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC)?;
    let secret = fs::File::open(outside.join("secret"))?;
    let fds = [secret.as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<()>(
        near.as_raw_fd(),
        &[io::IoSlice::new(b"x")],
        &rights,
        MsgFlags::empty(),
        None,
    )?;
    command.stdin(far);
    // The near end stays open, so that the socket is not at its end.
    fcntl(&near, FcntlArg::F_DUPFD(20))?;
    Ok(())
}

/// Starts the launcher with a controlling terminal, and reports what happened to the terminal meanwhile.
fn at_terminal(command: &mut Command, outside: &Path) -> io::Result<i32> {
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    setsid()?;
    let terminal = io::stdin();
    rustix::process::ioctl_tiocsctty(&terminal)?;
    let mut settings = tcgetattr(&terminal)?;
    settings.make_raw();
    tcsetattr(&terminal, OptionalActions::Now, &settings)?;
    let before = tcgetattr(&terminal)?;
    let status = command.status()?;
    let mut report = String::new();
    let after = tcgetattr(&terminal)?;
    if format!("{before:?}") != format!("{after:?}") {
        report.push_str("the settings of the caller's terminal changed\n");
    }
    if rustix::io::ioctl_fionread(&terminal)? > 0 {
        report.push_str("input was put into the caller's terminal\n");
    }
    if !report.is_empty() {
        fs::write(outside.join("caller-report"), report)?;
    }
    Ok(code(status))
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// A launcher that contains nothing: starts the command and waits for it, so that the command's parent is one of ours
/// and not the runner.
fn plain(words: &[String]) -> i32 {
    let Some((program, arguments)) = words.split_first() else {
        return 2;
    };
    match Command::new(program).args(arguments).status() {
        Ok(status) => code(status),
        Err(error) => {
            let _ = writeln!(io::stderr(), "cannot start `{program}`: {error}");
            2
        }
    }
}

/// Runs a command in private namespaces, as root of them.
fn private(words: &[String]) -> i32 {
    let Some(at) = words.iter().position(|word| word == "--") else {
        return 2;
    };
    let (prepare, argv) = (&words[..at], &words[at + 1..]);
    match in_private(prepare, argv) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "no private namespaces: {error}");
            REFUSED
        }
    }
}

fn in_private(prepare: &[String], argv: &[String]) -> io::Result<i32> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(
        CloneFlags::CLONE_NEWUSER
            | CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    if let Some(child) = sys::fork()? {
        return Ok(act::wait_for(child).unwrap_or(REFUSED));
    }
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    // Where it is refused, as in some containers, acts see the host's; they know nothing of it that they need.
    let _ = mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none);
    let (program, arguments) = argv.split_first().ok_or(Errno::EINVAL)?;
    for step in prepare {
        if step == "first" {
            return Err(Command::new(program).args(arguments).exec());
        }
        prepare_step(step)?;
    }
    let status = Command::new(program).args(arguments).status()?;
    std::process::exit(code(status))
}

fn prepare_step(step: &str) -> io::Result<()> {
    let none: Option<&str> = None;
    match step.split_once(':') {
        Some(("tmpfs", place)) => mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none)?,
        Some(("address", address)) => act::give_address(address)?,
        Some(("binfmt", place)) => mount(Some("binfmt_misc"), place, Some("binfmt_misc"), MsFlags::empty(), none)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(())
}

/// A standard stream as a descriptor.
pub(super) fn stream_fd(number: i32) -> Option<BorrowedFd<'static>> {
    match number {
        0 => Some(rustix::stdio::stdin()),
        1 => Some(rustix::stdio::stdout()),
        2 => Some(rustix::stdio::stderr()),
        _ => None,
    }
}
