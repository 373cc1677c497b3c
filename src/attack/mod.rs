//! Attacks the sandbox, and other launchers for comparison, with 212 adversarial cases and some more.
//!
//! - A case is data: an act of the payload, what its caller is like, who judges, and how the control is run. The payload is
//!   this very binary, linked into the tree under test, so that the same act runs in every launcher.
//! - A case that cannot fail proves nothing: without the layer under test the same act must escape, as it is or in private
//!   namespaces. Where even that is refused, the case is skipped, with the answer that the control got.
//! - Evidence from outside is heard first: a canary that changed, a listener that was reached, a process that lives, a
//!   terminal that is not as it was. Then what the payload prints.
//! - Harmless when nothing contains it: scratch directories, planted secrets, loopback, bounded counts, mounts in
//!   namespaces of their own, and arguments that the kernel refuses where success would hurt.
//!
//! Other launchers are judged by the same words. `not applicable` says that there is nothing to attack, and why; `broken`
//! that something which has to work does not.
//!
//! This project's own sandbox is started the way that any program which embeds it does it, by a process of its own with a
//! policy from a file, and not by `factory exec`: the policy can so be given limits that a test can reach. What is said
//! about the command line is tried with the command line.

mod act;
mod case;
mod cases;
mod judge;
mod launcher;
mod part;
mod product;
mod score;
mod site;
mod sys;
mod tune;

pub use case::{Case, Group, Severity};
pub use cases::all as cases;
pub use score::{Finding, Row, Scoreboard, Tally, Verdict};

use crate::sandbox::{Network, Policy};
use crate::types::{FailureClass, Problem};
use case::{Act, Control, How, Judge, Trait};
use launcher::{Subject, Trial};
use site::Scratch;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Plays the part of a process of a trial when the first argument is the hidden subcommand, and then never returns.
///
/// `main` calls this before anything else: the payload must have one thread and nothing of a runtime.
pub fn part_door() {
    part::play();
}

/// What to attack, and with what.
#[derive(Debug)]
pub struct Options {
    /// The policy under which this project's sandbox is attacked.
    pub policy: Policy,
    /// This project's binary, which is the helper of the sandbox and the payload as well.
    pub program: PathBuf,
    /// The operator's `PATH`.
    pub search_path: String,
    /// Where the operator keeps profiles: `$XDG_CONFIG_HOME/factory/profiles`.
    pub profiles: Option<PathBuf>,
    /// Only these groups; all when empty.
    pub groups: Vec<Group>,
    /// Only the case with this id.
    pub id: Option<String>,
    /// The words of another launcher, to which the payload's are appended. `{tree}` stands for the path of the tree.
    pub against: Option<Vec<String>>,
    /// Set by somebody else when it is to end early: what runs is ended, and what was planted is removed.
    pub cancel: Arc<AtomicBool>,
}

/// Why the attack could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// There is no such case.
    #[error("there is no case `{id}`")]
    NoSuchCase {
        /// The id that was given.
        id: String,
    },
    /// The scratch directory cannot be written.
    #[error("cannot prepare `{}`", path.display())]
    Scratch {
        /// The file or directory.
        path: PathBuf,
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// A process cannot be started or watched.
    #[error("cannot start a process of the attack")]
    Start {
        /// The kernel's answer.
        source: std::io::Error,
    },
    /// It was to end early.
    #[error("the attack was ended early")]
    Cancelled,
    /// The launcher does not even run a harmless payload, so nothing would be proved by what it keeps away.
    #[error("the launcher `{launcher}` does not run a harmless payload: {ending}")]
    Launcher {
        /// Its first word, or the name of our profile.
        launcher: String,
        /// How it ended, with its last words.
        ending: String,
    },
}

