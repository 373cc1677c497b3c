//! `factory run`: one order, from a file to a commit.

use super::{bounds, check, exit, output, problem, provider, words};
use crate::config::Settings;
use crate::llm::{PriceTable, Provider};
use crate::promote::BranchMode;
use crate::run::{
    BranchWish, Budget, Cancel, DryRun, Ended, Event, Failure, Places, Rules, Setup, Situation, VerdictName,
    run as run_order, sandbox_failure,
};
use crate::sandbox::{Layer, Operator, Policy, load_profile};
use crate::types::{FailureClass, RepoPath};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Carries one order from a file to a commit: proposes, checks, verifies in the sandbox, promotes only on a pass.
///
/// The checkout is never touched. Changes that are not committed are not part of the run.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The file that holds the order.
    #[arg(value_name = "ORDER.json")]
    order: PathBuf,
    /// A directory of the repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// Refuse to run below the profile's floor. This is always so; the flag says that it is meant.
    #[arg(long)]
    isolated: bool,
    /// The profile under which commands run [default: verify].
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Do without a layer of the profile's floor: landlock, limits.memory, limits.pids or limits.cpu. Can be repeated; it
    /// is recorded with the run and in the commit.
    #[arg(long, value_name = "LAYER", conflicts_with = "isolated")]
    waive: Vec<Layer>,
    /// The branch to promote to [default: factory/PLAN or factory/ORDER].
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// Refuse a branch that exists.
    #[arg(long, requires = "branch", conflicts_with = "reuse_branch")]
    create_branch: bool,
    /// Refuse a branch that does not exist.
    #[arg(long, requires = "branch")]
    reuse_branch: bool,
    /// The commit to start from [default: the branch's tip, or HEAD].
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    #[command(flatten)]
    provider: provider::Arguments,
    #[command(flatten)]
    bounds: bounds::Arguments,
    /// A shorter wall-clock limit for each command than the profile's, such as 30s or 10m.
    #[arg(long, value_name = "DURATION", value_parser = words::positive_duration)]
    timeout: Option<Duration>,
    /// Let an order excuse itself from the repository's own verification.
    #[arg(long)]
    allow_verify_exempt: bool,
    /// Let the order change this file although something runs it without being asked to, such as a workflow of a build
    /// server, a hook or an editor's task. Can be repeated; it is recorded with the run.
    #[arg(long, value_name = "PATH", value_parser = protected_path)]
    allow_protected: Vec<RepoPath>,
    /// Show the model this context file although its name or its text looks like that of a credential. Names the order's own
    /// file when the order's text does. Can be repeated; it is recorded with the run.
    #[arg(long, value_name = "PATH")]
    allow_context: Vec<String>,
    /// Where each run gets a directory of its own [default: runs in the state directory].
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Where runs are recorded [default: $XDG_STATE_HOME/factory, or ~/.local/state/factory].
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How long to wait for a repository that another run holds, such as 30s or 1h [default: not at all].
    #[arg(long, value_name = "DURATION", value_parser = words::positive_duration)]
    wait: Option<Duration>,
    /// Work as if nothing were recorded: an order that is done is done again, and the model is asked anew.
    #[arg(long)]
    fresh: bool,
    /// Print events, one JSON document a line.
    #[arg(long)]
    json: bool,
}

/// Settings that cannot be read are told as the end of the run, like everything else that is in its way.
pub(super) fn run(arguments: &Arguments, settings: Result<Settings, Failure>) -> Result<u8, Failure> {
    let mut stage = Stage::new(arguments.json);
    match settings.and_then(|settings| attempt(arguments, &settings, &mut stage)) {
        Ok(Ended::Skipped(done)) => {
            stage.broken?;
            if !arguments.json {
                output::text(&words::done(&done))?;
            }
            Ok(exit::code(None))
        }
        Ok(Ended::Ran(summary)) => {
            stage.broken?;
            if !arguments.json {
                output::text(&words::summary(&summary))?;
                if let Some(failure) = &summary.problem {
                    output::problem(failure, false);
                }
            }
            Ok(summary.exit_code)
        }
        Err(failure) if arguments.json => {
            let exit_code = exit::code(Some(&failure));
            stage.show(&Event::Completed {
                run: None,
                verdict: VerdictName::of(failure.class),
                exit_code,
                problem: Some(&failure),
                summary: None,
            });
            Ok(exit_code)
        }
        Err(failure) => Err(failure),
    }
}

fn attempt(arguments: &Arguments, settings: &Settings, stage: &mut Stage) -> Result<Ended, Failure> {
    log_to_stderr(settings)?;
    let mut chosen = provider::provider(&arguments.provider, settings)?;
    let setup = setup(arguments, settings, &chosen)?;
    let cancel = hear_signals()?;
    runtime()?.block_on(run_order(&setup, &mut chosen.provider, cancel, &mut |event| {
        stage.show(event)
    }))
}

