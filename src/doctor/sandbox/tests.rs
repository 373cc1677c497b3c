//! For answers that no kernel at hand gives.

use super::*;
use crate::doctor::Status;
use crate::doctor::errno::{EBUSY, EINVAL, ENODEV, ENOSPC, EOPNOTSUPP};
use crate::sandbox::{CgroupFlavour, Operator, Setting, load_profile};

/// What the probes find where nothing is in the way, changed by `change`: for answers that no kernel at hand gives.
fn check_of(id: &str, change: impl FnOnce(&mut Facts)) -> Check {
    check_for(&["strict"], id, change)
}

/// The same, asked for these profiles.
fn check_for(profiles: &[&str], id: &str, change: impl FnOnce(&mut Facts)) -> Check {
    let mut facts = Facts::collect("/nonexistent".as_ref(), &[]);
    facts.attempts.clear();
    (facts.uid, facts.gid) = (1000, 1000);
    for attempt in [
        "namespace.user",
        "view.create",
        "view.setgroups",
        "view.uid_map",
        "view.gid_map",
        "view.identity",
    ] {
        answer(&mut facts, attempt, Answer::Done(0));
    }
    for (path, text) in [
        ("/proc/self/uid_map", "0 0 4294967295"),
        ("/proc/self/gid_map", "0 0 4294967295"),
        ("/proc/self/status", "Seccomp:\t0"),
        (USERNS_CLONE, "1"),
        (APPARMOR_RESTRICTS, "0"),
    ] {
        set(&mut facts, path, text);
    }
    change(&mut facts);
    let operator = Operator {
        profiles: None,
        own: &[],
        search_path: "/usr/bin:/bin",
        variable: &|_| None,
    };
    let load = |name: &&str| ((*name).to_owned(), load_profile(name, &operator));
    let profiles: Vec<_> = profiles.iter().map(load).collect();
    let program = Path::new("/opt/factory");
    let mut checks = checks(&facts, Profiles(&profiles), program).into_iter();
    checks.find(|check| check.id == id).expect("every check is there")
}

fn answer(facts: &mut Facts, id: &str, answer: Answer) {
    facts.attempts.retain(|attempt| attempt.id != id);
    facts.attempts.push(Attempt {
        id: id.to_owned(),
        call: id.to_owned(),
        answer,
    });
}

fn set(facts: &mut Facts, path: &str, text: &str) {
    for setting in facts.settings.iter_mut().filter(|setting| setting.path == path) {
        setting.text = Some(text.to_owned());
    }
}

fn remedy(check: &Check) -> (Who, &str) {
    let remedy = check.remedy.as_ref().expect("there is a remedy");
    (remedy.who, &remedy.text)
}

#[test]
fn ubuntus_restriction_is_answered_with_the_profile_of_this_binary() {
    for (id, step) in [
        ("userns.rights", "view.private"),
        ("userns.rights", "view.hostname"),
        ("userns.rights", "view.unshare"),
        ("userns.create", "namespace.user"),
    ] {
        let check = check_of(id, |facts| {
            for done in ["view.hostname", "view.unshare", "view.private", "view.tmpfs"] {
                answer(facts, done, Answer::Done(0));
            }
            answer(facts, step, Answer::Refused(EACCES));
            set(facts, APPARMOR_RESTRICTS, "1");
        });
        let (who, text) = remedy(&check);
        assert_eq!((check.status, who), (Status::Fail, Who::Root), "{step}");
        assert!(
            text.contains("profile factory \"/opt/factory\"") && text.contains("userns,"),
            "{text}"
        );
        assert!(
            text.contains("apparmor_parser --replace /etc/apparmor.d/factory"),
            "{text}"
        );
    }
}

#[test]
fn the_ways_to_lose_user_namespaces_have_different_remedies() {
    let create = |errno, path: &str, text: &str| {
        let check = check_of("userns.create", |facts| {
            answer(facts, "namespace.user", Answer::Refused(errno));
            set(facts, path, text);
        });
        let (who, text) = remedy(&check);
        (who, text.to_owned())
    };
    let (who, text) = create(ENOSPC, MAX_USER_NAMESPACES, "0");
    assert!(
        who == Who::Root && text.contains("user.max_user_namespaces=15000"),
        "{text}"
    );
    let (who, text) = create(EPERM, USERNS_CLONE, "0");
    assert!(
        who == Who::Root && text.contains("unprivileged_userns_clone=1"),
        "{text}"
    );
    // Root may create the first and not the one inside of it.
    let check = check_of("userns.create", |facts| {
        (facts.uid, facts.gid) = (0, 0);
        answer(facts, "view.run", Answer::Refused(EPERM));
        set(facts, USERNS_CLONE, "0");
    });
    assert!(remedy(&check).1.contains("unprivileged_userns_clone=1"), "{check:?}");
    let (who, text) = create(EPERM, "/proc/self/status", "Seccomp:\t2");
    assert!(who == Who::Administrator && text.contains("seccomp="), "{text}");
    let (who, text) = create(EINVAL, "", "");
    assert!(who == Who::Nobody && text.contains("CONFIG_USER_NS"), "{text}");
    let (who, text) = create(EPERM, "/proc/self/gid_map", "0 0 1");
    assert!(who == Who::You && text.contains("--map-group"), "{text}");
}

