//! Does a plan keep to what commands and runs may do? Codes E111 to E113, W111 and W116.

use super::commands::{commands, is_second, needs_network, only_looks};
use super::complaint::{Code, Complaint, Complaints};
use crate::order::{Kind, OrderBudget, Resources, exposed_fields};
use crate::types::{Bytes, NanoUsd, format_duration, parse_duration};
use serde_json::Value;

/// What orders may ask for, as far as it is known. What is not known is not asked of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The most that may be spent on one order.
    pub order: OrderBudget,
    /// The most that may be spent on a plan.
    pub plan: OrderBudget,
    /// The profile's limits of a command.
    pub resources: Resources,
}

/// Checks what orders want to spend and use, and what their commands are.
pub(super) fn check(orders: &[(Value, &Value)], bounds: &Bounds, complaints: &mut Complaints) {
    for (name, order) in orders {
        let mut add = |code, message: String| complaints.add(Complaint::new(code, name, message));
        check_looks(order, &mut add);
        check_budget(order, bounds, &mut add);
        check_network(order, &mut add);
        check_resources(order, &bounds.resources, &mut add);
        exposed(name, order)
            .into_iter()
            .for_each(|complaint| complaints.add(complaint));
    }
    check_sum(orders, bounds, complaints);
}

/// Warnings about the fields of an order for which no run sends it to a model. What stands there is not repeated.
pub fn exposed(name: &Value, order: &Value) -> Vec<Complaint> {
    let warning = |(field, what)| {
        let message = format!(
            "`{field}` has what looks like {what}, and `factory run` does not send that to a model unless --allow-context names \
             the order's file; name the place where it is instead"
        );
        Complaint::new(Code::W116, name, message)
    };
    exposed_fields(order).into_iter().map(warning).collect()
}

/// An order of which every command only looks at what is there: a file with the right name would pass.
fn check_looks(order: &Value, add: &mut impl FnMut(Code, String)) {
    let commands: Option<Vec<_>> = commands(order).into_iter().map(|command| command.words.ok()).collect();
    let Some(commands) = commands.filter(|commands| !commands.is_empty()) else {
        return;
    };
    if !commands.iter().all(|words| only_looks(words)) {
        return;
    }
    let why = "every acceptance command only looks at whether something is there, or at its text, so that an empty or wrong \
               file could pass; have one run what the order makes and compare what comes out";
    // For people, of the verification itself, and of what is gone, there is nothing to be run.
    let needs_none = [Kind::Docs, Kind::Bootstrap, Kind::Remove];
    let kind = order.get("kind").and_then(Value::as_str);
    match is_second(order) {
        false => add(Code::W111, why.to_owned()),
        true if needs_none.iter().any(|exempt| kind == Some(exempt.as_str())) => {}
        true => add(Code::E111, why.to_owned()),
    }
}

fn check_network(order: &Value, add: &mut impl FnMut(Code, String)) {
    for command in commands(order) {
        let Ok(words) = command.words else { continue };
        if let Some(needs) = needs_network(&words) {
            let text = command.text;
            let why = "there is no network where commands run, and nothing can be installed there";
            add(Code::E113, format!("`{text}` needs a network (`{needs}`): {why}"));
        }
    }
}

/// A dollar amount and a number of tokens, as far as an order has them in readable form.
fn budget(order: &Value) -> OrderBudget {
    let budget = is_second(order).then(|| order.get("budget")).flatten();
    let member = |name: &str| budget.and_then(|budget| budget.get(name));
    OrderBudget {
        usd: member("usd").and_then(Value::as_str).and_then(|text| text.parse().ok()),
        tokens: member("tokens").and_then(Value::as_u64),
    }
}

fn check_budget(order: &Value, bounds: &Bounds, add: &mut impl FnMut(Code, String)) {
    let wanted = budget(order);
    for (what, cap) in [("an order", &bounds.order), ("a plan", &bounds.plan)] {
        for (wanted, most) in over(&wanted, cap) {
            add(
                Code::E112,
                format!("its budget is {wanted}, and the operator allows {most} for {what}"),
            );
        }
    }
}

/// What of a budget is above a cap, each with the cap.
fn over(wanted: &OrderBudget, cap: &OrderBudget) -> Vec<(String, String)> {
    let dollars = match (wanted.usd, cap.usd) {
        (Some(wanted), Some(cap)) if wanted > cap => Some((wanted.to_string(), cap.to_string())),
        _ => None,
    };
    let tokens = match (wanted.tokens, cap.tokens) {
        (Some(wanted), Some(cap)) if wanted > cap => Some((format!("{wanted} tokens"), format!("{cap} tokens"))),
        _ => None,
    };
    dollars.into_iter().chain(tokens).collect()
}

/// The budgets of all orders together. Orders without one are not counted: they may cost nothing.
fn check_sum(orders: &[(Value, &Value)], bounds: &Bounds, complaints: &mut Complaints) {
    let budgets: Vec<_> = orders.iter().map(|(_, order)| budget(order)).collect();
    let sum = OrderBudget {
        usd: Some(budgets.iter().filter_map(|budget| budget.usd).sum::<NanoUsd>()),
        tokens: Some(
            budgets
                .iter()
                .filter_map(|budget| budget.tokens)
                .fold(0, u64::saturating_add),
        ),
    };
    for (wanted, most) in over(&sum, &bounds.plan) {
        let message = format!("the budgets of the orders come to {wanted}, and the operator allows {most} for a plan");
        complaints.add(Complaint::of_plan(Code::E112, message));
    }
}

fn check_resources(order: &Value, limits: &Resources, add: &mut impl FnMut(Code, String)) {
    let Some(wanted) = is_second(order).then(|| order.get("resources")).flatten() else {
        return;
    };
    let text = |name: &str| wanted.get(name).and_then(Value::as_str);
    let mut over = Vec::new();
    for (name, limit) in [("wall", limits.wall), ("cpu", limits.cpu)] {
        let wanted = text(name).and_then(|text| parse_duration(text).ok());
        if let (Some(wanted), Some(limit)) = (wanted, limit)
            && wanted > limit
        {
            over.push((name, format_duration(wanted), format_duration(limit)));
        }
    }
    for (name, limit) in [
        ("memory", limits.memory),
        ("file_size", limits.file_size),
        ("output", limits.output),
    ] {
        let wanted = text(name).and_then(|text| text.parse::<Bytes>().ok());
        if let (Some(wanted), Some(limit)) = (wanted, limit)
            && wanted > limit
        {
            over.push((name, wanted.to_string(), limit.to_string()));
        }
    }
    let pids = wanted.get("pids").and_then(Value::as_u64);
    if let (Some(wanted), Some(limit)) = (pids, limits.pids)
        && wanted > limit
    {
        over.push(("pids", wanted.to_string(), limit.to_string()));
    }
    for (name, wanted, limit) in over {
        add(
            Code::E113,
            format!("`resources.{name}` is {wanted}, and the profile allows {limit}"),
        );
    }
}
