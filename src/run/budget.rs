//! Money and tokens: what may be spent, what is reserved before a call, and what was spent, all of it told by the journal.
//!
//! - Before a request is sent, the most that it can cost is reserved, in the same step of the journal that announces it. Two
//!   processes cannot reserve the same dollar.
//! - What the provider reports replaces the reservation. Where it reports nothing, what was said is counted here and marked
//!   as an estimate; where nothing came back, the reservation stays.
//! - So the sum of what is settled and what is reserved never exceeds a cap, as long as no provider takes more tokens than it
//!   was allowed to; when one does, the next request finds that out.
//! - Money is limited only where the price is known: an unknown price under a cap of dollars is an error.

use super::answers::{PLAN, PROPOSAL};
use super::failure::{Failure, Situation};
use super::fold::{Opened, body};
use crate::journal::Recorded;
use crate::llm::{Price, PriceTable, Usage};
use crate::types::{FailureClass, NanoUsd, RunId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The shortest answer that is worth asking for, in tokens: a budget that affords less is used up.
const SHORTEST_ANSWER: u64 = 1024;

/// Bytes of text for a token, where nobody counted: English and code have about four, so this counts too many.
const BYTES_PER_TOKEN: u64 = 3;

/// Entries that tell of spending.
pub(super) const KINDS: [&str; 8] = [
    "run.opened",
    "plan.opened",
    PROPOSAL.request,
    PROPOSAL.answer,
    PROPOSAL.unanswered,
    PLAN.request,
    PLAN.answer,
    PLAN.unanswered,
];

/// What a cap is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One request.
    Call,
    /// All requests of one attempt.
    Attempt,
    /// All requests for one order, in all of its runs.
    Order,
    /// All requests for the orders of one plan.
    Plan,
    /// All requests of a day, in UTC.
    Day,
}

impl Scope {
    const ALL: [Scope; 5] = [Scope::Call, Scope::Attempt, Scope::Order, Scope::Plan, Scope::Day];

    /// The scope as written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Call => "call",
            Scope::Attempt => "attempt",
            Scope::Order => "order",
            Scope::Plan => "plan",
            Scope::Day => "day",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One cap as written: `order=2.50` in dollars, `day=300000tok` in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cap {
    /// What it is about.
    pub scope: Scope,
    /// How much.
    #[serde(flatten)]
    pub limit: Limit,
}

/// How much may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// So many dollars.
    Usd(NanoUsd),
    /// So many tokens, of prompts and answers together.
    Tokens(u64),
}

/// A text that is no cap.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is not a cap: write SCOPE=DOLLARS or SCOPE=TOKENStok, as in order=2.50 or day=300000tok; scopes are call, attempt, order, plan and day"
)]
pub struct CapError(String);

impl FromStr for Cap {
    type Err = CapError;

    fn from_str(text: &str) -> Result<Self, CapError> {
        let wrong = || CapError(text.to_owned());
        let (scope, amount) = text.split_once('=').ok_or_else(wrong)?;
        let scope = Scope::ALL.into_iter().find(|known| known.as_str() == scope);
        let limit = match amount.strip_suffix("tok") {
            Some(tokens) if tokens.bytes().all(|byte| byte.is_ascii_digit()) => tokens.parse().ok().map(Limit::Tokens),
            Some(_) => None,
            None => amount.parse().ok().map(Limit::Usd),
        };
        Ok(Cap {
            scope: scope.ok_or_else(wrong)?,
            limit: limit.ok_or_else(wrong)?,
        })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Usd(usd) => write!(f, "{usd}"),
            Limit::Tokens(tokens) => write!(f, "{tokens} tokens"),
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for the {}", self.limit, self.scope)
    }
}

/// What may be spent, and what things cost.
#[derive(Debug, Clone)]
pub struct Budget {
    /// The caps of the operator, all of which hold.
    pub caps: Vec<Cap>,
    /// The caps that the order itself has, which hold as well.
    pub of_order: Vec<Cap>,
    /// What models cost.
    pub prices: PriceTable,
    /// Whether the provider takes no money, as recorded answers do.
    pub is_free: bool,
}

