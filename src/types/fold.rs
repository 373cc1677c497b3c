//! One text for all spellings of a name that some file system takes for one.

use unicode_normalization::UnicodeNormalization as _;

/// One text for all names that some file system takes for one. Upper case first, because only it tells that `ß` is `SS`
/// and that `ſ` is an `s`.
pub fn fold_name(name: &str) -> String {
    let upper: String = name.nfd().flat_map(char::to_uppercase).collect();
    let lower: String = upper.chars().flat_map(char::to_lowercase).collect();
    lower.nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_some_file_system_merges_fold_to_one() {
        for (one, other) in [
            ("README", "readme"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("Stra\u{df}e", "STRASSE"),
            ("\u{17f}et", "Set"),
            ("\u{212a}elvin", "kelvin"),
        ] {
            assert_eq!(fold_name(one), fold_name(other), "{one} {other}");
        }
        assert_ne!(fold_name("a"), fold_name("b"));
    }
}
