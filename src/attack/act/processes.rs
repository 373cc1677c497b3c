//! Acts on other processes, on the supervisor, and on what was inherited from it.

use super::{Acts, Done, Refused, any, call, in_child, nap, number, refused, wait_for, word};
use crate::attack::part::stream_fd;
use crate::attack::sys;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid, getpgid, getpid, getppid, setsid};
use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::process::{Command, Stdio};

pub(super) const ACTS: Acts = &[
    ("hello", |_| Ok("hello".to_owned())),
    ("hold", |_| {
        println!("did hold");
        std::io::stdout().flush()?;
        nap(25_000);
        Ok("hold".to_owned())
    }),
    ("stand-by", |words| stand_by(word(words, 1)?)),
    ("schedule-parent", schedule_parent),
    ("descriptors", descriptors),
    ("descriptors-of-others", |_| {
        let others = [1, getppid().as_raw()];
        any(
            others.into_iter().flat_map(|pid| (0..12).map(move |fd| (pid, fd))),
            |(pid, fd)| {
                let path = format!("/proc/{pid}/fd/{fd}");
                OpenOptions::new().write(true).open(&path)?;
                Ok(format!("open {path}"))
            },
        )
    }),
    ("environment", |_| {
        let all: Vec<_> = std::env::vars()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Ok(all.join(" "))
    }),
    ("input-end", input_end),
    ("tiocsti", |_| terminal(libc::TIOCSTI as i64)),
    ("tiocsti-wide", |_| terminal(libc::TIOCSTI as i64 | (0x5eed << 32))),
    ("tioclinux", |_| terminal(0x541c)),
    ("terminal-steal", terminal_steal),
    ("terminal-settings", terminal_settings),
    ("uid-map", uid_map),
    ("capabilities", capabilities),
    ("setuid-program", setuid_program),
    ("umask", |_| {
        let mask = nix::sys::stat::umask(nix::sys::stat::Mode::empty()).bits();
        if mask & 0o022 == 0o022 {
            refused(Errno::EPERM, format!("{mask:03o}"))
        } else {
            Ok(format!("keep the umask {mask:03o}"))
        }
    }),
    ("signals", signals),
    ("others-memory", others_memory),
    ("daemon", daemon),
    ("swap-race", |words| {
        // The daemon does its work in the tree: a directory becomes a link and back.
        let _ = fs::create_dir("swapped");
        daemon(words)
    }),
    ("kill", |words| {
        let target = Pid::from_raw(number(words, 0)? as i32);
        // Zero would be our own group, and one the first process, which is not the target here.
        if target.as_raw() < 2 {
            return refused(Errno::EINVAL, "no target");
        }
        kill(target, Signal::SIGKILL)?;
        Ok("kill a process of the host".to_owned())
    }),
    ("kill-group", |_| {
        sys::fork()?.map_or_else(
            || {
                nap(50);
                std::process::exit(0)
            },
            |_| (),
        );
        ignore(Signal::SIGTERM)?;
        kill(Pid::from_raw(0), Signal::SIGTERM)?;
        nap(200);
        refused(Errno::EPERM, "nobody else was hit")
    }),
    ("kill-parent", kill_parent),
    ("self-exe", self_exe),
    ("first-process", |_| {
        if getpid().as_raw() == 1 {
            Ok("be the first process".to_owned())
        } else {
            refused(Errno::EPERM, format!("process {}", getpid()))
        }
    }),
    ("stop-self", |_| {
        kill(getpid(), Signal::SIGSTOP)?;
        Ok("go on".to_owned())
    }),
    ("ignore-term", |_| {
        ignore(Signal::SIGTERM)?;
        println!("did hold");
        std::io::stdout().flush()?;
        nap(60_000);
        Ok("outlast".to_owned())
    }),
    ("block", |_| {
        nix::unistd::mkfifo("wait", nix::sys::stat::Mode::from_bits_truncate(0o600))?;
        let opener = Command::new("sh").args(["-c", "read x <wait"]).spawn();
        let _ = File::open("wait")?;
        let _ = opener?.wait();
        Ok("come back".to_owned())
    }),
    ("close-all", |words| {
        let code = number(words, 0)? as i32;
        call(libc::SYS_close_range, &[0, i64::from(u32::MAX), 0])?;
        std::process::exit(code)
    }),
    ("exit", |words| std::process::exit(number(words, 0)? as i32)),
    ("die", |words| {
        let signal = Signal::try_from(number(words, 0)? as i32)?;
        // The runtime has handlers of its own, as for SIGSEGV. Those of SIGKILL cannot be set, nor need to be.
        let _ = disposition(signal, 0);
        kill(getpid(), signal)?;
        nap(1000);
        refused(Errno::EIO, "still here")
    }),
    ("orphans", orphans),
    ("move-cgroup", move_cgroup),
    ("sleep", |words| {
        nap(number(words, 0)? as u64 * 1000);
        Ok("sleep".to_owned())
    }),
];