fn setup(arguments: &Arguments, settings: &Settings, chosen: &provider::Chosen) -> Result<Setup, Failure> {
    let loaded = check::read(&arguments.order)?;
    let plain = |error| Failure::new(&error, Situation::Plain);
    let state_dir = settings.state_dir(arguments.state_dir.as_deref()).map_err(plain)?.value;
    let bounds = &arguments.bounds;
    let profile = settings.profile(arguments.profile.as_deref()).value;
    let mode = match (arguments.create_branch, arguments.reuse_branch) {
        (true, _) => BranchMode::Create,
        (_, true) => BranchMode::Reuse,
        (false, false) => BranchMode::CreateOrReuse,
    };
    Ok(Setup {
        order: loaded.order,
        order_bytes: loaded.bytes,
        repository: arguments.repo.clone(),
        branch: BranchWish {
            name: arguments.branch.clone(),
            mode,
        },
        base: arguments.base.clone(),
        policy: policy(&profile, &arguments.waive, settings, Some(&state_dir))?,
        model: chosen.model.clone(),
        rules: rules(bounds, settings),
        timeout: settings.timeout(arguments.timeout).map(|set| set.value),
        allow_verify_exempt: arguments.allow_verify_exempt,
        allow_protected: arguments.allow_protected.iter().cloned().collect(),
        allow_context: settings
            .allow_context(&arguments.allow_context)
            .into_iter()
            .map(|set| set.value)
            .collect(),
        allow_order_text: arguments
            .allow_context
            .iter()
            .any(|path| Path::new(path) == arguments.order),
        protected_branches: settings
            .protected_branches()
            .iter()
            .map(|set| set.value.clone())
            .collect(),
        places: Places {
            cache_dir: settings.cache_dir().map_err(plain)?.value,
            artifacts: settings.artifacts(arguments.artifacts.as_deref(), &state_dir).value,
            state_dir,
        },
        budget: budget(bounds, settings, &chosen.provider)?,
        patience: settings.wait(arguments.wait).value,
        fresh: arguments.fresh,
        golden_dir: settings.environment().golden_dir(),
        disk_floor: settings.disk_floor(bounds.disk_floor).value,
        program: own_program()?,
        exit_code: exit::code,
    })
}

/// How often is asked.
pub(super) fn rules(bounds: &bounds::Arguments, settings: &Settings) -> Rules {
    Rules {
        max_attempts: settings.max_attempts(bounds.max_attempts).value,
        provider_tries: settings.provider_tries(bounds.provider_tries).value,
        park: match settings.one_shot(bounds.one_shot).value {
            true => Duration::ZERO,
            false => Rules::default().park,
        },
        ..Rules::default()
    }
}

/// What may be spent on a provider.
pub(super) fn budget(bounds: &bounds::Arguments, settings: &Settings, provider: &Provider) -> Result<Budget, Failure> {
    let table = settings.prices(bounds.prices.as_deref()).map(|set| set.value);
    Ok(Budget {
        caps: settings.caps(&bounds.budget).into_iter().map(|set| set.value).collect(),
        of_order: Vec::new(),
        prices: prices(table.as_deref())?,
        is_free: matches!(provider, Provider::Replay(_)),
    })
}

/// The largest table of prices that is read, in bytes.
const MAX_PRICES_BYTES: u64 = 1 << 20;

/// The built-in prices, overruled by those of a file.
fn prices(file: Option<&Path>) -> Result<PriceTable, Failure> {
    let Some(file) = file else {
        return Ok(PriceTable::built_in());
    };
    let mut text = String::new();
    let read = File::open(file).and_then(|opened| opened.take(MAX_PRICES_BYTES).read_to_string(&mut text));
    read.map_err(|error| Failure {
        causes: vec![error.to_string()],
        ..Failure::plain(
            FailureClass::Policy,
            format!("cannot read the price table `{}`", file.display()),
        )
        .in_situation(Situation::Document)
        .with_hint("name a text file that you may read")
    })?;
    let own = PriceTable::parse(&text).map_err(|error| Failure::new(&error, Situation::Document))?;
    Ok(PriceTable::built_in().overruled_by(own))
}

fn protected_path(text: &str) -> Result<RepoPath, String> {
    RepoPath::parse(text).map_err(|error| error.to_string())
}