impl Problem for AttackError {
    fn class(&self) -> FailureClass {
        match self {
            AttackError::NoSuchCase { .. } => FailureClass::Order,
            AttackError::Cancelled => FailureClass::Cancelled,
            AttackError::Scratch { .. } | AttackError::Start { .. } | AttackError::Launcher { .. } => {
                FailureClass::Host
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            AttackError::NoSuchCase { .. } => Some("`factory attack --list` lists them".to_owned()),
            AttackError::Scratch { .. } => Some("free some space, or make the directory writable".to_owned()),
            AttackError::Start { .. } | AttackError::Cancelled => None,
            AttackError::Launcher { .. } => {
                Some("the tree has to be writable, the payload's libraries readable, and the current directory the tree; `{tree}` stands for its path".to_owned())
            }
        }
    }
}

/// What all trials share.
#[derive(Debug)]
pub(crate) struct Ground {
    program: PathBuf,
    policy: Policy,
    search_path: String,
    profiles: Option<PathBuf>,
    scratch: Scratch,
    repository: OnceLock<Option<PathBuf>>,
    cancel: Arc<AtomicBool>,
}

impl Ground {
    fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// A small repository for what is tried with the command line.
    fn repository(&self) -> Result<&Path, AttackError> {
        let made = self.repository.get_or_init(|| {
            let directory = self.scratch.path().join("repository");
            product::small_repository(&directory).ok().map(|()| directory)
        });
        made.as_deref().ok_or(AttackError::Start {
            source: std::io::Error::other("git cannot make a repository"),
        })
    }
}

/// Carries out the cases and says what came of each.
///
/// # Errors
/// `Host` when the scratch directory cannot be had, or a launcher does not run a harmless payload; `Order` when there is
/// no such case; `Cancelled` when it was to end early.
pub fn attack(options: Options) -> Result<Scoreboard, AttackError> {
    let chosen = choose(&options)?;
    let ground = Ground {
        scratch: Scratch::new(&options.program)?,
        program: options.program,
        policy: options.policy,
        search_path: options.search_path,
        profiles: options.profiles,
        repository: OnceLock::new(),
        cancel: options.cancel,
    };
    let other = options.against.map(Subject::Other);
    greet(&ground, &Subject::Product)?;
    if let Some(other) = &other {
        greet(&ground, other)?;
    }
    let (alone, together): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|case| is_alone(case));
    let mut rows = side_by_side(&ground, &together, other.as_ref());
    for case in alone {
        if !ground.is_cancelled() {
            rows.push(row(&ground, case, other.as_ref()));
        }
    }
    if ground.is_cancelled() {
        return Err(AttackError::Cancelled);
    }
    rows.sort_by_key(|row| row.case.id);
    Ok(Scoreboard {
        profile: ground.policy.profile.clone(),
        against: other.as_ref().map(name_of),
        rows,
    })
}

fn choose(options: &Options) -> Result<Vec<&'static Case>, AttackError> {
    let chosen: Vec<_> = cases::all()
        .filter(|case| options.groups.is_empty() || options.groups.contains(&case.group()))
        .filter(|case| options.id.as_ref().is_none_or(|id| id.eq_ignore_ascii_case(case.id)))
        .collect();
    match (&options.id, chosen.is_empty()) {
        (Some(id), true) => Err(AttackError::NoSuchCase { id: id.clone() }),
        _ => Ok(chosen),
    }
}

fn is_alone(case: &Case) -> bool {
    match case.how {
        How::Act(act) => act.alone,
        How::Product(_) | How::NotApplicable(_) => false,
    }
}

fn name_of(subject: &Subject) -> String {
    match subject {
        Subject::Product => "factory".to_owned(),
        Subject::Other(words) => words.first().cloned().unwrap_or_default(),
        Subject::Control(_) => "control".to_owned(),
    }
}

/// Makes sure that the launcher runs a payload at all.
fn greet(ground: &Ground, subject: &Subject) -> Result<(), AttackError> {
    let How::Act(act) = case::act("X00", "hello", Severity::Low, "", &["hello"])
        .judged(Judge::Works)
        .how
    else {
        return Ok(());
    };
    let seen = Trial {
        ground,
        act: &act,
        subject,
    }
    .run()?;
    match judge::judge(&act, &seen).verdict {
        Verdict::Contained => Ok(()),
        _ => Err(AttackError::Launcher {
            launcher: name_of(subject),
            ending: seen.ending(),
        }),
    }
}

/// Trials at a time. Most of what a trial does is waiting.
const AT_ONCE: usize = 4;

