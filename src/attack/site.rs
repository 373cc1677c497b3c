//! Where one trial takes place: a scratch directory with a tree, a home and canaries, and listeners on loopback.
//!
//! - Everything worth stealing or breaking is planted and random; nothing of the operator's is read or touched.
//! - Everything planted is open to every user, so that what keeps an act away is the launcher and not a mode.
//! - Evidence is a comparison: what was there before the trial and what is there after it, seen from outside.

use super::AttackError;
use crate::sandbox::Sandbox;
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

/// The payload's name in the tree.
pub(super) const PAYLOAD: &str = "payload";

/// Files with secrets that people keep at home.
const AT_HOME: [&str; 22] = [
    ".ssh/id_ed25519",
    ".ssh/id_rsa",
    ".aws/credentials",
    ".config/gcloud/credentials.db",
    ".azure/accessTokens.json",
    ".kube/config",
    ".docker/config.json",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".cargo/credentials.toml",
    ".git-credentials",
    ".gnupg/private-keys-v1.d/key",
    ".local/share/keyrings/login.keyring",
    ".mozilla/firefox/default/logins.json",
    ".config/chromium/Default/Login Data",
    ".bash_history",
    ".python_history",
    ".config/gh/hosts.yml",
    ".terraform.d/credentials.tfrc.json",
    ".password-store/key",
    ".config/op/config",
];

/// The scratch directory of all trials.
#[derive(Debug)]
pub(super) struct Scratch {
    directory: Option<tempfile::TempDir>,
    payload: PathBuf,
    next: AtomicU32,
}

impl Scratch {
    /// Makes the directory and a copy of the program in it.
    pub(super) fn new(program: &Path) -> Result<Self, AttackError> {
        // Not below /tmp, which many launchers replace by one of their own: a canary there would prove nothing.
        let place = [Path::new("/var/tmp"), &std::env::temp_dir()]
            .into_iter()
            .find(|path| path.is_dir())
            .map(Path::to_owned)
            .unwrap_or_else(std::env::temp_dir);
        let failed = |source| AttackError::Scratch {
            path: place.clone(),
            source,
        };
        let directory = tempfile::Builder::new()
            .prefix(&format!("factory-attack-{}-", std::process::id()))
            .tempdir_in(&place)
            .map_err(failed)?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).map_err(failed)?;
        let payload = directory.path().join(PAYLOAD);
        fs::copy(program, &payload).map_err(failed)?;
        fs::set_permissions(&payload, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        own(&payload).map_err(failed)?;
        Ok(Scratch {
            directory: Some(directory),
            payload,
            next: AtomicU32::new(0),
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory
            .as_ref()
            .map_or(Path::new("/nonexistent"), tempfile::TempDir::path)
    }

    /// A number that no other trial has.
    pub(super) fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A new site.
    pub(super) fn site(&self, git: bool) -> Result<Site, AttackError> {
        let directory = self.path().join(format!("site-{}", self.number()));
        let failed = |source| AttackError::Scratch {
            path: directory.clone(),
            source,
        };
        Site::build(&directory, &self.payload, git).map_err(failed)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Trees without any permission, or deeper than a path may be long, are what this removal is for.
        if let Some(directory) = self.directory.take() {
            let path = directory.keep();
            let _ = crate::workspace::remove_tree(&path);
        }
    }
}

/// Hands a file to the id that a sandbox maps to when the caller is root.
fn own(path: &Path) -> std::io::Result<()> {
    match Sandbox::tree_owner() {
        Some(owner) => chown(path, Some(owner), Some(owner)),
        None => Ok(()),
    }
}

/// Sixteen random bytes as hexadecimal digits.
fn random() -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The place of one trial.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) directory: PathBuf,
    /// A random text that nothing outside of the canaries holds.
    pub(super) secret: String,
    /// A random word among the arguments of every process of the trial.
    pub(super) token: String,
    tcp: TcpListener,
    udp: UdpSocket,
    sockets: Vec<(&'static str, UnixListener)>,
}

/// Directories of the host that everybody may write to.
pub(super) const SHARED: [&str; 2] = ["/dev/shm", "/tmp"];

impl Site {
    /// Removes what the trial left in directories that everybody shares: a payload that is killed cannot do so itself.
    pub(super) fn clear_shared(&self) {
        for directory in SHARED {
            // Mostly there is none, and one of somebody else's cannot be called so.
            let _ = fs::remove_file(Path::new(directory).join(&self.token));
        }
    }

