//! Exit codes: an interface, all in one place.

use crate::run::{Failure, Situation};
use crate::types::FailureClass;

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Success = 0,
    /// The order failed: its proposals were judged and found wanting, or the branch moved meanwhile.
    OrderFailed = 1,
    /// A bug of ours.
    Internal = 2,
    /// The provider will not answer as asked.
    Provider = 3,
    /// The model's answers could not be used.
    ModelOutput = 4,
    /// Blocked: needs a person.
    Blocked = 10,
    /// A spending cap was reached.
    Budget = 11,
    /// Nothing can be said: runs of the same bytes disagree.
    Inconclusive = 13,
    /// This host cannot do it.
    Host = 20,
    /// A layer of the sandbox is missing on this host.
    SandboxLayer = 21,
    /// Somebody else holds what is needed.
    Locked = 22,
    /// The repository or the branch is refused.
    Repository = 23,
    /// Dead runs cannot be brought to an end without a person.
    Recovery = 24,
    /// The command line is wrong (`EX_USAGE` of sysexits(3)).
    Usage = 64,
    /// The order is invalid (`EX_DATAERR`).
    Invalid = 65,
    /// Reading or writing failed (`EX_IOERR`).
    Storage = 74,
    /// The provider may answer later (`EX_TEMPFAIL`).
    TryLater = 75,
    /// The provider refuses the key (`EX_NOPERM`).
    Auth = 77,
    /// A profile or setting is missing or invalid (`EX_CONFIG`).
    Config = 78,
    /// Ended because its terminal went away (128 + `SIGHUP`).
    HungUp = 129,
    /// Interrupted by Ctrl-C (128 + `SIGINT`).
    Interrupted = 130,
    /// Ended by `SIGTERM` (128 + `SIGTERM`).
    Terminated = 143,
}

/// Numbers of signals, the same on every Linux architecture. Source: signal(7).
const SIGHUP: i32 = 1;
const SIGTERM: i32 = 15;

impl Exit {
    /// The code that follows from a failure: from its class, and within some classes from its situation.
    pub fn of(failure: &Failure) -> Self {
        use FailureClass as Class;
        match (failure.class, failure.situation) {
            (Class::Cancelled, Situation::Interrupted { signal: SIGTERM }) => Exit::Terminated,
            (Class::Cancelled, Situation::Interrupted { signal: SIGHUP }) => Exit::HungUp,
            (Class::Cancelled, _) => Exit::Interrupted,
            (Class::Internal, _) => Exit::Internal,
            (_, Situation::Usage) => Exit::Usage,
            (_, Situation::Locked) => Exit::Locked,
            (_, Situation::Recovery) => Exit::Recovery,
            (Class::Conflict | Class::Order | Class::Policy | Class::Host, Situation::Repository) => Exit::Repository,
            (Class::Rejected | Class::Limit | Class::Conflict, _) => Exit::OrderFailed,
            (Class::Proposal, _) => Exit::ModelOutput,
            (Class::Order, Situation::Document) => Exit::Invalid,
            (Class::Policy, Situation::Document) => Exit::Config,
            (Class::Order | Class::Policy, _) => Exit::Blocked,
            (Class::Host, Situation::Sandbox) => Exit::SandboxLayer,
            (Class::Host, Situation::Storage) => Exit::Storage,
            (Class::Host, _) => Exit::Host,
            (Class::ProviderTransient, _) => Exit::TryLater,
            (Class::ProviderPermanent, Situation::Auth) => Exit::Auth,
            (Class::ProviderPermanent, _) => Exit::Provider,
            (Class::Flaky, _) => Exit::Inconclusive,
            (Class::Budget, _) => Exit::Budget,
        }
    }

    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// The number that follows from a failure, or from none.
pub fn code(failure: Option<&Failure>) -> u8 {
    failure.map_or(Exit::Success, Exit::of).code()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(class: FailureClass, situation: Situation) -> u8 {
        code(Some(&Failure::plain(class, "").in_situation(situation)))
    }

    #[test]
    fn every_class_has_its_code() {
        use FailureClass as Class;
        let expected = [
            (Class::Order, 10),
            (Class::Proposal, 4),
            (Class::Rejected, 1),
            (Class::Policy, 10),
            (Class::Host, 20),
            (Class::ProviderTransient, 75),
            (Class::ProviderPermanent, 3),
            (Class::Limit, 1),
            (Class::Flaky, 13),
            (Class::Budget, 11),
            (Class::Conflict, 1),
            (Class::Cancelled, 130),
            (Class::Internal, 2),
        ];
        for (class, number) in expected {
            assert_eq!(code_of(class, Situation::Plain), number, "{class}");
        }
        assert_eq!(code(None), 0);
    }

    #[test]
    fn a_situation_refines_its_class() {
        use FailureClass as Class;
        let expected = [
            (Class::Order, Situation::Document, 65),
            (Class::Policy, Situation::Document, 78),
            (Class::Policy, Situation::Repository, 23),
            (Class::Conflict, Situation::Repository, 23),
            (Class::Host, Situation::Sandbox, 21),
            (Class::Host, Situation::Repository, 23),
            (Class::Host, Situation::Storage, 74),
            (Class::Host, Situation::Locked, 22),
            (Class::Host, Situation::Recovery, 24),
            (Class::Cancelled, Situation::Crashed, 130),
            (Class::ProviderPermanent, Situation::Auth, 77),
            (Class::Order, Situation::Usage, 64),
            (Class::Cancelled, Situation::Interrupted { signal: 1 }, 129),
            (Class::Cancelled, Situation::Interrupted { signal: 2 }, 130),
            (Class::Cancelled, Situation::Interrupted { signal: 15 }, 143),
        ];
        for (class, situation, number) in expected {
            assert_eq!(code_of(class, situation), number, "{class} {situation:?}");
        }
    }

    #[test]
    fn no_failure_exits_with_success() {
        use FailureClass as Class;
        let situations = [
            Situation::Plain,
            Situation::Document,
            Situation::Sandbox,
            Situation::Repository,
            Situation::Storage,
            Situation::Locked,
            Situation::Auth,
            Situation::Usage,
            Situation::Interrupted { signal: 2 },
        ];
        for class in [
            Class::Order,
            Class::Proposal,
            Class::Rejected,
            Class::Host,
            Class::Internal,
            Class::Cancelled,
        ] {
            for situation in situations {
                assert_ne!(code_of(class, situation), 0, "{class} {situation:?}");
            }
        }
    }
}
