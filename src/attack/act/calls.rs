//! System calls that reach parts of the kernel which a command has no use for.

use super::{
    Acts, Done, Refused, any, but_token, call, in_child, number, own_mount_namespace, path_bytes, reached, refused,
    word,
};
use crate::attack::sys::{self, Arg};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

pub(super) const ACTS: Acts = &[
    ("x32", x32),
    ("int80", int80),
    ("ia32-binary", ia32_binary),
    ("io-uring", |_| {
        let mut parameters = [0; 4096];
        sys::syscall(
            libc::SYS_io_uring_setup,
            &mut [Arg::Int(4), Arg::Bytes(&mut parameters)],
        )?;
        Ok("set up a ring".to_owned())
    }),
    ("clone3-ns", |_| cloned3(libc::CLONE_NEWUSER as u64)),
    ("unshare-user", unshare_user),
    ("threads", |_| {
        std::thread::Builder::new()
            .spawn(|| ())?
            .join()
            .map_err(|_| Refused::from(Errno::EIO))?;
        Ok("start a thread".to_owned())
    }),
    ("setns", setns),
    ("mount-api", mount_api),
    ("bpf", bpf),
    ("perf", perf),
    ("userfaultfd", |_| {
        any([libc::SYS_userfaultfd], |number| {
            call(number, &[1])?;
            Ok("handle faults".to_owned())
        })
    }),
    ("keyring", keyring),
    ("socket", socket),
    ("ptrace-own", ptrace_own),
    ("process-vm", process_vm),
    ("pidfd-getfd", pidfd_getfd),
    ("personality", |_| {
        call(libc::SYS_personality, &[0x0040_0000 | 0x0004_0000])?;
        let now = call(libc::SYS_personality, &[0xffff_ffff])?;
        if now == 0 {
            refused(Errno::EPERM, "the persona did not change")
        } else {
            Ok(format!("take persona {now:#x}"))
        }
    }),
    ("modules", modules),
    ("clock", clock),
    ("syslog", |_| {
        let size = call(libc::SYS_syslog, &[10, 0, 0])?;
        Ok(format!("reach the kernel's log of {size} bytes"))
    }),
    ("new-calls", new_calls),
    ("own-filter", own_filter),
    ("own-landlock", own_landlock),
    ("prctl", prctl),
    ("legacy", legacy),
    ("fanotify", |_| {
        // FAN_REPORT_FID: what an ordinary user may ask for.
        call(libc::SYS_fanotify_init, &[0x200, 0])?;
        Ok("watch whole file systems".to_owned())
    }),
    ("admin", admin),
    ("secret-memory", |_| {
        call(447, &[0])?;
        Ok("take memory outside of the meter".to_owned())
    }),
    ("speculation", speculation),
    ("no-new-privs", |_| match nix::sys::prctl::get_no_new_privs() {
        Ok(true) => refused(Errno::EPERM, "no_new_privs is set"),
        _ => Ok("execute with new privileges".to_owned()),
    }),
    ("securebits", |_| {
        any([28, 47], |option| {
            // PR_SET_SECUREBITS to none, PR_CAP_AMBIENT to raise CAP_SYS_ADMIN.
            let arguments: &[i64] = if option == 28 { &[28, 0] } else { &[47, 2, 21, 0, 0] };
            call(libc::SYS_prctl, arguments)?;
            Ok(format!("prctl {option}"))
        })
    }),
    ("syscall", |words| {
        reached(word(words, 1)?, call(number(words, 0)?, &[-1, -1, -1, -1, -1, -1]))
    }),
];

fn x32(_: &[String]) -> Done {
    let pid = call(0x4000_0000 | libc::SYS_getpid, &[])?;
    if pid == i64::from(getpid().as_raw()) {
        Ok("call by an x32 number".to_owned())
    } else {
        refused(Errno::EIO, "another answer")
    }
}

fn int80(_: &[String]) -> Done {
    #[cfg(target_arch = "x86_64")]
    {
        in_child(|| {
            if sys::getpid_by_int80() == i64::from(getpid().as_raw()) {
                Ok(())
            } else {
                Err(Errno::ENOSYS)
            }
        })?;
        Ok("call through the entry of 32-bit programs".to_owned())
    }
    #[cfg(not(target_arch = "x86_64"))]
    refused(Errno::ENOSYS, "no such entry")
}

