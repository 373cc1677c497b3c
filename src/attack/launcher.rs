//! Carries out one act in one launcher and writes down what was seen.

use super::case::{Act, Control, Judge, Trait};
use super::part::DOOR;
use super::site::{self, PAYLOAD, Site, git, holding, in_host_tmp, memory_contains};
use super::{AttackError, Ground};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Who starts the payload.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    /// This project's own sandbox.
    Product,
    /// Any other launcher: its words, in front of the payload's.
    Other(Vec<String>),
    /// Nobody contains it.
    Control(Control),
}

/// How long a trial may take unless its judge waits for less.
const PATIENCE: Duration = Duration::from_secs(20);

/// The most bytes of a stream that are kept.
const KEPT: usize = 1 << 18;

/// What was seen of one trial.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The beginning of standard output, or all that reached the terminal.
    pub(super) stdout: Vec<u8>,
    /// Bytes of standard output in all.
    pub(super) output_bytes: u64,
    /// When the first byte came, and when the launcher ended.
    pub(super) first_byte: Option<Duration>,
    pub(super) elapsed: Duration,
    pub(super) stderr: Vec<u8>,
    /// How the launcher ended; nothing when the runner had to end it.
    pub(super) status: Option<ExitStatus>,
    /// Sentences about what changed, was reached or is left outside.
    pub(super) outside: Vec<String>,
    /// Whether the planted secret came out.
    pub(super) secret: bool,
    /// Whether the text came out that the judge listens for.
    pub(super) told: bool,
}

impl Seen {
    /// The one line of the payload.
    pub(super) fn line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.stdout);
        text.lines()
            .map(str::trim)
            .find(|line| line.starts_with("did ") || line.starts_with("errno="))
            .map(str::to_owned)
    }

    /// How it ended, in a few words.
    pub(super) fn ending(&self) -> String {
        let how = match self.status {
            None => "ended by the runner".to_owned(),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            },
        };
        let stderr = String::from_utf8_lossy(&self.stderr);
        match stderr.lines().rfind(|line| !line.trim().is_empty()) {
            Some(line) => format!("{how}: {}", crate::types::truncate(line.trim(), 200)),
            None => how,
        }
    }
}

/// One act about to be carried out by one subject.
pub(super) struct Trial<'a> {
    pub(super) ground: &'a Ground,
    pub(super) act: &'a Act,
    pub(super) subject: &'a Subject,
}