/// The policy of a named profile, the operator's own or a built-in one, less what is waived. `state_dir` is where this run
/// is recorded.
pub(super) fn policy(
    name: &str,
    waive: &[Layer],
    settings: &Settings,
    state_dir: Option<&Path>,
) -> Result<Policy, Failure> {
    let policy = with_operator(settings, state_dir, |operator| load_profile(name, operator));
    let policy = policy.map_err(|error| sandbox_failure(&error))?;
    let policy = Policy {
        waive: waive.iter().copied().collect(),
        ..policy
    };
    if !policy.require.userns {
        output::note(words::WITHOUT_NAMESPACES);
    }
    if !waive.is_empty() {
        for layer in policy.needless_waivers() {
            output::note(&format!(
                "note: the waiver of {layer} was not needed: nothing is refused for it here"
            ));
        }
    }
    Ok(policy)
}

/// How the commands of a plan are tried.
pub(super) fn dry_run(
    profile: Option<&str>,
    waive: &[Layer],
    settings: &Settings,
    state_dir: &Path,
) -> Result<DryRun, Failure> {
    let cache_dir = settings.cache_dir();
    Ok(DryRun {
        policy: policy(&settings.profile(profile).value, waive, settings, Some(state_dir))?,
        cache_dir: cache_dir.map_err(|error| Failure::new(&error, Situation::Plain))?.value,
        program: own_program()?,
    })
}

/// Hands over what profiles may ask of the operator's side. `state_dir` is where runs are recorded, when it is not the usual
/// place.
pub(super) fn with_operator<T>(
    settings: &Settings,
    state_dir: Option<&Path>,
    use_it: impl FnOnce(&Operator<'_>) -> T,
) -> T {
    let environment = settings.environment();
    let profiles = environment.profile_dir();
    let places = [
        settings.state_dir(state_dir).ok().map(|set| set.value),
        settings.cache_dir().ok().map(|set| set.value),
    ];
    let own: Vec<PathBuf> = places.into_iter().flatten().chain(settings.private()).collect();
    use_it(&Operator {
        profiles: profiles.as_deref(),
        own: &own,
        search_path: environment.search_path(),
        variable: &|name| environment.variable(name),
    })
}

/// The binary of this process, which is started again as the sandbox's helper.
pub(super) fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| host("cannot find the program of this process", &error))
}

/// A runtime of one thread: a run is one line of work.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| host("cannot set up asynchronous input and output", &error))
}

/// The signals that ask for an end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// The terminal went away. Not listened to when it is ignored, as under nohup(1): then the run is to go on.
    hang_up: Option<Signal>,
}

impl Signals {
    /// Listens from now on, which keeps these signals from ending the process. Needs a runtime around it.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| host("cannot listen to signals", &error));
        let hang_up = SignalKind::hangup();
        Ok(Signals {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: (!is_ignored(hang_up)).then(|| listen(hang_up)).transpose()?,
        })
    }

    /// The number of the next one.
    pub(super) async fn next(&mut self) -> i32 {
        let hang_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = hang_up => SignalKind::hangup(),
        };
        kind.as_raw_value()
    }
}

/// Whether whoever started this process ignores a signal. Source: proc_pid_status(5), `SigIgn`: bit 0 is signal 1.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

/// Hears signals on a thread of its own: the steps of a run block theirs.
pub(super) fn hear_signals() -> Result<Cancel, Failure> {
    let (sender, receiver) = watch::channel(None);
    let runtime = runtime()?;
    let mut signals = {
        let _guard = runtime.enter();
        Signals::listen()?
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let number = signals.next().await;
                // Only a run that is over no longer listens.
                let _ = sender.send(Some(number));
                // The sender has to outlive the run, or the next signal would end the process in the middle of it.
                std::future::pending::<()>().await;
            });
        })
        .map_err(|error| host("cannot start a thread", &error))?;
    Ok(Cancel::new(receiver))
}

fn host(what: &str, error: &std::io::Error) -> Failure {
    Failure {
        causes: vec![error.to_string()],
        ..Failure::plain(FailureClass::Host, what)
    }
}

/// Sends what the program logs to standard error, filtered by `FACTORY_LOG`.
///
/// # Errors
/// `Order` in the sense of a wrong command line when that is no filter.
pub(super) fn log_to_stderr(settings: &Settings) -> Result<(), Failure> {
    let refused = |error| Failure::new(&error, Situation::Usage);
    settings.check_log().map_err(refused)?;
    let filter = tracing_subscriber::EnvFilter::new(settings.log().value);
    // A subscriber that somebody else installed is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .try_init();
    Ok(())
}

/// Where events are shown: as JSON on standard output, or as lines for people on standard error.
struct Stage {
    json: bool,
    seq: u64,
    max_attempts: u32,
    /// Whether standard output still takes events.
    broken: Result<(), Failure>,
}

impl Stage {
    fn new(json: bool) -> Self {
        Stage {
            json,
            seq: 0,
            max_attempts: 0,
            broken: Ok(()),
        }
    }

