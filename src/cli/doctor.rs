//! `factory doctor`: can this host do what a profile asks for?

use super::{exit, output, problem, provider, run, words};
use crate::config::Settings;
use crate::doctor::{
    self, Check, Consequence, Examination, Kind, Loaded, ProviderExamination, Question, Readiness, Status,
};
use crate::run::{Failure, Situation, sandbox_failure};
use crate::sandbox::{load_profile, profile_names};
use crate::types::{FailureClass, escape_control};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Says whether this host can run a profile, and what to do where it cannot. Changes nothing.
///
/// With --provider it looks at the way to that provider instead, stage by stage, down to one answer of a few tokens.
///
/// Exits with 0 when the profile can run, 21 when a layer of the sandbox is missing, 20 when something else of the host is
/// in the way, 78 when the profile is invalid; for a provider with 0, 3, 20, 75 or 77, as a run would.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The profile that is to run [default: verify].
    #[arg(long, value_name = "NAME", conflicts_with = "provider")]
    profile: Option<String>,
    /// A directory of the repository whose verification is to run.
    #[arg(long, value_name = "DIR", default_value = ".", conflicts_with = "provider")]
    repo: PathBuf,
    #[command(flatten)]
    provider: provider::Arguments,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn doctor(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    if arguments.provider.provider.is_some() {
        return examine_provider(arguments, settings);
    }
    if arguments.provider.is_headless() {
        return Err(problem::usage("no provider is named for these flags").with_hint("give --provider PROVIDER"));
    }
    let question = question(arguments, settings)?;
    let examination = run::runtime()?.block_on(doctor::examine(question));
    let failure = refusal(&examination);
    if arguments.json {
        output::json(&document(&examination, failure.as_ref()))?;
    } else {
        output::text(&page(&examination))?;
        if let Some(failure) = &failure {
            output::problem(failure, false);
        }
    }
    Ok(exit::code(failure.as_ref()))
}

fn examine_provider(arguments: &Arguments, settings: &Settings) -> Result<u8, Failure> {
    let provider::Chosen { mut provider, model } = provider::provider(&arguments.provider, settings)?;
    let examined = run::runtime()?.block_on(doctor::examine_provider(&mut provider, model.as_deref()));
    let failure = provider_failure(&examined);
    if arguments.json {
        output::json(&json!({
            "schema": 1,
            "provider": examined.provider,
            "model": examined.model,
            "can_run": failure.is_none(),
            "exit_code": exit::code(failure.as_ref()),
            "problem": failure.as_ref().map(problem::json),
            "checks": examined.checks,
        }))?;
    } else {
        let mut page = table(&examined.checks);
        if failure.is_none() {
            page.push_str(&format!("\n{} can be asked\n", words::line(&examined.provider)));
        }
        output::text(&page)?;
        if let Some(failure) = &failure {
            output::problem(failure, false);
        }
    }
    Ok(exit::code(failure.as_ref()))
}

/// Why the provider cannot be asked, with the stage that fails.
fn provider_failure(examined: &ProviderExamination) -> Option<Failure> {
    let (stage, error) = examined.failure.as_ref()?;
    let failure = provider::failure(error);
    let causes = std::iter::once(failure.message).chain(failure.causes).collect();
    let message = format!("{} cannot be asked: {stage} fails", examined.provider);
    Some(Failure {
        message,
        causes,
        ..failure
    })
}

fn question(arguments: &Arguments, settings: &Settings) -> Result<Question, Failure> {
    let temp = settings.environment().variable("TMPDIR").map(PathBuf::from);
    let plain = |error| Failure::new(&error, Situation::Plain);
    let profile = settings.profile(arguments.profile.as_deref()).value;
    Ok(Question {
        profiles: profiles(&profile, settings)?,
        profile,
        repository: arguments.repo.clone(),
        // Without /proc there is only what this process was called by.
        program: run::own_program().unwrap_or_else(|_| std::env::args_os().next().unwrap_or_default().into()),
        search_path: settings.environment().search_path().to_owned(),
        places: vec![
            ("state", settings.state_dir(None).map_err(plain)?.value),
            ("cache", settings.cache_dir().map_err(plain)?.value),
            (
                "temp",
                temp.filter(|path| path.is_absolute()).unwrap_or_else(|| "/tmp".into()),
            ),
        ],
    })
}

