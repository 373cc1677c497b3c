//! A sandboxed command against other launchers, a plain spawn, and a helper that does nothing but spawn.

use crate::plain::{Spawner, static_true};
use crate::{Side, compare, factory, median};
use factory::sandbox::{Command, Network, Operator, Policy, Sandbox, Tree, load_profile};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;
use tokio::runtime::Runtime;

/// The closest that bubblewrap offers: all namespaces, read-only system, own /proc and /dev. No Landlock, no filter, no
/// limits, no report.
const BUBBLEWRAP: &str = "bwrap --ro-bind /usr /usr --ro-bind /etc /etc --symlink usr/bin /bin --symlink usr/lib /lib \
    --symlink usr/lib64 /lib64 --symlink usr/sbin /sbin --proc /proc --dev /dev --tmpfs /tmp --unshare-all \
    --die-with-parent";

/// Other launchers, compared where they are installed.
const OTHERS: [(&str, &str); 2] = [
    ("firejail", "firejail --quiet --noprofile --net=none"),
    (
        "unshare (namespaces only)",
        "unshare --user --map-root-user --mount --pid --net --ipc --uts --fork",
    ),
];

/// A launcher that runs no command well is no comparison.
fn spawn(words: &str) {
    let status = try_spawn(words).expect("the launcher is installed; scripts/bench installs bubblewrap");
    assert!(status.success(), "{words}: {status}");
}

fn try_spawn(words: &str) -> std::io::Result<std::process::ExitStatus> {
    let mut words = words.split_whitespace();
    std::process::Command::new(words.next().unwrap())
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
}

/// A resident helper with a policy and an empty tree.
pub(crate) struct Warm {
    sandbox: Sandbox,
    pub(crate) policy: Policy,
    tree: Tree,
    runtime: Runtime,
    _directory: tempfile::TempDir,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

impl Warm {
    pub(crate) fn new() -> Self {
        let path = std::env::var("PATH").unwrap();
        let operator = Operator {
            profiles: None,
            search_path: &path,
            variable: &|name| std::env::var(name).ok(),
            own: &[],
        };
        let directory = tempfile::tempdir().unwrap();
        Warm {
            sandbox: Sandbox::start(&factory()).unwrap(),
            policy: load_profile("verify", &operator).unwrap(),
            tree: Tree {
                layers: vec![directory.path().to_owned()],
            },
            runtime: runtime(),
            _directory: directory,
        }
    }

    /// Puts a program into the tree and answers its name inside.
    pub(crate) fn program(&self, name: &str, path: &Path) -> String {
        std::fs::copy(path, self.tree.layers[0].join(name)).unwrap();
        format!("/src/{name}")
    }

    /// Runs a command and answers its standard output.
    pub(crate) fn run(&self, command: &Command) -> Vec<u8> {
        self.run_on(&self.runtime, &self.policy, command)
    }

    fn run_on(&self, runtime: &Runtime, policy: &Policy, command: &Command) -> Vec<u8> {
        let report = runtime
            .block_on(self.sandbox.run(policy, &self.tree, command, None))
            .unwrap();
        assert!(report.outcome.is_success(), "{:?}", report.outcome);
        report.stdout.to_bytes()
    }

    /// Runs a second of commands from two threads at once and answers how many there were in a second.
    fn rate_of_two(&self, command: &Command) -> f64 {
        rate_of_two(|| {
            let runtime = runtime();
            Box::new(move || drop(self.run_on(&runtime, &self.policy, command)))
        })
    }
}

/// How many acts two threads do in a second. Each thread prepares its own.
fn rate_of_two<'a>(prepare: impl Fn() -> Box<dyn FnMut() + 'a> + Sync) -> f64 {
    let started = Instant::now();
    let work = || {
        let mut act = prepare();
        act();
        let (started, mut count) = (Instant::now(), 0u32);
        while started.elapsed().as_secs_f64() < 1.0 {
            act();
            count += 1;
        }
        count
    };
    let count: u32 = std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.map(|worker| worker.join().unwrap()).iter().sum()
    });
    f64::from(count) / started.elapsed().as_secs_f64()
}

