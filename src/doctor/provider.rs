//! The way to a provider's answer, stage by stage.

use super::{Check, PROVIDER_CHECKS, Status, Who};
use crate::llm::{Found, LlmError, ProbeStage, Provider, probe};
use crate::types::Problem as _;

/// What an examination of a provider found.
#[derive(Debug)]
pub struct ProviderExamination {
    /// The provider in a few words, without secrets.
    pub provider: String,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The checks, in the order of [`PROVIDER_CHECKS`].
    pub checks: Vec<Check>,
    /// The check that fails, and why.
    pub failure: Option<(&'static str, LlmError)>,
}

/// Examines a provider. It costs one completion of a few tokens at most; nothing is changed by it.
pub async fn examine_provider(provider: &mut Provider, model: Option<&str>) -> ProviderExamination {
    let mut examination = ProviderExamination {
        provider: provider.describe(),
        model: model.map(str::to_owned),
        checks: Vec::new(),
        failure: None,
    };
    for found in probe(provider, model).await {
        let id = id_of(found.stage);
        examination.checks.push(check(id, &found.found));
        if let Found::Fails(error) = found.found {
            examination.failure = Some((id, error));
        }
    }
    examination
}

/// The check of a stage: both are in order.
fn id_of(stage: ProbeStage) -> &'static str {
    let place = ProbeStage::ALL.iter().position(|known| *known == stage);
    PROVIDER_CHECKS[place.expect("every stage is in the list")].0
}

fn check(id: &'static str, found: &Found) -> Check {
    match found {
        Found::Works(found) => Check::new(id, Status::Ok, found),
        Found::Doubtful(found, advice) => Check::new(id, Status::Warn, found).remedy(Who::You, advice),
        Found::Open(why) | Found::NotTried(why) => Check::new(id, Status::Unknown, why),
        Found::Fails(error) => {
            let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
            let whole: Vec<String> = std::iter::once(error.to_string())
                .chain(causes.map(ToString::to_string))
                .collect();
            Check::new(id, Status::Fail, whole.join(": ")).hint(error.hint())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_check_of_its_name() {
        for stage in ProbeStage::ALL {
            assert_eq!(id_of(stage), format!("provider.{stage:?}").to_lowercase());
        }
    }
}