    fn build(directory: &Path, payload: &Path, git: bool) -> std::io::Result<Self> {
        let secret = format!("secret-{}", random()?);
        let token = format!("trial-{}", random()?);
        for name in [
            "",
            "tree",
            "tree/sub",
            "home",
            "home/.config",
            "outside",
            "outside/granted",
            "outside/served",
            "outside/open",
        ] {
            let place = directory.join(name);
            fs::create_dir(&place)?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o777))?;
        }
        let plant = |name: &str, content: &str, mode: u32| -> std::io::Result<()> {
            let place = directory.join(name);
            if let Some(parent) = place.parent() {
                fs::create_dir_all(parent)?;
            }
            let mut file = fs::File::create(&place)?;
            file.write_all(content.as_bytes())?;
            file.set_permissions(fs::Permissions::from_mode(mode))
        };
        for name in AT_HOME {
            plant(&format!("home/{name}"), &format!("{secret}\n"), 0o644)?;
        }
        plant("home/.bashrc", "# nothing\n", 0o666)?;
        plant(
            "home/.gitconfig",
            "[user]\n\tname = a\n\temail = a@localhost\n[safe]\n\tdirectory = *\n",
            0o644,
        )?;
        plant("outside/secret", &format!("{secret}\n"), 0o644)?;
        plant("outside/victim", "precious\n", 0o666)?;
        plant("outside/shared", "precious\n", 0o666)?;
        plant("outside/granted/file", "granted\n", 0o666)?;
        plant("outside/group", &format!("{secret}\n"), 0o640)?;
        plant("tree/file", "content\n", 0o666)?;
        plant("tree/sub/other", "content\n", 0o666)?;
        fs::hard_link(directory.join("outside/shared"), directory.join("tree/shared"))?;
        fs::hard_link(payload, directory.join("tree").join(PAYLOAD))?;
        symlink(directory.join("outside"), directory.join("outside/link"))?;
        if git {
            git_repository(directory)?;
        }
        for name in ["tree", "tree/sub", "tree/file", "tree/sub/other"] {
            own(&directory.join(name))?;
        }
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        tcp.set_nonblocking(true)?;
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        udp.set_nonblocking(true)?;
        let mut sockets = Vec::new();
        // By a short path: the address of a socket holds 108 bytes.
        for (name, place) in [
            ("the agent's socket", "home/.gnupg/S.gpg-agent"),
            ("the daemon's socket", "outside/docker.sock"),
            ("the bus", "outside/bus"),
        ] {
            let path = directory.join(place);
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
            listener.set_nonblocking(true)?;
            sockets.push((name, listener));
        }
        // Bound by another path than its own, as by a relative one: the kernel's list of sockets does not tell its place.
        {
            use std::os::fd::AsRawFd as _;
            let granted = fs::File::open(directory.join("outside/served"))?;
            let listener = UnixListener::bind(format!("/proc/self/fd/{}/socket", granted.as_raw_fd()))?;
            fs::set_permissions(
                directory.join("outside/served/socket"),
                fs::Permissions::from_mode(0o777),
            )?;
            listener.set_nonblocking(true)?;
            sockets.push(("a socket in a granted directory", listener));
        }
        let abstracted = UnixListener::bind_addr(&SocketAddr::from_abstract_name(format!("x11-{token}"))?)?;
        abstracted.set_nonblocking(true)?;
        sockets.push(("the abstract socket", abstracted));
        Ok(Site {
            directory: directory.to_owned(),
            secret,
            token,
            tcp,
            udp,
            sockets,
        })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Puts the values of this site for the places in a word.
    pub(super) fn fill(&self, word: &str) -> String {
        if !word.contains('{') {
            return word.to_owned();
        }
        let port =
            |address: std::io::Result<std::net::SocketAddr>| address.map_or(0, |address| address.port()).to_string();
        let pts = fs::metadata("/dev/pts").map_or(0, |metadata| metadata.dev());
        let host = nix::sys::utsname::uname().ok();
        let host = host
            .as_ref()
            .map(|names| names.nodename().to_string_lossy().into_owned());
        let release = nix::sys::utsname::uname().ok();
        let release = release.map(|names| names.release().to_string_lossy().into_owned());
        let info = nix::sys::sysinfo::sysinfo().ok();
        let uptime = info.map_or(u64::MAX, |info| info.uptime().as_secs()).to_string();
        let memory = info.map_or(0, |info| info.ram_total()).to_string();
        let filled = word
            .replace("{site}", &self.directory.display().to_string())
            .replace("{home}", &self.path("home").display().to_string())
            .replace("{outside}", &self.path("outside").display().to_string())
            .replace("{tree}", &self.path("tree").display().to_string())
            .replace("{token}", &self.token)
            .replace("{tcp}", &port(self.tcp.local_addr()))
            .replace("{udp}", &port(self.udp.local_addr()))
            .replace("{abstract}", &format!("x11-{}", self.token))
            .replace("{device}", &device_of_root())
            .replace("{cgroup}", &control_group())
            .replace("{interface}", &interface())
            .replace("{uptime}", &uptime)
            .replace("{memory}", &memory)
            .replace("{runner}", &std::process::id().to_string())
            .replace("{pts}", &pts.to_string());
        // Only where it is asked for: the secret and the host's name must not be among the words of other acts.
        filled
            .replace("{secret}", &self.secret)
            .replace("{release}", &release.unwrap_or_default())
            .replace("{hostname}", &host.unwrap_or_default())
    }

