//! The child that tries things: one topic a process, one line before each attempt and one after it.

use super::{Answer, Space};
use crate::sandbox::identity::{FOR_ROOT, host_ids};
use crate::sandbox::setup::INSIDE_ID;
use crate::sandbox::slot;
use crate::sandbox::sys::{self, Forked};
use landlock::{AccessFs, Ruleset, RulesetAttr as _};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
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
            || match sys::clone3(libc::CLONE_NEWUSER | flag, None)? {
                Forked::Child => sys::exit_now(0),
                Forked::Parent(process) => sys::wait_for(process.pid).map(|_| 0),
            },
        );
    }
}

/// Everything that building a sandbox takes, in the launcher's order: a slot with a view, and a run in it.
fn view(teller: &mut Teller) {
    // Where there is none but root, the launcher refuses; here the kernel does, and says so.
    let (uid, gid) = host_ids().unwrap_or((FOR_ROOT, FOR_ROOT));
    let maps = slot::id_maps(uid, gid);
    nest(teller, "create", slot::NAMESPACES, Path::new("/proc"), &maps, the_slot);
}

/// Clones a process into namespaces, maps its ids, and has it try `steps`. `processes` is a `/proc` of the pid namespace
/// that the caller is in.
fn nest(
    teller: &mut Teller,
    id: &str,
    namespaces: libc::c_int,
    processes: &Path,
    maps: &[String; 2],
    steps: fn(&mut Teller),
) {
    let Ok((mapped, map)) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC) else {
        return;
    };
    let mut channel = Some((mapped, map));
    let mut made = None;
    let call = match id {
        "create" => "clone3(user, mnt, pid, net, ipc, uts)",
        _ => "clone3(user, mnt, pid, ipc, uts, cgroup) inside",
    };
    teller.attempt(&format!("view.{id}"), call, || {
        match sys::clone3(namespaces, None)? {
            Forked::Child => {
                let Some((mapped, map)) = channel.take() else {
                    sys::exit_now(1)
                };
                drop(map);
                let _ = sys::set_parent_death_signal(Signal::SIGKILL);
                // End of file instead of a byte: the ids could not be mapped.
                if !matches!(nix::unistd::read(&mapped, &mut [0]), Ok(1)) {
                    sys::exit_now(1);
                }
                steps(&mut Teller { from: 0, next: 0 });
                sys::exit_now(0)
            }
            Forked::Parent(process) => made = Some(process),
        }
        Ok(0)
    });
    let (Some(process), Some((_, map))) = (made, channel) else {
        return;
    };
    let [uid_map, gid_map] = maps;
    let mut write = |file: &str, content: &str| {
        let call = format!("write `{}` to /proc/PID/{file}", content.replace('\n', ", "));
        let id = match id {
            "create" => format!("view.{file}"),
            _ => format!("view.{id}_{file}"),
        };
        teller.attempt(&id, &call, || {
            fs::write(processes.join(format!("{}/{file}", process.pid)), content)
                .map(|()| 0)
                .map_err(errno)
        })
    };
    if write("setgroups", "deny") && write("uid_map", uid_map) && write("gid_map", gid_map) {
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

/// Where a slot builds, and where a run does.
const SCRATCH: [&str; 4] = ["/tmp", "/mnt", "/var", "/usr"];

fn scratch() -> Option<&'static Path> {
    SCRATCH.map(Path::new).into_iter().find(|path| path.is_dir())
}

fn the_slot(teller: &mut Teller) {
    teller.attempt("view.hostname", "sethostname", || {
        nix::unistd::sethostname("factory").map(|()| 0)
    });
    teller.attempt("view.unshare", "unshare(CLONE_NEWNS)", || {
        unshare(CloneFlags::CLONE_NEWNS).map(|()| 0)
    });
    let none: Option<&str> = None;
    let private = teller.attempt("view.private", "mount(/, MS_REC|MS_PRIVATE)", || {
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map(|()| 0)
    });
    let mut own_proc = None;
    // Without a private view of mounts nothing further may be mounted.
    if let Some(scratch) = scratch().filter(|_| private) {
        let mounted = tmpfs(teller, "view.tmpfs", scratch, "mode=0755,size=1m,nr_inodes=100");
        for place in ["proc", "own-proc", "backstage"].iter().filter(|_| mounted) {
            // One that is missing shows as the error of the mount that needs it.
            let _ = fs::create_dir(scratch.join(place));
        }
        if mounted {
            own_proc = Some(scratch.join("proc")).filter(|place| proc(teller, "view.proc", place, None));
        }
    }
    for call in sys::probe::NEEDED.iter().filter(|call| call.wants_rights) {
        teller.attempt(&format!("call.{}", call.name), call.name, || call.call());
    }
    // Its ids are mapped through the slot's own /proc, the host's not knowing its number.
    if let Some(processes) = own_proc {
        let maps = [(); 2].map(|()| format!("{INSIDE_ID} {INSIDE_ID} 1"));
        nest(teller, "run", slot::RUN_NAMESPACES, &processes, &maps, the_run);
    }
}