/// Every profile that there is, and the one asked for, which may be none of them.
fn profiles(wanted: &str, settings: &Settings) -> Result<Vec<Loaded>, Failure> {
    run::with_operator(settings, None, |operator| {
        let mut names = profile_names(operator).map_err(|error| sandbox_failure(&error))?;
        if !names.iter().any(|name| name == wanted) {
            names.push(wanted.to_owned());
        }
        let load = |name: String| {
            let policy = load_profile(&name, operator);
            (name, policy)
        };
        Ok(names.into_iter().map(load).collect())
    })
}

/// Why the profile cannot run on this host.
fn refusal(examination: &Examination) -> Option<Failure> {
    let Readiness::Refused(kind, ids) = examination.readiness() else {
        return None;
    };
    let profile = &examination.profile;
    let (class, situation, what) = match kind {
        Kind::Profile => (FailureClass::Policy, Situation::Document, "cannot be read"),
        Kind::Layer => (
            FailureClass::Host,
            Situation::Sandbox,
            "cannot run on this host: a layer of the sandbox is missing",
        ),
        Kind::Host | Kind::Provider => (FailureClass::Host, Situation::Plain, "cannot run on this host"),
    };
    let refusing = |check: &&Check| ids.contains(&check.id);
    let checks = examination.checks.iter().filter(refusing);
    let remedies = examination
        .checks
        .iter()
        .filter(refusing)
        .find_map(|check| check.remedy.as_ref());
    let failure = Failure {
        causes: checks.map(|check| format!("{}: {}", check.id, check.found)).collect(),
        ..Failure::plain(class, format!("profile `{profile}` {what}")).in_situation(situation)
    };
    Some(match remedies {
        Some(remedy) => failure.with_hint(format!("({}) {}", remedy.who.as_str(), remedy.text.trim_end())),
        None => failure,
    })
}

fn document(examination: &Examination, failure: Option<&Failure>) -> Value {
    json!({
        "schema": 1,
        "profile": examination.profile,
        "can_run": failure.is_none(),
        "exit_code": exit::code(failure),
        "problem": failure.map(problem::json),
        "checks": examination.checks,
        "facts": examination.facts,
    })
}

/// A line for each check, explained where it found something.
fn table(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.id.len()).max().unwrap_or(0).max(15);
    let line = |check: &Check| {
        let (status, found) = (check.status.as_str(), words::line(&check.found));
        format!("{status:<8} {:<width$} {found}\n", check.id)
    };
    checks
        .iter()
        .map(line)
        .chain(
            checks
                .iter()
                .filter(explains)
                .map(|check| format!("\n{}", explained(check))),
        )
        .collect()
}

/// Whether a check found something that is more than a line.
fn explains(check: &&Check) -> bool {
    match check.status {
        Status::Ok => false,
        Status::Warn | Status::Fail => true,
        // That something else failed before is said in its line.
        Status::Unknown => check.remedy.is_some(),
    }
}

/// A table of all checks, and what follows from it.
fn page(examination: &Examination) -> String {
    let mut page = table(&examination.checks);
    page.push('\n');
    if examination.readiness() == Readiness::Ready {
        page.push_str(&format!(
            "profile `{}` can run on this host\n",
            words::line(&examination.profile)
        ));
    }
    page
}