/// Who set a cap, and so where it can be raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The operator: a flag or the settings.
    Operator,
    /// The author of the order.
    Order,
}

impl Whose {
    /// The budget of a cap, in words.
    fn budget(self, cap: &Cap) -> String {
        match self {
            Whose::Operator => format!("the budget of {cap}"),
            Whose::Order => format!("the order's own budget of {}", cap.limit),
        }
    }
}

/// An amount of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Spent {
    /// Dollars, where the price is known.
    pub usd: Option<NanoUsd>,
    /// Tokens of prompts and answers.
    pub tokens: u64,
}

/// What a call costs where nobody is paid.
const NOTHING: Spent = Spent {
    usd: Some(NanoUsd::ZERO),
    tokens: 0,
};

impl Spent {
    fn plus(self, other: Spent) -> Self {
        Spent {
            usd: match (self.usd, other.usd) {
                (Some(one), Some(two)) => Some(one.plus(two)),
                (one, two) => one.or(two),
            },
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }
}

/// What a call cost, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// How much.
    #[serde(flatten)]
    pub spent: Spent,
    /// Whether it was counted here, because the provider did not say.
    pub estimated: bool,
}

/// One request, told by the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The run that sent it.
    pub run: RunId,
    /// The attempt that it was for.
    pub attempt: Option<u32>,
    /// The order that it was for; empty when it was for a plan.
    pub order_id: String,
    /// The plan that the order belongs to, or that was made.
    pub plan: Option<String>,
    /// The model that was asked.
    pub model: String,
    /// When it was announced, in milliseconds since 1970-01-01 UTC.
    pub at_ms: u64,
    /// The most that it can cost.
    pub reserved: Spent,
    /// What it did cost; nothing while that is not known, and for ever when the process was killed.
    pub settled: Option<Settled>,
}

impl Call {
    /// What counts: what it did cost, or else the most that it can.
    pub fn counts(&self) -> Spent {
        self.settled.map_or(self.reserved, |settled| settled.spent)
    }
}

/// The requests that entries tell of. Entries of version 1 know no reservations, and count for what was reported.
pub fn calls(entries: &[Recorded]) -> Vec<Call> {
    let mut opened: BTreeMap<RunId, Opened> = BTreeMap::new();
    // The models by which plans were made.
    let mut planners: BTreeMap<RunId, String> = BTreeMap::new();
    let mut calls: Vec<Call> = Vec::new();
    // The request of a run that is not settled yet: a run sends one at a time.
    let mut pending: BTreeMap<RunId, usize> = BTreeMap::new();
    for entry in entries {
        match entry.kind.as_str() {
            "run.opened" => {
                if let Ok(body) = body::<Opened>(entry) {
                    opened.insert(entry.run, body);
                }
            }
            "plan.opened" => {
                planners.insert(entry.run, field(entry, "model").unwrap_or_default());
            }
            kind if kind == PLAN.request => {
                pending.insert(entry.run, calls.len());
                calls.push(Call {
                    run: entry.run,
                    attempt: entry.attempt,
                    order_id: String::new(),
                    plan: Some(entry.run.to_string()),
                    model: planners.get(&entry.run).cloned().unwrap_or_default(),
                    at_ms: entry.at_ms,
                    reserved: field(entry, "reserved").unwrap_or_default(),
                    settled: None,
                });
            }
            kind if kind == PROPOSAL.request => {
                let of = opened.get(&entry.run);
                pending.insert(entry.run, calls.len());
                calls.push(Call {
                    run: entry.run,
                    attempt: entry.attempt,
                    order_id: of.map(|of| of.order_id.clone()).unwrap_or_default(),
                    plan: of.and_then(|of| of.plan.clone()),
                    model: of.map(|of| of.model.clone()).unwrap_or_default(),
                    at_ms: entry.at_ms,
                    reserved: field(entry, "reserved").unwrap_or_default(),
                    settled: None,
                });
            }
            _ => {
                if let Some(call) = pending.remove(&entry.run).and_then(|index| calls.get_mut(index)) {
                    call.settled = field(entry, "settled").or_else(|| reported(entry));
                }
            }
        }
    }
    calls
}