    /// The environment of a caller who has things to lose.
    pub(super) fn environment(&self, search_path: &str, loader: bool) -> Vec<(String, String)> {
        let secret = &self.secret;
        let outside = self.path("outside").display().to_string();
        let mut variables = vec![
            ("PATH".to_owned(), search_path.to_owned()),
            ("HOME".to_owned(), self.path("home").display().to_string()),
            ("TERM".to_owned(), "xterm".to_owned()),
            ("XDG_RUNTIME_DIR".to_owned(), outside.clone()),
            ("DOCKER_HOST".to_owned(), format!("unix://{outside}/docker.sock")),
            (
                "DBUS_SESSION_BUS_ADDRESS".to_owned(),
                format!("unix:path={outside}/bus"),
            ),
            (
                "SSH_AUTH_SOCK".to_owned(),
                format!("{}/.gnupg/S.gpg-agent", self.path("home").display()),
            ),
            ("https_proxy".to_owned(), format!("http://x:{secret}@127.0.0.1:9")),
        ];
        for name in [
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
            "KUBECONFIG",
            "OPENAI_API_KEY",
            "FACTORY_API_KEY",
            "NPM_TOKEN",
        ] {
            variables.push((name.to_owned(), secret.clone()));
        }
        if loader {
            for name in [
                "BASH_ENV",
                "ENV",
                "PYTHONSTARTUP",
                "NODE_OPTIONS",
                "LD_LIBRARY_PATH",
                "GIT_DIR",
                "PERL5OPT",
            ] {
                variables.push((name.to_owned(), format!("/nonexistent/{secret}")));
            }
        }
        variables
    }

    /// What the places outside of the launcher look like now, and the tree where it is watched.
    pub(super) fn state(&self, with_tree: bool) -> BTreeMap<PathBuf, String> {
        let mut state = BTreeMap::new();
        for name in ["home", "outside"] {
            describe(&self.path(name), &mut state);
        }
        if with_tree {
            describe(&self.path("tree"), &mut state);
        }
        state
    }

    /// Who was reached since the last call.
    pub(super) fn reached(&self) -> Vec<String> {
        let mut reached = Vec::new();
        if self.tcp.accept().is_ok() {
            reached.push("the listener on 127.0.0.1 was reached by TCP".to_owned());
        }
        if self.udp.recv(&mut [0; 64]).is_ok() {
            reached.push("the listener on 127.0.0.1 was reached by UDP".to_owned());
        }
        for (name, listener) in &self.sockets {
            if listener.accept().is_ok() {
                reached.push(format!("{name} was reached"));
            }
        }
        reached
    }
}

/// The device that the host's root lies on, or a text that is in no list of mounts.
fn device_of_root() -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/"));
    let device = root
        .and_then(|line| line.split(' ').next())
        .filter(|device| device.starts_with("/dev/"));
    device.unwrap_or("no-device").to_owned()
}

/// The first interface of the host that is not its loopback, or a text that is in no list of them.
fn interface() -> String {
    let list = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let names = list
        .lines()
        .skip(2)
        .filter_map(|line| Some(line.split_once(':')?.0.trim()));
    names
        .into_iter()
        .find(|name| *name != "lo")
        .unwrap_or("no-interface")
        .to_owned()
}

