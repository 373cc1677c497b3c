//! Which commands verify a tree as a whole, whatever the order asks for.

/// The script by which a repository says how it is verified.
pub const VERIFY_SCRIPT: &str = "scripts/verify.sh";

/// The commands of the global verification, in the order in which they are run: the repository's own script, or what any
/// Python project can be asked for. An order that is excused is still checked for files that do not compile.
pub fn global_commands(has_verify_script: bool, exempt: bool) -> Vec<Vec<String>> {
    let compile: &[&str] = &["python", "-m", "compileall", "-q", "."];
    let commands: &[&[&str]] = match (exempt, has_verify_script) {
        (true, _) => &[compile],
        (false, true) => &[&["bash", VERIFY_SCRIPT]],
        (false, false) => &[
            compile,
            &["python", "-m", "pip", "--version"],
            &["python", "-m", "pytest", "-q"],
        ],
    };
    commands
        .iter()
        .map(|words| words.iter().map(|word| (*word).to_owned()).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_the_repository_stands_for_the_fallbacks() {
        assert_eq!(global_commands(true, false), [["bash", "scripts/verify.sh"]]);
        assert_eq!(global_commands(false, false).len(), 3);
    }

    #[test]
    fn an_excused_order_is_still_compiled() {
        for has_verify_script in [true, false] {
            assert_eq!(
                global_commands(has_verify_script, true),
                [["python", "-m", "compileall", "-q", "."]]
            );
        }
    }
}