#[test]
fn what_keeps_calls_from_being_answered_is_a_warning_with_a_remedy_of_its_own() {
    type Lack = fn(&mut Facts);
    let lacks: [(Lack, Who, &str); 3] = [
        (
            |facts| answer(facts, "view.listener", Answer::Refused(EBUSY)),
            Who::Administrator,
            "one listener",
        ),
        (
            |facts| answer(facts, "view.listener", Answer::Refused(EINVAL)),
            Who::Nobody,
            "Linux 5.0",
        ),
        (|facts| set(facts, PTRACE_SCOPE, "3"), Who::Root, "ptrace_scope"),
    ];
    for (lack, who, word) in lacks {
        let check = check_of("seccomp.filter", |facts| {
            answer(facts, "view.filter", Answer::Done(0));
            answer(facts, "view.listener", Answer::Done(0));
            facts.settings.retain(|setting| setting.path != PTRACE_SCOPE);
            facts.settings.push(Setting {
                path: PTRACE_SCOPE,
                text: Some("1".to_owned()),
                error: None,
            });
            lack(facts);
        });
        assert_eq!(check.status, Status::Warn, "{check:?}");
        assert_eq!(check.affects[0].consequence, Consequence::Weaker);
        let (whose, text) = remedy(&check);
        assert!(whose == who && text.contains(word), "{text}");
    }
}

#[test]
fn the_ways_to_lack_landlock_have_different_remedies() {
    let landlock = |errno| {
        let check = check_of("landlock", |facts| {
            facts.landlock.abi = 0;
            facts.landlock.answer = Answer::Refused(errno);
        });
        let (who, text) = remedy(&check);
        assert_eq!(check.status, Status::Fail);
        assert_eq!(check.affects[0].consequence, Consequence::Refused);
        assert!(text.contains("--waive landlock"), "{text}");
        (who, text.to_owned())
    };
    let (who, text) = landlock(EOPNOTSUPP);
    assert!(who == Who::Root && text.contains("lsm="), "{text}");
    let (who, text) = landlock(ENOSYS);
    assert!(
        who == Who::Nobody && text.contains("CONFIG_SECURITY_LANDLOCK"),
        "{text}"
    );
    assert_eq!(landlock(EPERM).0, Who::Administrator);
}

#[test]
fn a_profile_that_has_nothing_but_landlock_is_never_told_to_waive_it() {
    for (abi, errno) in [(0, EOPNOTSUPP), (0, ENOSYS), (0, EPERM), (1, 0)] {
        let landlock = |profiles: &[&str]| {
            let check = check_for(profiles, "landlock", |facts| {
                facts.landlock.abi = abi;
                facts.landlock.answer = match abi {
                    0 => Answer::Refused(errno),
                    _ => Answer::Done(i64::from(abi)),
                };
            });
            assert_eq!(check.status, Status::Fail, "{profiles:?}");
            let refused = |effect: &Effect| effect.consequence == Consequence::Refused;
            assert!(check.affects.iter().all(refused), "{check:?}");
            remedy(&check).1.to_owned()
        };
        let waiver = "waive it for one run: --waive landlock";
        assert!(!landlock(&["legacy-kernel"]).contains("waive"));
        assert!(landlock(&["strict"]).ends_with(waiver));
        let both = landlock(&["strict", "legacy-kernel"]);
        assert!(
            both.contains(&format!("{waiver}, except under `legacy-kernel`")),
            "{both}"
        );
    }
}

#[test]
fn without_overlayfs_profiles_are_slower_and_not_refused() {
    for errno in [ENODEV, EPERM, EINVAL] {
        let check = check_of("overlay", |facts| {
            answer(facts, "view.xattr", Answer::Done(0));
            answer(facts, "view.overlay", Answer::Refused(errno));
        });
        assert_eq!(check.status, Status::Warn);
        assert!(
            check
                .affects
                .iter()
                .all(|effect| effect.consequence == Consequence::Slower)
        );
    }
}

#[test]
fn a_delegated_group_that_is_occupied_needs_one_of_its_own() {
    let check = check_of("limits.memory", |facts| {
        let cgroups = &mut facts.cgroups;
        (cgroups.memory, cgroups.flavour) = (None, CgroupFlavour::V2);
        cgroups.occupied = Some("/sys/fs/cgroup/user.slice/run.scope".into());
    });
    let (who, text) = remedy(&check);
    assert!(who == Who::You && text.contains("Delegate=yes"), "{text}");
    assert_eq!(check.status, Status::Warn);
}
