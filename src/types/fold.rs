//! One text for all spellings of a name that some file system takes for one.

use unicode_normalization::UnicodeNormalization as _;

/// One text for all names that some file system takes for one. By way of upper case, because only it tells that `ß` is `SS`
/// and that `ſ` is an `s`; and there by way of lower case, because only that tells that `ẞ` is `ß`.
pub fn fold_name(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    let lower: String = name.nfd().flat_map(char::to_lowercase).collect();
    let upper: String = lower.chars().flat_map(char::to_uppercase).collect();
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
            ("Stra\u{1e9e}e", "strasse"),
            ("\u{17f}et", "Set"),
            ("\u{212a}elvin", "kelvin"),
        ] {
            assert_eq!(fold_name(one), fold_name(other), "{one} {other}");
        }
        assert_ne!(fold_name("a"), fold_name("b"));
    }
}
