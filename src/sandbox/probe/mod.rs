//! What this kernel and this host can do: plain facts, each with what was tried and what was answered.
//!
//! - Each fact comes of the call itself, never of a version number: distributions switch things on and off as they like.
//! - The launcher asks the same functions, so that what `doctor` says is what a run finds.
//! - What needs a process is tried by a child made for it: this program's own binary by a hidden subcommand, with one
//!   thread. A child that does not answer, or that a filter kills, costs one answer and not the whole examination.
//! - Nothing stays behind: mounts and namespaces end with the child, groups that were made are removed.
//!
//! It does not know what a profile requires, nor what to do about anything.

mod cgroups;
mod child;

pub use cgroups::{CgroupFlavour, CgroupVersion, Cgroups, Group};
pub(super) use child::{SUBCOMMAND, serve};

use super::sys::probe as sys;
use child::{Line, Topic};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long one answer may take. A mount of a network file system whose server is gone can block for ever.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a child may take to come up; that depends on the load of the machine and on nothing that is asked.
const START_PATIENCE: Duration = Duration::from_secs(5);

/// How many questions of a topic may hang; each costs [`PATIENCE`].
const MOST_HANGING: usize = 2;

/// How many children a topic may take: more than it has questions.
const MOST_CHILDREN: usize = 64;

/// The most that is read of one file; those of the kernel are shorter.
const LONGEST_FILE: u64 = 64 << 10;

/// What came of trying something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It worked, and this is what the call returned.
    Done(i64),
    /// The kernel, or a filter in front of it, refused with this error number.
    Refused(i32),
    /// A filter killed the process that tried, with this signal.
    Killed(i32),
    /// Nothing came back in time.
    Silent,
    /// Something that it needs had failed before.
    NotTried,
}

impl Answer {
    /// Whether it worked.
    pub fn is_done(&self) -> bool {
        matches!(self, Answer::Done(_))
    }

    /// Whether it was refused with `errno`.
    pub fn is(&self, errno: Errno) -> bool {
        *self == Answer::Refused(errno as i32)
    }
}

impl From<Result<i64, Errno>> for Answer {
    fn from(result: Result<i64, Errno>) -> Self {
        match result {
            Ok(value) => Answer::Done(value),
            Err(errno) => Answer::Refused(errno as i32),
        }
    }
}

impl From<std::io::Result<()>> for Answer {
    fn from(result: std::io::Result<()>) -> Self {
        match result {
            Ok(()) => Answer::Done(0),
            Err(error) => Answer::Refused(error.raw_os_error().unwrap_or(libc::EIO)),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Done(0) => f.write_str("done"),
            Answer::Done(value) => write!(f, "{value}"),
            Answer::Refused(errno) => write!(f, "{:?}", Errno::from_raw(*errno)),
            Answer::Killed(signal) => write!(f, "killed by signal {signal}"),
            Answer::Silent => write!(f, "no answer within {} ms", PATIENCE.as_millis()),
            Answer::NotTried => f.write_str("not tried"),
        }
    }
}

/// Something that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What it is for, as `namespace.net` or `call.mount`.
    pub id: String,
    /// The call with what matters of its arguments.
    pub call: String,
    /// What came of it.
    pub answer: Answer,
}

/// A file of the kernel, as it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// The file.
    pub path: &'static str,
    /// Its text without the last newline; absent when it cannot be read.
    pub text: Option<String>,
    /// Why it cannot be read.
    pub error: Option<String>,
}

/// Room in the file system of one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// The place, which need not exist yet.
    pub place: PathBuf,
    /// Where it would be made: the nearest directory that exists.
    pub at: PathBuf,
    /// Bytes that the caller may still write.
    pub free_bytes: u64,
    /// Files that can still be made; absent where the file system does not count them.
    pub free_inodes: Option<u64>,
    /// The kind of file system, by its magic number. Source: statfs(2).
    pub magic: i64,
}

/// What a kernel has of Landlock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Landlock {
    /// The ABI; zero when there is none.
    pub abi: u32,
    /// What the query answered: `ENOSYS` when it is not built, `EOPNOTSUPP` when it was not switched on at boot.
    pub answer: Answer,
    /// The errata that are fixed, one bit each; absent when the kernel does not tell.
    pub errata: Option<u32>,
}

impl Landlock {
    fn of(version: Answer, errata: &Answer) -> Self {
        let number = |answer: &Answer| match answer {
            Answer::Done(value) => u32::try_from(*value).ok(),
            Answer::Refused(_) | Answer::Killed(_) | Answer::Silent | Answer::NotTried => None,
        };
        Landlock {
            abi: number(&version).unwrap_or(0),
            errata: number(errata),
            answer: version,
        }
    }
}