pub(crate) fn print() {
    let warm = Warm::new();
    dynamic(&warm);
    statically_linked(&warm);
    at_once(&warm);
    whole_process();
}

fn dynamic(warm: &Warm) {
    let command = Command::new(["/bin/true"]);
    let bubblewrap = format!("{BUBBLEWRAP} /bin/true");
    let mut sides = vec![
        Side::new("plain spawn", || spawn("/bin/true")),
        Side::new("bubblewrap", || spawn(&bubblewrap)),
        Side::new("factory, resident helper", || drop(warm.run(&command))),
    ];
    for (name, words) in OTHERS {
        let words = format!("{words} /bin/true");
        if try_spawn(&words).is_ok_and(|status| status.success()) {
            sides.push(Side::new(name, move || spawn(&words)));
        }
    }
    compare(
        "warm sandboxed /bin/true, profile verify",
        200,
        "plain spawn",
        "target: at most 1.5 x plain, and 0.6 x bubblewrap",
        sides,
    );
}

fn statically_linked(warm: &Warm) {
    let Some((_scratch, program)) = static_true() else {
        println!("\nno static program: the C compiler makes none for this machine");
        return;
    };
    let inside = Command::new([warm.program("true", &program)]);
    let loopback = Policy {
        network: Network::Loopback,
        ..warm.policy.clone()
    };
    let mut helper = Spawner::start(&program);
    compare(
        "warm sandboxed static program, profile verify",
        200,
        "plain spawn",
        "target: at most 6 x plain",
        vec![
            Side::new("plain spawn", || spawn(&program.display().to_string())),
            Side::new("a helper that only spawns", move || helper.spawn()),
            Side::new("factory, resident helper", || drop(warm.run(&inside))),
            Side::new("factory, a network namespace for each run", || {
                drop(warm.run_on(&warm.runtime, &loopback, &inside));
            }),
        ],
    );
}

fn at_once(warm: &Warm) {
    let Some((_scratch, program)) = static_true() else {
        return;
    };
    let inside = Command::new([warm.program("true", &program)]);
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        plain.push(rate_of_two(|| {
            let mut helper = Spawner::start(&program);
            Box::new(move || helper.spawn())
        }));
        ours.push(warm.rate_of_two(&inside));
    }
    let ratios = ours.iter().zip(&plain).map(|(ours, plain)| ours / plain).collect();
    println!("\ntwo workers at once, static program (5 rounds of a second; target: at least 0.25)");
    println!("  helpers that only spawn: {:>8.0} a second", median(plain));
    println!("  factory:                 {:>8.0} a second", median(ours));
    println!("  ratio:                   {:>8.2}", median(ratios));
}

fn whole_process() {
    let repository = tempfile::tempdir().unwrap();
    crate::workspaces::repository(repository.path(), 10_000);
    let (repo, state) = (repository.path().display().to_string(), tempfile::tempdir().unwrap());
    let bubblewrap = format!("{BUBBLEWRAP} /bin/true");
    let program = factory();
    let whole = || {
        let status = std::process::Command::new(&program)
            .args(["exec", "--repo", &repo, "--", "true"])
            .env("XDG_STATE_HOME", state.path())
            .env("XDG_CACHE_HOME", state.path())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    };
    let version = format!("{} --version", program.display());
    compare(
        "whole process, tree of 10,000 files, with workspace, receipt and report",
        100,
        "bubblewrap",
        "target: at most 1.0 x bubblewrap",
        vec![
            Side::new("plain spawn", || spawn("/bin/true")),
            Side::new("bubblewrap", || spawn(&bubblewrap)),
            Side::new("factory exec -- true", whole),
            Side::new("factory --version", || spawn(&version)),
        ],
    );
}
