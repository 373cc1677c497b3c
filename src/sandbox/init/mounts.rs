//! What a run mounts on top of its view: a `/proc` of its own, and everything that it can write to.
//!
//! - All that can be written lies in one sized tmpfs that no other namespace sees; it vanishes with the run.
//! - The tmpfs stays backstage: only what is bound from it into the view can be reached, not the upper layers behind the
//!   tree's back.

use super::Step;
use crate::sandbox::setup::{HOME, Job, LayerFailure, TREE, View};
use crate::sandbox::slot::root::{BACKSTAGE, VIEW, granted};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::Mode;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Device nodes of the view: the harmless ones.
pub(in crate::sandbox) const DEVICES: [&str; 5] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// The place of a path of the view while the run is still outside of it.
fn place_of(inside: &Path) -> PathBuf {
    Path::new(VIEW).join(inside.strip_prefix("/").unwrap_or(inside))
}

/// Goes to the root of the mount namespace, from where the backstage is seen.
pub(super) fn go_backstage() -> Result<(), LayerFailure> {
    // A run is born with the slot's root, which is that of the slot's namespace and not of its own copy.
    let own = fs::File::open("/proc/self/ns/mnt").step("find the mount namespace")?;
    setns(&own, CloneFlags::CLONE_NEWNS).step("go to the root of the mount namespace")
}

/// Takes the view as the root, for good: what could change it again needs a capability, and its call is refused.
pub(super) fn enter_view() -> Result<(), LayerFailure> {
    nix::unistd::chroot(VIEW).step("enter the view")?;
    nix::unistd::chdir("/").step("enter the view")
}

/// The count of user namespaces below the one of a run: there is no further one inside.
pub(super) const OF_RUN: &[(&str, &str)] = &[("max_user_namespaces", "0")];

/// Counts that for an ordinary caller are kept together with the caller's own programs: a share of what the kernel gives
/// anybody, which is 128 instances and at least 8192 watches. Source: `fs/notify/inotify/inotify_user.c`.
pub(in crate::sandbox) const OF_SLOT: &[(&str, &str)] =
    &[("max_inotify_instances", "32"), ("max_inotify_watches", "4096")];

/// Lowers counts that the kernel keeps for the user namespace of whoever opens these files, and for all those below it.
///
/// Where `/proc/sys` cannot be written, as in many containers, the filter alone refuses namespaces; the receipt's acts
/// tell. Source: namespaces(7), `/proc/sys/user`.
pub(in crate::sandbox) fn lower_counts(counts: &[(&str, &str)]) -> Result<(), LayerFailure> {
    for (name, most) in counts {
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

/// How the tree of a run was provided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sandbox) enum Provided {
    Overlay,
    Copy,
    Empty,
}

impl Provided {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Provided::Overlay => "overlay",
            Provided::Copy => "copy",
            Provided::Empty => "empty",
        }
    }
}

/// Mounts what the run can write to. `layers` are detached mounts of the layers of its tree, the uppermost first.
pub(super) fn put_on_top(job: &Job, view: &View, layers: &[OwnedFd]) -> Result<Provided, LayerFailure> {
    let scratch = Path::new(BACKSTAGE);
    let options = format!("mode=0700,size={},nr_inodes={}", job.tmp.size.0, job.tmp.inodes);
    tmpfs(scratch, &options, MsFlags::MS_NOSUID | MsFlags::MS_NODEV).step("mount the private tmpfs")?;
    let provided = tree(scratch, layers)?;
    for path in &view.snapshots {
        // It is the host's path that is below, and not the overlay that shows it: a stack of overlays has an end.
        let Some(number) = view.binds.iter().position(|bind| bind.path == *path) else {
            continue;
        };
        let upper = scratch.join(format!("snapshot-{number}"));
        fs::create_dir(&upper).step(format!("make a layer for `{}`", path.display()))?;
        let lower = [granted(number).display().to_string()];
        overlay(&place_of(path), &upper, &lower).step(format!("put a private layer on `{}`", path.display()))?;
    }
    let places = [("shm", "/dev/shm"), ("home", HOME), ("tmp", "/tmp")];
    for (name, inside) in places {
        fs::create_dir(scratch.join(name)).step(format!("make `{inside}`"))?;
        bind(&scratch.join(name), &place_of(Path::new(inside)))?;
    }
    Ok(provided)
}

