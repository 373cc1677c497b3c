//! What a case is: an act, who starts it, what must be able to escape, and who judges.
//!
//! A case is data. The words of an act may hold places in braces that the site of each trial fills in: see
//! [`Site::fill`](super::site::Site::fill).

use super::product::Check;
use crate::sandbox::Policy;
use serde::Serialize;
use std::fmt;

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Group {
    /// Entry hygiene: descriptors, environment, terminal, identity.
    A,
    /// Files.
    B,
    /// Git and promotion.
    C,
    /// System calls and the kernel's surface.
    D,
    /// Network and communication between processes.
    E,
    /// Processes and the supervisor.
    F,
    /// Resources.
    G,
    /// Output and reports.
    H,
    /// Configuration and degradation.
    I,
    /// Landlock by rung.
    J,
    /// What every launcher measured so far leaks, and what is not in the list above.
    X,
}

impl Group {
    /// Every group, in the order of tables.
    pub const ALL: [Group; 11] = [
        Group::A,
        Group::B,
        Group::C,
        Group::D,
        Group::E,
        Group::F,
        Group::G,
        Group::H,
        Group::I,
        Group::J,
        Group::X,
    ];

    /// A heading.
    pub fn title(self) -> &'static str {
        match self {
            Group::A => "entry: descriptors, environment, terminal, identity",
            Group::B => "files",
            Group::C => "git and promotion",
            Group::D => "system calls",
            Group::E => "network and ipc",
            Group::F => "processes and supervisor",
            Group::G => "resources",
            Group::H => "output and reports",
            Group::I => "configuration and degradation",
            Group::J => "without Landlock",
            Group::X => "what others leak",
        }
    }
}

/// What an escape would cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Secrets read, host files written, programs run outside.
    Critical,
    /// A wall that others lean on is gone.
    High,
    /// The host is disturbed, or something hostile is left behind.
    Medium,
    /// Something is told about the host, or an answer is wrong.
    Low,
}

impl Severity {
    /// Every severity, the worst first.
    pub const ALL: [Severity; 4] = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low];
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Critical => "critical",
            Severity::High => "high",
            Severity::Medium => "medium",
            Severity::Low => "low",
        })
    }
}

/// One adversarial case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// A letter and two digits.
    pub id: &'static str,
    /// A few words with dashes.
    pub name: &'static str,
    /// What an escape would cost.
    pub severity: Severity,
    /// What is tried.
    pub summary: &'static str,
    pub(super) how: How,
}

impl Case {
    /// The group, which the id begins with.
    pub fn group(&self) -> Group {
        let letter = self.id.as_bytes()[0];
        Group::ALL
            .into_iter()
            .find(|group| format!("{group:?}").as_bytes()[0] == letter)
            .unwrap_or(Group::X)
    }
}

/// How a case is carried out.
#[derive(Debug, Clone, Copy)]
pub(super) enum How {
    /// One act of the payload inside a launcher.
    Act(Act),
    /// This project's own functions or commands; another launcher has no such notion.
    Product(Check),
    /// There is nothing to be attacked, for this reason.
    NotApplicable(&'static str),
}

/// One act of the payload, and all that surrounds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Act {
    /// The name of the act and its arguments; or a whole command line when `raw`.
    pub(super) words: &'static [&'static str],
    pub(super) raw: bool,
    pub(super) judge: Judge,
    /// Tried in turn until one escapes.
    pub(super) controls: &'static [Control],
    /// What the caller of the launcher is like.
    pub(super) caller: &'static [Trait],
    /// An act that a second sandbox of the same launcher performs meanwhile.
    pub(super) sibling: Option<&'static [&'static str]>,
    /// Changes the policy for this project's own sandbox, such as limits small enough to be reached.
    pub(super) tune: Option<Tune>,
    /// Whether the tree itself must stay as it was.
    pub(super) watch_tree: bool,
    /// Whether a process stands by, in the launcher's process group and with a secret, that must stay alive and unread.
    pub(super) bystander: bool,
    /// What the bystander is heard about when it complains: the beginning of the sentence.
    pub(super) complaint: Option<&'static str>,
    /// A shell command line that the operator runs in the tree afterwards.
    pub(super) aftermath: Option<&'static str>,
    /// Whether the tree is a work tree of git.
    pub(super) git: bool,
    /// Whether a launcher that refuses to start has done right.
    pub(super) may_refuse: bool,
    /// Whether other launchers have such a notion.
    pub(super) others: bool,
    /// Whether nothing else may run meanwhile.
    pub(super) alone: bool,
    /// Whether the host now and then does by itself what the act is after, so that one escape proves nothing.
    pub(super) by_chance: bool,
    /// Whether this project's own command line, on a terminal, is used instead of its library.
    pub(super) exec: bool,
}

/// Changes a policy; the directory is that of the site.
pub(super) type Tune = fn(&mut Policy, &std::path::Path);