fn side_by_side(ground: &Ground, cases: &[&'static Case], other: Option<&Subject>) -> Vec<Row> {
    let (next, rows) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed))
                    && !ground.is_cancelled()
                {
                    let row = row(ground, case, other);
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push(row);
                }
            });
        }
    });
    rows.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// One case: the control, then this project's sandbox, then the other launcher.
fn row(ground: &Ground, case: &'static Case, other: Option<&Subject>) -> Row {
    let foreign = "it is about this project's own commands";
    match &case.how {
        How::NotApplicable(reason) => Row {
            case,
            control: None,
            ours: Finding::new(Verdict::NotApplicable, *reason),
            theirs: other.map(|_| Finding::new(Verdict::NotApplicable, *reason)),
        },
        How::Product(check) => Row {
            case,
            control: None,
            ours: check(ground).unwrap_or_else(|error| Finding::new(Verdict::Broken, error.to_string())),
            theirs: other.map(|_| Finding::new(Verdict::NotApplicable, foreign)),
        },
        How::Act(act) => acted(ground, case, act, other),
    }
}

fn acted(ground: &Ground, case: &'static Case, act: &Act, other: Option<&Subject>) -> Row {
    let control = match control(ground, act) {
        Ok(control) => control,
        Err(probe) => {
            let skipped = || Finding::new(Verdict::Skipped, format!("refused outside as well: {probe}"));
            return Row {
                case,
                control: None,
                ours: skipped(),
                theirs: other.map(|_| skipped()),
            };
        }
    };
    let theirs = match other {
        Some(_) if !act.others => Some(Finding::new(
            Verdict::NotApplicable,
            "another launcher is not told about this",
        )),
        Some(other) => Some(found(ground, act, other)),
        None => None,
    };
    Row {
        case,
        control: Some(control),
        ours: found(ground, &on_this_rung(&ground.policy, act), &Subject::Product),
        theirs,
    }
}

/// The act as this project's sandbox is judged for it. Without namespaces there is no loopback of one's own, and nothing but
/// Landlock between a command and the host's files: a policy that does without them and asks for the one, or meets a
/// kernel without the other, has to be refused, whatever the act would come to.
fn on_this_rung(policy: &Policy, act: &Act) -> Act {
    let mut policy = policy.clone();
    if let Some(tune) = act.tune {
        // Neither what is asked about the network nor the rung depends on where the site is.
        tune(&mut policy, Path::new("/"));
    }
    let lacks = policy.network == Network::Loopback || act.caller.contains(&Trait::NoLandlock);
    match !policy.require.userns && lacks {
        true => Act {
            judge: Judge::Refuses,
            ..*act
        },
        false => *act,
    }
}

/// What the first control said that escaped, or why none did.
fn control(ground: &Ground, act: &Act) -> Result<String, String> {
    let wanted = match act.judge {
        Judge::Works => Verdict::Contained,
        _ => Verdict::Escaped,
    };
    let mut probes = Vec::new();
    for control in act.controls {
        let finding = tried(ground, act, &Subject::Control(*control));
        if finding.verdict == wanted {
            return Ok(match control {
                Control::Plain | Control::Words(_) => finding.evidence,
                Control::Private(_) => format!("in private namespaces: {}", finding.evidence),
            });
        }
        probes.push(finding.evidence);
    }
    probes.dedup();
    Err(probes.join("; "))
}

/// How often an act has to escape that the host may carry out by itself, as when it writes out what has waited for long.
const TRIES_BY_CHANCE: usize = 4;

/// The finding of a launcher: the first that is no escape, or the last.
fn found(ground: &Ground, act: &Act, subject: &Subject) -> Finding {
    let tries = if act.by_chance { TRIES_BY_CHANCE } else { 1 };
    let mut finding = tried(ground, act, subject);
    for _ in 1..tries {
        if finding.verdict == Verdict::Escaped {
            finding = tried(ground, act, subject);
        }
    }
    finding
}

fn tried(ground: &Ground, act: &Act, subject: &Subject) -> Finding {
    match (Trial { ground, act, subject }).run() {
        Ok(seen) => judge::judge(act, &seen),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Finding::new(Verdict::Broken, format!("{error}{}", cause.unwrap_or_default()))
        }
    }
}
