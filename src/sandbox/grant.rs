//! Which host paths may be shown to a command at all, whoever asks.
//!
//! - What lives in some places is the host's state, an operator's keys or a way out, never a toolchain.
//! - A refusal says what is wrong with the path and what to write instead.
//! - Looking is done here, by the operator's side, before anything starts; `init` looks again at what it opens.

use super::setup::{ALIASES, HOME, SUITES, TREE};
use rustix::fs::{AtFlags, Mode, OFlags};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

/// Paths that are never shown as a whole: what lives there is the host's state, not a toolchain.
const NEVER: [&str; 11] = [
    "/", "/proc", "/sys", "/dev", "/run", "/var/run", "/tmp", "/home", "/root", "/var", "/etc",
];

/// Those of them below which nothing is shown either: live state, and what the command's own `/tmp` would hide.
const NEVER_BELOW: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/var/run", "/tmp"];

/// Where programs keep keys and what else gives its holder somebody's rights, below a home directory.
/// Source: the manual of each program.
const CREDENTIALS: [&str; 38] = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".netrc",
    ".git-credentials",
    ".gitconfig",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".s3cfg",
    ".boto",
    ".vault-token",
    ".terraform.d",
    ".terraformrc",
    ".databrickscfg",
    ".password-store",
    ".mozilla",
    ".thunderbird",
    ".bash_history",
    ".zsh_history",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".m2/settings.xml",
    ".config/gcloud",
    ".config/gh",
    ".config/git",
    ".config/op",
    ".config/rclone",
    ".config/containers",
    ".config/google-chrome",
    ".config/chromium",
    ".local/share/keyrings",
];

/// The same for the whole system.
const SYSTEM_CREDENTIALS: [&str; 8] = [
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/sudoers",
    "/etc/ssh",
    "/etc/ssl/private",
    "/etc/krb5.keytab",
    "/etc/kubernetes",
    "/var/lib/docker",
];

/// How many entries of a directory are looked at for sockets.
const LOOKED_AT: usize = 2000;

/// Why a path is not shown, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Refused {
    /// The same, said of a path that a bundle stands for.
    pub(super) fn of_bundle(self, name: &str) -> Self {
        Refused {
            reason: format!(
                "`{name}` stands for a path here that cannot be granted: {}",
                self.reason
            ),
            remedy: "move the toolchain to a directory of its own, or leave the bundle out".to_owned(),
        }
    }
}

fn refused(reason: String, remedy: impl Into<String>) -> Refused {
    Refused {
        reason,
        remedy: remedy.into(),
    }
}

/// What of the host is the operator's and ours. Each place in its spellings: as it is given, and where that leads.
#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    /// The operator's home directory.
    home: Vec<PathBuf>,
    /// Directories of this program itself.
    own: Vec<Vec<PathBuf>>,
}

impl Places {
    pub(super) fn new(home: Option<&Path>, own: &[PathBuf]) -> Self {
        Places {
            home: home.map(spellings).unwrap_or_default(),
            own: own.iter().map(|path| spellings(path)).collect(),
        }
    }
}

fn spellings(path: &Path) -> Vec<PathBuf> {
    let real = fs::canonicalize(path).ok().filter(|real| real != path);
    std::iter::once(path.to_owned()).chain(real).collect()
}

/// Whether the path is spelled in the one way in which it can be compared: absolute, without `.`, `..` and `~`.
pub(super) fn spelling(path: &Path) -> Result<(), Refused> {
    let shown = path.display();
    if path.starts_with("~") || path.as_os_str().as_bytes().starts_with(b"~") {
        return Err(refused(
            format!("`{shown}` is not an absolute path: `~` is not expanded"),
            "write the whole path of one directory below the home directory",
        ));
    }
    if !path.is_absolute() {
        return Err(refused(
            format!("`{shown}` is not an absolute path"),
            "write the whole path, from `/` on",
        ));
    }
    let normal: PathBuf = path.components().collect();
    if path.components().any(|part| part == Component::ParentDir) || normal.as_os_str() != path.as_os_str() {
        return Err(refused(
            format!("`{shown}` is not the plain spelling of a path"),
            "leave out `.`, `..`, doubled slashes and the one at the end",
        ));
    }
    Ok(())
}

/// Whether anything may be shown at this place.
pub(super) fn place(path: &Path) -> Result<(), Refused> {
    spelling(path)?;
    let own = [TREE, HOME, ALIASES, SUITES]
        .iter()
        .any(|own| path.starts_with(own) || Path::new(own).starts_with(path));
    let below = NEVER_BELOW.iter().any(|never| path.starts_with(never));
    if own || below || NEVER.iter().any(|never| path == Path::new(never)) {
        return Err(refused(
            format!("`{}` is never shown to a command", path.display()),
            "grant the one directory that holds the tool, such as one below /opt or /usr/local",
        ));
    }
    if is_below_home(path) {
        return Err(refused_home(path));
    }
    Ok(())
}

