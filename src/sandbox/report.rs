//! What was enforced, and what happened.

use serde::{Deserialize, Serialize};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// It exited by itself.
    Exit {
        /// Its exit code, 0 to 255.
        code: i32,
    },
    /// A signal that was not ours ended it.
    Signal {
        /// The number of the signal.
        signal: i32,
    },
    /// A limit of the policy ended it.
    Limit {
        /// Which one.
        limit: LimitKind,
    },
    /// It was never started.
    Setup {
        /// Why, and what to do.
        failure: SetupFailure,
    },
}

impl Outcome {
    /// Whether the command exited with code zero.
    pub fn is_success(&self) -> bool {
        matches!(self, Outcome::Exit { code: 0 })
    }
}

/// A limit that can end a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Time from start to end.
    Wall,
    /// Processor time.
    Cpu,
    /// Memory of all processes together.
    Memory,
}

/// Why a command was never started although the sandbox itself works on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum SetupFailure {
    /// A program named without a slash is on none of the directories of `PATH` inside.
    ToolMissing {
        /// The program.
        program: String,
    },
    /// A program named by a path is not there, or cannot be executed.
    ProgramUnusable {
        /// The program.
        program: String,
        /// What `execve(2)` answered.
        reason: String,
    },
    /// The working directory is not in the tree.
    DirectoryMissing {
        /// The directory.
        directory: String,
    },
}

/// One output stream of a command: raw bytes, bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// The first bytes.
    pub head: Vec<u8>,
    /// The last bytes, when the stream was longer than what is kept.
    pub tail: Vec<u8>,
    /// How many bytes between the two were dropped.
    pub dropped: u64,
}

impl Captured {
    /// How many bytes the command wrote.
    pub fn total(&self) -> u64 {
        self.head.len() as u64 + self.dropped + self.tail.len() as u64
    }

    /// What was kept, with a line in place of what was dropped.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.clone();
        if self.dropped > 0 {
            bytes.extend_from_slice(format!("\n[{} bytes dropped]\n", self.dropped).as_bytes());
        }
        bytes.extend_from_slice(&self.tail);
        bytes
    }
}

/// An output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a command used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metering {
    /// From the request to the end of the last process.
    pub wall_ms: u64,
    /// User and system time of all processes.
    pub cpu_ms: u64,
    /// The largest resident set of any one process.
    pub peak_rss_bytes: u64,
}

/// What the kernel confirmed from inside the finished sandbox, before the command was started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// Namespaces by name, each with the identity that the kernel gives it.
    pub namespaces: std::collections::BTreeMap<String, String>,
    /// `NoNewPrivs` is set.
    pub no_new_privs: bool,
    /// The mode of the system call filter: 2 is a filter.
    pub seccomp_mode: u32,
    /// Filters installed.
    pub seccomp_filters: u32,
    /// The union of all five capability sets, which is to be zero.
    pub capabilities: u64,
    /// The Landlock ABI whose rights are all enforced; zero when Landlock is not in force.
    pub landlock_abi: u32,
    /// Mounts in the view.
    pub mounts: u32,
    /// How the tree was provided: `overlay` or `copy`.
    pub tree: String,
}

/// What was enforced while one command ran, and what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How the command ended.
    pub outcome: Outcome,
    /// Its standard output.
    pub stdout: Captured,
    /// Its standard error.
    pub stderr: Captured,
    /// What it used.
    pub metering: Metering,
    /// What was enforced; absent when the sandbox was not finished.
    pub enforced: Option<Enforced>,
}
