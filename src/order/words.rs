//! Splits a command into the words of its argument list.
//!
//! Quotes and backslashes mean what they mean to a POSIX shell; nothing else means anything. There is no shell
//! afterwards, so `$`, `;`, `|` and `#` are plain characters. The shlex crate is not used because it reads `#` as the
//! beginning of a comment, and a command whose end is silently dropped is worse than one that fails.

/// Why a command does not split into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// A quote is opened and not closed.
    #[error("the quote {0} is not closed")]
    OpenQuote(char),
    /// The last character is a backslash, which has nothing to protect.
    #[error("it ends in a backslash")]
    TrailingBackslash,
}

/// Splits a command into words as a POSIX shell does, without expansion and without comments.
///
/// Inside double quotes a backslash protects only a double quote and a backslash: the other characters that it protects
/// in a shell have no meaning here that they would have to be protected from. Source: shell command language,
/// IEEE Std 1003.1, section 2.2 (quoting).
///
/// # Errors
/// When a quote is left open, or the command ends in a backslash.
pub fn split_command(command: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    // A word that has begun may still be empty, as in `a ""`.
    let mut word: Option<String> = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => single_quoted(&mut characters, word.get_or_insert_default())?,
            '"' => double_quoted(&mut characters, word.get_or_insert_default())?,
            '\\' => {
                let next = characters.next().ok_or(SplitError::TrailingBackslash)?;
                word.get_or_insert_default().push(next);
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Writes words as a command that splits into them again. Source: shell command language, IEEE Std 1003.1, section 2.2.
pub fn join_command<S: AsRef<str>>(words: &[S]) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./=:,@%+".contains(character);
    let quoted: Vec<_> = words
        .iter()
        .map(|word| match word.as_ref() {
            word if !word.is_empty() && word.chars().all(is_plain) => word.to_owned(),
            word => format!("'{}'", word.replace('\'', "'\\''")),
        })
        .collect();
    quoted.join(" ")
}

fn single_quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), SplitError> {
    for character in characters {
        match character {
            '\'' => return Ok(()),
            other => word.push(other),
        }
    }
    Err(SplitError::OpenQuote('\''))
}

fn double_quoted(characters: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), SplitError> {
    while let Some(character) = characters.next() {
        match character {
            '"' => return Ok(()),
            '\\' => match characters.next() {
                Some(protected @ ('"' | '\\')) => word.push(protected),
                Some(other) => word.extend(['\\', other]),
                None => break,
            },
            other => word.push(other),
        }
    }
    Err(SplitError::OpenQuote('"'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(command: &str) -> Vec<String> {
        split_command(command).expect(command)
    }

    #[test]
    fn quotes_and_backslashes_protect() {
        assert_eq!(words(r#"a 'b c' "d e" f\ g"#), ["a", "b c", "d e", "f g"]);
        assert_eq!(words(r#""a\"b" "a\nb" "\$x" 'a\b'"#), ["a\"b", r"a\nb", r"\$x", r"a\b"]);
        assert_eq!(words(r#"a"" "" '' b"#), ["a", "", "", "b"]);
    }

    #[test]
    fn nothing_else_has_a_meaning() {
        assert_eq!(
            words("a # b; c && $d | `e` > f*"),
            ["a", "#", "b;", "c", "&&", "$d", "|", "`e`", ">", "f*"]
        );
        assert_eq!(words("é\u{a0}b"), ["é\u{a0}b"], "only ASCII blanks separate");
    }

    #[test]
    fn half_a_quote_is_named() {
        assert_eq!(split_command("a 'b"), Err(SplitError::OpenQuote('\'')));
        assert_eq!(split_command("a \"b\\"), Err(SplitError::OpenQuote('"')));
        assert_eq!(split_command("a \\"), Err(SplitError::TrailingBackslash));
    }

    proptest! {
        #[test]
        fn quoted_words_come_back_as_they_were(words in proptest::collection::vec(any::<String>(), 0..6)) {
            prop_assert_eq!(split_command(&join_command(&words)), Ok(words));
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = split_command(&text);
        }
    }
}