fn ignore(signal: Signal) -> Result<(), Errno> {
    disposition(signal, 1)
}

/// Sets the default action of a signal, zero, or has it ignored, one.
fn disposition(signal: Signal, handler: u8) -> Result<(), Errno> {
    let mut action = [0_u8; 32];
    action[0] = handler;
    let mut words = [
        sys::Arg::Int(i64::from(signal as i32)),
        sys::Arg::Bytes(&mut action),
        sys::Arg::Null,
        sys::Arg::Int(8),
    ];
    sys::syscall(libc::SYS_rt_sigaction, &mut words).map(drop)
}

/// Descriptors beyond the standard streams. A directory among them is a way out.
fn descriptors(_: &[String]) -> Done {
    let mut found = Vec::new();
    for fd in 3..5100 {
        if call(libc::SYS_fcntl, &[fd, i64::from(libc::F_GETFD), 0]).is_ok() {
            let target = fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
            found.push(format!("{fd}={}", target.display()));
        }
    }
    if found.is_empty() {
        refused(Errno::EBADF, "only the standard streams")
    } else {
        Ok(format!("inherit {}", found.join(" ")))
    }
}

/// What the operator's own programs do meanwhile: open a file, make a pipe. Says so when a pipe is smaller than usual.
/// Puts whoever started this behind everybody else, in each way that there is.
fn schedule_parent(words: &[String]) -> Done {
    let parent = i64::from(getppid().as_raw());
    if parent == number(words, 0)? {
        return Ok("have the runner for its parent".to_owned());
    }
    any(["policy", "priority", "priority of the group", "processors"], |way| {
        let none = [0; 8];
        match way {
            // SCHED_IDLE with `struct sched_param` of priority 0.
            "policy" => sys::syscall(
                libc::SYS_sched_setscheduler,
                &mut [sys::Arg::Int(parent), sys::Arg::Int(5), sys::Arg::Read(&none)],
            )?,
            "priority" => call(libc::SYS_setpriority, &[0, parent, 19])?,
            // Its own group, when that is the parent's.
            "priority of the group" if getpgid(Some(getppid())) == getpgid(None) => {
                call(libc::SYS_setpriority, &[1, 0, 19])?
            }
            "priority of the group" => return refused(Errno::EPERM, "another group"),
            _ => sys::syscall(
                libc::SYS_sched_setaffinity,
                &mut [
                    sys::Arg::Int(parent),
                    sys::Arg::Int(8),
                    sys::Arg::Read(&[1, 0, 0, 0, 0, 0, 0, 0]),
                ],
            )?,
        };
        Ok(format!("let process {parent} starve by its {way}"))
    })
}

fn stand_by(path: &str) -> Done {
    let usual = pipe_size()?;
    let unwritten = std::path::Path::new(path).with_file_name("../../unwritten");
    fs::write(&unwritten, [b'x'; 1 << 16])?;
    let unwritten = File::open(unwritten)?;
    let waits = unwritten_pages(&unwritten).is_ok_and(|pages| pages > 0);
    println!("did hold");
    std::io::stdout().flush()?;
    for _ in 0..250 {
        let _ = fs::read(path);
        let size = pipe_size()?;
        if size < usual {
            println!("a pipe of the operator's holds {size} bytes instead of {usual}");
            break;
        }
        if is_locked(path) {
            println!("a lock of the operator's is refused");
            break;
        }
        if waits && unwritten_pages(&unwritten) == Ok(0) {
            println!("a file of the operator's was written out at once");
            break;
        }
        nap(100);
    }
    nap(25_000);
    Ok("stand by".to_owned())
}

/// Whether somebody else's lock or lease is in the operator's way.
fn is_locked(path: &str) -> bool {
    let options = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
    match options {
        Ok(file) => matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)),
        Err(error) => error.raw_os_error() == Some(libc::EWOULDBLOCK),
    }
}

/// Pages of a file that wait to be written to its disk. Source: cachestat(2), Linux 6.5.
fn unwritten_pages(file: &File) -> Result<u64, Errno> {
    const CACHESTAT: i64 = 451;
    // From the start, for a length of zero: all. The second of five counts is wanted.
    let (range, mut counts) = ([0_u8; 16], [0_u8; 40]);
    let mut words = [
        sys::Arg::Int(i64::from(file.as_raw_fd())),
        sys::Arg::Read(&range),
        sys::Arg::Bytes(&mut counts),
        sys::Arg::Int(0),
    ];
    sys::syscall(CACHESTAT, &mut words)?;
    let mut dirty = [0; 8];
    dirty.copy_from_slice(&counts[8..16]);
    Ok(u64::from_ne_bytes(dirty))
}