fn field<T: serde::de::DeserializeOwned>(entry: &Recorded, name: &str) -> Option<T> {
    T::deserialize(entry.body.get(name)?).ok()
}

/// What an entry of version 1 reported.
fn reported(entry: &Recorded) -> Option<Settled> {
    if entry.version > 1 {
        return None;
    }
    let usage: Usage = field(entry, "usage")?;
    Some(Settled {
        spent: Spent {
            usd: None,
            tokens: usage.input_tokens.saturating_add(usage.output_tokens),
        },
        estimated: false,
    })
}

/// What a request is about, for the caps.
#[derive(Debug, Clone)]
pub(super) struct About<'a> {
    pub(super) run: RunId,
    pub(super) attempt: u32,
    pub(super) order_id: &'a str,
    pub(super) plan: Option<&'a str>,
    pub(super) at_ms: u64,
}

impl About<'_> {
    /// Whether a call counts for a cap of this scope on this request.
    fn covers(&self, scope: Scope, call: &Call) -> bool {
        match scope {
            Scope::Call => false,
            Scope::Attempt => call.run == self.run && call.attempt == Some(self.attempt),
            Scope::Order => call.order_id == self.order_id && call.plan.as_deref() == self.plan,
            Scope::Plan => self.plan.is_some() && call.plan.as_deref() == self.plan,
            Scope::Day => call.at_ms / DAY_MS == self.at_ms / DAY_MS,
        }
    }
}

/// What a request may cost at most, and how long its answer may be so that it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reservation {
    pub(super) ceiling: Spent,
    pub(super) max_output_tokens: u64,
}

impl Budget {
    /// No caps, and the built-in prices.
    pub fn unlimited() -> Self {
        Budget {
            caps: Vec::new(),
            of_order: Vec::new(),
            prices: PriceTable::built_in(),
            is_free: false,
        }
    }

    /// Every cap that holds.
    pub(super) fn all_caps(&self) -> impl Iterator<Item = &Cap> {
        self.caps_by_whose().map(|(_, cap)| cap)
    }

    fn caps_by_whose(&self) -> impl Iterator<Item = (Whose, &Cap)> {
        let of_operator = self.caps.iter().map(|cap| (Whose::Operator, cap));
        of_operator.chain(self.of_order.iter().map(|cap| (Whose::Order, cap)))
    }

    /// Refuses a cap of dollars on a model whose price nobody knows.
    ///
    /// # Errors
    /// `Policy` with the cap.
    pub(super) fn require_price(&self, model: Option<&str>) -> Result<(), Failure> {
        let in_dollars = self.caps_by_whose().find(|(_, cap)| matches!(cap.limit, Limit::Usd(_)));
        let Some((whose, cap)) = in_dollars.filter(|_| !self.is_free && self.price(model).is_none()) else {
            return Ok(());
        };
        let which = model.map_or("a model without a name".to_owned(), |model| {
            format!("the model {model:?}")
        });
        let message = match whose {
            Whose::Operator => format!("what {which} costs is not known, and the budget is {cap}"),
            Whose::Order => format!(
                "what {which} costs is not known, and the order's own budget is {}",
                cap.limit
            ),
        };
        Err(Failure::plain(FailureClass::Policy, message)
            .in_situation(Situation::Document)
            .with_hint("add the model to a price table and give it with --prices FILE, or limit tokens, as in --budget order=300000tok"))
    }

    fn price(&self, model: Option<&str>) -> Option<&Price> {
        model.and_then(|model| self.prices.find(model))
    }

