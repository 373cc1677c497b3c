//! A verdict that was reached before, on the same bytes: read back from its record.

use super::evidence::{Rung, RungState};
use super::finding::Finding;
use super::passed::Passed;
use crate::change::ChangeSet;
use crate::types::{ObjectId, Sha256};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is kept of a verdict so that the same bytes need not be judged again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The digest of the record of the verification.
    pub evidence: Sha256,
    /// How far the candidate came.
    pub rungs: Vec<Rung>,
    /// What was wrong with it; nothing when it passed.
    pub finding: Option<Finding>,
}

/// A verdict that was reached before.
#[derive(Debug)]
#[must_use = "a verdict that nobody looks at judged nothing"]
pub enum Recalled {
    /// The candidate passed.
    Passed(Passed),
    /// A check failed.
    Rejected(Finding),
}

/// The verdict that `kept` and the record `evidence` tell of, if they tell of this change set on this base; nothing when
/// they do not, and the candidate has to be judged.
///
/// It is no less strict than judging: a record that does not have the digest under which it was kept, or in which a rung
/// failed, is no pass.
pub fn recall(kept: &Kept, evidence: &[u8], change_set: ChangeSet, base: ObjectId) -> Option<Recalled> {
    if Sha256::of(evidence) != kept.evidence {
        return None;
    }
    let record: Value = serde_json::from_slice(evidence).ok()?;
    let files: Vec<_> = change_set.digests().collect();
    let modes = change_set.modes();
    let modes = (!modes.is_empty()).then(|| json!(modes));
    if record.get("base") != Some(&json!(base))
        || record.get("files") != Some(&json!(files))
        || record.get("modes") != modes.as_ref()
        || record.get("rungs") != Some(&json!(kept.rungs))
    {
        return None;
    }
    match &kept.finding {
        Some(finding) => Some(Recalled::Rejected(finding.clone())),
        None => kept.rungs.iter().all(stands).then_some(Recalled::Passed(Passed {
            change_set,
            base,
            evidence: kept.evidence,
        })),
    }
}

fn stands(rung: &Rung) -> bool {
    !matches!(rung.state, RungState::Failed | RungState::NotReached)
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{Evidence, rungs};
    use super::*;
    use crate::change::Write;
    use crate::types::RepoPath;

    fn base() -> ObjectId {
        ObjectId::from_bytes([1; 20])
    }

    fn change_set(content: &str) -> ChangeSet {
        ChangeSet {
            summary: String::new(),
            writes: vec![Write {
                path: RepoPath::parse("a.py").unwrap(),
                base_sha256: String::new(),
                content: content.to_owned(),
                executable: None,
            }],
            ..ChangeSet::default()
        }
    }

    fn record(acceptance: RungState) -> (Kept, Vec<u8>) {
        let rungs = rungs(RungState::Passed, RungState::Passed, acceptance);
        let evidence = Evidence {
            schema: 1,
            base: base(),
            files: change_set("x")
                .digests()
                .map(|(path, digest)| (path.clone(), digest))
                .collect(),
            modes: Vec::new(),
            profile: "verify".to_owned(),
            rungs: rungs.clone(),
            golden: Vec::new(),
            commands: Vec::new(),
            postconditions: Vec::new(),
        };
        let bytes = evidence.canonical();
        let kept = Kept {
            evidence: Sha256::of(&bytes),
            rungs,
            finding: None,
        };
        (kept, bytes)
    }

    #[test]
    fn a_pass_is_recalled_for_the_same_bytes_on_the_same_base_only() {
        let (kept, bytes) = record(RungState::Passed);
        let recalled = |content, base| recall(&kept, &bytes, change_set(content), base);
        assert!(matches!(recalled("x", base()), Some(Recalled::Passed(passed)) if passed.evidence() == kept.evidence));
        assert!(recalled("y", base()).is_none());
        assert!(recalled("x", ObjectId::from_bytes([2; 20])).is_none());
        assert!(recall(&kept, b"{}", change_set("x"), base()).is_none());
    }

    #[test]
    fn a_record_of_a_fall_is_never_a_pass() {
        for state in [RungState::Failed, RungState::NotReached] {
            let (kept, bytes) = record(state);
            assert!(recall(&kept, &bytes, change_set("x"), base()).is_none());
        }
        // Nor is one whose rungs were touched up.
        let (fallen, bytes) = record(RungState::Failed);
        let (passed, _) = record(RungState::Passed);
        let forged = Kept {
            rungs: passed.rungs,
            ..fallen
        };
        assert!(recall(&forged, &bytes, change_set("x"), base()).is_none());
    }
}
