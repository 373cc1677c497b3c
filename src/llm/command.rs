//! A program as provider.

use super::secrets::Secrets;
use super::watch::Watcher;
use super::{Answer, Excerpt, Finish, LlmError, MAX_ANSWER_BYTES, Request, Wait};
use secrecy::SecretString;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin};
use tokio::time::timeout;

/// The exit code by which a program says that the same request may be answered later: `EX_TEMPFAIL` of sysexits(3).
const TEMPORARY_FAILURE: i32 = 75;

/// How much of what the program last wrote to its standard error is kept, in bytes.
const MAX_STDERR_BYTES: usize = 4096;

/// How long the program's own children may keep its output open after it has ended.
const GRACE: Duration = Duration::from_secs(1);

/// A program that reads the prompt on its standard input and prints the answer on its standard output.
///
/// It reads the standing instructions, an empty line, and the task, until end of file. Exit code 0 means that the answer is
/// whole, 75 that the same request may be answered later, anything else that it will not be. Its standard error is for people.
///
/// The program is the operator's: it runs with their rights and environment, in a process group of its own that is killed
/// when the time is over or nobody waits any more; with a watcher also when this process is killed. A program that leaves
/// its group on purpose is on its own.
pub struct Command {
    argv: Vec<OsString>,
    timeout: Duration,
    watcher: Option<PathBuf>,
    secrets: Secrets,
}

impl fmt::Debug for Command {
    /// Leaves out the arguments, which may carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("program", &self.program())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

impl Command {
    /// Takes the program and its arguments, and how long one call may take.
    ///
    /// # Errors
    /// `ProviderPermanent` when `argv` is empty.
    pub fn new<I: IntoIterator<Item = S>, S: Into<OsString>>(argv: I, timeout: Duration) -> Result<Self, LlmError> {
        let argv: Vec<OsString> = argv.into_iter().map(Into::into).collect();
        match argv.first() {
            Some(program) if !program.is_empty() => Ok(Command {
                argv,
                timeout,
                watcher: None,
                secrets: Secrets::default(),
            }),
            _ => Err(LlmError::CommandEmpty),
        }
    }

    /// Has `program`, a binary that opens [`watcher_door`](super::watcher_door), end what was asked when this process is
    /// killed.
    #[must_use]
    pub fn watched_by(self, program: &Path) -> Self {
        Command {
            watcher: Some(program.to_owned()),
            ..self
        }
    }

    /// Hides what the program was given beside its arguments, such as keys in its environment: they are struck out of what it
    /// writes to its standard error, and an answer that has one is refused.
    #[must_use]
    pub fn hiding(mut self, secrets: impl IntoIterator<Item = SecretString>) -> Self {
        for secret in secrets {
            self.secrets.add("secret", secret);
        }
        self
    }

