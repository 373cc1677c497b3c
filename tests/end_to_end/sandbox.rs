//! The sandbox by itself.

use factory::sandbox::{Command, Operator, Outcome, Report, Sandbox, Tree, load_profile};

fn run(profile: &str, argv: &[&str]) -> Report {
    let path = std::env::var("PATH").unwrap();
    let operator = Operator {
        profiles: None,
        search_path: &path,
        variable: &|name| std::env::var(name).ok(),
    };
    let policy = load_profile(profile, &operator).unwrap();
    let sandbox = Sandbox::start(env!("CARGO_BIN_EXE_factory").as_ref()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let tree = Tree {
        layers: vec![concat!(env!("CARGO_MANIFEST_DIR"), "/src").into()],
    };
    runtime
        .block_on(sandbox.run(&policy, &tree, &Command::new(argv.iter().copied()), None))
        .unwrap()
}

#[test]
fn smoke() {
    let report = run(
        "verify",
        &[
            "sh",
            "-c",
            "id; pwd; ls -la / /src /etc /dev; cat /proc/self/status /proc/self/mountinfo; env; python --version; touch x && echo wrote; ls /root /root/.ssh; exit 7",
        ],
    );
    println!("{:#?}", report.outcome);
    println!("{}", String::from_utf8_lossy(&report.stdout.to_bytes()));
    println!("{}", String::from_utf8_lossy(&report.stderr.to_bytes()));
    println!("{:#?} {:?}", report.enforced, report.metering);
    assert_eq!(report.outcome, Outcome::Exit { code: 7 });
}
