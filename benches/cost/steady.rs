//! What a command costs while it runs: the same load plain and sandboxed.

use crate::plain::compile;
use crate::sandboxes::Warm;
use crate::{Side, compare, median};
use factory::sandbox::Command;
use std::process::Stdio;

/// Work that compiles, that interprets, and that walks paths. Some directories of the system are closed to the id inside.
const LOADS: [(&str, &str, &str); 3] = [
    (
        "gcc -O2 on a generated file",
        "seq 1 400 | sed 's/.*/int f&(int x) { int s = &; for (int i = 0; i < x; i++) s = s * 31 + i; return s; }/' > /tmp/factory-bench.c \
         && cc -O2 -c -o /tmp/factory-bench.o /tmp/factory-bench.c && rm /tmp/factory-bench.c /tmp/factory-bench.o",
        "target: at most 1.02 x plain",
    ),
    (
        "python, json and re",
        "python3 -c 'import json, re\nfor n in range(60): json.loads(json.dumps(list(range(20000)))); re.findall(r\"[a-z]+\", \"abc def \" * 5000)'",
        "target: at most 1.02 x plain",
    ),
    (
        "find over /usr/include and /usr/share",
        "find /usr/include /usr/share > /dev/null 2>&1; true",
        "target: at most 1.05 x plain",
    ),
];

/// Calls getppid(2) many times and prints what one call took, in nanoseconds.
const CALLS: &str = r#"
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 500000; i++) syscall(SYS_getppid);
    clock_gettime(CLOCK_MONOTONIC, &b);
    printf("%f\n", ((b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec)) / 500000);
    return 0;
}
"#;

pub(crate) fn print() {
    let warm = Warm::new();
    for (name, script, target) in LOADS {
        let inside = Command::new(["sh", "-c", script]);
        let plain = || {
            let status = std::process::Command::new("sh")
                .args(["-c", script])
                .stdin(Stdio::null())
                .status();
            assert!(status.unwrap().success());
        };
        compare(
            name,
            20,
            "plain",
            target,
            vec![
                Side::new("plain", plain),
                Side::new("factory, resident helper", || drop(warm.run(&inside))),
            ],
        );
    }
    let Some((_scratch, program)) = compile(CALLS, &["-O2"]) else {
        return;
    };
    let inside = Command::new([warm.program("calls", &program)]);
    let nanoseconds = |text: Vec<u8>| String::from_utf8(text).unwrap().trim().parse::<f64>().unwrap();
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        plain.push(nanoseconds(
            std::process::Command::new(&program).output().unwrap().stdout,
        ));
        ours.push(nanoseconds(warm.run(&inside)));
    }
    let ratios = ours.iter().zip(&plain).map(|(ours, plain)| ours / plain).collect();
    println!("\none trivial system call (15 rounds of 500,000; target: at most 1.15 x plain)");
    println!(
        "  plain {:.1} ns, sandboxed {:.1} ns, ratio {:.2}",
        median(plain),
        median(ours),
        median(ratios)
    );
}