    fn show(&mut self, event: &Event<'_>) {
        if let Event::Opened { max_attempts, .. } = event {
            self.max_attempts = *max_attempts;
        }
        if self.json {
            self.seq += 1;
            if self.broken.is_ok() {
                self.broken = output::json(&numbered(self.seq, event));
            }
        } else if let Some(line) = line(event, self.max_attempts) {
            output::note(&line);
        }
    }
}

/// An event with its place. A problem has the same form as everywhere else.
fn numbered(seq: u64, event: &Event<'_>) -> Value {
    let mut value = json!(event);
    if let Value::Object(fields) = &mut value {
        fields.insert("seq".to_owned(), json!(seq));
        if let Event::Completed { problem, .. } = event {
            fields.insert("problem".to_owned(), json!(problem.map(problem::json)));
        }
    }
    value
}

/// An event as a line for people. The end of a run is told by its summary.
fn line(event: &Event<'_>, max_attempts: u32) -> Option<String> {
    Some(match event {
        Event::Opened {
            run,
            order_id,
            title,
            base,
            branch,
            profile,
            waived,
            provider,
            ..
        } => {
            let mut opened = format!(
                "run {run}: {} ({})\n  base {}, branch {}, profile {}, provider {}",
                words::line(order_id),
                words::line(title),
                base.short(),
                words::line(branch),
                words::line(profile),
                words::line(provider)
            );
            if !waived.is_empty() {
                opened.push_str(&format!("\n{}", words::waived(waived)));
            }
            opened
        }
        Event::Recovered(recovered) => words::recovered(recovered),
        Event::Recalled { attempt, from, .. } => {
            format!("attempt {attempt} of {max_attempts}: the model answered this before, in run {from}")
        }
        Event::Checkout { dirty: Some(false), .. } => return None,
        Event::Checkout { base, dirty } => {
            let what = match dirty {
                Some(_) => "uncommitted changes are",
                None => "it was not seen whether there are uncommitted changes, which are",
            };
            format!(
                "note: {what} not part of this run; it starts from commit {}",
                base.short()
            )
        }
        Event::Requested { attempt, .. } => format!("attempt {attempt} of {max_attempts}: asking the model"),
        Event::Delayed {
            attempt,
            wait_ms,
            reason,
        } => format!(
            "attempt {attempt} of {max_attempts}: asking again in {}: {}",
            words::span(0, *wait_ms),
            words::line(reason)
        ),
        Event::Parked {
            attempt,
            until_ms,
            reason,
        } => format!(
            "attempt {attempt} of {max_attempts}: parked until {}: {}",
            words::time(*until_ms),
            words::line(reason)
        ),
        Event::Resumed { attempt } => format!("attempt {attempt} of {max_attempts}: going on"),
        Event::Answered { .. } | Event::CommandStarted { .. } | Event::Completed { .. } | Event::Skipped(_) => {
            return None;
        }
        Event::Built { attempt, files, gone } => {
            format!("attempt {attempt} of {max_attempts}: {}", words::changes(files, gone))
        }
        Event::CommandFinished { attempt, command } => format!(
            "attempt {attempt} of {max_attempts}: {} `{}` {} ({})",
            command.phase,
            words::command(&command.argv),
            words::line(&command.describe()),
            words::span(0, command.wall_ms)
        ),
        Event::AttemptFailed {
            attempt, stage, reason, ..
        } => format!(
            "attempt {attempt} of {max_attempts}: failed, {stage}: {}",
            words::line(reason)
        ),
        Event::CandidatePassed { attempt, .. } => format!("attempt {attempt} of {max_attempts}: passed"),
        Event::Promoted { unchanged: true, .. } => "the base has the change already: no commit was made".to_owned(),
        Event::Promoted { branch, commit, .. } => {
            format!("branch {} is at {}", words::line(branch), commit.short())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Sha256;

    #[test]
    fn events_are_numbered_without_gaps_and_name_themselves() {
        let event = Event::Answered {
            attempt: 1,
            bytes: 2,
            sha256: Sha256::EMPTY,
        };
        let value = numbered(7, &event);
        assert_eq!(
            (&value["seq"], &value["event"]),
            (&json!(7), &json!("proposal.answered"))
        );
    }

    #[test]
    fn text_of_others_cannot_drive_the_terminal() {
        let event = Event::AttemptFailed {
            attempt: 1,
            stage: crate::run::Stage::VerifyFailed,
            class: FailureClass::Rejected,
            reason: "\u{1b}[2Jgone\nerror: forged",
        };
        assert_eq!(
            line(&event, 5).unwrap(),
            "attempt 1 of 5: failed, verify_failed: \\u{1b}[2Jgone error: forged"
        );
    }
}