/// The longest path of a control group that this process is in, or a text that is in no list of them.
fn control_group() -> String {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let paths = groups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter(|path| path.len() > 1);
    paths.max_by_key(|path| path.len()).unwrap_or("no-group").to_owned()
}

/// What differs between two states, as sentences, three at most.
pub(super) fn changes(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.display().to_string())
            .unwrap_or_default()
    };
    let mut changes = Vec::new();
    for (path, description) in after {
        match before.get(path) {
            None => changes.push(format!("`{}` appeared outside", name(path))),
            Some(was) if was != description => {
                changes.push(format!("`{}` changed outside: {was} → {description}", name(path)));
            }
            Some(_) => {}
        }
    }
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    changes.extend(gone.map(|path| format!("`{}` vanished outside", name(path))));
    changes.truncate(3);
    changes
}

/// The most entries of a directory that are looked at: what a payload left may be without end.
const MOST_ENTRIES: usize = 20_000;

/// Describes everything below a directory: kind, mode, owner, size, links, time, attributes, and the bytes of small files.
fn describe(directory: &Path, state: &mut BTreeMap<PathBuf, String>) {
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        if state.len() > MOST_ENTRIES {
            return;
        }
        // Its number of names changes with every other site.
        if path.file_name() == Some(PAYLOAD.as_ref()) {
            continue;
        }
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        let mut text = format!("{:o} {} {}", metadata.mode(), metadata.uid(), metadata.nlink());
        if metadata.is_dir() {
            // The number of links of a directory says no more than what is in it.
            text = format!("{:o} {}", metadata.mode(), metadata.uid());
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            pending.extend(entries.map(|entry| entry.path()));
        } else {
            text += &format!(" {} {}.{}", metadata.size(), metadata.mtime(), metadata.mtime_nsec());
        }
        if metadata.is_file() && metadata.size() <= 4096 {
            match fs::read(&path) {
                Ok(bytes) => text += &format!(" {}", crate::types::Sha256::of(&bytes)),
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => text += &format!(" {error}"),
            }
        }
        let mut names = [0; 1024];
        if let Ok(length) = rustix::fs::llistxattr(&path, &mut names) {
            text += &format!(" {}", String::from_utf8_lossy(&names[..length]));
        }
        state.insert(path, text);
    }
}

/// Makes the tree a work tree of git, with one commit.
fn git_repository(directory: &Path) -> std::io::Result<()> {
    let tree = directory.join("tree");
    let git = |arguments: &[&str], at: &Path| {
        let done = git(directory, at)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if done.success() {
            Ok(())
        } else {
            Err(std::io::Error::other(format!("git {} failed", arguments.join(" "))))
        }
    };
    git(&["init", "--quiet", "--initial-branch=work", "."], &tree)?;
    git(&["add", "file", "sub"], &tree)?;
    git(&["commit", "--quiet", "--message=base"], &tree)?;
    // The work tree belongs to whom the launcher runs it as.
    let mut pending = vec![tree];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        if path.file_name() == Some(PAYLOAD.as_ref()) || path.ends_with("shared") {
            continue;
        }
        own(&path)?;
        let mode = if metadata.is_dir() { 0o777 } else { 0o666 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
        }
    }
    Ok(())
}

/// git as the operator of a site runs it: with the site's home and nothing of the caller's settings.
pub(super) fn git(site: &Path, at: &Path) -> std::process::Command {
    let mut command = std::process::Command::new("git");
    command
        .current_dir(at)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", site.join("home"))
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null());
    command
}

/// Processes of this host with `word` among their arguments.
pub(super) fn holding(word: &str) -> Vec<i32> {
    let own = std::process::id() as i32;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            memory_contains(&line, word.as_bytes()) && !is_zombie(*pid)
        })
        .collect()
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

/// Whether `bytes` holds `part`.
pub(super) fn memory_contains(bytes: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && bytes.windows(part.len()).any(|window| window == part)
}

/// Whether a path on the host's `/tmp` bears the token, which only a trial of ours can have made.
pub(super) fn in_host_tmp(token: &str) -> Option<PathBuf> {
    let path = Path::new("/tmp").join(token);
    debug_assert!(path.as_os_str().as_bytes().len() > 10);
    fs::symlink_metadata(&path).is_ok().then_some(path)
}
