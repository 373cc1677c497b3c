//! What must not be changed.

use crate::support::{Ground, policy};
use factory::sandbox::{Policy, ReadGrant};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What can be told about every file below a directory: mode, owner, times and content.
fn snapshot(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        if metadata.is_dir() {
            pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let facts = (
            metadata.mode(),
            metadata.uid(),
            metadata.mtime_nsec(),
            metadata.ctime_nsec(),
            metadata.nlink(),
        );
        found.insert(path, format!("{facts:?} {content:?}"));
    }
    found
}

fn repository(ground: &Ground) -> PathBuf {
    let repository = ground.path("repository");
    let git = |words: &[&str]| {
        let status = Command::new("git")
            .args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.invalid",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(words)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .status()
            .unwrap();
        assert!(status.success());
    };
    let place = repository.display().to_string();
    git(&["init", "--quiet", &place]);
    ground.file("repository/README", "as it was\n");
    git(&["-C", &place, "add", "README"]);
    git(&["-C", &place, "commit", "--quiet", "--message", "base"]);
    repository
}

fn granting(path: &Path) -> Policy {
    let mut policy = policy();
    policy.read.push(ReadGrant {
        path: path.to_owned(),
        optional: false,
    });
    policy
}

#[test]
fn nothing_can_be_written_to_etc() {
    let ground = Ground::new();
    let before = snapshot_of_names(Path::new("/etc"));
    for (act, file) in [
        ("write", "/etc/planted"),
        ("write", "/etc/passwd"),
        ("unlink", "/etc/passwd"),
        ("chmod", "/etc/passwd"),
        ("truncate", "/etc/passwd"),
    ] {
        let prepare = "mount -t tmpfs none /etc; echo x > /etc/passwd";
        let control = ground.outside_as_root(prepare, &[act, file]);
        assert!(control.succeeded(), "{act} {file}: {control:?}");
        ground.refused_inside(&[act, file], &["EROFS", "EACCES"]);
    }
    assert_eq!(snapshot_of_names(Path::new("/etc")), before);
}

fn snapshot_of_names(directory: &Path) -> Vec<(PathBuf, i64, u64)> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            (entry.path(), metadata.mtime_nsec(), metadata.len())
        })
        .collect();
    names.sort();
    names
}

#[test]
fn system_programs_cannot_be_replaced() {
    let ground = Ground::new();
    let before = fs::metadata("/usr/bin/env").unwrap();
    for (act, file) in [
        ("write", "/usr/bin/planted"),
        ("write", "/usr/bin/env"),
        ("unlink", "/usr/bin/env"),
        ("chmod", "/usr/bin/env"),
        ("write", "/bin/planted"),
    ] {
        // The last program that the script needs is the one that hides them all; the probe is static.
        let prepare = "mount -t tmpfs none /usr/bin; echo > /usr/bin/env";
        let control = ground.outside_as_root(prepare, &[act, file]);
        assert!(control.succeeded(), "{act} {file}: {control:?}");
        ground.refused_inside(&[act, file], &["EROFS", "EACCES"]);
    }
    let after = fs::metadata("/usr/bin/env").unwrap();
    assert_eq!((before.ino(), before.ctime()), (after.ino(), after.ctime()));
    assert!(!Path::new("/usr/bin/planted").exists());
}

#[test]
fn the_repository_and_its_hooks_are_not_in_the_view() {
    let ground = Ground::new();
    let repository = repository(&ground);
    let before = snapshot(&repository);
    for file in ["README", "planted", ".git/hooks/pre-commit", ".git/config", ".git/HEAD"] {
        let file = repository.join(file).display().to_string();
        ground.refused_inside(&["write", &file], &["ENOENT"]);
    }
    assert_eq!(snapshot(&repository), before);
    for file in ["README", "planted", ".git/hooks/pre-commit", ".git/config"] {
        let file = repository.join(file).display().to_string();
        assert!(ground.outside(&["write", &file]).succeeded(), "{file}");
    }
    assert_ne!(snapshot(&repository), before);
}