/// Who says whether an act escaped, after the evidence from outside has been heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judge {
    /// The payload's own word.
    Word,
    /// The planted secret appears in the output.
    Secret,
    /// Nobody but the evidence from outside.
    Outside,
    /// The act must work.
    Works,
    /// The launcher ends by itself. Without one, the act goes on for longer than so many seconds.
    Ends(u64),
    /// After two seconds the launcher gets this signal; a few seconds later nothing of it is left.
    Orphans(i32),
    /// No more bytes than this come out.
    Output(u64),
    /// The exit code arrives.
    Status(i32),
    /// Escape sequences or invisible characters reach the terminal.
    Terminal,
    /// The first output arrives long before the end.
    Streams,
    /// This text of the host appears in the output.
    Tells(&'static str),
    /// The launcher must refuse to start the payload.
    Refuses,
}

/// How the control is run: without the layer under test the same act must be able to escape.
#[derive(Debug, Clone, Copy)]
pub(super) enum Control {
    /// As it is, by the caller.
    Plain,
    /// In private namespaces, as root of them, after these preparations.
    Private(&'static [&'static str]),
    /// Another act as it is, which shows that the judge sees what it should.
    Words(&'static [&'static str]),
}

/// What the caller of a launcher is like, besides what every caller is: see `caller` in [`super::part`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trait {
    /// Has a controlling terminal.
    Terminal,
    /// Holds a terminal that controls nobody.
    FreeTerminal,
    /// Has a key with the secret in its session keyring.
    Keyring,
    /// Standard input is a socket on which a descriptor waits.
    SocketInput,
    /// Standard input is a pipe that stays silent.
    SilentInput,
    /// Variables that steer loaders and interpreters.
    Loader,
    /// Lives where no user namespace can be made.
    NoUserNamespaces,
    /// Lives where a second path leads to its home, by a bind mount.
    Alias,
    /// Lives where parts of `/proc` are hidden.
    MaskedProc,
    /// Has supplementary groups.
    Groups,
    /// Lives under a filter that plays a kernel without Landlock.
    NoLandlock,
    /// Lives under a filter that says yes to Landlock and does nothing.
    FakeLandlock,
    /// Lives under a filter that refuses further filters.
    NoSeccomp,
    /// Lives under a filter that says yes to filters and does nothing.
    FakeSeccomp,
}

impl Trait {
    /// The word for the caller's command line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Trait::Terminal => "terminal",
            Trait::FreeTerminal => "free-terminal",
            Trait::Keyring => "keyring",
            Trait::SocketInput => "socket-input",
            Trait::SilentInput => "silent-input",
            Trait::Loader => "loader",
            Trait::NoUserNamespaces => "no-userns",
            Trait::Alias => "alias",
            Trait::MaskedProc => "masked-proc",
            Trait::Groups => "groups",
            Trait::NoLandlock => "no-landlock",
            Trait::FakeLandlock => "fake-landlock",
            Trait::NoSeccomp => "no-seccomp",
            Trait::FakeSeccomp => "fake-seccomp",
        }
    }
}

/// A case with one act of the payload, judged by its word, whose control is the act as it is.
pub(super) const fn act(
    id: &'static str,
    name: &'static str,
    severity: Severity,
    summary: &'static str,
    words: &'static [&'static str],
) -> Case {
    Case {
        id,
        name,
        severity,
        summary,
        how: How::Act(Act {
            words,
            raw: false,
            judge: Judge::Word,
            controls: &[Control::Plain],
            caller: &[],
            sibling: None,
            tune: None,
            watch_tree: false,
            bystander: false,
            complaint: None,
            aftermath: None,
            git: false,
            may_refuse: false,
            others: true,
            alone: false,
            by_chance: false,
            exec: false,
        }),
    }
}

/// A case about this project's own functions or commands.
pub(super) const fn product(
    id: &'static str,
    name: &'static str,
    severity: Severity,
    summary: &'static str,
    check: Check,
) -> Case {
    Case {
        id,
        name,
        severity,
        summary,
        how: How::Product(check),
    }
}

/// A case about something that does not exist here.
pub(super) const fn absent(id: &'static str, name: &'static str, summary: &'static str, reason: &'static str) -> Case {
    Case {
        id,
        name,
        severity: Severity::Low,
        summary,
        how: How::NotApplicable(reason),
    }
}

/// Sets one property of an act.
macro_rules! with {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty)?) => $field:ident = $value:expr;)+) => {
        impl Case {
            $(
                $(#[$doc])*
                pub(super) const fn $name(mut self $(, $argument: $kind)?) -> Self {
                    if let How::Act(act) = &mut self.how {
                        act.$field = $value;
                    }
                    self
                }
            )+
        }
    };
}

with! {
    judged(judge: Judge) => judge = judge;
    controls(controls: &'static [Control]) => controls = controls;
    from(caller: &'static [Trait]) => caller = caller;
    beside(sibling: &'static [&'static str]) => sibling = Some(sibling);
    tuned(tune: Tune) => tune = Some(tune);
    raw() => raw = true;
    watching_the_tree() => watch_tree = true;
    with_bystander() => bystander = true;
    heard_about(complaint: &'static str) => complaint = Some(complaint);
    then(command: &'static str) => aftermath = Some(command);
    in_git() => git = true;
    may_refuse() => may_refuse = true;
    ours_only() => others = false;
    alone() => alone = true;
    also_by_chance() => by_chance = true;
    by_exec() => exec = true;
}
