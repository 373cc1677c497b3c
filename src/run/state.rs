//! The state machine of one run: where it is, and what an event makes of it. Pure data.
//!
//! - [`next`] alone decides retry, waiting and stopping; the failure class of an event is all that it looks at.
//! - A closed run stays closed.
//! - An event that does not belong to a state is a bug of ours and closes the run as such.

use crate::types::{FailureClass, Sha256};
use std::time::Duration;

/// Failures with one fingerprint after which another attempt is pointless.
pub const REPEATS: u32 = 3;

/// Time that a run is parked altogether, at most, while the provider limits requests.
const PARK_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a run is parked at least, once it has been for longer than twice as long.
const LONG_PARK: Duration = Duration::from_secs(15 * 60);

/// Bounds that the operator sets for one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Answers of the model that are judged, at least one.
    pub max_attempts: u32,
    /// Requests sent for one attempt while the provider fails in passing, at least one.
    pub provider_tries: u32,
    /// Time spent waiting for the provider within one attempt.
    pub provider_patience: Duration,
    /// Time that an attempt may be parked, when the provider limits requests for longer than that. Zero ends the run instead,
    /// to be started again by somebody else.
    pub park: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            max_attempts: 5,
            provider_tries: 5,
            provider_patience: Duration::from_secs(600),
            park: PARK_LIMIT,
        }
    }
}

/// What is remembered from one attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// The attempt under way, from one.
    pub attempt: u32,
    /// Whether the one retry after a resource limit was used.
    limit_retried: bool,
    /// What the last rejection looked like, and how many in a row looked so.
    rejections: Option<(Sha256, u32)>,
}

impl Course {
    const FIRST: Course = Course {
        attempt: 1,
        limit_retried: false,
        rejections: None,
    };
}

/// Requests sent and time waited within one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patience {
    /// Requests that failed in passing.
    pub failed: u32,
    /// Time waited so far.
    pub waited: Duration,
    /// Time for which the run was parked so far. Afterwards tries and waiting begin anew.
    pub parked: Duration,
}

/// How the provider is given time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// The run waits.
    Wait(Duration),
    /// The run is parked: what it waits for is on record.
    Park(Duration),
}

/// Where a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Looking for reasons not to ask the model at all.
    Preflight,
    /// A request is to be sent.
    Asking(Course, Patience),
    /// The provider asked for time; the same request is sent again afterwards.
    Waiting(Course, Patience, Rest),
    /// An answer is there and is parsed, checked and turned into a candidate.
    Building(Course),
    /// The candidate is judged.
    Verifying(Course),
    /// The candidate passed and becomes a commit.
    Promoting(Course),
    /// Over.
    Closed(End),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The change is on the branch, or was there already.
    Passed,
    /// What the order asks for holds on the base.
    Satisfied,
    /// A failure that another attempt cannot mend.
    Stopped(FailureClass),
    /// Every attempt failed, the last one so.
    Exhausted(FailureClass),
    /// The same rejection [`REPEATS`] times in a row.
    Repeating,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing speaks against asking the model.
    Ready,
    /// What the order asks for holds on the base: nothing is to be done.
    Satisfied,
    /// The answer is stored.
    Answered,
    /// The provider failed in passing and may be asked again after this time.
    Unanswered(Duration),
    /// The provider limits requests and may be asked again after this time.
    Limited(Duration),
    /// The time is over.
    Waited,
    /// The proposal is in scope and the candidate is built.
    Built,
    /// The candidate passed.
    Passed,
    /// The branch has the change.
    Promoted,
    /// Something went wrong. The fingerprint is equal for failures that look the same.
    Failed(FailureClass, Sha256),
}

