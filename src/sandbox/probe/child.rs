//! The child that tries things: one topic a process, one line before each attempt and one after it.

use super::{Answer, Space};
use crate::sandbox::setup::{HOST_ID_FOR_ROOT, INSIDE_ID};
use crate::sandbox::sys::{self, Forked};
use landlock::{AccessFs, Ruleset, RulesetAttr as _};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The hidden subcommand by which this project's binary becomes such a child.
pub(in crate::sandbox) const SUBCOMMAND: &str = "sandbox-probe";

/// What one child tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Topic {
    /// Calls that need no rights.
    Calls,
    /// Each kind of namespace by itself.
    Namespaces,
    /// All that building a sandbox takes, step by step.
    View,
    /// Room in file systems.
    Space,
}

impl Topic {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Topic::Calls => "calls",
            Topic::Namespaces => "namespaces",
            Topic::View => "view",
            Topic::Space => "space",
        }
    }

    /// Whether the questions do not depend on each other, so that another child can go on where one ended.
    pub(super) const fn can_go_on(self) -> bool {
        match self {
            Topic::Calls | Topic::Namespaces | Topic::Space => true,
            Topic::View => false,
        }
    }
}

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// It is about to try something.
    Begin { id: String, call: String },
    /// What came of it.
    End { answer: Answer },
    /// What it learned of a place.
    Space(Space),
}

/// The namespaces of a sandbox by the names that `/proc/PID/ns` has for them, and that of time, which it does without.
/// Source: namespaces(7).
const NAMESPACES: [(&str, libc::c_int); 8] = [
    ("user", libc::CLONE_NEWUSER),
    ("mnt", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", libc::CLONE_NEWTIME),
];

/// Actions of filters by the names that the kernel gives them. Source: seccomp(2).
const ACTIONS: [(&str, u32); 6] = [
    ("kill_process", libc::SECCOMP_RET_KILL_PROCESS),
    ("errno", libc::SECCOMP_RET_ERRNO),
    ("allow", libc::SECCOMP_RET_ALLOW),
    ("user_notif", libc::SECCOMP_RET_USER_NOTIF),
    ("log", libc::SECCOMP_RET_LOG),
    ("trace", libc::SECCOMP_RET_TRACE),
];

/// Becomes the child. `words` are the topic, the number of the first question, and places.
pub(in crate::sandbox) fn serve(words: &[OsString]) -> ! {
    // Whoever asked may be killed before it hears the answer.
    let _ = sys::set_parent_death_signal(Signal::SIGKILL);
    let word = |index: usize| words.get(index).and_then(|word| word.to_str()).unwrap_or_default();
    let mut teller = Teller {
        from: word(1).parse().unwrap_or(0),
        next: 0,
    };
    match word(0) {
        "calls" => calls(&mut teller),
        "namespaces" => namespaces(&mut teller),
        "view" => view(&mut teller),
        "space" => space(&mut teller, words.get(2..).unwrap_or_default()),
        _ => sys::exit_now(64),
    }
    sys::exit_now(0)
}

/// Asks the questions from a certain one on.
struct Teller {
    from: usize,
    next: usize,
}

impl Teller {
    /// Tries something, unless an earlier child did.
    fn attempt(&mut self, id: &str, call: &str, act: impl FnOnce() -> Result<i64, Errno>) -> bool {
        let number = self.next;
        self.next += 1;
        if number < self.from {
            return true;
        }
        say(&Line::Begin {
            id: id.to_owned(),
            call: call.to_owned(),
        });
        let result = act();
        let done = result.is_ok();
        say(&Line::End { answer: result.into() });
        done
    }
}

fn say(line: &Line) {
    let Ok(mut bytes) = serde_json::to_vec(line) else {
        return;
    };
    bytes.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    // Nobody listens any more: the next line will tell no more than this one.
    if stdout.write_all(&bytes).and_then(|()| stdout.flush()).is_err() {
        sys::exit_now(1);
    }
}

fn calls(teller: &mut Teller) {
    for call in sys::probe::NEEDED.iter().filter(|call| !call.wants_rights) {
        teller.attempt(&format!("call.{}", call.name), call.name, || call.call());
    }
    teller.attempt(
        "landlock.version",
        "landlock_create_ruleset(VERSION)",
        sys::probe::landlock_version,
    );
    teller.attempt(
        "landlock.errata",
        "landlock_create_ruleset(ERRATA)",
        sys::probe::landlock_errata,
    );
    for (name, action) in ACTIONS {
        let call = format!("seccomp(GET_ACTION_AVAIL, {name})");
        teller.attempt(&format!("action.{name}"), &call, || sys::probe::seccomp_action(action));
    }
    teller.attempt("io_uring", sys::probe::IO_URING.name, || sys::probe::IO_URING.call());
    #[cfg(target_arch = "x86_64")]
    teller.attempt("x32", sys::probe::X32.name, || sys::probe::X32.call());
}

fn namespaces(teller: &mut Teller) {
    for (name, flag) in NAMESPACES {
        let flags = match name {
            "user" => "CLONE_NEWUSER".to_owned(),
            "mnt" => "CLONE_NEWUSER|CLONE_NEWNS".to_owned(),
            other => format!("CLONE_NEWUSER|CLONE_NEW{}", other.to_uppercase()),
        };
        teller.attempt(
            &format!("namespace.{name}"),
            &format!("clone3({flags})"),
            || match sys::clone3(libc::CLONE_NEWUSER | flag)? {
                Forked::Child => sys::exit_now(0),
                Forked::Parent(process) => sys::wait_for(process.pid).map(|_| 0),
            },
        );
    }
}

/// Everything that building a sandbox takes, in the launcher's order, up to the first step without which none can follow.
fn view(teller: &mut Teller) {
    let Ok((mapped, map)) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC) else {
        return;
    };
    let all = NAMESPACES
        .iter()
        .filter(|(name, _)| *name != "time")
        .fold(0, |flags, (_, flag)| flags | flag);
    let mut made = None;
    let mut channel = Some((mapped, map));
    teller.attempt("view.create", "clone3(all seven namespaces)", || {
        match sys::clone3(all)? {
            Forked::Child => {
                let Some((mapped, map)) = channel.take() else {
                    sys::exit_now(1)
                };
                drop(map);
                inside(mapped)
            }
            Forked::Parent(process) => made = Some(process),
        }
        Ok(0)
    });
    let (Some(process), Some((_, map))) = (made, channel) else {
        return;
    };
    if map_ids(teller, process.pid) {
        // If it is gone, its silence tells.
        let _ = nix::unistd::write(&map, b"1");
    }
    drop(map);
    // It cannot tell by itself which of its calls a filter killed it for.
    if let Ok(sys::Ending::Signaled(signal)) = sys::wait_for(process.pid) {
        say(&Line::End {
            answer: Answer::Killed(signal),
        });
    }
}