/// Whether this is a home directory by its place, whoever's.
fn is_below_home(path: &Path) -> bool {
    path.parent() == Some(Path::new("/home"))
}

fn refused_home(path: &Path) -> Refused {
    refused(
        format!("`{}` holds a home directory, with its keys", path.display()),
        "grant the one directory below it that holds the tool",
    )
}

/// Whether nothing below a place is the operator's own or ours.
pub(super) fn private(path: &Path, places: &Places) -> Result<(), Refused> {
    let shown = path.display();
    if places.home.iter().any(|home| home.starts_with(path)) || is_below_home(path) {
        return Err(refused_home(path));
    }
    if let Some(own) = places.own.iter().find(|own| own.iter().any(|own| overlap(own, path))) {
        return Err(refused(
            format!(
                "`{shown}` shows `{}`, where this program keeps its state, or its settings a key",
                own[0].display()
            ),
            "grant a directory that has nothing to do with it",
        ));
    }
    if let Some(store) = key_store(path, places) {
        return Err(refused(
            format!("`{shown}` shows `{}`, where keys are kept", store.display()),
            "grant a directory beside it, or copy what is needed to one of its own",
        ));
    }
    Ok(())
}

/// Whether one of them is the other, or lies below it.
fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// A place where keys are kept that the path is, holds or lies in.
fn key_store(path: &Path, places: &Places) -> Option<PathBuf> {
    for home in &places.home {
        let Ok(below) = path.strip_prefix(home) else { continue };
        if let Some(name) = CREDENTIALS.iter().find(|name| overlap(Path::new(name), below)) {
            return Some(home.join(name));
        }
    }
    if let Some(system) = SYSTEM_CREDENTIALS
        .iter()
        .find(|system| overlap(Path::new(system), path))
    {
        return Some(PathBuf::from(system));
    }
    // A home directory that is not the operator's, or a copy of one, is known by what lies in it.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let is_there = |name: &&&str| rustix::fs::statat(&directory, **name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    CREDENTIALS.iter().find(is_there).map(|name| path.join(name))
}

/// Whether what is there now may be shown.
pub(super) fn content(path: &Path) -> Result<(), Refused> {
    let shown = path.display();
    let metadata = path.symlink_metadata().map_err(|error| {
        refused(
            format!("`{shown}` cannot be shown: {error}"),
            "correct the path, or mark it `optional = true`",
        )
    })?;
    let real = fs::canonicalize(path)
        .map_err(|error| refused(format!("`{shown}` cannot be shown: {error}"), "correct the path"))?;
    if real != path {
        return Err(refused(
            format!("`{shown}` leads through a symbolic link"),
            format!("name what it leads to: `{}`", real.display()),
        ));
    }
    let kind = metadata.file_type();
    if !kind.is_dir() && !kind.is_file() {
        return Err(refused(
            format!("`{shown}` is neither a file nor a directory"),
            "grant files and directories only: a socket, pipe or device leads out of the sandbox",
        ));
    }
    let list = fs::read("/proc/net/unix").unwrap_or_default();
    let listening = listening_socket(std::iter::once(path), &list).map(|(_, socket)| socket);
    match listening.or_else(|| socket_below(path)) {
        Some(socket) => Err(refused(
            format!("`{shown}` holds the socket `{}`", socket.display()),
            "grant the directories beside it one by one: through a socket a command reaches the process behind it",
        )),
        None => Ok(()),
    }
}

/// The first socket below one of the paths, and that path. Connecting takes a name and the right to write to it, whatever
/// the namespaces: neither a read-only mount nor a network namespace is in the way, and the process behind it is outside.
///
/// Source: unix(7), "Pathname socket permissions"; proc_pid_net(5), `unix`. The list has the names as they were bound, so
/// one bound by a relative name, or later, is not found: the overlay that shows the grant keeps it out of reach.
pub(super) fn listening_socket<'a>(
    mut grants: impl Iterator<Item = &'a Path>,
    list: &[u8],
) -> Option<(PathBuf, PathBuf)> {
    let sockets: Vec<&Path> = list
        .split(|byte| *byte == b'\n')
        .filter_map(|line| {
            let start = line.windows(2).position(|pair| pair == b" /")?;
            Some(Path::new(OsStr::from_bytes(&line[start + 1..])))
        })
        .collect();
    grants.find_map(|grant| {
        let socket = sockets.iter().find(|socket| socket.starts_with(grant))?;
        Some((grant.to_owned(), socket.to_path_buf()))
    })
}