    /// The program without its arguments, which may carry secrets.
    pub(super) fn program(&self) -> String {
        self.argv
            .first()
            .map(|program| program.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    pub(super) fn argv(&self) -> &[OsString] {
        &self.argv
    }

    pub(super) async fn ask(&self, request: &Request) -> Result<Answer, LlmError> {
        let prompt = format!("{}\n\n{}\n", request.system, request.user);
        let mut running = Running::start(self)?;
        match timeout(self.timeout, running.converse(prompt.as_bytes())).await {
            Ok(said) => self.judge(said.map_err(|error| error.named(self.program()))?),
            Err(_) => {
                running.end().await;
                Err(LlmError::Timeout {
                    from: self.program(),
                    after: self.timeout,
                    wait: Wait::Total,
                })
            }
        }
    }

    fn judge(&self, said: Said) -> Result<Answer, LlmError> {
        if !said.status.success() {
            return Err(LlmError::CommandFailed {
                program: self.program(),
                status: said.status.to_string(),
                temporary: said.status.code() == Some(TEMPORARY_FAILURE),
                stderr: Excerpt::of_last_lines(&said.stderr.into_iter().collect::<Vec<_>>(), &self.secrets),
            });
        }
        let text = String::from_utf8(said.stdout.clone()).map_err(|_| LlmError::NotText { from: self.program() })?;
        if self.secrets.occur_in(&said.stdout) {
            return Err(LlmError::KeyRepeated {
                endpoint: self.program(),
            });
        }
        if text.trim().is_empty() {
            return Err(LlmError::Empty {
                from: self.program(),
                usage: None,
            });
        }
        Ok(Answer {
            text,
            raw: said.stdout,
            model: None,
            usage: None,
            finish: Finish::Complete,
        })
    }
}

/// What a program said and how it ended.
struct Said {
    stdout: Vec<u8>,
    stderr: VecDeque<u8>,
    status: ExitStatus,
}

/// Why there was no conversation.
enum Interrupted {
    TooLarge,
    Pipe(io::Error),
}

impl Interrupted {
    fn named(self, program: String) -> LlmError {
        match self {
            Interrupted::TooLarge => LlmError::TooLarge { from: program },
            Interrupted::Pipe(source) => LlmError::CommandPipe { program, source },
        }
    }
}

/// A started program; its process group is killed on drop unless it ended by itself.
struct Running {
    child: Child,
    /// Who leads the group, unless the program does.
    watcher: Option<Watcher>,
}

impl Running {
    fn start(command: &Command) -> Result<Self, LlmError> {
        let (program, arguments) = command.argv.split_first().ok_or(LlmError::CommandEmpty)?;
        let watcher = command.watcher.as_deref().map(Watcher::start).transpose();
        let watcher = watcher.map_err(|source| LlmError::CommandWatch { source })?;
        let group = watcher.as_ref().and_then(Watcher::group);
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(group.unwrap_or(0))
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| LlmError::CommandStart {
                program: command.program(),
                source,
            })?;
        Ok(Running { child, watcher })
    }

    /// Writes the prompt and reads the answer at the same time: a program need not read before it writes, nor at all.
    async fn converse(&mut self, prompt: &[u8]) -> Result<Said, Interrupted> {
        let (stdin, out, err) = (
            self.child.stdin.take(),
            self.child.stdout.take(),
            self.child.stderr.take(),
        );
        let (mut stdout, mut stderr) = (Vec::new(), VecDeque::new());
        let status = {
            let pipes = async {
                tokio::try_join!(
                    feed(stdin, prompt),
                    collect(out, &mut stdout),
                    keep_last(err, &mut stderr)
                )
                .map(drop)
            };
            tokio::pin!(pipes);
            tokio::select! {
                done = &mut pipes => {
                    done?;
                    self.child.wait().await
                }
                status = self.child.wait() => {
                    // What the program wrote is in the pipes. Their end need not come: its own children may hold them.
                    if let Ok(done) = timeout(GRACE, &mut pipes).await {
                        done?;
                    }
                    status
                }
            }
        };
        Ok(Said {
            stdout,
            stderr,
            status: status.map_err(Interrupted::Pipe)?,
        })
    }

    /// Kills the program and waits until it is gone, within reason.
    async fn end(mut self) {
        self.kill_group();
        let _ = timeout(GRACE, self.child.wait()).await;
    }

    fn kill_group(&self) {
        // A program that was waited for has no id any more, and its number may belong to somebody else by now.
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let group = id.and_then(|id| self.watcher.as_ref().map_or(Some(id), Watcher::group));
        if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
            // It fails when the group is gone already, which is what was wanted.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

async fn feed(stdin: Option<ChildStdin>, prompt: &[u8]) -> Result<(), Interrupted> {
    if let Some(mut stdin) = stdin {
        // A program that does not want to read the prompt closes the pipe; its answer and exit code say the rest.
        let _ = stdin.write_all(prompt).await;
    }
    Ok(())
}

async fn collect(out: Option<impl AsyncRead + Unpin>, stdout: &mut Vec<u8>) -> Result<(), Interrupted> {
    let Some(out) = out else { return Ok(()) };
    out.take(MAX_ANSWER_BYTES as u64 + 1)
        .read_to_end(stdout)
        .await
        .map_err(Interrupted::Pipe)?;
    match stdout.len() > MAX_ANSWER_BYTES {
        true => Err(Interrupted::TooLarge),
        false => Ok(()),
    }
}

async fn keep_last(err: Option<impl AsyncRead + Unpin>, stderr: &mut VecDeque<u8>) -> Result<(), Interrupted> {
    let Some(mut err) = err else { return Ok(()) };
    let mut chunk = [0; 4096];
    loop {
        let read = err.read(&mut chunk).await.map_err(Interrupted::Pipe)?;
        if read == 0 {
            return Ok(());
        }
        stderr.extend(&chunk[..read]);
        stderr.drain(..stderr.len().saturating_sub(MAX_STDERR_BYTES));
    }
}
