//! Exact replacement: the bytes that edits make of a file.

use super::draft::Edit;
use crate::order::json::quote;

/// What `edits` make of `base`. Each text is looked for in the base, where it has to stand exactly once, so that their order
/// makes no difference; no two may overlap.
///
/// # Errors
/// What is wrong with the first edit that cannot be made, and its number.
pub(super) fn apply(base: &str, edits: &[Edit]) -> Result<String, (usize, String)> {
    let mut places = Vec::with_capacity(edits.len());
    for (number, edit) in edits.iter().enumerate() {
        let start = only_place(base, &edit.find).map_err(|text| (number, text))?;
        places.push((start, number));
    }
    places.sort_unstable();
    let mut result = String::new();
    let mut end = 0;
    for (start, number) in places {
        let Edit { find, replace } = &edits[number];
        // What was taken so far ends behind the edit before.
        let Some(between) = base.get(end..start) else {
            return Err((
                number,
                "it overlaps with another edit of the file; make one of them".to_owned(),
            ));
        };
        result.push_str(between);
        result.push_str(replace);
        end = start + find.len();
    }
    result.push_str(&base[end..]);
    Ok(result)
}

/// Where `find` stands in `base`, if that is one place.
fn only_place(base: &str, find: &str) -> Result<usize, String> {
    let Some(start) = base.find(find) else {
        return Err(format!("{} is not in the file{}", quote(find), near_miss(base, find)));
    };
    // From the next character on: places may overlap.
    let step = base[start..].chars().next().map_or(1, char::len_utf8);
    match base[start + step..].contains(find) {
        true => Err(format!(
            "{} is in the file more than once; take in more of what is around it",
            quote(find)
        )),
        false => Ok(start),
    }
}

/// Why a text that looks as if it were there is not.
fn near_miss(base: &str, find: &str) -> &'static str {
    if base.contains("\r\n") && find.contains('\n') && base.contains(&find.replace("\r\n", "\n").replace('\n', "\r\n"))
    {
        return "; its lines end with CR LF, and so has the text to";
    }
    if find.contains("\r\n") && base.contains(&find.replace("\r\n", "\n")) {
        return "; its lines end with LF alone, and so has the text to";
    }
    if base.contains(find.trim()) && !find.trim().is_empty() {
        return "; it is there with other blanks around it, and they count";
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edits(pairs: &[(&str, &str)]) -> Vec<Edit> {
        let edit = |(find, replace): &(&str, &str)| Edit {
            find: (*find).to_owned(),
            replace: (*replace).to_owned(),
        };
        pairs.iter().map(edit).collect()
    }

    #[test]
    fn edits_are_made_in_the_file_as_it_was_in_whatever_order_they_stand() {
        let base = "one\ntwo\nthree\n";
        // `two` is also what the first edit makes; it is not looked for there.
        for pairs in [[("one", "two"), ("two", "2")], [("two", "2"), ("one", "two")]] {
            assert_eq!(apply(base, &edits(&pairs)).as_deref(), Ok("two\n2\nthree\n"));
        }
        assert_eq!(
            apply(base, &edits(&[("one\n", ""), ("two\n", "")])).as_deref(),
            Ok("three\n"),
            "side by side"
        );
        assert_eq!(apply(base, &edits(&[(base, "")])).as_deref(), Ok(""));
    }

    #[test]
    fn a_text_that_is_not_there_exactly_once_is_refused() {
        for (base, find, why) in [
            ("a\n", "b", "is not in the file"),
            ("ab ab", "ab", "more than once"),
            ("aaa", "aa", "more than once"),
            ("\u{e9}\u{e9}", "\u{e9}", "more than once"),
            ("a\r\nb\r\n", "a\nb", "CR LF"),
            ("a\nb\n", "a\r\nb", "LF alone"),
            ("  a", "a  ", "other blanks"),
            ("", "a", "is not in the file"),
        ] {
            let (number, text) = apply(base, &edits(&[(find, "x")])).expect_err(find);
            assert!(number == 0 && text.contains(why), "{find:?}: {text}");
        }
    }

    #[test]
    fn edits_that_overlap_are_refused() {
        assert!(apply("abc", &edits(&[("ab", "x"), ("bc", "y")])).is_err());
        assert!(apply("abc", &edits(&[("abc", "x"), ("b", "y")])).is_err());
        assert!(
            apply("abc", &edits(&[("b", "x"), ("b", "x")])).is_err(),
            "twice the same"
        );
    }

    proptest! {
        #[test]
        fn nothing_but_what_was_found_changes(before in "[a-c\u{e9}\r\n]{0,20}", after in "[a-c\u{e9}\r\n]{0,20}", new in ".{0,9}") {
            let base = format!("{before}XYZ{after}");
            prop_assert_eq!(apply(&base, &edits(&[("XYZ", &new)])), Ok(format!("{before}{new}{after}")));
        }

        #[test]
        fn no_edits_panic(base in "[ab\u{e9}]{0,12}", finds in prop::collection::vec("[ab\u{e9}]{1,3}", 0..4)) {
            let pairs: Vec<_> = finds.iter().map(|find| (find.as_str(), "x")).collect();
            let _ = apply(&base, &edits(&pairs));
        }
    }
}