/// Asks this kernel for its Landlock.
pub fn landlock() -> Landlock {
    Landlock::of(sys::landlock_version().into(), &sys::landlock_errata().into())
}

/// Whether a filter may have a process answer calls.
pub(super) fn can_ask() -> bool {
    sys::seccomp_action(libc::SECCOMP_RET_USER_NOTIF).is_ok()
}

/// Files that say what this kernel is set to. Sources: the kernel's `Documentation/admin-guide/sysctl`, namespaces(7),
/// seccomp(2), proc(5); `unprivileged_userns_clone` is Debian's and `apparmor_restrict_unprivileged_userns` Ubuntu's.
const SETTINGS: [&str; 17] = [
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/kernel/unprivileged_userns_clone",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "/proc/sys/kernel/seccomp/actions_avail",
    "/proc/sys/dev/tty/legacy_tiocsti",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/sys/vm/memfd_noexec",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/sys/kernel/security/lsm",
    "/sys/module/apparmor/parameters/enabled",
    "/proc/self/attr/current",
    "/proc/self/uid_map",
    "/proc/self/gid_map",
    "/proc/self/cgroup",
    "/proc/self/status",
    "/proc/meminfo",
];

/// Everything that was found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The kernel's release, for the record: nothing is decided by it.
    pub kernel: String,
    /// The caller's user id.
    pub uid: u32,
    /// The caller's group id.
    pub gid: u32,
    /// Names of the groups that the caller is in, numbers where they have none.
    pub groups: Vec<String>,
    /// Everything that was tried, in its order.
    pub attempts: Vec<Attempt>,
    /// Files of the kernel.
    pub settings: Vec<Setting>,
    /// Landlock.
    pub landlock: Landlock,
    /// Control groups.
    pub cgroups: Cgroups,
    /// What is mounted below `/proc`, of which the kernel refuses a fresh one when it covers anything.
    pub masked_proc: Vec<String>,
    /// The places asked about.
    pub spaces: Vec<Space>,
}

impl Facts {
    /// Finds out. `program` is this project's own binary; `places` are directories whose file systems are looked at.
    ///
    /// It never fails: what could not be found out is part of the answer.
    pub fn collect(program: &Path, places: &[PathBuf]) -> Self {
        let mut found = Found::default();
        for topic in [Topic::Calls, Topic::Namespaces, Topic::View, Topic::Space] {
            found.ask(program, topic, places);
        }
        let attempts = found.attempts;
        let of = |id: &str| answer(&attempts, id).clone();
        let release = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
        Facts {
            kernel: release.unwrap_or_default(),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            groups: groups(),
            landlock: Landlock::of(of("landlock.version"), &of("landlock.errata")),
            settings: SETTINGS.map(read).into(),
            masked_proc: masked_proc(),
            cgroups: Cgroups::find(),
            spaces: found.spaces,
            attempts,
        }
    }

    /// What came of an attempt.
    pub fn answer(&self, id: &str) -> &Answer {
        answer(&self.attempts, id)
    }

    /// The attempts whose id starts with `prefix`.
    pub fn of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Attempt> {
        self.attempts
            .iter()
            .filter(move |attempt| attempt.id.starts_with(prefix))
    }

    /// The text of a file of the kernel.
    pub fn setting(&self, path: &str) -> Option<&str> {
        let setting = self.settings.iter().find(|setting| setting.path == path)?;
        setting.text.as_deref()
    }

    /// The mode of the system call filter that this process was started under: 2 is a filter. Source: proc(5).
    pub fn outer_seccomp(&self) -> Option<u32> {
        let status = self.setting("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("Seccomp:"))?;
        line.trim().parse().ok()
    }
}

fn answer<'a>(attempts: &'a [Attempt], id: &str) -> &'a Answer {
    attempts
        .iter()
        .find(|attempt| attempt.id == id)
        .map_or(&Answer::NotTried, |attempt| &attempt.answer)
}

fn read(path: &'static str) -> Setting {
    let mut bytes = Vec::new();
    let result = File::open(path).and_then(|file| file.take(LONGEST_FILE).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes)
        .trim_end_matches(['\n', '\0'])
        .to_owned();
    Setting {
        path,
        text: result.is_ok().then_some(text),
        error: result.err().map(|error| error.to_string()),
    }
}

/// Mount points below `/proc` other than those that every host has. Source: proc_pid_mountinfo(5).
fn masked_proc() -> Vec<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let mut below: Vec<String> = points
        .filter(|point| point.starts_with("/proc/") && *point != "/proc/sys/fs/binfmt_misc")
        .map(str::to_owned)
        .collect();
    below.sort();
    below.dedup();
    below
}

