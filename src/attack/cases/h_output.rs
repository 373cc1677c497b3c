//! H: output and reports.

use crate::attack::case::Judge::{Secret, Terminal};
use crate::attack::case::Severity::{Critical, High, Low, Medium};
use crate::attack::case::{Case, Trait, act, product};
use crate::attack::product;

pub(super) const CASES: &[Case] = &[
    act(
        "H01",
        "ansi-escape",
        High,
        "sequences that write the clipboard, the title and the screen reach the terminal",
        &[
            "sh",
            "-c",
            r"printf 'MARK\033]52;c;eA==\007\033]0;title\007\033[2J\033]8;;x\033\\\033P+q\033\\'",
        ],
    )
    .raw()
    .by_exec()
    .from(&[Trait::Terminal])
    .judged(Terminal),
    product(
        "H02",
        "log-forging",
        Medium,
        "lines of output pose as records of the sandbox",
        product::forged_lines,
    ),
    product(
        "H03",
        "invalid-utf8",
        Low,
        "random bytes break the document",
        product::random_bytes,
    ),
    act(
        "H04",
        "secret-echo",
        Critical,
        "the provider's key is printed by the command",
        &["environment"],
    )
    .judged(Secret),
    act(
        "H05",
        "bidi-controls",
        Medium,
        "invisible characters reorder what a person reads",
        &["sh", "-c", r"printf 'MARK\342\200\256evil\342\201\246x\342\200\213'"],
    )
    .raw()
    .by_exec()
    .from(&[Trait::Terminal])
    .judged(Terminal),
    product(
        "H06",
        "prompt-injection",
        High,
        "output of a command speaks to the model",
        product::quoted_output,
    ),
    product(
        "H07",
        "path-disclosure",
        Low,
        "answers name paths of the host",
        product::host_paths,
    ),
];