/// A `/proc` of the new pid namespace. The first options that the kernel takes win: `subset=pid` and named `hidepid` values
/// exist since Linux 5.8. `ptraceable` hides what `invisible` does, but from members of group 0 as well.
/// Source: proc(5), "Mount options"; `fs/proc/base.c`, `has_pid_permissions()`.
pub(super) fn own_proc() -> Result<(), LayerFailure> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let attempt = |options: &str| {
        mount(
            Some("proc"),
            &place_of(Path::new("/proc")),
            Some("proc"),
            flags,
            Some(options),
        )
    };
    attempt("hidepid=ptraceable,subset=pid")
        .or_else(|_| attempt("hidepid=2"))
        .step("mount a private /proc")
}

/// The layers under a writable one: by overlayfs, whose cost does not grow with the tree, else by a copy.
fn tree(scratch: &Path, layers: &[OwnedFd]) -> Result<Provided, LayerFailure> {
    let place = &place_of(Path::new(TREE));
    let copy = scratch.join("tree");
    if layers.is_empty() {
        fs::create_dir(&copy).step("make an empty tree")?;
        bind(&copy, place)?;
        return Ok(Provided::Empty);
    }
    // Attached one by one: an overlay takes layers only from mounts of its own namespace.
    let mut lower = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let at = scratch.join(format!("layer-{number}"));
        fs::create_dir(&at).step("make a place for a layer of the tree")?;
        attach(layer.as_fd(), &at).step("attach a layer of the tree")?;
        lower.push(at.display().to_string());
    }
    match overlay(place, scratch, &lower) {
        Ok(()) => Ok(Provided::Overlay),
        // Not built, not allowed in a user namespace (before Linux 5.11), or its upper layer lacks attributes.
        Err(Errno::ENODEV | Errno::EPERM | Errno::EINVAL | Errno::ENOTSUP) => {
            fs::create_dir(&copy).step("make a copy of the tree")?;
            for layer in lower.iter().rev() {
                copy_tree(Path::new(layer), &copy)?;
            }
            bind(&copy, place)?;
            Ok(Provided::Copy)
        }
        Err(errno) => Err(errno).step("mount the tree"),
    }
}

fn bind(source: &Path, place: &Path) -> Result<(), LayerFailure> {
    let step = || format!("show `{}`", place.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, source, flags).step(step())?;
    attach(tree.as_fd(), place).step(step())
}

fn tmpfs(place: &Path, options: &str, flags: MsFlags) -> Result<(), Errno> {
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some(options))
}

pub(in crate::sandbox) fn attach(tree: BorrowedFd<'_>, place: &Path) -> rustix::io::Result<()> {
    move_mount(
        tree,
        "",
        rustix::fs::CWD,
        place,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

/// Mounts the layers, the uppermost first, below an empty upper layer in `scratch`.
fn overlay(place: &Path, scratch: &Path, lower: &[String]) -> Result<(), Errno> {
    // The separators of the option; escaping them differs between kernels.
    if lower.iter().any(|path| path.contains([':', ',', '\\'])) {
        return Err(Errno::EINVAL);
    }
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for directory in [&upper, &work] {
        nix::unistd::mkdir(directory, Mode::from_bits_truncate(0o755))?;
    }
    // Replaced directories are marked by an extended attribute; a tmpfs takes user attributes since Linux 6.6.
    rustix::fs::setxattr(&upper, "user.factory", b"", rustix::fs::XattrFlags::empty())
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
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
pub(in crate::sandbox) fn copy_tree(layer: &Path, to: &Path) -> Result<(), LayerFailure> {
    let mut pending = vec![(layer.to_owned(), to.to_owned())];
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
    // A whiteout, which hides what was there. Other devices, pipes and sockets are in no tree that was exported; reading from
    // one could block or never end.
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
            copy_tree(layer, to).unwrap();
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
    fn a_copy_takes_a_whiteout_for_what_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let [low, up, copy] = ["low", "up", "copy"].map(|name| {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        });
        for name in ["gone", "kept"] {
            fs::write(low.join(name), "").unwrap();
            fs::create_dir(low.join(format!("{name}-directory"))).unwrap();
            fs::write(low.join(format!("{name}-directory/inner")), "").unwrap();
        }
        for name in ["gone", "gone-directory"] {
            let kind = rustix::fs::FileType::CharacterDevice;
            rustix::fs::mknodat(rustix::fs::CWD, up.join(name), kind, rustix::fs::Mode::empty(), 0).unwrap();
        }
        copied(&[&up, &low], &copy);
        let mut names: Vec<_> = fs::read_dir(&copy)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["kept", "kept-directory"]);
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