fn the_run(teller: &mut Teller) {
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
    // Only where the slot has put its own tmpfs: elsewhere these would be the host's directories.
    if let Some(scratch) = scratch().filter(|scratch| scratch.join("own-proc").is_dir()) {
        let place = scratch.join("own-proc");
        proc(
            teller,
            "view.proc_subset",
            &place,
            Some("hidepid=ptraceable,subset=pid"),
        );
        proc(teller, "view.proc_hidepid", &place, Some("hidepid=2"));
        layers(teller, &scratch.join("backstage"));
    }
    teller.attempt("view.keyring", "keyctl(KEYCTL_JOIN_SESSION_KEYRING)", || {
        sys::join_new_session_keyring().map(|()| 0)
    });
    teller.attempt("view.no_new_privs", "prctl(PR_SET_NO_NEW_PRIVS)", || {
        nix::sys::prctl::set_no_new_privs().map(|()| 0)
    });
    teller.attempt("view.landlock", "landlock_restrict_self", restrict);
    teller.attempt("view.filter", "seccomp(SECCOMP_SET_MODE_FILTER)", filter);
    let call = "seccomp(SECCOMP_SET_MODE_FILTER, NEW_LISTENER)";
    teller.attempt("view.listener", call, listener);
}

const FLAGS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

fn tmpfs(teller: &mut Teller, id: &str, place: &Path, options: &str) -> bool {
    teller.attempt(id, "mount(tmpfs, size, nr_inodes)", || {
        mount(Some("tmpfs"), place, Some("tmpfs"), FLAGS, Some(options)).map(|()| 0)
    })
}

fn proc(teller: &mut Teller, id: &str, place: &Path, options: Option<&str>) -> bool {
    let call = format!(
        "mount(proc{}{})",
        if options.is_some() { ", " } else { "" },
        options.unwrap_or_default()
    );
    teller.attempt(id, &call, || {
        mount(Some("proc"), place, Some("proc"), FLAGS | MsFlags::MS_NOEXEC, options).map(|()| 0)
    })
}

/// An overlay with its writable layer on a tmpfs, as a tree gets it.
fn layers(teller: &mut Teller, backstage: &Path) {
    if !tmpfs(teller, "view.run_tmpfs", backstage, "mode=0700,size=1m,nr_inodes=100") {
        return;
    }
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| backstage.join(name));
    for directory in [&lower, &upper, &work, &merged] {
        // One that is missing shows as the error of the mount that needs it.
        let _ = fs::create_dir(directory);
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
        mount(Some("overlay"), &merged, Some("overlay"), FLAGS, Some(options.as_str())).map(|()| 0)
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

/// A filter that refuses one call, which the process does not make.
fn harmless_filter() -> Result<seccompiler::BpfProgram, Errno> {
    use seccompiler::{SeccompAction, SeccompFilter, TargetArch};
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|_| Errno::ENOTSUP)?;
    let rules = [(libc::SYS_reboot, Vec::new())].into_iter().collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)
        .and_then(TryInto::try_into)
        .map_err(|_| Errno::EINVAL)
}

fn filter() -> Result<i64, Errno> {
    seccompiler::apply_filter(&harmless_filter()?)
        .map(|()| 0)
        .map_err(|_| Errno::last())
}

/// Installs one with a descriptor on which calls are heard of, of which there are none.
fn listener() -> Result<i64, Errno> {
    sys::unotify::install_with_listener(&harmless_filter()?).map(|_| 0)
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