/// A socket among the first entries below a directory, the shallow ones first: one bound by a relative name is in no list.
fn socket_below(path: &Path) -> Option<PathBuf> {
    let (mut pending, mut left) = (VecDeque::from([path.to_owned()]), LOOKED_AT);
    while let Some(directory) = pending.pop_front() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten().take(left) {
            left -= 1;
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_socket() {
                return Some(entry.path());
            }
            if kind.is_dir() {
                pending.push_back(entry.path());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_below_the_grant_that_shows_it() {
        let list = b"Num RefCount Protocol Flags Type St Inode Path\n\
            ffff: 00000002 00000000 00010000 0001 01 17 @/opt/abstract\n\
            ffff: 00000003 00000000 00000000 0001 03 18\n\
            ffff: 00000002 00000000 00010000 0001 01 19 /opt/tool s/socket\n";
        let found = |grants: &[&str]| listening_socket(grants.iter().map(Path::new), list);
        let (grant, socket) = found(&["/usr", "/opt"]).unwrap();
        assert_eq!((grant, socket), ("/opt".into(), "/opt/tool s/socket".into()));
        assert_eq!(found(&["/usr", "/opt/tool"]), None);
    }

    #[test]
    fn a_path_has_one_spelling() {
        for path in [
            "opt",
            "./opt",
            "~",
            "~/x",
            "~other/x",
            "/opt/",
            "/opt//x",
            "/opt/./x",
            "/opt/../x",
            "",
        ] {
            assert!(spelling(Path::new(path)).is_err(), "{path}");
        }
        for path in ["/opt", "/opt/~x", "/usr/lib/..x"] {
            assert_eq!(spelling(Path::new(path)), Ok(()), "{path}");
        }
    }

    #[test]
    fn places_of_live_state_are_never_shown() {
        for path in [
            "/",
            "/proc",
            "/proc/1",
            "/run/user/1000",
            "/dev/shm",
            "/var",
            "/home",
            "/root",
            "/src",
            "/opt/factory",
        ] {
            assert!(place(Path::new(path)).is_err(), "{path}");
        }
        for path in [
            "/usr",
            "/opt/venv",
            "/home/a/tools",
            "/var/lib/tool",
            "/etc/alternatives",
        ] {
            assert_eq!(place(Path::new(path)), Ok(()), "{path}");
        }
    }

    #[test]
    fn what_is_private_is_refused_from_above_and_from_below() {
        let places = Places::new(Some(Path::new("/srv/people/ann")), &["/srv/state/factory".into()]);
        for path in [
            "/srv",
            "/srv/people",
            "/srv/people/ann",
            "/home/somebody",
            "/srv/people/ann/.ssh",
            "/srv/people/ann/.ssh/known_hosts",
            "/srv/people/ann/.config",
            "/srv/people/ann/.cargo",
            "/srv/state",
            "/srv/state/factory/journal.db",
            "/etc/ssl",
            "/etc/ssh/keys",
        ] {
            assert!(private(Path::new(path), &places).is_err(), "{path}");
        }
        for path in [
            "/srv/people/ann/.cargo/registry",
            "/srv/people/ann/tools",
            "/srv/peoples",
            "/etc/ssl/certs",
        ] {
            assert_eq!(private(Path::new(path), &places), Ok(()), "{path}");
        }
    }

    #[test]
    fn a_copy_of_a_home_directory_is_known_by_its_keys() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(private(directory.path(), &Places::default()), Ok(()));
        fs::create_dir(directory.path().join(".aws")).unwrap();
        let refused = private(directory.path(), &Places::default()).unwrap_err();
        assert!(refused.reason.contains(".aws"), "{refused}");
    }

    #[test]
    fn a_link_is_answered_with_what_it_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let directory = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(directory.join("tool-1")).unwrap();
        std::os::unix::fs::symlink("tool-1", directory.join("tool")).unwrap();
        assert_eq!(content(&directory.join("tool-1")), Ok(()));
        let refused = content(&directory.join("tool")).unwrap_err();
        assert!(
            refused.remedy.contains(&directory.join("tool-1").display().to_string()),
            "{refused:?}"
        );
    }

    #[test]
    fn a_socket_bound_by_a_relative_name_is_found_too() {
        let directory = tempfile::tempdir().unwrap();
        let directory = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir(directory.join("deep")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(directory.join("deep/socket")).unwrap();
        assert_eq!(socket_below(&directory), Some(directory.join("deep/socket")));
        assert!(content(&directory).is_err());
        assert!(content(&directory.join("absent")).is_err());
    }
}