/// A program of 84 bytes for the i386 that exits with 42.
fn ia32_binary(_: &[String]) -> Done {
    // `Elf32_Ehdr`, one `Elf32_Phdr` that loads the whole file at 0x10000, then: eax = 1, ebx = 42, int 0x80.
    let mut program = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for half in [2_u16, 3] {
        program.extend(half.to_le_bytes());
    }
    for whole in [1_u32, 0x1_0054, 52, 0, 0] {
        program.extend(whole.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 40, 0, 0] {
        program.extend(half.to_le_bytes());
    }
    for whole in [1_u32, 0, 0x1_0000, 0x1_0000, 96, 96, 5, 0x1000] {
        program.extend(whole.to_le_bytes());
    }
    program.extend([0x31, 0xc0, 0x40, 0xbb, 42, 0, 0, 0, 0xcd, 0x80, 0, 0]);
    fs::write("i386", program)?;
    fs::set_permissions("i386", fs::Permissions::from_mode(0o755))?;
    let status = Command::new("./i386").status()?;
    match status.code() {
        Some(42) => Ok("run a program for the i386".to_owned()),
        _ => refused(Errno::ENOEXEC, format!("{status}")),
    }
}

fn cloned3(flags: u64) -> Done {
    // `struct clone_args`: flags first, the signal at its end as the fifth. Source: clone(2).
    let mut arguments = [0_u8; 88];
    arguments[..8].copy_from_slice(&flags.to_le_bytes());
    arguments[32] = libc::SIGCHLD as u8;
    match sys::syscall(libc::SYS_clone3, &mut [Arg::Bytes(&mut arguments), Arg::Int(88)])? {
        0 => std::process::exit(0),
        child => {
            super::wait_for(child as i32)?;
            Ok("clone into new namespaces".to_owned())
        }
    }
}

fn unshare_user(_: &[String]) -> Done {
    any(["unshare", "clone"], |way| {
        match way {
            "unshare" => in_child(|| unshare(CloneFlags::CLONE_NEWUSER))?,
            _ => {
                let flags = i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
                match call(libc::SYS_clone, &[flags, 0, 0, 0, 0])? {
                    0 => std::process::exit(0),
                    child => drop(super::wait_for(child as i32)?),
                }
            }
        }
        Ok(format!("make a user namespace by {way}"))
    })
}

fn setns(_: &[String]) -> Done {
    let spaces = [
        ("net", libc::CLONE_NEWNET),
        ("uts", libc::CLONE_NEWUTS),
        ("ipc", libc::CLONE_NEWIPC),
    ];
    let processes = [1, getppid().as_raw(), getpid().as_raw()];
    any(
        processes.into_iter().flat_map(|pid| spaces.map(|space| (pid, space))),
        |(pid, (name, kind))| {
            let file = File::open(format!("/proc/{pid}/ns/{name}"))?;
            call(libc::SYS_setns, &[i64::from(file.as_raw_fd()), i64::from(kind)])?;
            Ok(format!("join a {name} namespace"))
        },
    )
}

fn mount_api(_: &[String]) -> Done {
    own_mount_namespace();
    let (kind, root) = (path_bytes("tmpfs")?, path_bytes("/")?);
    let mut request = [0_u8; 32];
    // `struct mnt_id_req` of 24 bytes that asks below the root mount. Source: listmount(2).
    request[0] = 24;
    request[8..16].fill(0xff);
    let here = i64::from(libc::AT_FDCWD);
    any(["fsopen", "open_tree", "fspick", "open_tree_attr"], |name| {
        match name {
            "fsopen" => sys::syscall(libc::SYS_fsopen, &mut [Arg::Read(&kind), Arg::Int(0)])?,
            // OPEN_TREE_CLONE.
            "open_tree" => sys::syscall(
                libc::SYS_open_tree,
                &mut [Arg::Int(here), Arg::Read(&root), Arg::Int(1)],
            )?,
            "fspick" => sys::syscall(libc::SYS_fspick, &mut [Arg::Int(here), Arg::Read(&root), Arg::Int(0)])?,
            _ => sys::syscall(
                467,
                &mut [
                    Arg::Int(here),
                    Arg::Read(&root),
                    Arg::Int(1),
                    Arg::Bytes(&mut request),
                    Arg::Int(0),
                ],
            )?,
        };
        Ok(name.to_owned())
    })
}

fn bpf(_: &[String]) -> Done {
    // An array of one element of 4 bytes. Source: bpf(2), BPF_MAP_CREATE.
    let mut attributes = [0_u8; 128];
    attributes[0] = 2;
    attributes[4] = 4;
    attributes[8] = 4;
    attributes[12] = 1;
    sys::syscall(
        libc::SYS_bpf,
        &mut [Arg::Int(0), Arg::Bytes(&mut attributes), Arg::Int(128)],
    )?;
    Ok("make a map".to_owned())
}

fn perf(_: &[String]) -> Done {
    // `struct perf_event_attr`: a software event, the task clock, that leaves the kernel out.
    let mut attributes = [0_u8; 128];
    attributes[0] = 1;
    attributes[4] = 128;
    attributes[8] = 1;
    attributes[40] = 1 << 5 | 1 << 6;
    let mut words = [
        Arg::Bytes(&mut attributes),
        Arg::Int(0),
        Arg::Int(-1),
        Arg::Int(-1),
        Arg::Int(0),
    ];
    sys::syscall(libc::SYS_perf_event_open, &mut words)?;
    Ok("count events".to_owned())
}

/// The key that the caller's session holds, searched by its name and read.
fn keyring(_: &[String]) -> Done {
    let (kind, name) = (path_bytes("user")?, path_bytes(KEY)?);
    let found = |ring: i64| {
        sys::syscall(
            libc::SYS_keyctl,
            &mut [
                Arg::Int(10),
                Arg::Int(ring),
                Arg::Read(&kind),
                Arg::Read(&name),
                Arg::Int(0),
            ],
        )
    };
    // The session's and the user's keyring, and what request_key(2) finds by itself.
    let key = found(-3).or_else(|_| found(-4)).or_else(|_| {
        sys::syscall(
            libc::SYS_request_key,
            &mut [Arg::Read(&kind), Arg::Read(&name), Arg::Null, Arg::Int(0)],
        )
    })?;
    let mut content = [0_u8; 4096];
    let length = sys::syscall(
        libc::SYS_keyctl,
        &mut [Arg::Int(11), Arg::Int(key), Arg::Bytes(&mut content), Arg::Int(4096)],
    )?;
    Ok(String::from_utf8_lossy(&content[..(length as usize).min(4096)]).into_owned())
}

const KEY: &str = "factory-attack";

/// Joins a new session keyring without a name.
pub(crate) fn join_session_keyring() -> Result<(), Errno> {
    sys::syscall(libc::SYS_keyctl, &mut [Arg::Int(1), Arg::Null]).map(drop)
}

/// Puts a key with `secret` into the session keyring.
pub(crate) fn add_session_key(secret: &str) -> Result<(), Errno> {
    let mut words = [
        Arg::Read(b"user\0"),
        Arg::Read(b"factory-attack\0"),
        Arg::Read(secret.as_bytes()),
        Arg::Int(secret.len() as i64),
        Arg::Int(-3),
    ];
    sys::syscall(libc::SYS_add_key, &mut words).map(drop)
}

/// Sockets of kinds that reach further than a network namespace: family, kind, protocol.
fn socket(words: &[String]) -> Done {
    any(but_token(words), |triple| {
        let numbers: Vec<i64> = triple.split(',').filter_map(|part| part.parse().ok()).collect();
        let [family, kind, protocol] = numbers[..] else {
            return refused(Errno::EINVAL, triple.as_str());
        };
        call(libc::SYS_socket, &[family, kind, protocol])?;
        Ok(format!("socket({triple})"))
    })
}

/// A child that waits to be looked into.
fn victim() -> Result<Pid, Errno> {
    match sys::fork()? {
        None => {
            super::nap(3000);
            std::process::exit(0)
        }
        Some(child) => Ok(Pid::from_raw(child)),
    }
}

fn ended(child: Pid, result: Result<i64, Errno>, what: &str) -> Done {
    let _ = kill(child, Signal::SIGKILL);
    let _ = super::wait_for(child.as_raw());
    result.map(|_| what.to_owned()).map_err(Refused::from)
}

fn ptrace_own(_: &[String]) -> Done {
    let child = victim()?;
    // PTRACE_SEIZE.
    ended(
        child,
        call(libc::SYS_ptrace, &[0x4206, i64::from(child.as_raw()), 0, 0]),
        "trace a child",
    )
}

/// The first process and the parent, which may be the sandbox's own or the launcher.
fn supervisors() -> [i64; 2] {
    [i64::from(getppid().as_raw()), 1]
}

/// Writes nothing to an address that maps nothing: `EFAULT` tells that it would have been let.
fn process_vm(_: &[String]) -> Done {
    let buffer = [0_u8; 8];
    let mut here = [0_u8; 16];
    here[..8].copy_from_slice(&sys::address(&buffer).to_le_bytes());
    here[8] = 8;
    let mut there = [0_u8; 16];
    there[0] = 8;
    there[8] = 8;
    any(supervisors(), |pid| {
        let mut words = [
            Arg::Int(pid),
            Arg::Bytes(&mut here),
            Arg::Int(1),
            Arg::Bytes(&mut there),
            Arg::Int(1),
            Arg::Int(0),
        ];
        match sys::syscall(libc::SYS_process_vm_writev, &mut words) {
            Ok(_) | Err(Errno::EFAULT) => Ok(format!("write to the memory of process {pid}")),
            Err(errno) => Err(errno.into()),
        }
    })
}

fn pidfd_getfd(_: &[String]) -> Done {
    any(supervisors(), |pid| {
        let process = call(libc::SYS_pidfd_open, &[pid, 0])?;
        call(libc::SYS_pidfd_getfd, &[process, 1, 0])?;
        Ok(format!("take a descriptor of process {pid}"))
    })
}

/// Calls for the administrator of the host, each with an argument that is refused after the right was asked for.
fn modules(_: &[String]) -> Done {
    let nowhere = path_bytes("/nonexistent/swap")?;
    let empty = path_bytes("")?;
    any(
        ["init_module", "finit_module", "kexec_load", "reboot", "swapon"],
        |name| {
            let result = match name {
                // An image of no bytes.
                "init_module" => sys::syscall(libc::SYS_init_module, &mut [Arg::Null, Arg::Int(0), Arg::Read(&empty)]),
                "finit_module" => sys::syscall(
                    libc::SYS_finit_module,
                    &mut [Arg::Int(-1), Arg::Read(&empty), Arg::Int(-1)],
                ),
                "kexec_load" => call(libc::SYS_kexec_load, &[0, 0, 0, 0xffff]),
                // Without the magic numbers.
                "reboot" => call(libc::SYS_reboot, &[0, 0, 0, 0]),
                _ => sys::syscall(libc::SYS_swapon, &mut [Arg::Read(&nowhere), Arg::Int(0)]),
            };
            reached(name, result)
        },
    )
}

/// The clock's rate set to one that is refused: zero ticks.
fn clock(_: &[String]) -> Done {
    // `struct timex` with modes = ADJ_TICK and nothing else. Source: adjtimex(2).
    let mut timex = [0_u8; 208];
    timex[0..4].copy_from_slice(&0x4000_u32.to_le_bytes());
    reached(
        "adjtimex",
        sys::syscall(libc::SYS_adjtimex, &mut [Arg::Bytes(&mut timex)]),
    )
}

/// Every number above those known when this was written, with arguments that point nowhere.
fn new_calls(_: &[String]) -> Done {
    any(463..=600, |number| match call(number, &[-1, -1, -1, -1, -1, -1]) {
        Err(errno @ (Errno::ENOSYS | Errno::EPERM)) => Err(errno.into()),
        other => Ok(format!("call number {number} ({other:?})")),
    })
}

/// Installs a filter that answers the given calls with the given error and lets all others through; with `by_prctl` also
/// the older way to install a filter. An error of zero is a success that does nothing.
pub(crate) fn filter(calls: &[(i64, i32)], by_prctl: Option<i32>) -> Result<(), Errno> {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| {
        let mut bytes = (code as u16).to_le_bytes().to_vec();
        bytes.extend([jt, jf]);
        bytes.extend(k.to_le_bytes());
        bytes
    };
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let unless_equal = |k, skip| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, skip, k);
    let answer = |value| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    let error = |errno: i32| answer(libc::SECCOMP_RET_ERRNO | errno as u32);
    // The number is at offset 0 and the first argument at 16. Source: seccomp(2), `struct seccomp_data`.
    let mut program = load(0);
    for (number, errno) in calls {
        program.extend(unless_equal(*number as u32, 1));
        program.extend(error(*errno));
    }
    if let Some(errno) = by_prctl {
        program.extend(unless_equal(libc::SYS_prctl as u32, 3));
        program.extend(load(16));
        program.extend(unless_equal(libc::PR_SET_SECCOMP as u32, 1));
        program.extend(error(errno));
    }
    program.extend(answer(libc::SECCOMP_RET_ALLOW));
    // `struct sock_fprog`: the length in instructions, then the address.
    let mut header = [0_u8; 16];
    header[..2].copy_from_slice(&((program.len() / 8) as u16).to_le_bytes());
    header[8..].copy_from_slice(&sys::address(&program).to_le_bytes());
    nix::sys::prctl::set_no_new_privs()?;
    let mut words = [
        Arg::Int(i64::from(libc::PR_SET_SECCOMP)),
        Arg::Int(2),
        Arg::Bytes(&mut header),
    ];
    sys::syscall(libc::SYS_prctl, &mut words).map(drop)
}

