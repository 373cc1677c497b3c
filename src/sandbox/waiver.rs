//! Waivers: what an operator does without, layer by layer and by name.
//!
//! - A waiver lowers the floor and nothing else: what the host has of a waived layer is still used.
//! - Namespaces and the system call filter cannot be waived. A profile that does without them says so itself.

use super::launch::limit_keepers;
use super::policy::{Policy, Require};
use super::receipt::LANDLOCK_WITHOUT_NAMESPACES;
use super::report::LimitKind;
use super::{limits, probe};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A layer of the floor that an operator may do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Layer {
    /// The Landlock ABI that the profile requires.
    #[serde(rename = "landlock")]
    Landlock,
    /// A control group that limits memory.
    #[serde(rename = "limits.memory")]
    LimitMemory,
    /// A control group that limits processes.
    #[serde(rename = "limits.pids")]
    LimitPids,
    /// A control group that limits processor time.
    #[serde(rename = "limits.cpu")]
    LimitCpu,
}

impl Layer {
    /// Every layer.
    pub const ALL: [Layer; 4] = [Layer::Landlock, Layer::LimitMemory, Layer::LimitPids, Layer::LimitCpu];

    /// The layer as written on the command line, in journals and in commits.
    pub const fn as_str(self) -> &'static str {
        match self {
            Layer::Landlock => "landlock",
            Layer::LimitMemory => "limits.memory",
            Layer::LimitPids => "limits.pids",
            Layer::LimitCpu => "limits.cpu",
        }
    }

    /// The limit that a control group keeps, for the layers that are one.
    pub const fn limit(self) -> Option<LimitKind> {
        match self {
            Layer::Landlock => None,
            Layer::LimitMemory => Some(LimitKind::Memory),
            Layer::LimitPids => Some(LimitKind::Pids),
            Layer::LimitCpu => Some(LimitKind::Cpu),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no layer that can be waived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownLayer {
    /// Nothing runs without these, whoever asks.
    #[error("`{0}` cannot be waived; a profile that does without it says so in its own [require]")]
    NeverWaived(String),
    /// No such layer.
    #[error("there is no layer `{word}` to waive; there are {}", Layer::ALL.map(Layer::as_str).join(", "))]
    Unknown {
        /// What was asked for.
        word: String,
    },
}

impl FromStr for Layer {
    type Err = UnknownLayer;

    fn from_str(word: &str) -> Result<Self, UnknownLayer> {
        match Layer::ALL.into_iter().find(|layer| layer.as_str() == word) {
            Some(layer) => Ok(layer),
            None if ["userns", "seccomp"].contains(&word) => Err(UnknownLayer::NeverWaived(word.to_owned())),
            None => Err(UnknownLayer::Unknown { word: word.to_owned() }),
        }
    }
}

impl Policy {
    /// The floor below which a run is refused: what the profile requires, less what is waived. A profile that does without
    /// namespaces keeps its Landlock, waived or not: there is nothing else between a command and the host's files.
    pub fn floor(&self) -> Require {
        let mut floor = self.require.clone();
        for layer in &self.waive {
            match layer.limit() {
                None => floor.landlock_abi = 0,
                Some(limit) => drop(floor.limits.remove(&limit)),
            }
        }
        if !floor.userns {
            floor.landlock_abi = floor.landlock_abi.max(LANDLOCK_WITHOUT_NAMESPACES);
        }
        floor
    }

    /// Everything that a commit has to name as missing where it was verified: what the operator waived, and `userns` for a
    /// profile that does without namespaces by itself.
    pub fn went_without(&self) -> Vec<String> {
        let userns = (!self.require.userns).then(|| "userns".to_owned());
        userns
            .into_iter()
            .chain(self.waive.iter().map(ToString::to_string))
            .collect()
    }

    /// Of the layers that are waived, those that this host has, or that the profile does not require: nothing would have
    /// been refused for them.
    pub fn needless_waivers(&self) -> Vec<Layer> {
        let (landlock, keepers) = (probe::landlock(), limit_keepers());
        let held = |limit| {
            let only = Require {
                limits: [limit].into(),
                ..self.require.clone()
            };
            limits::check_floor(&self.profile, &only, &keepers).is_ok()
        };
        let is_needless = |layer: &Layer| match layer.limit() {
            None => landlock.abi >= self.require.landlock_abi,
            Some(limit) => !self.require.limits.contains(&limit) || held(limit),
        };
        self.waive.iter().copied().filter(is_needless).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::{Operator, load_profile};

    #[test]
    fn layers_read_back_as_written() {
        for layer in Layer::ALL {
            assert_eq!(layer.as_str().parse(), Ok(layer));
            assert_eq!(
                serde_json::to_value(layer).ok(),
                Some(serde_json::Value::from(layer.as_str()))
            );
        }
    }

    #[test]
    fn a_waiver_lowers_the_floor_by_what_it_names_and_nothing_else() {
        let operator = Operator {
            profiles: None,
            own: &[],
            search_path: "/usr/bin:/bin",
            variable: &|_| None,
        };
        let mut policy = load_profile("strict", &operator).expect("a built-in profile");
        policy.require.limits = [LimitKind::Memory, LimitKind::Pids, LimitKind::Cpu].into();
        assert_eq!(policy.floor(), policy.require);
        for layer in Layer::ALL {
            policy.waive = [layer].into();
            let mut expected = policy.require.clone();
            match layer.limit() {
                Some(limit) => assert!(expected.limits.remove(&limit)),
                None => expected.landlock_abi = 0,
            }
            assert_eq!(policy.floor(), expected, "{layer}");
        }
    }

    #[test]
    fn without_namespaces_landlock_is_never_waived() {
        let operator = Operator {
            profiles: None,
            own: &[],
            search_path: "/usr/bin:/bin",
            variable: &|_| None,
        };
        let mut policy = load_profile("legacy-kernel", &operator).expect("a built-in profile");
        policy.waive = [Layer::Landlock].into();
        assert_eq!(policy.floor().landlock_abi, LANDLOCK_WITHOUT_NAMESPACES);
        policy.require.userns = true;
        assert_eq!(policy.floor().landlock_abi, 0, "control");
    }

    #[test]
    fn namespaces_and_the_filter_are_never_waived() {
        for word in ["userns", "seccomp"] {
            assert_eq!(word.parse::<Layer>(), Err(UnknownLayer::NeverWaived(word.to_owned())));
        }
        let unknown = "limits.wall".parse::<Layer>().unwrap_err().to_string();
        assert!(
            unknown.contains("landlock, limits.memory, limits.pids, limits.cpu"),
            "{unknown}"
        );
    }
}
