//! The root of a view: empty, into which only what the view lists is put.
//!
//! - What is not listed does not exist inside: no home, no `/run`, no socket, no repository, no other process.
//! - Host paths are opened and compared with what the parent saw before they are shown.
//! - Nothing in it can be written to. What a run writes to is mounted on top by the run itself.
//! - A host path is shown through an overlay. Its files are the host's for reading only: the overlay has inodes of its own,
//!   so that neither sockets nor locks nor notices of what the host does with a file cross it.
//!
//! The mount namespace of a slot has four places: the view, a `/proc`, what is granted, and an empty backstage. A run builds backstage and
//! then takes the view as its root, so that neither its path walks nor its list of mounts reach the rest. What the rest
//! holds is the run's own; the host's root was left for good by `pivot_root`.

use crate::sandbox::init::Step;
use crate::sandbox::init::mounts::{DEVICES, attach};
use crate::sandbox::setup::{ALIASES, HOME, LayerFailure, Pinned, TREE, View};
use crate::sandbox::sys;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use rustix::mount::{OpenTreeFlags, open_tree};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Files and directories that the root itself may hold; its content is what is written below.
const ROOT_OPTIONS: &str = "mode=0755,size=4m,nr_inodes=8k";

/// Opens a host path in the current mount namespace and checks that it is still what the parent saw.
pub(in crate::sandbox) fn open_pinned(pin: &Pinned) -> Result<OwnedFd, LayerFailure> {
    let fd = open(&pin.path)?;
    let stat = nix::sys::stat::fstat(&fd).step(format!("look at `{}`", pin.path.display()))?;
    if (stat.st_dev, stat.st_ino) == (pin.device, pin.inode) {
        Ok(fd)
    } else {
        // Replaced between the check and now: whoever did that must not choose what is shown.
        Err(Errno::ESTALE).step(format!("find `{}` unchanged", pin.path.display()))
    }
}

fn open(path: &Path) -> Result<OwnedFd, LayerFailure> {
    nix::fcntl::open(
        path,
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .step(format!("open `{}`", path.display()))
}

/// A detached copy of the mount of an open file or directory, under the given attributes: at no instant is it visible
/// without them.
pub(super) fn copy_of_mount(
    source: BorrowedFd<'_>,
    attributes: u64,
    with_all_below: bool,
) -> Result<OwnedFd, rustix::io::Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if with_all_below {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(source, "", flags)?;
    sys::mount_setattr(tree.as_fd(), attributes, with_all_below)
        .map_err(|errno| rustix::io::Errno::from_raw_os_error(errno as i32))?;
    Ok(tree)
}

/// Where the view is in the namespaces of a slot and of a run that is being built.
pub(in crate::sandbox) const VIEW: &str = "/view";
/// Where a run builds what is put into its view.
pub(in crate::sandbox) const BACKSTAGE: &str = "/backstage";
/// Where the host's paths are that are granted, each by its number, below the overlays that show them.
const GRANTED: &str = "/granted";
/// In there, what lies below all of them: without an upper layer, an overlay needs two lower ones.
const NOTHING: &str = "nothing";

/// Where a bind of the view is found without the overlay that shows it.
pub(in crate::sandbox) fn granted(number: usize) -> PathBuf {
    Path::new(GRANTED).join(number.to_string())
}

/// How the host's paths are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// All of them through overlays.
    Apart,
    /// Some of them as they are: this kernel makes no overlay of them, or something is mounted below one.
    AsTheyAre,
}

/// Builds the root of a view in a mount namespace of the caller's own and moves into it.
pub(super) fn build(view: &View) -> Result<Shown, LayerFailure> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).step("make the mounts private")?;
    // Before anything is hidden by the mounts below.
    let binds: Vec<OwnedFd> = view.binds.iter().map(open_pinned).collect::<Result<_, _>>()?;
    let devices: Vec<OwnedFd> = DEVICES
        .iter()
        .map(|path| open(Path::new(path)))
        .collect::<Result<_, _>>()?;
    let directories: Vec<Option<OwnedFd>> = view.binds.iter().zip(&binds).map(directory_of).collect();
    let root = Root::mount()?;
    let mut shown = Shown::Apart;
    for (number, (pin, fd)) in view.binds.iter().zip(&binds).enumerate() {
        let apart = match &directories[number] {
            Some(directory) => root.overlay(number, directory.as_fd(), pin)?,
            None => None,
        };
        if apart.is_none() {
            root.bind(fd.as_fd(), pin.inside(), pin.directory, READ_ONLY)?;
            shown = Shown::AsTheyAre;
        }
    }
    for (place, text) in &view.links {
        root.link(place, text)?;
    }
    root.etc()?;
    root.dev(&devices)?;
    // Inside, an empty /run says that there is no socket to talk to. On the others, each run puts its own.
    for place in ["/proc", "/run", "/tmp", "/dev/shm", HOME, TREE, ALIASES] {
        root.directory(Path::new(place))?;
    }
    root.enter()?;
    Ok(shown)
}