/// The groups of the caller. Names come from the file alone: a name service could take for ever.
fn groups() -> Vec<String> {
    let list = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let name = |gid: u32| {
        let line = list
            .lines()
            .find(|line| line.split(':').nth(2) == Some(gid.to_string().as_str()));
        line.and_then(|line| line.split(':').next())
            .map_or_else(|| gid.to_string(), str::to_owned)
    };
    let mut gids: Vec<u32> = nix::unistd::getgroups()
        .unwrap_or_default()
        .into_iter()
        .chain([nix::unistd::getegid()])
        .map(nix::unistd::Gid::as_raw)
        .collect();
    gids.sort_unstable();
    gids.dedup();
    gids.into_iter().map(name).collect()
}

/// What children have answered.
#[derive(Default)]
struct Found {
    attempts: Vec<Attempt>,
    spaces: Vec<Space>,
}

impl Found {
    /// Asks about one topic, again from the next question on when a question ended the child.
    fn ask(&mut self, program: &Path, topic: Topic, places: &[PathBuf]) {
        let (mut from, mut hanging) = (0, 0);
        for _ in 0..MOST_CHILDREN {
            let before = self.attempts.len();
            let Some(last) = self.ask_once(program, topic, from, places) else {
                return;
            };
            let answered = self.attempts.len() - before;
            if answered == 0 {
                return;
            }
            if let Some(attempt) = self.attempts.last_mut() {
                attempt.answer = last.clone();
            }
            from += answered;
            hanging += usize::from(last == Answer::Silent);
            if !topic.can_go_on() || hanging == MOST_HANGING {
                return;
            }
        }
    }

    /// Asks a child from question `from` on. Answers how the last question ended the child, when it did.
    fn ask_once(&mut self, program: &Path, topic: Topic, from: usize, places: &[PathBuf]) -> Option<Answer> {
        let mut command = Command::new(program);
        command
            .arg(SUBCOMMAND)
            .arg(topic.as_str())
            .arg(from.to_string())
            .args(places)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = match spawn(&mut command) {
            Ok(child) => child,
            Err(error) => {
                self.attempts.push(Attempt {
                    id: "start".to_owned(),
                    call: format!("start {} {SUBCOMMAND} {}", program.display(), topic.as_str()),
                    answer: Err(error).into(),
                });
                return None;
            }
        };
        let whole = self.listen(&mut child);
        let status = end(&mut child);
        let open = self
            .attempts
            .last()
            .is_some_and(|attempt| attempt.answer == Answer::NotTried);
        match (open, whole, status.and_then(|status| status.signal())) {
            (false, _, _) => None,
            (true, false, _) => Some(Answer::Silent),
            (true, true, Some(signal)) => Some(Answer::Killed(signal)),
            // The process inside was killed and the one that made it ended by itself, or it gave up.
            (true, true, None) => Some(Answer::Killed(libc::SIGKILL)),
        }
    }

    /// Takes down what a child says until it closes its output. Answers whether it did so in time.
    fn listen(&mut self, child: &mut Child) -> bool {
        let Some(mut output) = child.stdout.take() else {
            return true;
        };
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        let mut deadline = Instant::now() + START_PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let timeout = PollTimeout::try_from(left as i32).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(_) => return false,
            }
            match output.read(&mut buffer) {
                Ok(0) => return true,
                Ok(length) => text.extend_from_slice(&buffer[..length]),
                Err(_) => return false,
            }
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                // Our own binary wrote it; one of another version says what this one does not know.
                if let Ok(line) = serde_json::from_slice(&line) {
                    self.take(line);
                }
                deadline = Instant::now() + PATIENCE;
            }
        }
    }

    fn take(&mut self, line: Line) {
        match line {
            Line::Begin { id, call } => self.attempts.push(Attempt {
                id,
                call,
                answer: Answer::NotTried,
            }),
            Line::End { answer } => {
                if let Some(attempt) = self.attempts.last_mut() {
                    attempt.answer = answer;
                }
            }
            Line::Space(space) => self.spaces.push(space),
        }
    }
}

/// Starts a program, also where a filter refuses `clone3` with `EPERM`, for which posix_spawn(3) fails for good. With an id
/// to set, std forks instead, which is the old `clone`; the id is the one that we have.
///
/// # Errors
/// What the system answered.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    command
        .spawn()
        .or_else(|_| command.gid(nix::unistd::getegid().as_raw()).spawn())
}

/// Ends a child and waits for it, but not for ever: one that hangs in the kernel cannot even be killed.
fn end(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    // It may be about to end by itself; only then its status says how.
    let grace = Instant::now() + PATIENCE / 5;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => {}
            Ok(None) | Err(_) => return None,
        }
        if Instant::now() > grace {
            // It may have ended in between; then there is nothing to kill.
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