/// The state that follows from `event` in `state`.
pub fn next(rules: &Rules, state: State, event: Event) -> State {
    use FailureClass as Class;
    match (state, event) {
        (State::Closed(end), _) => State::Closed(end),
        (State::Preflight | State::Verifying(_), Event::Satisfied) => State::Closed(End::Satisfied),
        (State::Preflight, Event::Ready) => State::Asking(Course::FIRST, Patience::default()),
        (State::Asking(course, _), Event::Answered) => State::Building(course),
        (State::Asking(course, patience), Event::Unanswered(delay)) => {
            wait(course, rest(rules, patience, delay, false))
        }
        (State::Asking(course, patience), Event::Limited(delay)) => wait(course, rest(rules, patience, delay, true)),
        (State::Waiting(course, patience, _), Event::Waited) => State::Asking(course, patience),
        (State::Building(course), Event::Built) => State::Verifying(course),
        (State::Verifying(course), Event::Passed) => State::Promoting(course),
        (State::Promoting(_), Event::Promoted) => State::Closed(End::Passed),
        (State::Building(course) | State::Verifying(course), Event::Failed(class, fingerprint))
        // A provider can answer with something that is no text: an unusable answer, found early.
        | (State::Asking(course, _), Event::Failed(class @ Class::Proposal, fingerprint)) => {
            judged(rules, course, class, fingerprint)
        }
        (_, Event::Failed(class, _)) => State::Closed(End::Stopped(class)),
        (
            _,
            Event::Ready
            | Event::Satisfied
            | Event::Answered
            | Event::Unanswered(_)
            | Event::Limited(_)
            | Event::Waited
            | Event::Built
            | Event::Passed
            | Event::Promoted,
        ) => State::Closed(End::Stopped(Class::Internal)),
    }
}

fn wait(course: Course, rest: Option<(Patience, Rest)>) -> State {
    match rest {
        Some((patience, rest)) => State::Waiting(course, patience, rest),
        None => State::Closed(End::Stopped(FailureClass::ProviderTransient)),
    }
}

/// What to do about a provider that fails in passing, or limits requests, and is to be asked again after `delay`. It spends
/// no attempt, but neither its tries nor its time are unbounded. Nothing when they are used up.
pub fn rest(rules: &Rules, patience: Patience, delay: Duration, is_limit: bool) -> Option<(Patience, Rest)> {
    let failed = patience.failed.saturating_add(1);
    let waited = patience.waited.saturating_add(delay);
    if failed < rules.provider_tries && waited <= rules.provider_patience {
        let patience = Patience {
            failed,
            waited,
            ..patience
        };
        return Some((patience, Rest::Wait(delay)));
    }
    // Whoever does not say how long is asked less and less often.
    let delay = delay
        .max((patience.parked / 2).min(LONG_PARK))
        .max(Duration::from_secs(1));
    let parked = patience.parked.saturating_add(delay);
    let patience = Patience {
        parked,
        ..Patience::default()
    };
    (is_limit && parked <= rules.park).then_some((patience, Rest::Park(delay)))
}