const READ_ONLY: u64 = sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NODEV;

/// What an overlay can be made of, which is a directory: the one that holds it for a file.
fn directory_of((pin, fd): (&Pinned, &OwnedFd)) -> Option<OwnedFd> {
    if pin.directory {
        return fd.try_clone().ok();
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(pin.path.parent()?, flags, Mode::empty()).ok()
}

/// Whether what is found at the path is the pinned file: one that is itself mounted there is not below its directory.
fn is_pinned(path: &Path, pin: &Pinned) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (pin.device, pin.inode))
}

/// The new root while it is being built.
struct Root {
    /// What becomes the root of the namespace.
    base: PathBuf,
    /// The view in it.
    at: PathBuf,
}

impl Root {
    fn mount() -> Result<Self, LayerFailure> {
        // Any directory will do: in this private namespace nobody else sees what it hides.
        let base = ["/tmp", "/mnt", "/var", "/usr"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.is_dir());
        let base = base
            .ok_or(Errno::ENOENT)
            .step("find a directory to build the root on")?
            .to_owned();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let tmpfs = |place: &Path| mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(ROOT_OPTIONS));
        tmpfs(&base).step("mount an empty root")?;
        let below = |place: &str| {
            let place = base.join(place.trim_start_matches('/'));
            fs::create_dir(&place)
                .step(format!("make `{}`", place.display()))
                .map(|()| place)
        };
        let (at, proc) = (below(VIEW)?, below("/proc")?);
        below(BACKSTAGE)?;
        below(GRANTED)?;
        below(&format!("{GRANTED}/{NOTHING}"))?;
        tmpfs(&at).step("mount an empty view")?;
        // Of the slot's own pid namespace, in which are the slot and its runs. That it is whole is what the kernel asks for
        // before it lets a run have its own. Source: `fs/namespace.c`, `mount_too_revealing()`.
        let none: Option<&str> = None;
        let flags = flags | MsFlags::MS_NOEXEC;
        mount(Some("proc"), &proc, Some("proc"), flags, none).step("mount a private /proc")?;
        Ok(Root { base, at })
    }

    /// The place of an inside path while the old root is still there.
    fn place(&self, inside: &Path) -> PathBuf {
        self.at.join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// Makes a directory and those above it, of which none may be a symbolic link.
    ///
    /// A host directory that is shown already may hold links, and until the root is entered an absolute one leads to the
    /// host's files: what is made, written or mounted behind it would be outside.
    fn directory(&self, inside: &Path) -> Result<PathBuf, LayerFailure> {
        let step = || format!("make `{}`", inside.display());
        let mut place = self.at.clone();
        for part in inside.strip_prefix("/").unwrap_or(inside) {
            place.push(part);
            match fs::create_dir(&place) {
                Ok(()) => {}
                Err(error) => match fs::symlink_metadata(&place) {
                    Ok(metadata) if metadata.is_dir() => {}
                    Ok(metadata) if metadata.is_symlink() => return Err(Errno::ELOOP).step(step()),
                    Ok(_) => return Err(Errno::ENOTDIR).step(step()),
                    Err(_) => return Err(error).step(step()),
                },
            }
        }
        Ok(place)
    }

    fn file(&self, inside: &Path, content: &str) -> Result<PathBuf, LayerFailure> {
        self.directory(inside.parent().unwrap_or(Path::new("/")))?;
        let place = self.place(inside);
        // Never one that is there already: it would be a host's file, which a host directory brought along.
        let mut file = fs::File::create_new(&place).step(format!("write `{}`", inside.display()))?;
        file.write_all(content.as_bytes())
            .step(format!("write `{}`", inside.display()))?;
        Ok(place)
    }

    /// The place for the bind of a file: a new empty one, or the one that a host directory shown before holds there.
    fn mount_point(&self, inside: &Path) -> Result<PathBuf, LayerFailure> {
        self.directory(inside.parent().unwrap_or(Path::new("/")))?;
        let place = self.place(inside);
        match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_file() => Ok(place),
            Ok(_) => Err(Errno::ELOOP).step(format!("show `{}`", inside.display())),
            Err(_) => self.file(inside, ""),
        }
    }

    fn link(&self, inside: &Path, text: &Path) -> Result<(), LayerFailure> {
        self.directory(inside.parent().unwrap_or(Path::new("/")))?;
        symlink(text, self.place(inside)).step(format!("link `{}`", inside.display()))
    }

    /// Shows a host path through an overlay. Nothing when there cannot be one; then nothing has been shown.
    fn overlay(&self, number: usize, directory: BorrowedFd<'_>, pin: &Pinned) -> Result<Option<()>, LayerFailure> {
        let step = || format!("show `{}`", pin.path.display());
        let name = pin.path.file_name().filter(|_| !pin.directory);
        let granted = self.base.join(GRANTED.trim_start_matches('/'));
        let lower = granted.join(number.to_string());
        fs::create_dir(&lower).step(step())?;
        // Refused where something is mounted below: alone, the mount would show what that hides.
        let Ok(tree) = copy_of_mount(directory, READ_ONLY, false) else {
            // With it, no overlay is made of it, neither here nor by a run that wants to write on top.
            let tree = copy_of_mount(directory, READ_ONLY, true).step(step())?;
            return attach(tree.as_fd(), &lower).step(step()).map(|()| None);
        };
        attach(tree.as_fd(), &lower).step(step())?;
        let options = format!(
            "userxattr,lowerdir={}:{}",
            lower.display(),
            granted.join(NOTHING).display()
        );
        let mount = |place: &Path| {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("overlay"), place, Some("overlay"), flags, Some(options.as_str())).is_ok()
        };
        let Some(name) = name else {
            return Ok(mount(&self.directory(pin.inside())?).then_some(()));
        };
        // On top of the directory itself, which is of no further use.
        if !is_pinned(&lower.join(name), pin) || !mount(&lower) {
            return Ok(None);
        }
        let file = open(&lower.join(name))?;
        let stat = nix::sys::stat::fstat(&file).step(step())?;
        if stat.st_ino != pin.inode {
            return Err(Errno::ESTALE).step(format!("find `{}` unchanged", pin.path.display()));
        }
        let place = self.mount_point(pin.inside())?;
        let tree = copy_of_mount(file.as_fd(), READ_ONLY, false).step(step())?;
        attach(tree.as_fd(), &place).step(step()).map(Some)
    }

    /// Shows a host path, with everything mounted below it, under the given mount attributes.
    fn bind(
        &self,
        source: BorrowedFd<'_>,
        inside: &Path,
        directory: bool,
        attributes: u64,
    ) -> Result<(), LayerFailure> {
        let place = if directory {
            self.directory(inside)?
        } else {
            self.mount_point(inside)?
        };
        let step = || format!("show `{}`", inside.display());
        let tree = copy_of_mount(source, attributes, true).step(step())?;
        attach(tree.as_fd(), &place).step(step())
    }

    /// The few files of `/etc` that programs ask for, with content of ours: nothing of the host's users and hosts.
    fn etc(&self) -> Result<(), LayerFailure> {
        let passwd = format!("root:x:0:0:root:/:/usr/sbin/nologin\nfactory:x:1000:1000:factory:{HOME}:/bin/sh\n");
        self.file(Path::new("/etc/passwd"), &passwd)?;
        self.file(Path::new("/etc/group"), "root:x:0:\nfactory:x:1000:\n")?;
        self.file(Path::new("/etc/hosts"), "127.0.0.1 localhost factory\n::1 localhost\n")?;
        // Without a name service to ask, a look-up fails at once instead of waiting for a resolver.
        self.file(
            Path::new("/etc/nsswitch.conf"),
            "passwd: files\ngroup: files\nhosts: files\n",
        )?;
        self.file(Path::new("/etc/hostname"), "factory\n").map(drop)
    }

    fn dev(&self, devices: &[OwnedFd]) -> Result<(), LayerFailure> {
        for (inside, fd) in DEVICES.iter().zip(devices) {
            self.bind(
                fd.as_fd(),
                Path::new(inside),
                false,
                // Read-only is not about what is written to a device, but about its times.
                sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NOEXEC,
            )?;
        }
        for (inside, text) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "fd/0"),
            ("stdout", "fd/1"),
            ("stderr", "fd/2"),
        ] {
            self.link(&Path::new("/dev").join(inside), Path::new(text))?;
        }
        Ok(())
    }

    /// Makes this the root of the namespace, lets go of the old one, and makes all of it read-only.
    fn enter(self) -> Result<(), LayerFailure> {
        nix::unistd::chdir(&self.base).step("enter the new root")?;
        // With both arguments the same, the old root ends up on top of the new one, to be unmounted from there.
        // Source: pivot_root(2), "pivot_root(".", ".")".
        nix::unistd::pivot_root(".", ".").step("change the root")?;
        umount2(".", MntFlags::MNT_DETACH).step("detach the old root")?;
        nix::unistd::chdir("/").step("enter the new root")?;
        let attributes = sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NODEV;
        for place in ["/", VIEW] {
            let root = open(Path::new(place))?;
            sys::mount_setattr(root.as_fd(), attributes, false).step("make the root read-only")?;
        }
        Ok(())
    }
}