/// A filter of the payload's own that allows everything: it must be let, and must not weaken what is there.
fn own_filter(_: &[String]) -> Done {
    let before = call(libc::SYS_keyctl, &[0, -3, 0]);
    filter(&[], None)?;
    let after = call(libc::SYS_keyctl, &[0, -3, 0]);
    if before.is_err() && after.is_ok() {
        return refused(Errno::EIO, "the filter weakened the one before it");
    }
    Ok("add a filter".to_owned())
}

fn own_landlock(_: &[String]) -> Done {
    // A ruleset that handles making device nodes, which nobody is allowed then. Source: landlock(7).
    let mut attributes = [0_u8; 8];
    attributes[0..8].copy_from_slice(&(1_u64 << 6).to_le_bytes());
    let mut words = [Arg::Bytes(&mut attributes), Arg::Int(8), Arg::Int(0)];
    let ruleset = sys::syscall(libc::SYS_landlock_create_ruleset, &mut words)?;
    nix::sys::prctl::set_no_new_privs()?;
    call(libc::SYS_landlock_restrict_self, &[ruleset, 0])?;
    Ok("add a Landlock layer".to_owned())
}

/// The layout of the process's memory as the kernel shows it: PR_SET_MM, with the question for the size of its structure.
fn prctl(_: &[String]) -> Done {
    let mut size = [0_u8; 8];
    let mut words = [
        Arg::Int(35),
        Arg::Int(15),
        Arg::Bytes(&mut size),
        Arg::Int(0),
        Arg::Int(0),
    ];
    sys::syscall(libc::SYS_prctl, &mut words)?;
    Ok("reach PR_SET_MM".to_owned())
}

