//! What the kernel confirms from inside the finished sandbox, before the command is started, and what it refuses.
//!
//! - Everything is read back from the kernel; that a call returned without an error proves nothing.
//! - A few forbidden acts are tried. Each is harmless if it succeeds, and then the run is refused.
//! - What is found is compared with what the setup promised; a difference ends the run before the command exists.

use super::Step;
use super::mounts::Provided;
use super::seccomp::Filters;
use crate::sandbox::policy::Network;
use crate::sandbox::report::{Enforced, Keepers};
use crate::sandbox::setup::{Job, LayerFailure, Rung, View};
use crate::sandbox::sys;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::kill;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use nix::unistd::getppid;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::AsRawFd;

/// The namespaces of a process, by their names below `/proc/self/ns`.
pub(in crate::sandbox) const NAMESPACES: [&str; 7] = ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

/// Files of `/proc` about this process. Opened before the layers where these keep them from being opened, and read after
/// them: the kernel writes the text when it is read.
pub(super) struct Sources {
    status: fs::File,
    mounts: fs::File,
    uid_map: fs::File,
    gid_map: fs::File,
}

impl Sources {
    pub(super) fn open() -> Result<Self, LayerFailure> {
        let open = |name: &str| fs::File::open(format!("/proc/self/{name}")).step(format!("open the process's {name}"));
        Ok(Sources {
            status: open("status")?,
            mounts: open("mountinfo")?,
            uid_map: open("uid_map")?,
            gid_map: open("gid_map")?,
        })
    }
}

/// Reads back every layer, tries what is forbidden, and refuses when one that was applied without an error is not on.
pub(super) fn take(
    view: &View,
    job: &Job,
    sources: Sources,
    tree: Provided,
    keepers: Keepers,
    filters: &Filters,
) -> Result<Enforced, LayerFailure> {
    let status = read(sources.status).step("read back the process status")?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
    };
    let number = |name: &str| field(name).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    let set = |name: &str| {
        field(name)
            .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .unwrap_or(u64::MAX)
    };
    let map = |name: &str, file: fs::File| {
        let text = read(file).step(format!("read back the {name}"))?;
        Ok(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mounts = read(sources.mounts).step("read back the mounts")?;
    let (namespaces, sets) = match view.rung {
        Rung::Namespaces => (namespaces().step("read back the namespaces")?, &CAPABILITY_SETS[..]),
        // None is its own. And only who has `CAP_SETPCAP` can empty the last set, which `no_new_privs` makes void.
        Rung::Bare { .. } => (BTreeMap::new(), &CAPABILITY_SETS[..4]),
    };
    let enforced = Enforced {
        namespaces,
        uid_map: map("uid_map", sources.uid_map)?,
        gid_map: map("gid_map", sources.gid_map)?,
        no_new_privs: number("NoNewPrivs") == 1,
        seccomp_mode: number("Seccomp"),
        seccomp_filters: number("Seccomp_filters"),
        capabilities: sets.iter().map(|name| set(name)).fold(0, |a, b| a | b),
        landlock_abi: view.landlock_abi.min(super::landlock::HIGHEST),
        mounts: mounts.lines().count() as u32,
        tree: tree.as_str().to_owned(),
        rlimits: rlimits()?,
        keepers,
        refused: refused(view, job.network)?,
        answered: filters.answered().map(str::to_owned).collect(),
    };
    compare(&enforced, view, job, filters.counted(&view.rung))?;
    Ok(enforced)
}

/// How many filters the process is under. Source: proc_pid_status(5), `Seccomp_filters`, Linux 5.9.
pub(in crate::sandbox) fn filter_count() -> Result<u32, LayerFailure> {
    let status = fs::File::open("/proc/self/status")
        .and_then(read)
        .step("read the process status")?;
    let count = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:"));
    Ok(count.and_then(|text| text.trim().parse().ok()).unwrap_or(0))
}

/// The capability sets, that which only bounds the others last.
const CAPABILITY_SETS: [&str; 5] = ["CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd"];

/// Reads a file of `/proc` in few calls: std begins with small ones, and each makes the kernel write the text anew.
fn read(mut file: fs::File) -> io::Result<String> {
    let mut text = Vec::with_capacity(16 << 10);
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The identity of each namespace of this process.
pub(in crate::sandbox) fn namespaces() -> io::Result<BTreeMap<String, String>> {
    let identity = |name: &&str| {
        let link = fs::read_link(format!("/proc/self/ns/{name}"))?;
        Ok(((*name).to_owned(), link.to_string_lossy().into_owned()))
    };
    NAMESPACES.iter().map(identity).collect()
}

const RLIMITS: [(&str, Resource); 6] = [
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
];

fn rlimits() -> Result<BTreeMap<String, u64>, LayerFailure> {
    let read = |(name, resource): &(&str, Resource)| {
        let (soft, _) = getrlimit(*resource).step(format!("read back the limit {name}"))?;
        Ok(((*name).to_owned(), soft))
    };
    RLIMITS.iter().map(read).collect()
}

/// Tries what nothing inside may do. Answers by which error each was refused.
fn refused(view: &View, network: Network) -> Result<BTreeMap<String, String>, LayerFailure> {
    use Errno::{EACCES, ENETUNREACH, ENOENT, ENOSYS, EPERM, EROFS};
    let io = |result: io::Result<()>| result.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)));
    let mut tried: Vec<(&str, Result<(), Errno>, &[Errno])> = vec![
        ("mount", remount_root(), &[EPERM]),
        ("new user namespace", unshare_user(), &[EPERM]),
        ("session keyring", sys::join_new_session_keyring(), &[EPERM]),
        ("bpf", sys::answer_to(sys::Refused::Bpf), &[EPERM]),
        ("perf_event_open", sys::answer_to(sys::Refused::PerfEvent), &[EPERM]),
        ("io_uring", sys::answer_to(sys::Refused::IoUring), &[ENOSYS]),
        ("x32 call", sys::answer_to(sys::Refused::X32), &[ENOSYS]),
        ("raw packets", packet_socket(), &[EPERM]),
        (
            "write to /usr",
            io(fs::File::create_new("/usr/.factory").map(drop)),
            // Absent, where nothing below it is granted: there is no file system to write to.
            &[EROFS, EACCES, ENOENT],
        ),
        (
            "limits of process 1",
            sys::answer_to(sys::Refused::FirstLimits),
            &[EPERM],
        ),
        // It is in every host's root, and nothing of it is ever granted.
        ("open /sys", io(fs::read_dir("/sys").map(drop)), &[ENOENT, EACCES]),
    ];
    if view.landlock_abi > 0 {
        // The modes of the root would allow it, so a refusal is Landlock's; the kernel offers no other way to ask whether a
        // process is restricted.
        tried.push(("list / (Landlock)", io(fs::read_dir("/").map(drop)), &[EACCES]));
    }
    match (&view.rung, network) {
        (Rung::Namespaces, Network::Loopback) => {}
        // Landlock's ports come first; without them it is the network that has no way there.
        (Rung::Namespaces, Network::None) => {
            tried.push(("connect to loopback", connect_to_discard(), &[EACCES, ENETUNREACH]));
        }
        (Rung::Bare { .. }, _) => {
            let parent = getppid();
            tried.extend([
                // There is no socket to connect.
                ("connect to loopback", connect_to_discard(), &[EPERM][..]),
                ("signal the parent", kill(parent, None), &[EPERM]),
                ("trace the parent", sys::seize(parent.as_raw()), &[EPERM]),
                (
                    "read /proc (Landlock)",
                    io(fs::File::open("/proc/self/status").map(drop)),
                    &[EACCES],
                ),
            ]);
        }
    }
    let answer = |(act, result, expected): (&str, Result<(), Errno>, &[Errno])| match result {
        Err(errno) if expected.contains(&errno) => Ok((act.to_owned(), errno_name(errno))),
        Err(errno) => Err(errno).step(format!("be refused by the right layer: {act}")),
        Ok(()) => Err(Errno::EPERM).step(format!("find every layer in force: {act} was not refused")),
    };
    tried.into_iter().map(answer).collect()
}