fn pipe_size() -> Result<i32, Refused> {
    let (reader, _writer) = std::io::pipe()?;
    Ok(fcntl(&reader, FcntlArg::F_GETPIPE_SZ)?)
}

/// Whether a read of standard input comes back at once.
fn input_end(_: &[String]) -> Done {
    let input = stream_fd(0).ok_or(Refused::from(Errno::EBADF))?;
    let mut polled = [PollFd::new(input, PollFlags::POLLIN)];
    if poll(&mut polled, 1500_u16)? == 0 {
        return Ok("wait for input that does not come".to_owned());
    }
    match std::io::stdin().read(&mut [0; 16])? {
        0 => refused(Errno::ENODATA, "the input is at its end"),
        length => Ok(format!("read {length} bytes")),
    }
}

/// Makes a call on every terminal at hand. `ENOTTY` from a terminal means that its driver was asked.
fn terminal(request: i64) -> Done {
    let own = File::options().read(true).write(true).open("/dev/tty");
    let mut descriptors: Vec<i64> = vec![0, 1, 2];
    descriptors.extend(own.as_ref().map(|file| i64::from(file.as_raw_fd())));
    any(descriptors, |fd| {
        let mut byte = [b'x', 0, 0, 0];
        let is_terminal = stream_fd(fd as i32).is_none_or(|stream| stream.is_terminal());
        let mut words = [sys::Arg::Int(fd), sys::Arg::Int(request), sys::Arg::Bytes(&mut byte)];
        match sys::syscall(libc::SYS_ioctl, &mut words) {
            Ok(_) => Ok(format!("put a character into terminal {fd}")),
            Err(Errno::ENOTTY) if is_terminal && request == 0x541c => Ok(format!("reach the driver of terminal {fd}")),
            Err(errno) => Err(errno.into()),
        }
    })
}

fn terminal_steal(_: &[String]) -> Done {
    in_child(|| {
        setsid()?;
        for fd in 0..3 {
            if call(libc::SYS_ioctl, &[fd, libc::TIOCSCTTY as i64, 0]).is_ok() {
                return Ok(());
            }
        }
        Err(Errno::ENOTTY)
    })?;
    Ok("take a terminal of its own".to_owned())
}

/// Switches the echo of whatever terminal there is.
fn terminal_settings(_: &[String]) -> Done {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    any(0..3, |number| {
        let fd = stream_fd(number).ok_or(Refused::from(Errno::EBADF))?;
        let mut settings = tcgetattr(fd)?;
        settings.local_modes.toggle(LocalModes::ECHO);
        tcsetattr(fd, OptionalActions::Now, &settings)?;
        Ok(format!("change terminal {number}"))
    })
}

/// Whether an id inside stands for the host's root, or all ids for themselves.
fn uid_map(_: &[String]) -> Done {
    let map = fs::read_to_string("/proc/self/uid_map")?;
    let _ = nix::unistd::setuid(nix::unistd::Uid::from_raw(0));
    for line in map.lines() {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if let [_, outside, count] = numbers[..]
            && (count > 1 || outside == 0)
        {
            return Ok(format!("hold {count} ids from {outside} on"));
        }
    }
    refused(Errno::EPERM, map.trim())
}

fn capabilities(_: &[String]) -> Done {
    let status = fs::read_to_string("/proc/self/status")?;
    let held: Vec<&str> = status
        .lines()
        .filter(|line| {
            line.starts_with("Cap")
                && line
                    .split_whitespace()
                    .nth(1)
                    .is_some_and(|set| !set.trim_matches('0').is_empty())
        })
        .collect();
    if held.is_empty() {
        refused(Errno::EPERM, "every set is empty")
    } else {
        Ok(format!("hold {}", held.join(" ")))
    }
}

/// Whether a set-user-id program gets its owner's rights. Its output is a full pipe, so it stops in its first write.
fn setuid_program(_: &[String]) -> Done {
    let program = [
        "/usr/bin/su",
        "/bin/su",
        "/usr/bin/passwd",
        "/usr/bin/mount",
        "/bin/mount",
    ]
    .into_iter()
    .find(|path| fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o4000 != 0 && metadata.uid() == 0))
    .ok_or(Refused::from(Errno::ENOENT))?;
    let (reader, mut writer) = std::io::pipe()?;
    fcntl(&writer, FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    while writer.write(&[0; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()))?;
    let ordinary = nix::unistd::Uid::from_raw(65_534);
    if geteuid().is_root() && nix::unistd::setresuid(ordinary, ordinary, ordinary).is_err() {
        return refused(Errno::EPERM, "cannot become an ordinary user first");
    }
    let mut child = Command::new(program)
        .arg("--help")
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::null())
        .spawn()?;
    let effective = (0..20).find_map(|_| {
        nap(20);
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        (ids.split_whitespace().nth(1)? == "0").then_some(())
    });
    let _ = child.kill();
    let _ = child.wait();
    drop(reader);
    match effective {
        Some(()) => Ok(format!("become root by {program}")),
        None => refused(Errno::EPERM, program),
    }
}

