//! Runs one command under a policy and reports what was enforced and what happened.
//!
//! - What must not be touched is not in the view; Landlock is the second lock, seccomp the third, limits the fourth.
//! - When a layer that the policy requires is missing, the run is refused, never weakened.
//! - The outcome is typed and travels on a descriptor that the command cannot reach.
//! - Each command starts from the tree as given: what an earlier one wrote is gone.
//! - It knows nothing of orders, models or git: a tree is a stack of plain directories.
//!
//! ```text
//! policy + tree + command ─compile─▶ view + job ─launch─▶ slot ─clone3─▶ init ─layers─▶ command
//!                                                           ▲               │
//!                          report ◀─────────────────────────┼───────────────┴── receipt, ending
//!                                  helper ─clone3, root─────┘
//! ```
//!
//! # In a program of your own
//!
//! Nothing is global: a [`Sandbox`] is a value, any number of threads and runtimes can share one, and two know nothing of
//! each other. It needs a helper that has one thread, and for that the program is started a second time, which
//! [`helper_door`] notices; `examples/embed.rs` has threads besides.
//!
//! ```standalone_crate
//! use factory::sandbox::{Command, Operator, Outcome, Sandbox, Tree, helper_door, load_profile};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // First of all: in the helper this call never returns.
//!     helper_door();
//!
//!     let operator = Operator { profiles: None, own: &[], search_path: "/usr/bin:/bin", variable: &|_| None };
//!     let policy = load_profile("strict", &operator)?;
//!     let sandbox = Sandbox::start(&std::env::current_exe()?)?;
//!
//!     // A stack of directories, which are never written to; without one the tree is empty.
//!     let tree = Tree { layers: Vec::new() };
//!     let command = Command::new(["sh", "-c", "echo hello; exit 7"]);
//!     let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//!     let report = runtime.block_on(sandbox.run(&policy, &tree, &command, None))?;
//!
//!     assert_eq!(report.outcome, Outcome::Exit { code: 7 });
//!     assert_eq!(report.stdout.head, b"hello\n");
//!     let receipt = report.receipt.ok_or("the sandbox was never finished")?;
//!     assert!(receipt.differences().is_empty());
//!     Ok(())
//! }
//! ```

mod bundle;
mod cgroup;
mod compile;
mod error;
mod expect;
mod grant;
mod guard;
mod helper;
mod identity;
mod init;
mod launch;
mod limits;
mod meter;
mod output;
mod plan;
mod policy;
mod probe;
mod profile;
mod receipt;
mod report;
mod resident;
mod scratch;
mod setup;
mod slot;
mod sys;
mod waiver;

pub use compile::{find_program, refuse_variable};
pub use error::SandboxError;
pub use expect::{Act, PAYLOAD, Reply};
pub use init::seccomp::Summary as FilterSummary;
pub use launch::{Sandbox, Sink, limit_keepers};
pub use plan::{LandlockPlan, Mount, Plan, PlannedLimit, Rule, plan};
pub use policy::{Command, Limits, Network, Policy, ReadGrant, Require, Tmp, Tree, TreeSource};
pub use probe::{
    Answer, Attempt, CgroupFlavour, CgroupVersion, Cgroups, Facts, Group, Landlock, Setting, Space, landlock, spawn,
};
pub use profile::{
    Change, Difference, Expectation, Finding, Granted, LeftOut, Operator, Origin, Profile, Resolved, Value, Wanted,
    load_profile, profile_names,
};
pub use receipt::{Promised, Receipt};
pub use report::{
    Captured, Enforced, Enforcer, Keepers, LimitKind, LimitReport, Metering, Outcome, Report, SetupFailure, Stream,
};
pub(crate) use resident::Resident;
pub use waiver::{Layer, UnknownLayer};

/// Becomes the sandbox helper, a probe, or the program that tries what a profile expects, when the first argument is one of
/// the hidden subcommands, and then never returns.
///
/// `main` calls this before anything else: the helper must have one thread and nothing of a runtime. A program of others
/// that embeds this module calls it in the same place, or passes the path of this project's binary to
/// [`Sandbox::start`].
pub fn helper_door() {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == helper::SUBCOMMAND => helper::serve(),
        Some(word) if word == guard::SUBCOMMAND => guard::serve(),
        Some(word) if word == probe::SUBCOMMAND => probe::serve(&words.collect::<Vec<_>>()),
        Some(word) if word == expect::SUBCOMMAND => expect::perform(words.next()),
        _ => {}
    }
}
