//! The view: an empty root into which only what the setup lists is put.
//!
//! - What is not listed does not exist inside: no home, no `/run`, no socket, no repository, no other process.
//! - Host paths are opened before the identity changes and compared with what the parent saw.
//! - Everything the command can write to lies in one sized tmpfs that no other namespace sees; it vanishes with it.

use super::Step;
use crate::sandbox::setup::{ALIASES, HOME, LayerFailure, Pinned, Setup, TREE};
use crate::sandbox::sys;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Device nodes of the view: the harmless ones.
pub(in crate::sandbox) const DEVICES: [&str; 5] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Where the new root is built, inside the tmpfs of what the command writes.
const ROOT: &str = "root";

/// Files and directories that the root itself may hold; its content is what is written below.
const ROOT_OPTIONS: &str = "mode=0755,size=4m,nr_inodes=8k";

/// Host paths, opened in this mount namespace.
pub(super) struct Sources {
    binds: Vec<OwnedFd>,
    layers: Vec<OwnedFd>,
    devices: Vec<OwnedFd>,
}

/// Opens every host path that the setup names, and checks that it is still what the parent saw.
pub(super) fn open_sources(setup: &Setup) -> Result<Sources, LayerFailure> {
    let open = |path: &Path| {
        nix::fcntl::open(
            path,
            OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .step(format!("open `{}`", path.display()))
    };
    let pinned = |pin: &Pinned| {
        let fd = open(&pin.path)?;
        let stat = nix::sys::stat::fstat(&fd).step(format!("look at `{}`", pin.path.display()))?;
        if (stat.st_dev, stat.st_ino) == (pin.device, pin.inode) {
            Ok(fd)
        } else {
            // Replaced between the check and now: whoever did that must not choose what is shown.
            Err(Errno::ESTALE).step(format!("find `{}` unchanged", pin.path.display()))
        }
    };
    Ok(Sources {
        binds: setup.binds.iter().map(pinned).collect::<Result<_, _>>()?,
        layers: setup.layers.iter().map(pinned).collect::<Result<_, _>>()?,
        devices: DEVICES
            .iter()
            .map(|path| open(Path::new(path)))
            .collect::<Result<_, _>>()?,
    })
}

/// Lowers the counts that the kernel keeps for a user namespace: no further one inside, and a share of the caller's
/// inotify instances, which for an ordinary caller are counted together with the caller's own programs.
///
/// The files are those of the namespace of whoever opens them. Where `/proc/sys` cannot be written, as in many
/// containers, the filter alone refuses namespaces; the receipt's acts tell. Source: namespaces(7), `/proc/sys/user`.
pub(super) fn lower_counts() -> Result<(), LayerFailure> {
    for (name, most) in [("max_user_namespaces", "0"), ("max_inotify_instances", "32")] {
        match fs::write(format!("/proc/sys/user/{name}"), most) {
            Err(error)
                if !matches!(
                    error.raw_os_error(),
                    Some(libc::EROFS | libc::EACCES | libc::EPERM | libc::ENOENT)
                ) =>
            {
                return Err(error).step(format!("set {name} inside"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Builds the new root and moves into it. Answers how the tree was provided.
pub(super) fn build_root(setup: &Setup, sources: Sources) -> Result<&'static str, LayerFailure> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).step("make the mounts private")?;
    let root = Root::mount(setup)?;
    for (pin, fd) in setup.binds.iter().zip(&sources.binds) {
        root.bind(
            fd.as_fd(),
            &pin.path,
            pin.directory,
            sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NODEV,
        )?;
    }
    for (place, text) in &setup.links {
        root.link(place, text)?;
    }
    root.etc()?;
    root.proc()?;
    root.dev(&sources.devices)?;
    let tree = root.writable(&sources.layers)?;
    // Inside, an empty /run says that there is no socket to talk to.
    root.directory(Path::new("/run"))?;
    root.enter()?;
    Ok(tree)
}

/// The new root while it is being built, inside the tmpfs that holds what the command writes.
///
/// That tmpfs hides a directory of the old root and goes away with it: only what is bound from it stays reachable, not the
/// upper layer behind the tree's back. A single unmount, because each waits until every processor has noticed.
struct Root {
    scratch: PathBuf,
    at: PathBuf,
}

impl Root {
    fn mount(setup: &Setup) -> Result<Self, LayerFailure> {
        // Any directory will do: in this private namespace nobody else sees what it hides.
        let scratch = ["/tmp", "/mnt", "/var", "/usr"]
            .map(Path::new)
            .into_iter()
            .find(|path| path.is_dir());
        let scratch = scratch
            .ok_or(Errno::ENOENT)
            .step("find a directory to build the root on")?
            .to_owned();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        let options = format!("mode=0700,size={},nr_inodes={}", setup.tmp.size.0, setup.tmp.inodes);
        tmpfs(&scratch, &options, flags).step("mount the private tmpfs")?;
        let at = scratch.join(ROOT);
        fs::create_dir(&at).step("make a place for the root")?;
        tmpfs(&at, ROOT_OPTIONS, flags).step("mount an empty root")?;
        Ok(Root { scratch, at })
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
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let step = || format!("show `{}`", inside.display());
        let tree = open_tree(source, "", flags).step(step())?;
        // Before it is attached: at no instant is it visible without them.
        sys::mount_setattr(tree.as_fd(), attributes, true).step(step())?;
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

    /// A `/proc` of the new pid namespace. The first options that the kernel takes win: `subset=pid` and named
    /// `hidepid` values exist since Linux 5.8. Source: proc(5), "Mount options".
    fn proc(&self) -> Result<(), LayerFailure> {
        let place = self.directory(Path::new("/proc"))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let attempt = |options: &str| mount(Some("proc"), &place, Some("proc"), flags, Some(options));
        attempt("hidepid=invisible,subset=pid")
            .or_else(|_| attempt("hidepid=2"))
            .step("mount a private /proc")
    }

    fn dev(&self, devices: &[OwnedFd]) -> Result<(), LayerFailure> {
        for (inside, fd) in DEVICES.iter().zip(devices) {
            self.bind(
                fd.as_fd(),
                Path::new(inside),
                false,
                sys::MOUNT_NOSUID | sys::MOUNT_NOEXEC,
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

    /// Everything that can be written to: temporary directories, the home, and the upper layer of the tree.
    fn writable(&self, layers: &[OwnedFd]) -> Result<&'static str, LayerFailure> {
        for (name, inside) in [("tmp", "/tmp"), ("shm", "/dev/shm"), ("home", HOME)] {
            let source = self.scratch.join(name);
            fs::create_dir(&source).step(format!("make `{inside}`"))?;
            self.bind_writable(&source, Path::new(inside))?;
        }
        self.tree(layers)
    }

    fn bind_writable(&self, source: &Path, inside: &Path) -> Result<(), LayerFailure> {
        let place = self.directory(inside)?;
        let none: Option<&str> = None;
        mount(Some(source), &place, none, MsFlags::MS_BIND, none).step(format!("show `{}`", inside.display()))
    }

    /// The layers under a writable one: by overlayfs, whose cost does not grow with the tree, else by a copy.
    fn tree(&self, layers: &[OwnedFd]) -> Result<&'static str, LayerFailure> {
        let place = self.directory(Path::new(TREE))?;
        if layers.is_empty() {
            let empty = self.scratch.join("tree");
            fs::create_dir(&empty).step("make an empty tree")?;
            self.bind_writable(&empty, Path::new(TREE))?;
            return Ok("empty");
        }
        match overlay(&place, &self.scratch, layers) {
            Ok(()) => Ok("overlay"),
            // Not built, not allowed in a user namespace (before Linux 5.11), or its upper layer lacks attributes.
            Err(Errno::ENODEV | Errno::EPERM | Errno::EINVAL | Errno::ENOTSUP) => {
                let copy = self.scratch.join("tree");
                fs::create_dir(&copy).step("make a copy of the tree")?;
                for layer in layers.iter().rev() {
                    copy_tree(layer.as_fd(), &copy)?;
                }
                self.bind_writable(&copy, Path::new(TREE))?;
                Ok("copy")
            }
            Err(errno) => Err(errno).step("mount the tree"),
        }
    }

    /// Makes this the root and lets go of the old one.
    fn enter(self) -> Result<(), LayerFailure> {
        self.directory(Path::new(ALIASES))?;
        nix::unistd::chdir(&self.at).step("enter the new root")?;
        // With both arguments the same, the old root ends up on top of the new one, to be unmounted from there.
        // Source: pivot_root(2), "pivot_root(".", ".")".
        nix::unistd::pivot_root(".", ".").step("change the root")?;
        umount2(".", MntFlags::MNT_DETACH).step("detach the old root")?;
        nix::unistd::chdir("/").step("enter the new root")?;
        let root = nix::fcntl::open("/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).step("open the new root")?;
        sys::mount_setattr(
            root.as_fd(),
            sys::MOUNT_RDONLY | sys::MOUNT_NOSUID | sys::MOUNT_NODEV,
            false,
        )
        .step("make the root read-only")
    }
}

fn tmpfs(place: &Path, options: &str, flags: MsFlags) -> Result<(), Errno> {
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options))
}

fn attach(tree: BorrowedFd<'_>, place: &Path) -> rustix::io::Result<()> {
    move_mount(
        tree,
        "",
        rustix::fs::CWD,
        place,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Mounts the layers, the uppermost first, below an empty upper layer in `scratch`.
fn overlay(place: &Path, scratch: &Path, layers: &[OwnedFd]) -> Result<(), Errno> {
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for directory in [&upper, &work] {
        match nix::unistd::mkdir(directory, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    // Replaced directories are marked by an extended attribute; a tmpfs takes user attributes since Linux 6.6.
    rustix::fs::setxattr(&upper, "user.factory", b"", rustix::fs::XattrFlags::empty())
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    // By descriptor: a path could hold the separators of the option, and need not be reachable for the mapped id.
    let lower: Vec<String> = layers
        .iter()
        .map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .collect();
    let options = format!(
        "userxattr,lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.display(),
        work.display()
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("overlay"), place, Some("overlay"), flags, Some(options.as_str()))
}

/// Copies one layer over what is there already. Iterative: a layer may be deep.
fn copy_tree(layer: BorrowedFd<'_>, to: &Path) -> Result<(), LayerFailure> {
    let from = PathBuf::from(format!("/proc/self/fd/{}", layer.as_raw_fd()));
    let mut pending = vec![(from, to.to_owned())];
    while let Some((from, to)) = pending.pop() {
        for entry in fs::read_dir(&from).step("read a layer of the tree")? {
            let entry = entry.step("read a layer of the tree")?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            copy_entry(&source, &target, &mut pending).step(format!("copy `{}`", entry.file_name().display()))?;
        }
    }
    Ok(())
}

/// Copies one entry over what a lower layer left there, which it replaces as in an overlay: directories alone merge.
fn copy_entry(source: &Path, target: &Path, pending: &mut Vec<(PathBuf, PathBuf)>) -> std::io::Result<()> {
    let metadata = fs::symlink_metadata(source)?;
    let there = fs::symlink_metadata(target).ok();
    if metadata.is_dir() {
        // A link that a lower layer has here must not be written through: it leads out of the copy.
        if there.as_ref().is_some_and(|there| !there.is_dir()) {
            fs::remove_file(target)?;
        }
        if !there.is_some_and(|there| there.is_dir()) {
            fs::create_dir(target)?;
        }
        pending.push((source.to_owned(), target.to_owned()));
        return Ok(());
    }
    match there {
        Some(there) if there.is_dir() => fs::remove_dir_all(target)?,
        Some(_) => fs::remove_file(target)?,
        None => {}
    }
    if metadata.is_symlink() {
        return symlink(fs::read_link(source)?, target);
    }
    // Pipes, sockets and devices are in no tree that was exported; reading from one could block or never end.
    if !metadata.is_file() {
        return Ok(());
    }
    fs::copy(source, target)?;
    fs::set_permissions(target, fs::Permissions::from_mode(metadata.mode() & 0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(layers: &[&Path], to: &Path) {
        for layer in layers.iter().rev() {
            copy_tree(fs::File::open(layer).unwrap().as_fd(), to).unwrap();
        }
    }

    #[test]
    fn a_copy_does_not_write_through_links_of_a_lower_layer() {
        let directory = tempfile::tempdir().unwrap();
        let [outside, low, up, copy] = ["outside", "low", "up", "copy"].map(|name| {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        fs::write(outside.join("file"), "precious").unwrap();
        symlink(&outside, low.join("d")).unwrap();
        symlink(outside.join("file"), low.join("f")).unwrap();
        fs::create_dir(low.join("was-directory")).unwrap();
        fs::write(low.join("was-directory/inner"), "").unwrap();
        fs::create_dir(up.join("d")).unwrap();
        for (name, content) in [("d/file", "new"), ("f", "new"), ("was-directory", "new")] {
            fs::write(up.join(name), content).unwrap();
        }
        copied(&[&up, &low], &copy);
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "precious");
        for name in ["d/file", "f", "was-directory"] {
            assert_eq!(fs::read_to_string(copy.join(name)).unwrap(), "new", "{name}");
        }
        assert!(copy.join("d").symlink_metadata().unwrap().is_dir());
    }

    #[test]
    fn a_copy_leaves_out_what_could_block_it() {
        let directory = tempfile::tempdir().unwrap();
        let (layer, copy) = (directory.path().join("layer"), directory.path().join("copy"));
        fs::create_dir(&layer).unwrap();
        fs::create_dir(&copy).unwrap();
        nix::unistd::mkfifo(&layer.join("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(layer.join("socket")).unwrap();
        fs::write(layer.join("file"), "").unwrap();
        copied(&[&layer], &copy);
        let names: Vec<_> = fs::read_dir(&copy)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["file"]);
    }
}