fn signals(_: &[String]) -> Done {
    let status = fs::read_to_string("/proc/self/status")?;
    let set = |name: &str| {
        let text = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or("0")
            .trim();
        u64::from_str_radix(text, 16).unwrap_or(0)
    };
    // The Rust runtime ignores SIGPIPE, number 13, by itself, and the C library's posix_spawn(3) its own, 32 and 33.
    let ignored = set("SigIgn:") & !(1 << 12 | 3 << 31);
    let blocked = set("SigBlk:");
    if ignored | blocked == 0 {
        refused(Errno::EPERM, "none ignored, none blocked")
    } else {
        Ok(format!("inherit ignored {ignored:x} and blocked {blocked:x}"))
    }
}

/// Environment and memory of every other process in sight.
fn others_memory(_: &[String]) -> Done {
    let own = [getpid().as_raw(), 0];
    let processes: Vec<i32> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| !own.contains(pid))
        .collect();
    any(processes, |pid| {
        let environment = fs::read(format!("/proc/{pid}/environ"))?;
        let text = String::from_utf8_lossy(&environment);
        // The bystander's is marked; that of others is none of our business.
        match text.split('\0').find(|pair| pair.starts_with("SECRET=")) {
            Some(pair) => Ok(pair.to_owned()),
            None => refused(Errno::ENOENT, "not the bystander's"),
        }
    })
}

/// Leaves a process in a session of its own behind, for ten seconds.
fn daemon(_: &[String]) -> Done {
    let child = sys::fork()?;
    if child.is_none() {
        let _ = setsid();
        if !matches!(sys::fork(), Ok(None)) {
            std::process::exit(0);
        }
        let _ = ignore(Signal::SIGHUP);
        let _ = ignore(Signal::SIGTERM);
        let _ = call(libc::SYS_close_range, &[0, 63, 0]);
        for turn in 0..100 {
            nap(100);
            let (from, to) = if turn % 2 == 0 {
                ("swapped", "aside")
            } else {
                ("aside", "swapped")
            };
            let _ = fs::rename(from, to);
        }
        std::process::exit(0);
    }
    if let Some(child) = child {
        wait_for(child)?;
    }
    nap(50);
    Ok("leave a process behind".to_owned())
}

/// Kills what started it. The launcher's answer must arrive all the same.
fn kill_parent(words: &[String]) -> Done {
    let parent = getppid();
    if i64::from(parent.as_raw()) == number(words, 0)? {
        // A launcher that became the payload: the runner is the parent, and would be gone.
        std::process::exit(9);
    }
    if parent.as_raw() > 0 {
        for signal in [Signal::SIGTERM, Signal::SIGSTOP, Signal::SIGKILL] {
            let _ = kill(parent, signal);
        }
    }
    nap(300);
    std::process::exit(7)
}

/// The program of the first process and of the parent: a way to the launcher's own file.
fn self_exe(_: &[String]) -> Done {
    let own = fs::metadata("/proc/self/exe")?;
    any([1, getppid().as_raw()], |pid| {
        let path = format!("/proc/{pid}/exe");
        let other = File::open(&path)?.metadata()?;
        let same = (other.dev(), other.ino()) == (own.dev(), own.ino());
        if same && pid == 1 && getpid().as_raw() != 1 {
            return refused(Errno::EPERM, "it is the payload itself");
        }
        let writable = OpenOptions::new().write(true).open(&path).is_ok();
        Ok(format!(
            "open the program of process {pid}{}",
            if writable { " for writing" } else { "" }
        ))
    })
}

/// Children whose parents are gone, one after the other: somebody has to reap them.
fn orphans(words: &[String]) -> Done {
    for _ in 0..number(words, 0)?.min(400) {
        in_child(|| {
            if sys::fork()?.is_none() {
                std::process::exit(0);
            }
            Ok(())
        })?;
    }
    Ok("be reaped".to_owned())
}

/// Moves into the control group at the top of whatever hierarchy there is.
fn move_cgroup(words: &[String]) -> Done {
    let _ = word(words, 0)?;
    any(
        [
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup/memory",
            "/sys/fs/cgroup/pids",
        ],
        |place| {
            OpenOptions::new()
                .write(true)
                .open(format!("{place}/cgroup.procs"))?
                .write_all(b"0")?;
            Ok(format!("leave its control group for {place}"))
        },
    )
}