fn explained(check: &Check) -> String {
    /// More would hide what matters; `--json` has it all.
    const MOST_EVIDENCE: usize = 8;
    let mut lines = format!("{}: {}\n", check.id, words::line(&check.found));
    let mut field = |name: &str, value: &str| lines.push_str(&format!("  {name:<9}{value}\n"));
    // What did not work first.
    let (worked, refused): (Vec<_>, Vec<_>) = check.evidence.iter().partition(|evidence| evidence.answer == "done");
    for evidence in refused.into_iter().chain(worked).take(MOST_EVIDENCE) {
        field(
            "tried",
            &format!("{}: {}", words::line(&evidence.tried), words::line(&evidence.answer)),
        );
    }
    if check.evidence.len() > MOST_EVIDENCE {
        field("", &format!("and {} more", check.evidence.len() - MOST_EVIDENCE));
    }
    for consequence in [Consequence::Refused, Consequence::Weaker, Consequence::Slower] {
        let effects = check.affects.iter().filter(|effect| effect.consequence == consequence);
        let names: Vec<&str> = effects.clone().map(|effect| effect.profile.as_str()).collect();
        if let Some(first) = effects.clone().next() {
            field(
                consequence.as_str(),
                &format!("{}: {}", words::line(&names.join(", ")), words::line(&first.how)),
            );
        }
    }
    if let Some(remedy) = &check.remedy {
        let text = escape_control(remedy.text.trim_end()).replace('\n', "\n           ");
        field("remedy", &format!("({}) {text}", remedy.who.as_str()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{Effect, Evidence, Remedy, Who};
    use crate::sandbox::Facts;

    fn check(id: &'static str, status: Status, found: &str) -> Check {
        Check {
            id,
            kind: Kind::Layer,
            status,
            found: found.to_owned(),
            evidence: Vec::new(),
            affects: Vec::new(),
            remedy: None,
        }
    }

    fn effect(profile: &str, consequence: Consequence, how: &str) -> Effect {
        Effect {
            profile: profile.to_owned(),
            consequence,
            how: how.to_owned(),
        }
    }

    /// What is found on a host that withholds user namespaces.
    fn examination() -> Examination {
        let create = Check {
            evidence: vec![Evidence {
                tried: "clone3(CLONE_NEWUSER)".to_owned(),
                answer: "EPERM".to_owned(),
            }],
            affects: vec![
                effect(
                    "strict",
                    Consequence::Refused,
                    "without a user namespace there is no sandbox",
                ),
                effect(
                    "verify",
                    Consequence::Refused,
                    "without a user namespace there is no sandbox",
                ),
            ],
            remedy: Some(Remedy {
                who: Who::Root,
                text: "write this to FILE:\nprofile factory {\n  userns,\n}\n".to_owned(),
            }),
            ..check("userns.create", Status::Fail, "no user namespace can be created")
        };
        let memory = Check {
            affects: vec![effect("verify", Consequence::Weaker, "memory is counted by a sampler")],
            ..check("limits.memory", Status::Warn, "no control groups are mounted")
        };
        Examination {
            profile: "verify".to_owned(),
            facts: Facts::collect("/nonexistent".as_ref(), &[]),
            checks: vec![
                check("profile", Status::Ok, "`verify` is valid"),
                create,
                check("proc", Status::Unknown, "not tried"),
                memory,
                check("git", Status::Ok, "\u{1b}[2Jlibgit2"),
            ],
        }
    }

    #[test]
    fn the_page_is_a_table_and_explains_what_is_wrong() {
        insta::assert_snapshot!(page(&examination()));
    }

    #[test]
    fn the_problem_names_the_first_remedy_and_who_can_apply_it() {
        let failure = refusal(&examination()).unwrap();
        assert_eq!(exit::code(Some(&failure)), 21);
        insta::assert_snapshot!(problem::text(&failure));
    }

    #[test]
    fn the_document_has_one_shape() {
        let examination = examination();
        let failure = refusal(&examination);
        let mut document = document(&examination, failure.as_ref());
        // The raw answers are those of this machine.
        document["facts"] = Value::from("…");
        insta::assert_snapshot!(serde_json::to_string_pretty(&document).unwrap());
    }
}