    /// What to reserve for a request with a prompt of so many bytes and an answer of at most `wanted` tokens, beside what
    /// `calls` count for; the answer is shortened to what is affordable.
    ///
    /// # Errors
    /// `Budget` when not even a short answer is.
    pub(super) fn reserve(
        &self,
        calls: &[Call],
        about: &About<'_>,
        model: Option<&str>,
        (prompt_bytes, wanted): (u64, u64),
    ) -> Result<Reservation, Failure> {
        if self.is_free {
            return Ok(Reservation {
                ceiling: NOTHING,
                max_output_tokens: wanted,
            });
        }
        // No token is shorter than a byte; the rest is what surrounds the texts in a request.
        let input = prompt_bytes.saturating_add(512);
        let price = self.price(model);
        let mut output = wanted;
        for (whose, cap) in self.caps_by_whose() {
            let covered = calls.iter().filter(|call| about.covers(cap.scope, call));
            let spent = covered.map(Call::counts).fold(Spent::default(), Spent::plus);
            // Nothing when not even the prompt is paid for.
            let affordable = match cap.limit {
                Limit::Tokens(limit) => limit.saturating_sub(spent.tokens).checked_sub(input),
                Limit::Usd(limit) => price.map_or(Some(u64::MAX), |price| {
                    let left = limit.minus(spent.usd.unwrap_or_default());
                    (price.ceiling(input, 0) <= left).then(|| price.affordable_output(input, left))
                }),
            };
            let Some(affordable) = affordable.filter(|affordable| *affordable >= SHORTEST_ANSWER.min(wanted)) else {
                return Err(exhausted(whose, cap, &spent));
            };
            output = output.min(affordable);
        }
        Ok(Reservation {
            ceiling: Spent {
                usd: price.map(|price| price.ceiling(input, output)),
                tokens: input.saturating_add(output),
            },
            max_output_tokens: output,
        })
    }

    /// What a call cost: as reported, or counted here by the length of what was said, in bytes: the prompt and the answer,
    /// which has at most so many tokens, whatever its length.
    pub(super) fn settle(
        &self,
        model: Option<&str>,
        usage: Option<&Usage>,
        said: (usize, usize),
        most_output: u64,
    ) -> Settled {
        if self.is_free {
            return Settled {
                spent: NOTHING,
                estimated: false,
            };
        }
        let counted = Usage {
            input_tokens: tokens_of(said.0),
            output_tokens: tokens_of(said.1).min(most_output),
            ..Usage::default()
        };
        // No text is without tokens: a server that reports none does not count, and would make every budget boundless.
        let is_counted = |reported: u64, bytes: usize| reported > 0 || bytes == 0;
        let mut used = usage.copied().unwrap_or(counted);
        let mut estimated = usage.is_none();
        if !is_counted(used.input_tokens, said.0) {
            (used.input_tokens, estimated) = (counted.input_tokens, true);
        }
        if !is_counted(used.output_tokens, said.1) {
            (used.output_tokens, estimated) = (counted.output_tokens, true);
        }
        Settled {
            spent: Spent {
                usd: self.price(model).map(|price| price.cost(&used)),
                tokens: used.input_tokens.saturating_add(used.output_tokens),
            },
            estimated,
        }
    }
}

fn tokens_of(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(BYTES_PER_TOKEN)
}

fn exhausted(whose: Whose, cap: &Cap, spent: &Spent) -> Failure {
    let so_far = match (cap.limit, spent.usd) {
        (Limit::Usd(_), Some(usd)) => usd.to_string(),
        (Limit::Usd(_), None) => NanoUsd::ZERO.to_string(),
        (Limit::Tokens(_), _) => format!("{} tokens", spent.tokens),
    };
    let remedy = match (whose, cap.limit) {
        (Whose::Operator, _) => format!("raise the cap with --budget {}=AMOUNT", cap.scope),
        (Whose::Order, Limit::Usd(_)) => in_the_order("usd"),
        (Whose::Order, Limit::Tokens(_)) => in_the_order("tokens"),
    };
    Failure::plain(
        FailureClass::Budget,
        format!("{} does not allow another request", whose.budget(cap)),
    )
    .because(format!(
        "{so_far} are spent or reserved, and what is left pays for no useful answer"
    ))
    .with_hint(format!(
        "see `factory cost`; {remedy}, or take a smaller model or context"
    ))
}

