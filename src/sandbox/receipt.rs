//! A receipt: what was promised for one command, what the kernel confirmed, and a seal over both.
//!
//! - It is taken inside the finished sandbox before the command exists; a difference that is found there ends the run.
//! - It can be judged again by anybody who has it, by the same rules, without the machine that it comes from.
//! - The seal shows that it was not altered by accident. Who can write the file can write a seal: it is no signature.

use super::policy::{Network, Policy, Require};
use super::report::Enforced;
use crate::types::Sha256;
use serde::{Deserialize, Serialize};

/// What was promised for one command, and what the kernel confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The version of this form.
    pub schema: u32,
    /// What the policy promised.
    pub promised: Promised,
    /// What the kernel confirmed.
    pub enforced: Enforced,
    /// The digest of the two above as compact JSON, in the order of their fields.
    pub seal: Sha256,
}

/// What a policy promises, as far as it can be confirmed from inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promised {
    /// The name of the profile.
    pub profile: String,
    /// The digest of the whole policy as compact JSON.
    pub policy: Sha256,
    /// The floor.
    pub require: Require,
    /// What can be reached by network.
    pub network: Network,
    /// Processes and threads together.
    pub pids: u64,
    /// Bytes of private memory of one process.
    pub data_bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Open descriptors of one process.
    pub files: u64,
}

/// The version that is written.
const SCHEMA: u32 = 1;

/// Acts that every receipt has to show refused.
const REFUSED: [&str; 10] = [
    "bpf",
    "io_uring",
    "limits of process 1",
    "mount",
    "new user namespace",
    "open /sys",
    "perf_event_open",
    "raw packets",
    "session keyring",
    "x32 call",
];

/// Acts that a receipt has to show refused besides, where the command has no namespaces of its own.
const REFUSED_BARE: [&str; 5] = [
    "connect to loopback",
    "list / (Landlock)",
    "read /proc (Landlock)",
    "signal the parent",
    "trace the parent",
];

/// The lowest Landlock ABI that can stand in for namespaces: it scopes signals and abstract sockets.
/// Source: landlock(7), "Landlock ABI versions".
pub(super) const LANDLOCK_WITHOUT_NAMESPACES: u32 = 6;

impl Receipt {
    /// Seals what was enforced together with what the policy promised.
    pub fn new(policy: &Policy, enforced: Enforced) -> Self {
        let promised = Promised {
            profile: policy.profile.clone(),
            policy: digest(policy),
            require: policy.require.clone(),
            network: policy.network,
            pids: policy.limits.pids,
            data_bytes: policy.limits.memory.0,
            file_bytes: policy.limits.file_size.0,
            files: policy.limits.files,
        };
        let seal = digest(&(&promised, &enforced));
        Receipt {
            schema: SCHEMA,
            promised,
            enforced,
            seal,
        }
    }

    /// What is wrong with it: each entry says what was promised and what is there. Empty when it holds.
    pub fn differences(&self) -> Vec<String> {
        let Receipt {
            schema,
            promised,
            enforced,
            seal,
        } = self;
        let mut found = Vec::new();
        let mut check = |holds: bool, what: String| {
            if !holds {
                found.push(what);
            }
        };
        check(
            *schema == SCHEMA,
            format!("it has schema {schema}; this version judges schema {SCHEMA}"),
        );
        check(
            digest(&(promised, enforced)) == *seal,
            "the seal does not fit: it was altered, or cut".to_owned(),
        );
        let missing: Vec<&str> = super::init::receipt::NAMESPACES
            .into_iter()
            .filter(|name| !enforced.namespaces.contains_key(*name))
            .collect();
        check(
            missing.is_empty() || !promised.require.userns,
            format!("no namespace of its own: {}", missing.join(", ")),
        );
        check(enforced.no_new_privs, "no_new_privs is not set".to_owned());
        check(
            enforced.seccomp_mode == 2 || !promised.require.seccomp,
            format!("no system call filter is in force (mode {})", enforced.seccomp_mode),
        );
        check(
            enforced.capabilities == 0,
            format!("capabilities are left: {:#x}", enforced.capabilities),
        );
        let bare = !promised.require.userns;
        let landlock = promised
            .require
            .landlock_abi
            .max(if bare { LANDLOCK_WITHOUT_NAMESPACES } else { 0 });
        check(
            enforced.landlock_abi >= landlock,
            format!(
                "Landlock ABI {landlock} was promised, {} is in force",
                enforced.landlock_abi
            ),
        );
        for (name, most) in [
            // Counted together with the user's other processes where ids are the host's: then only that there is one.
            (
                "nproc",
                if bare {
                    u64::MAX - 1
                } else {
                    enforced.keepers.nproc(promised.pids)
                },
            ),
            ("data", promised.data_bytes),
            ("fsize", promised.file_bytes),
            ("nofile", promised.files),
        ] {
            let limit = enforced.rlimits.get(name);
            check(
                limit.is_some_and(|limit| *limit <= most),
                format!("the limit {name} was promised as {most}, and is {limit:?}"),
            );
        }
        let network = (promised.network == Network::None).then_some("connect to loopback");
        let bare = REFUSED_BARE.into_iter().filter(|_| bare);
        for act in REFUSED.into_iter().chain(network).chain(bare) {
            check(
                enforced.refused.contains_key(act),
                format!("nothing shows that this is refused: {act}"),
            );
        }
        found
    }
}