/// Maps ids as the launcher does: never host root, also when the caller is root.
fn map_ids(teller: &mut Teller, pid: i32) -> bool {
    let (uid, gid) = match (Uid::effective(), Gid::effective()) {
        (uid, _) if uid.is_root() => (HOST_ID_FOR_ROOT, HOST_ID_FOR_ROOT),
        (uid, gid) => (uid.as_raw(), gid.as_raw()),
    };
    [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("{INSIDE_ID} {uid} 1")),
        ("gid_map", format!("{INSIDE_ID} {gid} 1")),
    ]
    .iter()
    .all(|(file, content)| {
        let call = format!("write `{content}` to /proc/PID/{file}");
        teller.attempt(&format!("view.{file}"), &call, || {
            fs::write(format!("/proc/{pid}/{file}"), content)
                .map(|()| 0)
                .map_err(errno)
        })
    })
}

/// The first process of the new namespaces.
fn inside(mapped: OwnedFd) -> ! {
    let _ = sys::set_parent_death_signal(Signal::SIGKILL);
    if !matches!(nix::unistd::read(&mapped, &mut [0]), Ok(1)) {
        sys::exit_now(1);
    }
    let mut teller = Teller { from: 0, next: 0 };
    steps(&mut teller);
    sys::exit_now(0)
}

fn steps(teller: &mut Teller) {
    let taken = teller.attempt("view.identity", "setresuid, setresgid to the mapped ids", || {
        let (gid, uid) = (Gid::from_raw(INSIDE_ID), Uid::from_raw(INSIDE_ID));
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid).map(|()| 0)
    });
    if !taken {
        return;
    }
    // The change of the user id cancelled the request.
    let _ = sys::set_parent_death_signal(Signal::SIGKILL);
    teller.attempt(
        "view.counts",
        "write `0` to /proc/sys/user/max_user_namespaces inside",
        || {
            fs::write("/proc/sys/user/max_user_namespaces", "0")
                .map(|()| 0)
                .map_err(errno)
        },
    );
    let none: Option<&str> = None;
    let private = teller.attempt("view.private", "mount(/, MS_REC|MS_PRIVATE)", || {
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map(|()| 0)
    });
    // Without a private view of mounts nothing further may be mounted.
    if private {
        mounts(teller);
    }
    teller.attempt("view.hostname", "sethostname", || {
        nix::unistd::sethostname("factory").map(|()| 0)
    });
    teller.attempt("view.keyring", "keyctl(KEYCTL_JOIN_SESSION_KEYRING)", || {
        sys::join_new_session_keyring().map(|()| 0)
    });
    for call in sys::probe::NEEDED.iter().filter(|call| call.wants_rights) {
        teller.attempt(&format!("call.{}", call.name), call.name, || call.call());
    }
    teller.attempt("view.no_new_privs", "prctl(PR_SET_NO_NEW_PRIVS)", || {
        nix::sys::prctl::set_no_new_privs().map(|()| 0)
    });
    teller.attempt("view.landlock", "landlock_restrict_self", restrict);
    teller.attempt("view.filter", "seccomp(SECCOMP_SET_MODE_FILTER)", filter);
}