#[test]
fn a_granted_directory_can_be_read_and_in_no_way_changed() {
    let ground = Ground::new();
    let repository = repository(&ground);
    let policy = granting(&repository);
    let before = snapshot(&repository);
    let readme = repository.join("README").display().to_string();
    let other = repository.join("other").display().to_string();
    let hook = repository.join(".git/hooks/pre-commit").display().to_string();
    assert_eq!(ground.inside(&policy, &["read", &readme]).line, "ok as it was");
    let acts: [&[&str]; 8] = [
        &["write", &hook],
        &["write", &readme],
        &["chmod", &readme],
        &["link", &readme, &other],
        &["rename", &readme, &other],
        &["rename", &other, &readme],
        &["truncate", &readme],
        &["unlink", &readme],
    ];
    for act in acts {
        let refused = ground.inside(&policy, act);
        assert!(
            matches!(refused.errno(), Some("EROFS" | "EACCES" | "ENOENT")),
            "{act:?}: {refused:?}"
        );
        if act != ["rename", &*other, &*readme] {
            assert_ne!(refused.errno(), Some("ENOENT"), "{act:?}");
        }
    }
    // Out of it by a hard link or a rename into what is writable.
    for act in ["link", "rename"] {
        let refused = ground.inside(&policy, &[act, &readme, "/src/taken"]);
        assert!(
            matches!(refused.errno(), Some("EXDEV" | "EROFS" | "EACCES")),
            "{refused:?}"
        );
    }
    assert_eq!(snapshot(&repository), before);
    // The controls are in this order because each finds what the one before left.
    for act in acts {
        assert!(ground.outside(act).succeeded(), "{act:?}");
    }
}

#[test]
fn a_symlink_in_the_tree_is_no_way_to_write_to_the_host() {
    let ground = Ground::new();
    let canary = ground.file("canary", "as it was\n");
    symlink(&canary, ground.path("tree/link")).unwrap();
    symlink("/", ground.path("tree/root")).unwrap();
    symlink("../../../../../../../..", ground.path("tree/up")).unwrap();
    let below = canary.strip_prefix("/").unwrap().display().to_string();
    let ways = ["link".to_owned(), format!("root/{below}"), format!("up/{below}")];
    for way in &ways {
        ground.refused_inside(&["write", &format!("/src/{way}")], &["ENOENT", "EACCES", "EROFS"]);
        assert_eq!(fs::read_to_string(&canary).unwrap(), "as it was\n", "{way}");
    }
    for way in &ways {
        fs::write(&canary, "as it was\n").unwrap();
        assert!(
            ground
                .outside(&["write", &ground.word(&format!("tree/{way}"))])
                .succeeded(),
            "{way}"
        );
        assert_eq!(fs::read_to_string(&canary).unwrap(), "as it was\nplanted\n", "{way}");
    }
}

#[test]
fn what_a_command_writes_to_the_tree_never_reaches_the_directory_behind_it() {
    let ground = Ground::new();
    ground.file("tree/module.py", "as it was\n");
    let before = snapshot(&ground.path("tree"));
    let acts: [&[&str]; 6] = [
        &["write", "module.py"],
        &["write", "planted"],
        &["chmod", "module.py"],
        &["link", "module.py", "linked"],
        &["rename", "module.py", "moved"],
        &["unlink", "probe"],
    ];
    for act in acts {
        let done = ground.inside(&policy(), act);
        assert!(
            done.succeeded(),
            "inside, the tree is the command's own: {act:?}: {done:?}"
        );
        assert_eq!(snapshot(&ground.path("tree")), before, "{act:?}");
    }
    assert!(ground.outside(&["write", &ground.word("tree/module.py")]).succeeded());
    assert_ne!(snapshot(&ground.path("tree")), before);
}

#[test]
fn device_nodes_can_neither_be_made_nor_found() {
    let ground = Ground::new();
    // Even root of a user namespace may not, so the control of this layer is real root's.
    if crate::support::is_root() {
        let node = ground.word("node");
        assert!(ground.outside(&["call", "mknod", &node]).succeeded());
        assert!(ground.outside(&["read", "/dev/kmsg"]).succeeded());
    }
    ground.refused_inside(&["call", "mknod", "/tmp/node"], &["EPERM", "EACCES"]);
    for device in [
        "/dev/kmsg",
        "/dev/mem",
        "/dev/kvm",
        "/dev/ptmx",
        "/dev/tty",
        "/dev/vda",
        "/dev/fuse",
        "/dev/net/tun",
        "/dev/mqueue",
    ] {
        ground.refused_inside(&["read", device], &["ENOENT"]);
    }
    let seen = ground.prints(&policy(), "ls /dev | sort | tr '\\n' ' '");
    assert_eq!(seen.trim(), "fd full null random shm stderr stdin stdout urandom zero");
}