fn legacy(_: &[String]) -> Done {
    let mut table = [0_u8; 4096];
    any(["modify_ldt", "iopl", "ioperm"], |name| {
        #[cfg(target_arch = "x86_64")]
        match name {
            "modify_ldt" => sys::syscall(
                libc::SYS_modify_ldt,
                &mut [Arg::Int(0), Arg::Bytes(&mut table), Arg::Int(16)],
            )?,
            "iopl" => call(libc::SYS_iopl, &[0])?,
            _ => call(libc::SYS_ioperm, &[0x80, 1, 0])?,
        };
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = &mut table;
            return refused(Errno::ENOSYS, name);
        }
        #[cfg(target_arch = "x86_64")]
        Ok(name.to_owned())
    })
}

fn admin(_: &[String]) -> Done {
    let nowhere = path_bytes("/nonexistent/file")?;
    any(["quotactl", "acct"], |name| match name {
        // Q_SYNC without a device: every user may.
        "quotactl" => reached(
            name,
            sys::syscall(
                libc::SYS_quotactl,
                &mut [Arg::Int(0x8000_0100), Arg::Null, Arg::Int(0), Arg::Null],
            ),
        ),
        _ => reached(name, sys::syscall(libc::SYS_acct, &mut [Arg::Read(&nowhere)])),
    })
}

/// Switches a mitigation off, where it may be switched by a process.
fn speculation(_: &[String]) -> Done {
    any([0, 1], |feature| {
        // PR_GET_SPECULATION_CTRL; PR_SPEC_PRCTL is bit 0. Then PR_SET_SPECULATION_CTRL to PR_SPEC_ENABLE.
        let state = call(libc::SYS_prctl, &[52, feature, 0, 0, 0])?;
        if state & 1 == 0 {
            return refused(Errno::ENXIO, format!("feature {feature} cannot be switched ({state})"));
        }
        call(libc::SYS_prctl, &[53, feature, 2, 0, 0])?;
        Ok(format!("switch mitigation {feature} off"))
    })
}