fn mounts(teller: &mut Teller) {
    let Some(scratch) = ["/tmp", "/mnt", "/var", "/usr"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.is_dir())
    else {
        return;
    };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let mounted = teller.attempt("view.tmpfs", "mount(tmpfs, size, nr_inodes)", || {
        mount(
            Some("tmpfs"),
            scratch,
            Some("tmpfs"),
            flags,
            Some("mode=0700,size=1m,nr_inodes=100"),
        )
        .map(|()| 0)
    });
    if !mounted {
        return;
    }
    let [proc, lower, upper, work, merged] =
        ["proc", "lower", "upper", "work", "merged"].map(|name| scratch.join(name));
    for directory in [&proc, &lower, &upper, &work, &merged] {
        // One that is missing shows as the error of the mount that needs it.
        let _ = fs::create_dir(directory);
    }
    for (id, options) in [
        ("view.proc_subset", "hidepid=invisible,subset=pid"),
        ("view.proc", "hidepid=2"),
    ] {
        teller.attempt(id, &format!("mount(proc, {options})"), || {
            mount(
                Some("proc"),
                &proc,
                Some("proc"),
                flags | MsFlags::MS_NOEXEC,
                Some(options),
            )
            .map(|()| 0)
        });
    }
    teller.attempt("view.xattr", "setxattr(user.factory) on tmpfs", || {
        rustix::fs::setxattr(&upper, "user.factory", b"", rustix::fs::XattrFlags::empty())
            .map(|()| 0)
            .map_err(|error| Errno::from_raw(error.raw_os_error()))
    });
    teller.attempt("view.overlay", "mount(overlay, userxattr, upperdir on tmpfs)", || {
        let options = format!(
            "userxattr,lowerdir={},upperdir={},workdir={}",
            lower.display(),
            upper.display(),
            work.display()
        );
        mount(Some("overlay"), &merged, Some("overlay"), flags, Some(options.as_str())).map(|()| 0)
    });
}

/// Forbids the process to execute anything, which it is not going to do.
fn restrict() -> Result<i64, Errno> {
    let status = Ruleset::default()
        .handle_access(AccessFs::Execute)
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.restrict_self())
        .map_err(|_| Errno::last())?;
    match status.ruleset {
        landlock::RulesetStatus::FullyEnforced => Ok(0),
        landlock::RulesetStatus::PartiallyEnforced | landlock::RulesetStatus::NotEnforced => Err(Errno::ENOTSUP),
    }
}

/// Installs a filter that refuses one call, which the process does not make.
fn filter() -> Result<i64, Errno> {
    use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| Errno::ENOTSUP)?;
    let rules = [(libc::SYS_reboot, Vec::new())].into_iter().collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let program: seccompiler::BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)
        .and_then(TryInto::try_into)
        .map_err(|_| Errno::EINVAL)?;
    seccompiler::apply_filter(&program)
        .map(|()| 0)
        .map_err(|_| Errno::last())
}

fn space(teller: &mut Teller, places: &[OsString]) {
    for place in places.iter().map(PathBuf::from) {
        let mut space = None;
        teller.attempt("space", &format!("statfs({})", place.display()), || {
            let at = place
                .ancestors()
                .find(|directory| directory.is_dir())
                .unwrap_or(Path::new("/"));
            let stat = nix::sys::statfs::statfs(at)?;
            let block = u64::try_from(stat.block_size()).unwrap_or(0);
            space = Some(Space {
                free_bytes: stat.blocks_available().saturating_mul(block),
                // btrfs and others make them as needed and say zero.
                free_inodes: (stat.files() > 0).then(|| stat.files_free()),
                magic: stat.filesystem_type().0 as i64,
                at: at.to_owned(),
                place: place.clone(),
            });
            Ok(0)
        });
        if let Some(space) = space {
            say(&Line::Space(space));
        }
    }
}

fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