/// Where the author of an order raises what it may cost. No flag does that: an order's budget holds beside the operator's.
fn in_the_order(unit: &str) -> String {
    format!("the order sets this cap itself: raise its `budget.{unit}`, which --budget cannot")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Phase;
    use crate::types::Sha256;
    use proptest::prelude::*;
    use serde_json::json;

    const PRICES: &str = "schema = 1\nversion = \"t\"\n[[model]]\nname = \"m\"\ninput = \"1\"\noutput = \"10\"\n";

    fn budget(caps: &[&str]) -> Budget {
        Budget {
            caps: caps.iter().map(|cap| cap.parse().unwrap()).collect(),
            of_order: Vec::new(),
            prices: PriceTable::parse(PRICES).unwrap(),
            is_free: false,
        }
    }

    fn about(run: RunId) -> About<'static> {
        About {
            run,
            attempt: 1,
            order_id: "WO-1",
            plan: None,
            at_ms: 5,
        }
    }

    fn call(run: RunId, reserved: Spent, settled: Option<Settled>) -> Call {
        Call {
            run,
            attempt: Some(1),
            order_id: "WO-1".to_owned(),
            plan: None,
            model: "m".to_owned(),
            at_ms: 1,
            reserved,
            settled,
        }
    }

    fn run(n: u128) -> RunId {
        RunId::new(ulid::Ulid(n))
    }

    #[test]
    fn caps_are_read_as_written() {
        for (text, shown) in [
            ("order=2.50", "$2.50 for the order"),
            ("day=300000tok", "300000 tokens for the day"),
            ("call=$0.000001", "$0.000001 for the call"),
        ] {
            assert_eq!(text.parse::<Cap>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "order",
            "order=",
            "order=-1",
            "order=1e3",
            "week=1",
            "order=tok",
            "order=1 tok",
            "order=+1tok",
        ] {
            assert!(text.parse::<Cap>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_answer_is_shortened_to_what_is_affordable_and_refused_when_that_is_useless() {
        // 1000 bytes of prompt and the rest of a request are 1512 tokens at most.
        let reserve = |cap: &str, wanted| budget(&[cap]).reserve(&[], &about(run(1)), Some("m"), (1000, wanted));
        let whole = reserve("order=1", 50_000).unwrap();
        assert_eq!(whole.max_output_tokens, 50_000);
        assert_eq!(whole.ceiling.usd, "0.501512".parse().ok());
        let shorter = reserve("order=0.1", 50_000).unwrap();
        assert_eq!(shorter.max_output_tokens, 9848);
        assert!(shorter.ceiling.usd <= "0.1".parse().ok());
        assert_eq!(reserve("call=10000tok", 50_000).unwrap().max_output_tokens, 8488);
        for useless in ["order=0", "order=0.01", "day=0tok", "call=2000tok"] {
            let failure = reserve(useless, 50_000).unwrap_err();
            assert_eq!(failure.class, FailureClass::Budget, "{useless}");
            assert!(failure.hint.unwrap().contains("factory cost"));
        }
    }

    #[test]
    fn a_refusal_says_whose_cap_it_is_and_where_that_is_raised() {
        let refusal = |caps: &[&str], of_order: &[&str]| {
            let budget = Budget {
                of_order: budget(of_order).caps,
                ..budget(caps)
            };
            let refused = budget
                .reserve(&[], &about(run(1)), Some("m"), (1000, 1000))
                .unwrap_err();
            format!("{}; {}", refused.message, refused.hint.unwrap())
        };
        let operator = refusal(&["order=10tok"], &["order=10tok"]);
        assert!(operator.contains("the budget of 10 tokens for the order"), "{operator}");
        assert!(operator.contains("--budget order=AMOUNT"), "{operator}");
        for (cap, unit) in [("order=10tok", "tokens"), ("order=0.0001", "usd")] {
            let order = refusal(&["order=9"], &[cap]);
            assert!(
                order.contains("the order's own budget of ") && !order.contains("=AMOUNT"),
                "{order}"
            );
            assert!(
                order.contains(&format!("raise its `budget.{unit}`, which --budget cannot")),
                "{order}"
            );
        }
        let own = Budget {
            of_order: budget(&["order=1"]).caps,
            ..budget(&[])
        };
        let unpriced = own.require_price(Some("other")).unwrap_err();
        assert!(
            unpriced.message.contains("the order's own budget is $1.00"),
            "{unpriced:?}"
        );
    }

    #[test]
    fn a_cap_of_dollars_needs_a_price_and_a_cap_of_tokens_none() {
        for (caps, model, refused) in [
            (&["order=1"][..], Some("m"), false),
            (&["order=1"], Some("unknown"), true),
            (&["order=1"], None, true),
            (&["order=1000tok"], None, false),
            (&[], None, false),
        ] {
            assert_eq!(
                budget(caps).require_price(model).is_err(),
                refused,
                "{caps:?} {model:?}"
            );
        }
        let free = Budget {
            is_free: true,
            ..budget(&["order=1"])
        };
        assert!(free.require_price(None).is_ok());
        assert_eq!(free.settle(None, None, (10, 10), 5).spent.usd, Some(NanoUsd::ZERO));
    }

    #[test]
    fn each_scope_counts_what_it_is_about() {
        let spent = |tokens| Spent { usd: None, tokens };
        let own = call(run(1), spent(100), None);
        let calls = [
            own.clone(),
            Call {
                attempt: Some(2),
                ..own.clone()
            },
            Call {
                run: run(2),
                ..own.clone()
            },
            Call {
                order_id: "WO-2".to_owned(),
                ..own.clone()
            },
            Call {
                plan: Some("p".to_owned()),
                ..own.clone()
            },
            Call { at_ms: DAY_MS, ..own },
        ];
        let about = about(run(1));
        let counted = |scope| calls.iter().filter(|call| about.covers(scope, call)).count();
        assert_eq!(Scope::ALL.map(counted), [0, 4, 4, 0, 5]);
        let planned = About {
            plan: Some("p"),
            ..about.clone()
        };
        let counted = |scope| calls.iter().filter(|call| planned.covers(scope, call)).count();
        assert_eq!(Scope::ALL.map(counted), [0, 4, 1, 1, 5]);
    }

    #[test]
    fn what_is_not_reported_is_counted_here_and_marked() {
        let settle = |usage: Option<Usage>, most| budget(&[]).settle(Some("m"), usage.as_ref(), (300, 30), most);
        let settled = settle(None, u64::MAX);
        assert_eq!((settled.spent.tokens, settled.estimated), (110, true));
        assert_eq!(settled.spent.usd, "0.0002".parse().ok());
        assert_eq!(settle(None, 7).spent.tokens, 107, "the server was told to say no more");
        for (input, output, tokens) in [(0, 0, 110), (5, 0, 15), (0, 1, 101)] {
            let usage = Usage {
                input_tokens: input,
                output_tokens: output,
                ..Usage::default()
            };
            let settled = settle(Some(usage), u64::MAX);
            assert_eq!((settled.spent.tokens, settled.estimated), (tokens, true), "{usage:?}");
        }
        let usage = Usage {
            input_tokens: 5,
            output_tokens: 1,
            ..Usage::default()
        };
        let settled = settle(Some(usage), 0);
        assert_eq!((settled.spent.tokens, settled.estimated), (6, false));
    }

    #[test]
    fn the_journal_tells_what_was_reserved_and_what_was_settled() {
        let entry = |kind: &str, body| Recorded {
            seq: 1,
            version: 2,
            at_ms: 7,
            run: run(1),
            phase: Phase::Fact,
            kind: kind.to_owned(),
            attempt: Some(1),
            body,
            hash: Sha256::EMPTY,
        };
        let reserved = Spent {
            usd: Some(NanoUsd(9)),
            tokens: 9,
        };
        let settled = Settled {
            spent: Spent {
                usd: Some(NanoUsd(2)),
                tokens: 3,
            },
            estimated: false,
        };
        let request = entry("proposal.request", json!({ "reserved": reserved }));
        let entries = [
            request.clone(),
            entry("proposal.answer", json!({ "settled": settled })),
            request.clone(),
            entry("proposal.unanswered", json!({ "settled": null })),
            request,
        ];
        let counts: Vec<_> = calls(&entries).iter().map(Call::counts).collect();
        assert_eq!(counts, [settled.spent, reserved, reserved]);
    }

    /// What happens to a request that was reserved.
    #[derive(Debug, Clone, Copy)]
    enum End {
        /// The provider reports so much, in parts of a thousand of what it was allowed.
        Reported(u64, u64),
        /// The provider reports nothing, or zero, and says so many bytes.
        Unreported(usize),
        /// It came to nothing, and nobody knows what it cost.
        Lost,
    }

    proptest! {
        /// Several processes reserve, call, settle and crash in any order; each may have several requests open.
        #[test]
        fn whatever_happens_no_cap_is_exceeded(
            steps in proptest::collection::vec((0u8..5, 0usize..8, 0u64..200_000, 0u64..60_000, 0u64..=1000, 0u64..=1000), 1..60),
            usd in 0u64..3_000_000_000,
            tokens in 0u64..2_000_000,
        ) {
            let budget = Budget {
                caps: vec![
                    Cap { scope: Scope::Order, limit: Limit::Usd(NanoUsd(usd)) },
                    Cap { scope: Scope::Day, limit: Limit::Tokens(tokens) },
                ],
                ..budget(&[])
            };
            let mut calls: Vec<Call> = Vec::new();
            let mut open: Vec<(usize, u64, u64, u64)> = Vec::new();
            for (action, which, bytes, wanted, input, output) in steps {
                if action < 2 {
                    let about = about(run(which as u128));
                    if let Ok(reservation) = budget.reserve(&calls, &about, Some("m"), (bytes, wanted)) {
                        open.push((calls.len(), bytes, bytes + 512, reservation.max_output_tokens));
                        calls.push(call(about.run, reservation.ceiling, None));
                    }
                } else if !open.is_empty() {
                    let (index, bytes, most_input, most_output) = open.swap_remove(which % open.len());
                    let bytes = usize::try_from(bytes).unwrap();
                    let end = match action {
                        2 => End::Reported(input, output),
                        3 => End::Unreported(usize::try_from(wanted).unwrap() * 4),
                        _ => End::Lost,
                    };
                    calls[index].settled = match end {
                        End::Reported(input, output) => {
                            let usage = Usage {
                                input_tokens: most_input * input / 1000,
                                output_tokens: most_output * output / 1000,
                                ..Usage::default()
                            };
                            Some(budget.settle(Some("m"), Some(&usage), (bytes, 100), most_output))
                        }
                        End::Unreported(said) => {
                            let usage = (input > 500).then(Usage::default);
                            Some(budget.settle(Some("m"), usage.as_ref(), (bytes, said), most_output))
                        }
                        End::Lost => None,
                    };
                }
                let spent = calls.iter().map(Call::counts).fold(Spent::default(), Spent::plus);
                prop_assert!(spent.usd.unwrap_or_default() <= NanoUsd(usd), "{spent:?}");
                prop_assert!(spent.tokens <= tokens, "{spent:?}");
            }
        }
    }
}