fn digest(value: &impl Serialize) -> Sha256 {
    // Maps with keys that are texts, numbers and enums: there is nothing in these that JSON cannot hold.
    Sha256::of(&serde_json::to_vec(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::profile::{Operator, load_profile};
    use super::super::report::{Enforcer, Keepers};
    use super::*;

    fn receipt() -> Receipt {
        let operator = Operator {
            profiles: None,
            own: &[],
            search_path: "/usr/bin:/bin",
            variable: &|_| None,
        };
        let policy = load_profile("strict", &operator).unwrap();
        let text = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
        let acts = [&REFUSED[..], &["connect to loopback"]].concat();
        let limits = [
            ("nproc", policy.limits.pids + 1),
            ("data", policy.limits.memory.0),
            ("fsize", policy.limits.file_size.0),
            ("nofile", policy.limits.files),
        ];
        let enforced = Enforced {
            namespaces: text(&super::super::init::receipt::NAMESPACES),
            uid_map: "1000 1000 1".to_owned(),
            gid_map: "1000 1000 1".to_owned(),
            no_new_privs: true,
            seccomp_mode: 2,
            seccomp_filters: 3,
            capabilities: 0,
            landlock_abi: 7,
            mounts: 12,
            tree: "overlay".to_owned(),
            rlimits: limits.map(|(name, limit)| (name.to_owned(), limit)).into(),
            keepers: Keepers {
                memory: Enforcer::Sampler,
                pids: Enforcer::Rlimit,
                cpu: Enforcer::Sampler,
            },
            refused: text(&acts),
            answered: vec!["sysinfo".to_owned(), "uname".to_owned()],
        };
        Receipt::new(&policy, enforced)
    }

    fn resealed(change: impl FnOnce(&mut Receipt)) -> Vec<String> {
        let mut receipt = receipt();
        change(&mut receipt);
        receipt.seal = digest(&(&receipt.promised, &receipt.enforced));
        receipt.differences()
    }

    #[test]
    fn a_receipt_that_holds_has_no_differences_also_after_a_round_trip() {
        let text = serde_json::to_string_pretty(&receipt()).unwrap();
        let read: Receipt = serde_json::from_str(&text).unwrap();
        assert_eq!(read.differences(), Vec::<String>::new());
    }

    #[test]
    fn an_altered_receipt_does_not_fit_its_seal() {
        let mut altered = receipt();
        altered.enforced.mounts += 1;
        assert_eq!(altered.differences(), ["the seal does not fit: it was altered, or cut"]);
    }

    #[test]
    fn each_layer_that_is_less_than_promised_is_named() {
        for (found, wanted) in [
            (resealed(|it| it.enforced.no_new_privs = false), "no_new_privs"),
            (resealed(|it| it.enforced.seccomp_mode = 0), "filter"),
            (resealed(|it| it.enforced.capabilities = 1 << 21), "0x200000"),
            (resealed(|it| it.enforced.landlock_abi = 1), "ABI 3 was promised, 1"),
            (resealed(|it| drop(it.enforced.namespaces.remove("net"))), "net"),
            (
                resealed(|it| {
                    it.enforced
                        .rlimits
                        .insert("data".to_owned(), u64::MAX)
                        .map_or((), |_| ())
                }),
                "data",
            ),
            (resealed(|it| it.promised.pids = 1), "nproc"),
            (resealed(|it| drop(it.enforced.refused.remove("mount"))), "mount"),
            (resealed(|it| it.schema = 2), "schema 2"),
        ] {
            assert!(
                matches!(&found[..], [one] if one.contains(wanted)),
                "{wanted}: {found:?}"
            );
        }
    }
}