/// The single arrow back: a judged attempt that failed leads to the next one, or to the end.
fn judged(rules: &Rules, course: Course, class: FailureClass, fingerprint: Sha256) -> State {
    use FailureClass as Class;
    let next = match class {
        // The provider's answer was unusable: its cost counts, so the attempt does too. Otherwise a model that never
        // answers within scope would run for ever.
        Class::Proposal => Course {
            rejections: None,
            ..course
        },
        Class::Rejected => {
            let repeats = match course.rejections {
                Some((last, repeats)) if last == fingerprint => repeats + 1,
                _ => 1,
            };
            if repeats >= REPEATS {
                return State::Closed(End::Repeating);
            }
            Course {
                rejections: Some((fingerprint, repeats)),
                ..course
            }
        }
        Class::Limit if course.limit_retried => return State::Closed(End::Stopped(Class::Limit)),
        Class::Limit => Course {
            limit_retried: true,
            rejections: None,
            ..course
        },
        Class::Order
        | Class::Policy
        | Class::Host
        | Class::ProviderTransient
        | Class::ProviderPermanent
        | Class::Flaky
        | Class::Budget
        | Class::Conflict
        | Class::Cancelled
        | Class::Internal => return State::Closed(End::Stopped(class)),
    };
    if course.attempt >= rules.max_attempts {
        return State::Closed(End::Exhausted(class));
    }
    State::Asking(
        Course {
            attempt: course.attempt + 1,
            ..next
        },
        Patience::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureClass as Class;

    const CLASSES: [Class; 13] = [
        Class::Order,
        Class::Proposal,
        Class::Rejected,
        Class::Policy,
        Class::Host,
        Class::ProviderTransient,
        Class::ProviderPermanent,
        Class::Limit,
        Class::Flaky,
        Class::Budget,
        Class::Conflict,
        Class::Cancelled,
        Class::Internal,
    ];

    fn states() -> Vec<State> {
        let patience = Patience::default();
        vec![
            State::Preflight,
            State::Asking(Course::FIRST, patience),
            State::Waiting(Course::FIRST, patience, Rest::Wait(Duration::from_secs(1))),
            State::Building(Course::FIRST),
            State::Verifying(Course::FIRST),
            State::Promoting(Course::FIRST),
        ]
    }

    fn events() -> Vec<Event> {
        let plain = [
            Event::Ready,
            Event::Answered,
            Event::Unanswered(Duration::from_secs(1)),
            Event::Waited,
            Event::Built,
            Event::Passed,
            Event::Promoted,
        ];
        let failed = CLASSES.map(|class| Event::Failed(class, Sha256::EMPTY));
        plain.into_iter().chain(failed).collect()
    }

    fn attempt(state: State) -> Option<u32> {
        match state {
            State::Asking(course, _) => Some(course.attempt),
            _ => None,
        }
    }

    /// Drives a run whose every candidate fails with the given classes and fingerprints in turn.
    fn judge(rules: &Rules, failures: impl IntoIterator<Item = (Class, &'static str)>) -> State {
        let mut state = next(rules, State::Preflight, Event::Ready);
        for (class, text) in failures {
            state = next(rules, state, Event::Answered);
            state = next(rules, state, Event::Built);
            state = next(rules, state, Event::Failed(class, Sha256::of(text.as_bytes())));
        }
        state
    }

    #[test]
    fn the_way_to_a_commit_has_no_shortcut() {
        let rules = Rules::default();
        let way = [
            Event::Ready,
            Event::Answered,
            Event::Built,
            Event::Passed,
            Event::Promoted,
        ];
        for (position, state) in [0, 1, 3, 4, 5].map(|n| states()[n]).into_iter().enumerate() {
            for event in events() {
                let after = next(&rules, state, event);
                match event {
                    Event::Failed(..) | Event::Unanswered(_) => assert_ne!(after, State::Closed(End::Passed)),
                    _ if event == way[position] => assert!(
                        !matches!(after, State::Closed(End::Stopped(_))),
                        "{state:?} {event:?} {after:?}"
                    ),
                    _ => assert_eq!(
                        after,
                        State::Closed(End::Stopped(Class::Internal)),
                        "{state:?} {event:?}"
                    ),
                }
            }
        }
    }

    #[test]
    fn only_a_promotion_ends_in_a_pass() {
        for state in states() {
            for event in events() {
                let passed = next(&Rules::default(), state, event) == State::Closed(End::Passed);
                let promoted = matches!((state, event), (State::Promoting(_), Event::Promoted));
                assert_eq!(passed, promoted, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn a_closed_run_stays_closed() {
        for end in [
            End::Passed,
            End::Stopped(Class::Host),
            End::Exhausted(Class::Rejected),
            End::Repeating,
        ] {
            for event in events() {
                assert_eq!(next(&Rules::default(), State::Closed(end), event), State::Closed(end));
            }
        }
    }

    #[test]
    fn only_what_the_model_can_mend_is_tried_again() {
        for class in CLASSES {
            for state in [State::Building(Course::FIRST), State::Verifying(Course::FIRST)] {
                let after = next(&Rules::default(), state, Event::Failed(class, Sha256::EMPTY));
                match class {
                    Class::Proposal | Class::Rejected | Class::Limit => assert_eq!(attempt(after), Some(2), "{class}"),
                    _ => assert_eq!(after, State::Closed(End::Stopped(class)), "{class}"),
                }
            }
        }
    }

    #[test]
    fn before_and_after_judgement_every_failure_stops() {
        for class in CLASSES {
            for state in states() {
                if matches!(state, State::Building(_) | State::Verifying(_)) {
                    continue;
                }
                let after = next(&Rules::default(), state, Event::Failed(class, Sha256::EMPTY));
                match (state, class) {
                    (State::Asking(..), Class::Proposal) => assert_eq!(attempt(after), Some(2)),
                    _ => assert_eq!(after, State::Closed(End::Stopped(class)), "{state:?} {class}"),
                }
            }
        }
    }

    #[test]
    fn attempts_end() {
        let rules = Rules {
            max_attempts: 2,
            ..Rules::default()
        };
        for class in [Class::Proposal, Class::Rejected] {
            assert_eq!(attempt(judge(&rules, [(class, "a")])), Some(2));
            assert_eq!(
                judge(&rules, [(class, "a"), (class, "b")]),
                State::Closed(End::Exhausted(class))
            );
        }
    }

    #[test]
    fn the_same_rejection_three_times_in_a_row_ends_the_run() {
        let rules = Rules::default();
        let same = (Class::Rejected, "same");
        assert_eq!(attempt(judge(&rules, [same, same])), Some(3));
        assert_eq!(judge(&rules, [same, same, same]), State::Closed(End::Repeating));
        assert_eq!(
            attempt(judge(&rules, [same, same, (Class::Rejected, "other"), same])),
            Some(5)
        );
        assert_eq!(
            attempt(judge(&rules, [same, same, (Class::Proposal, "prose"), same])),
            Some(5)
        );
    }

    #[test]
    fn unusable_answers_that_look_alike_use_all_attempts() {
        let prose = (Class::Proposal, "prose");
        assert_eq!(
            judge(&Rules::default(), [prose; 5]),
            State::Closed(End::Exhausted(Class::Proposal))
        );
    }

    #[test]
    fn a_limit_is_tried_again_once() {
        let rules = Rules::default();
        let limit = (Class::Limit, "wall");
        assert_eq!(attempt(judge(&rules, [limit])), Some(2));
        assert_eq!(judge(&rules, [limit, limit]), State::Closed(End::Stopped(Class::Limit)));
        assert_eq!(
            judge(&rules, [limit, (Class::Rejected, "a"), limit]),
            State::Closed(End::Stopped(Class::Limit))
        );
    }

    #[test]
    fn a_provider_that_fails_in_passing_spends_no_attempt_but_is_not_asked_for_ever() {
        let rules = Rules {
            provider_tries: 3,
            ..Rules::default()
        };
        let mut state = next(&rules, State::Preflight, Event::Ready);
        for failed in 1..3 {
            state = next(&rules, state, Event::Unanswered(Duration::from_secs(1)));
            assert!(matches!(state, State::Waiting(_, patience, _) if patience.failed == failed));
            state = next(&rules, state, Event::Waited);
            assert_eq!(attempt(state), Some(1));
        }
        let state = next(&rules, state, Event::Unanswered(Duration::from_secs(1)));
        assert_eq!(state, State::Closed(End::Stopped(Class::ProviderTransient)));
    }

    #[test]
    fn a_limit_parks_the_run_again_and_again_but_not_for_ever() {
        let rules = Rules {
            provider_tries: 2,
            provider_patience: Duration::from_secs(10),
            park: Duration::from_secs(100),
            ..Rules::default()
        };
        let seconds = Duration::from_secs;
        let mut state = next(&rules, State::Preflight, Event::Ready);
        let mut rested = Vec::new();
        loop {
            state = next(&rules, state, Event::Limited(seconds(8)));
            let State::Waiting(_, patience, rest) = state else {
                break;
            };
            assert!(patience.parked <= rules.park);
            rested.push(rest);
            state = next(&rules, state, Event::Waited);
            assert_eq!(attempt(state), Some(1));
        }
        let parks = [8, 8, 8, 12, 18, 27];
        let expected: Vec<_> = parks
            .iter()
            .flat_map(|park| [Rest::Wait(seconds(8)), Rest::Park(seconds(*park))])
            .chain([Rest::Wait(seconds(8))])
            .collect();
        assert_eq!(rested, expected);
        assert_eq!(state, State::Closed(End::Stopped(Class::ProviderTransient)));
    }

    #[test]
    fn without_parking_a_limit_ends_the_run_like_any_other_trouble() {
        let rules = Rules {
            park: Duration::ZERO,
            ..Rules::default()
        };
        let state = next(&rules, State::Preflight, Event::Ready);
        let long = Duration::from_secs(3600);
        for (rules, event, parks) in [
            (rules, Event::Limited(long), false),
            (Rules::default(), Event::Unanswered(long), false),
            (Rules::default(), Event::Limited(long), true),
        ] {
            let state = next(&rules, state, event);
            assert_eq!(
                matches!(state, State::Waiting(_, _, Rest::Park(delay)) if delay == long),
                parks
            );
            assert_eq!(state == State::Closed(End::Stopped(Class::ProviderTransient)), !parks);
        }
    }

    #[test]
    fn a_provider_that_wants_more_time_than_there_is_ends_the_run_at_once() {
        let rules = Rules {
            provider_patience: Duration::from_secs(10),
            ..Rules::default()
        };
        let state = next(&rules, State::Preflight, Event::Ready);
        assert_eq!(
            next(&rules, state, Event::Unanswered(Duration::from_secs(11))),
            State::Closed(End::Stopped(Class::ProviderTransient))
        );
    }
}
