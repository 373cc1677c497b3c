//! What an order says besides what is to be done, held against what the operator allows: limits, budget, variables, tools,
//! and what commands do on the base.
//!
//! Everything here can only tighten. An order that asks for more than the profile grants is refused by name, so that nobody
//! believes that it had it.

use super::budget::{Budget, Cap, Limit, Scope};
use super::failure::Failure;
use crate::order::{Baseline, Tool, VersionNumber, WorkOrder};
use crate::sandbox::{Limits, Outcome, Policy, Report, refuse_variable};
use crate::types::{FailureClass, escape_control, format_duration};
use crate::verify::{BaseRecord, BaseState, describe};
use std::time::Duration;

/// Narrows what is allowed to what the order asks for.
pub(super) fn narrow(order: &WorkOrder, policy: &mut Policy, budget: &mut Budget) {
    let wanted = &order.resources;
    let Limits {
        wall,
        cpu,
        memory,
        pids,
        file_size,
        output,
        ..
    } = &mut policy.limits;
    least(wall, wanted.wall);
    least(cpu, wanted.cpu);
    least(memory, wanted.memory);
    least(pids, wanted.pids);
    least(file_size, wanted.file_size);
    least(output, wanted.output);
    let protected = order.protected_files.iter();
    let protected: Vec<_> = protected
        .filter(|path| !policy.protect.contains(path))
        .cloned()
        .collect();
    policy.protect.extend(protected);
    let scope = Scope::Order;
    let usd = order.budget.usd.map(Limit::Usd);
    let tokens = order.budget.tokens.map(Limit::Tokens);
    let caps = usd.into_iter().chain(tokens).map(|limit| Cap { scope, limit });
    budget.of_order.extend(caps);
}

fn least<T: Ord>(limit: &mut T, wanted: Option<T>) {
    if let Some(wanted) = wanted.filter(|wanted| wanted < limit) {
        *limit = wanted;
    }
}

/// Refuses an order that asks for more than the profile grants. `policy` may be narrowed already.
pub(super) fn check(order: &WorkOrder, policy: &Policy) -> Result<(), Failure> {
    let (wanted, granted) = (&order.resources, &policy.limits);
    let mut refused = Vec::new();
    let mut more = |name: &str, wanted: Option<String>, granted: String| {
        if let Some(wanted) = wanted {
            refused.push(format!(
                "{name}: {wanted} is asked for, and the profile grants {granted}"
            ));
        }
    };
    let time = |wanted: Option<Duration>, granted| wanted.filter(|wanted| *wanted > granted).map(format_duration);
    more("wall", time(wanted.wall, granted.wall), format_duration(granted.wall));
    more("cpu", time(wanted.cpu, granted.cpu), format_duration(granted.cpu));
    for (name, wanted, granted) in [
        ("memory", wanted.memory, granted.memory),
        ("file_size", wanted.file_size, granted.file_size),
        ("output", wanted.output, granted.output),
    ] {
        let wanted = wanted.filter(|wanted| *wanted > granted);
        more(name, wanted.map(|wanted| wanted.to_string()), granted.to_string());
    }
    let pids = wanted.pids.filter(|wanted| *wanted > granted.pids);
    more("pids", pids.map(|pids| pids.to_string()), granted.pids.to_string());
    for (index, command) in order.acceptance_commands.iter().enumerate() {
        for name in command.env.keys() {
            if let Some(why) = refuse_variable(policy, name) {
                refused.push(format!(
                    "/acceptance/{index}/env: {} may not be set: {why}",
                    escape_control(name)
                ));
            }
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    let message = format!("the order asks for more than the profile `{}` grants", policy.profile);
    Err(Failure {
        causes: refused,
        ..Failure::plain(FailureClass::Policy, message)
            .with_hint("ask for less in the order, or name a profile that grants it with --profile")
    })
}

/// Refuses a tool that does not say that it is the version that the order needs.
pub(super) fn check_tool(tool: &Tool, report: &Report, profile: &str) -> Result<(), Failure> {
    let name = escape_control(&tool.name);
    let refused = |why: String| {
        let failure = Failure::plain(
            FailureClass::Host,
            format!("the tool `{name}` is not what the order needs"),
        );
        let hint = format!("install it where the profile `{profile}` shows it, or name another profile with --profile");
        Err(failure.because(why).with_hint(hint))
    };
    let asked = escape_control(&tool.argv.join(" "));
    if report.outcome != (Outcome::Exit { code: 0 }) {
        return refused(format!("`{asked}` {}", describe(&report.outcome)));
    }
    let Some(least) = &tool.min_version else { return Ok(()) };
    let said = [report.stdout.to_bytes(), report.stderr.to_bytes()].concat();
    match VersionNumber::find(&String::from_utf8_lossy(&said)) {
        None => refused(format!("`{asked}` names no version, and at least {least} is needed")),
        Some(found) if found.is_at_least(least) => Ok(()),
        Some(found) => refused(format!("it is version {found}, and at least {least} is needed")),
    }
}

/// Refuses an order whose commands do something else on the base than it says: they would show nothing about the work.
pub(super) fn check_base(judged: &[BaseRecord]) -> Result<(), Failure> {
    let mut causes = Vec::new();
    let mut class = FailureClass::Order;
    for one in judged {
        let command = escape_control(&one.argv.join(" "));
        let reason = || one.reason.clone().unwrap_or_default();
        match (one.expected, one.found) {
            (Baseline::Any, _) | (Baseline::Fail, BaseState::Red) | (Baseline::Pass, BaseState::Green) => {}
            (Baseline::Fail, BaseState::Green) => causes.push(format!(
                "`{command}` shows already what it has to show, so it would not show that the work was done"
            )),
            (Baseline::Pass, BaseState::Red) => {
                causes.push(format!(
                    "`{command}` has to hold before the work as well, and it {}",
                    reason()
                ));
            }
            (Baseline::Fail | Baseline::Pass, BaseState::Invalid) => causes.push(format!(
                "`{command}` fails for a reason that the work does not take away: {}",
                reason()
            )),
            (Baseline::Fail | Baseline::Pass, BaseState::Disagreed) => {
                class = FailureClass::Flaky;
                causes.push(format!("`{command}` {}", reason()));
            }
        }
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Failure {
        causes,
        ..Failure::plain(class, "the order's commands do something else on the base than it says").with_hint(
            "correct the commands, or what the order says of them with `expect_baseline`; no model was asked",
        )
    })
}
