//! One work order from open to closed: the state machine, and the only arrow back from a verdict to a new attempt. Beside
//! it, one spec to a plan, which asks by the same means.
//!
//! - [`next`] decides what happens after what; the rest of this module does it, one step for each state.
//! - Before an effect its intent is journaled, after it the fact. An answer that was paid for is stored before it is used.
//! - Nothing is paid before everything that can be known without the model is known: the branch, the preconditions, the
//!   tools, the sandbox itself.
//! - A run ends with exactly one `run.completed`, whatever happened, and leaves nothing behind but what it recorded and,
//!   when it passed, one commit on one branch.
//! - Git, files and the journal are plain blocking calls: a run is one line of work, and nothing else waits for its thread.
//!
//! It does not know how a prompt reads, how a sandbox is built or how a ref is moved.

mod answers;
mod artifacts;
mod asking;
mod budget;
mod engine;
mod event;
mod failure;
mod fault;
mod finished;
mod fold;
mod gc;
mod ground;
mod hold;
mod key;
mod park;
mod past;
mod planning;
mod preflight;
mod progress;
mod recover;
mod regression;
mod room;
pub mod schema;
mod state;
mod steps;
mod summary;
mod terms;

pub use artifacts::ArtifactError;
pub use budget::{Budget, Call, Cap, CapError, Limit, Scope, Settled, Spent, calls};
pub use engine::{Ended, run};
pub use event::{Event, Observer};
pub use failure::{Failure, Situation, Stage, UnknownStage, interrupted};
pub use finished::{Done, Source};
pub use fold::{FoldError, Opened, Overview, overviews};
pub use gc::{Collected, Collection, gc};
pub use ground::{BranchWish, Cancel, Places, Setup, base, refuse_place, sandbox_failure, workspace_failure};
pub use hold::Lease;
pub use past::{CRASHES, is_known, release};
pub use planning::{
    DryRun, MAX_FILES, OrderSummary, PlanAttempt, PlanEvent, PlanFiles, PlanObserver, PlanOverview, PlanSetup,
    PlanSummary, Showing, Trial, TriedCommand, TriedOut, bounds, files_of, make_plan, plan_overviews, read_plan,
};
pub use progress::Progress;
pub use recover::{ExitCode, Outcome as RecoveryOutcome, Recovered, Rescue, Rescued, rescue};
pub use state::{Course, End, Event as Step, Patience, REPEATS, Rest, Rules, State, next, rest};
pub use summary::{AttemptSummary, CommandSummary, SCHEMA, Summary, UsageSummary, VerdictName};