/// Tries to make the root writable.
fn remount_root() -> Result<(), Errno> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    let none: Option<&str> = None;
    mount(none, "/", none, flags, none)
}

/// Tries to get a user namespace.
fn unshare_user() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWUSER)
}

/// Tries to get a socket below every protocol.
fn packet_socket() -> Result<(), Errno> {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).map(drop)
}

/// Tries to connect to a port of the loopback that nobody listens on.
fn connect_to_discard() -> Result<(), Errno> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 9))
}

fn errno_name(errno: Errno) -> String {
    format!("{errno:?}")
}

/// Refuses when what was found is less than what the setup promised. `filters` are all that have to be there, those from
/// outside too: where one of these swallows the call that installs ours, the mode alone would not tell.
fn compare(enforced: &Enforced, view: &View, job: &Job, filters: u32) -> Result<(), LayerFailure> {
    let differs = |what: &str| Err(Errno::EPERM).step(format!("find every layer in force: {what}"));
    let (ids, others) = match &view.rung {
        Rung::Namespaces => (true, 0),
        // The ids are the host's, and the kernel counts processes by them.
        Rung::Bare { .. } => (false, u64::MAX - 1),
    };
    for (name, identity) in &enforced.namespaces {
        if view.host_namespaces.get(name).is_none_or(|host| host == identity) {
            return differs(&format!("the {name} namespace is not its own"));
        }
    }
    let one_id = |map: &str| {
        let mut words = map.split(' ');
        let inside = super::INSIDE_ID.to_string();
        words.next() == Some(inside.as_str()) && words.nth(1) == Some("1") && words.next().is_none()
    };
    let limits = &job.limits;
    let at_most = |name: &str, most: u64| enforced.rlimits.get(name).is_some_and(|limit| *limit <= most);
    let checks = [
        (
            !ids || (one_id(&enforced.uid_map) && one_id(&enforced.gid_map)),
            "more than one id is mapped",
        ),
        (enforced.no_new_privs, "no_new_privs is not set"),
        (
            enforced.seccomp_mode == 2 && enforced.seccomp_filters == filters,
            "a system call filter is missing",
        ),
        (enforced.capabilities == 0, "a capability is left"),
        (
            // That one could be made is known before; whether it was, only here.
            enforced.keepers.unkept(&job.floor).is_none(),
            "a limit that the profile requires is kept by no control group",
        ),
        (
            at_most("nproc", enforced.keepers.nproc(limits.pids).saturating_add(others)),
            "the limit on processes is higher",
        ),
        (at_most("data", limits.memory.0), "the limit on memory is higher"),
        (
            at_most("fsize", limits.file_size.0),
            "the limit on the size of a file is higher",
        ),
        (at_most("nofile", limits.files), "the limit on open files is higher"),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        Some((_, what)) => differs(what),
        None => Ok(()),
    }
}
