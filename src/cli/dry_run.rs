//! How the plan of a dry run is shown.

use super::words;
use crate::sandbox::{FilterSummary, Mount, Plan};
use crate::verify::limit_name;
use std::path::Path;

/// The plan, one line for each thing, the kind of thing first.
pub(super) fn page(plan: &Plan, profile: &str) -> String {
    let path = |path: &Path| words::line(&path.to_string_lossy());
    let mut lines: Vec<(&str, String)> = vec![
        ("command", words::command(&plan.argv)),
        ("profile", profile.to_owned()),
        ("directory", path(&plan.cwd)),
    ];
    lines.extend(plan.program.iter().map(|program| ("program", path(program))));
    for Mount {
        at,
        kind,
        source,
        options,
    } in &plan.mounts
    {
        let from = source.iter().filter(|source| *source != at);
        let from: Vec<String> = from.map(|source| path(source)).collect();
        let from = if from.is_empty() {
            String::new()
        } else {
            format!(" of {}", from.join(" over "))
        };
        lines.push(("mount", format!("{:<28} {kind}{from}, {options}", path(at))));
    }
    let links = plan.links.iter();
    lines.extend(links.map(|(at, to)| ("link", format!("{:<28} {}", path(at), path(to)))));
    match &plan.landlock {
        None => lines.push(("landlock", "not in force".to_owned())),
        Some(landlock) => {
            lines.push((
                "landlock",
                format!("ABI {}; what no rule names is refused", landlock.abi),
            ));
            let rules = landlock.rules.iter();
            lines.extend(rules.map(|rule| ("landlock", format!("{:<28} {}", path(&rule.path), rule.rights))));
            lines.push(("landlock", format!("TCP: {}", landlock.tcp)));
            lines.push(("landlock", format!("signals, abstract sockets: {}", landlock.scope)));
        }
    }
    let FilterSummary {
        allowed,
        forbidden,
        pretended,
        answered,
        others,
        argument_rules,
    } = &plan.seccomp;
    let calls = format!(
        "{allowed} calls allowed, {forbidden} answer EPERM, {pretended} success without effect, every other number {others}"
    );
    lines.push(("seccomp", calls));
    let answers = match &answered[..] {
        [] => "no call is answered by the sandbox: uname and sysinfo tell of the host".to_owned(),
        calls => format!("{}: answered by the sandbox, nothing of the host", calls.join(", ")),
    };
    lines.push(("seccomp", answers));
    for (call, rules) in argument_rules {
        let s = if *rules == 1 { "" } else { "s" };
        lines.push(("seccomp", format!("{call}: {rules} rule{s} on its arguments")));
    }
    lines.push(("network", plan.network.to_string()));
    for limit in &plan.limits {
        let by = serde_json::to_value(limit.enforced_by).unwrap_or_default();
        let by = by.as_str().unwrap_or_default().to_owned();
        lines.push((
            "limit",
            format!("{:<28} {}, by {by}", limit_name(limit.limit), limit.requested),
        ));
    }
    lines.push(("variables", words::line(&plan.environment.join(" "))));
    lines
        .iter()
        .map(|(kind, text)| format!("{kind:<10} {text}\n"))
        .collect()
}