impl Trial<'_> {
    /// Carries the act out on a site of its own.
    pub(super) fn run(&self) -> Result<Seen, AttackError> {
        let site = self.ground.scratch.site(self.act.git)?;
        let bystander = self
            .act
            .bystander
            .then(|| Bystander::start(self.ground, &site))
            .transpose()?;
        let words = match self.subject {
            Subject::Control(Control::Words(words)) => words,
            _ => self.act.words,
        };
        let before = site.state(self.act.watch_tree);
        let sibling = self.act.sibling.map(|words| self.sibling(&site, words)).transpose()?;
        let command = self.command(&site, words, bystander.as_ref())?;
        let mut seen = self.watch(command, &site, sibling)?;
        self.afterwards(&site, bystander, &before, &mut seen);
        Ok(seen)
    }

    /// The words that start the payload in the subject, all of them behind a caller with things to lose.
    fn argv(&self, site: &Site, words: &[&str], bystander: Option<&Bystander>) -> Result<Vec<String>, AttackError> {
        let fill = |word: &&str| {
            let word = site.fill(word);
            match bystander {
                Some(bystander) => word.replace("{bystander}", &bystander.child.id().to_string()),
                None => word,
            }
        };
        let mut payload: Vec<String> = Vec::new();
        if !self.act.raw {
            payload.extend([format!("./{PAYLOAD}"), DOOR.to_owned(), "act".to_owned()]);
        }
        payload.extend(words.iter().map(fill));
        if !self.act.raw {
            payload.push(site.token.clone());
        }
        let program = self.ground.program.display().to_string();
        let mut argv = Vec::new();
        match self.subject {
            Subject::Product if self.act.exec => {
                argv.extend([program, "exec".to_owned(), "--profile".to_owned()]);
                argv.extend([self.ground.policy.profile.clone(), "--repo".to_owned()]);
                argv.push(self.ground.repository()?.display().to_string());
                argv.push("--".to_owned());
            }
            Subject::Product => {
                let mut policy = self.ground.policy.clone();
                if let Some(tune) = self.act.tune {
                    tune(&mut policy, &site.directory);
                }
                let spec = site.path("spec.json");
                super::part::write_spec(&spec, &policy, &site.path("tree"))?;
                argv.extend([
                    program,
                    DOOR.to_owned(),
                    "launch".to_owned(),
                    spec.display().to_string(),
                ]);
            }
            Subject::Other(launcher) => {
                let tree = site.path("tree").display().to_string();
                argv.extend(launcher.iter().map(|word| word.replace("{tree}", &tree)));
            }
            Subject::Control(Control::Private(prepare)) => {
                argv.extend([program, DOOR.to_owned(), "private".to_owned()]);
                argv.extend(prepare.iter().map(|word| site.fill(word)));
                argv.push("--".to_owned());
            }
            Subject::Control(Control::Plain | Control::Words(_)) => {
                argv.extend([program, DOOR.to_owned(), "plain".to_owned()]);
            }
        }
        argv.extend(payload);
        Ok(argv)
    }

    fn command(&self, site: &Site, words: &[&str], bystander: Option<&Bystander>) -> Result<Command, AttackError> {
        let mut command = Command::new(&self.ground.program);
        command.args([DOOR, "caller"]).arg(site.path("outside"));
        let traits: Vec<_> = self.act.caller.iter().map(|one| one.word()).collect();
        command.arg(traits.join(","));
        command.args(self.argv(site, words, bystander)?);
        let loader = self.act.caller.contains(&Trait::Loader);
        command
            .env_clear()
            .envs(site.environment(&self.ground.search_path, loader))
            .env("XDG_CACHE_HOME", self.ground.scratch.path().join("cache"))
            .env(super::part::SECRET, &site.secret)
            .current_dir(site.path("tree"));
        // A caller with a terminal starts a session, which the first of a group cannot. Zero is a group of its own.
        if !self.has_terminal() {
            command.process_group(bystander.map_or(0, |bystander| bystander.child.id() as i32));
        }
        Ok(command)
    }

    fn is_control(&self) -> bool {
        matches!(self.subject, Subject::Control(_))
    }

    fn has_terminal(&self) -> bool {
        let is_terminal = |one: &Trait| matches!(one, Trait::Terminal | Trait::FreeTerminal);
        self.act.caller.iter().any(is_terminal)
    }

    /// Starts the command and looks at it until it ends, or until the judge has seen enough.
    fn watch(&self, mut command: Command, site: &Site, sibling: Option<Sibling>) -> Result<Seen, AttackError> {
        let failed = |source| AttackError::Start { source };
        let terminal = self.has_terminal().then(terminal_pair).transpose().map_err(failed)?;
        match &terminal {
            Some((_, slave)) => {
                let copy = || slave.try_clone().map(Stdio::from).map_err(failed);
                command.stdin(copy()?).stdout(copy()?).stderr(copy()?);
            }
            None => {
                let silent = self.act.caller.contains(&Trait::SilentInput);
                command.stdin(if silent { Stdio::piped() } else { Stdio::null() });
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            }
        }
        let started = Instant::now();
        let mut child = command.spawn().map_err(failed)?;
        // It holds copies of the terminal, whose end would not be seen.
        drop(command);
        let silent_input = child.stdin.take();
        let (sender, receiver) = mpsc::channel();
        if let Some((master, _)) = &terminal {
            let master = File::from(master.try_clone().map_err(failed)?);
            read_in_background(master, Stream::Out, started, sender.clone());
        }
        if let Some(stdout) = child.stdout.take() {
            read_in_background(stdout, Stream::Out, started, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            read_in_background(stderr, Stream::Err, started, sender.clone());
        }
        drop(sender);
        let status = self.wait(&mut child, started).map_err(failed)?;
        let elapsed = started.elapsed();
        if status.is_none() {
            end_group(&child);
            let _ = child.wait();
        }
        let mut seen = Seen {
            status,
            elapsed,
            ..Seen::default()
        };
        // It bears the same token and would count as left over.
        drop(sibling);
        self.leftovers(site, &mut seen);
        drop(silent_input);
        drop(terminal);
        collect(&receiver, &mut seen);
        if let Judge::Tells(what) = self.act.judge {
            seen.told = memory_contains(&seen.stdout, site.fill(what).as_bytes());
        }
        seen.secret = memory_contains(&seen.stdout, site.secret.as_bytes())
            || memory_contains(&seen.stderr, site.secret.as_bytes());
        Ok(seen)
    }

    /// Waits for the launcher; nothing when time is up.
    fn wait(&self, child: &mut Child, started: Instant) -> std::io::Result<Option<ExitStatus>> {
        let deadline = match self.act.judge {
            // A control that nothing ends has shown by then that it holds. A launcher has longer: on a busy host its own
            // limit of time comes late, and one that would never end does not end in that time either.
            Judge::Ends(seconds) if self.is_control() => Duration::from_secs(seconds),
            Judge::Orphans(_) => Duration::from_secs(12),
            _ => PATIENCE,
        };
        let mut told = false;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if let Judge::Orphans(signal) = self.act.judge
                && !told
                && started.elapsed() > Duration::from_secs(2)
                && let Ok(signal) = Signal::try_from(signal)
            {
                // The launcher alone, as timeout(1) and a supervisor do.
                let _ = kill(Pid::from_raw(child.id() as i32), signal);
                told = true;
            }
            let ended_by_us = told && started.elapsed() > Duration::from_secs(if self.is_control() { 4 } else { 8 });
            if started.elapsed() > deadline || ended_by_us || self.ground.is_cancelled() {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(3));
        }
    }

    /// Whether processes of the trial are left although the launcher is gone; ends them.
    fn leftovers(&self, site: &Site, seen: &mut Seen) {
        let patience = Instant::now() + Duration::from_secs(if self.is_control() { 1 } else { 5 });
        let mut left = holding(&site.token);
        while !left.is_empty() && Instant::now() < patience {
            thread::sleep(Duration::from_millis(20));
            left = holding(&site.token);
        }
        if !left.is_empty() {
            if seen.status.is_some() || matches!(self.act.judge, Judge::Orphans(_)) {
                seen.outside
                    .push(format!("{} processes are alive after the end", left.len()));
            }
            end_all(&site.token);
        }
    }

    /// A second sandbox of the same launcher, which has begun when this returns and is ended on drop.
    fn sibling(&self, site: &Site, words: &[&str]) -> Result<Sibling, AttackError> {
        let failed = |source| AttackError::Start { source };
        let mut command = self.command(site, words, None)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        if let Some(stdout) = child.stdout.as_mut() {
            // It says its line when it is ready; its end, when it could not do what it should.
            let _ = stdout.read(&mut [0; 256]);
        }
        Ok(Sibling(child))
    }

    /// Hears the evidence from outside and puts the site away.
    fn afterwards(
        &self,
        site: &Site,
        bystander: Option<Bystander>,
        before: &std::collections::BTreeMap<std::path::PathBuf, String>,
        seen: &mut Seen,
    ) {
        if let Some(line) = self.act.aftermath {
            let mut command = Command::new("sh");
            command.args(["-c", &site.fill(line)]);
            let operator = git(&site.directory, &site.path("tree"));
            command
                .env_clear()
                .envs(operator.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let _ = command
                .current_dir(site.path("tree"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        if let Some(word) = bystander.and_then(|bystander| bystander.end(self.act.complaint)) {
            seen.outside.push(word);
        }
        // What the caller noticed about its terminal.
        let report = site.path("outside").join("caller-report");
        if let Ok(text) = fs::read_to_string(&report) {
            seen.outside.extend(text.lines().map(str::to_owned));
            let _ = fs::remove_file(&report);
        }
        seen.outside.extend(site.reached());
        seen.outside
            .extend(site::changes(before, &site.state(self.act.watch_tree)));
        if let Some(path) = in_host_tmp(&site.token) {
            seen.outside.push("a file appeared in the host's /tmp".to_owned());
            let _ = fs::remove_file(path);
        }
        // Not before the evidence is in: what a payload left may take a while.
        site.clear_shared();
        let _ = crate::workspace::remove_tree(&site.directory);
    }
}

/// The second sandbox of a trial.
struct Sibling(Child);

impl Drop for Sibling {
    fn drop(&mut self) {
        end_group(&self.0);
        let _ = self.0.wait();
    }
}

/// A process that stands by: with a secret in its environment and memory, in the group that the launcher joins.
struct Bystander {
    child: Child,
}

impl Bystander {
    fn start(ground: &Ground, site: &Site) -> Result<Self, AttackError> {
        let failed = |source| AttackError::Start { source };
        let mut child = Command::new(&ground.program)
            .args([DOOR, "act", "stand-by", "bystander"])
            .arg(site.path("outside/granted/file"))
            .env_clear()
            .env("SECRET", &site.secret)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        if let Some(stdout) = child.stdout.as_mut() {
            let _ = stdout.read(&mut [0; 64]);
        }
        Ok(Bystander { child })
    }

    /// Ends it; a sentence when somebody else already had.
    fn end(mut self, complaint: Option<&str>) -> Option<String> {
        // One that was killed a moment ago takes a while to be gone.
        let ended = (0..30).find_map(|_| {
            thread::sleep(Duration::from_millis(5));
            self.child.try_wait().ok().flatten()
        });
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut said = String::new();
        if let Some(mut stdout) = self.child.stdout.take() {
            let _ = stdout.read_to_string(&mut said);
        }
        // Its first line has been read; a further one is a complaint, for which not every case is the reason.
        let about = |line: &&str| complaint.is_some_and(|complaint| line.starts_with(complaint));
        if let Some(complaint) = said.lines().find(about) {
            return Some(complaint.to_owned());
        }
        let status = ended?;
        Some(match status.signal() {
            Some(signal) => format!("a process beside the launcher was killed by signal {signal}"),
            None => "a process beside the launcher ended".to_owned(),
        })
    }
}

/// Kills the launcher's process group, which is its own or the bystander's.
fn end_group(child: &Child) {
    let pid = Pid::from_raw(child.id() as i32);
    let _ = killpg(pid, Signal::SIGKILL);
    let _ = kill(pid, Signal::SIGKILL);
}

/// Kills what bears the token of a trial of ours.
fn end_all(token: &str) {
    for _ in 0..20 {
        let left = holding(token);
        if left.is_empty() {
            return;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// A piece of output: which stream, when, how many bytes, and the first of them.
struct Piece(Stream, Duration, u64, Vec<u8>);

/// Reads to the end, keeping the beginning, and sends what it has now and then.
fn read_in_background(
    mut source: impl Read + Send + 'static,
    stream: Stream,
    started: Instant,
    sender: mpsc::Sender<Piece>,
) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut kept = 0;
        // A terminal whose last user left answers EIO.
        while let Ok(length) = source.read(&mut buffer) {
            if length == 0 {
                return;
            }
            let room = KEPT.saturating_sub(kept).min(length);
            kept += room;
            if sender
                .send(Piece(stream, started.elapsed(), length as u64, buffer[..room].to_vec()))
                .is_err()
            {
                return;
            }
        }
    });
}

/// Gathers the pieces; a stream that somebody still holds open is given up soon.
fn collect(receiver: &mpsc::Receiver<Piece>, seen: &mut Seen) {
    while let Ok(Piece(stream, at, length, bytes)) = receiver.recv_timeout(Duration::from_millis(500)) {
        match stream {
            Stream::Out => {
                seen.first_byte.get_or_insert(at);
                seen.output_bytes += length;
                seen.stdout.extend_from_slice(&bytes);
            }
            Stream::Err => seen.stderr.extend_from_slice(&bytes),
        }
    }
}

/// A new terminal: the side of whoever looks at it, and the side of the programs.
fn terminal_pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(
        OsStr::from_bytes(name.as_bytes()),
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    Ok((master, slave))
}
