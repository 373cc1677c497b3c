//! What somebody may have meant.

/// Of the known words, the one most like the unknown one.
pub fn nearest_word<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let known = known.into_iter();
    known.max_by(|a, b| strsim::jaro(unknown, a).total_cmp(&strsim::jaro(unknown, b)))
}

/// The same, if the two have most of their letters in common; else what is asked about is a guess that helps nobody.
pub fn similar_word<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_word(unknown, known).filter(|word| strsim::jaro(unknown, word) >= 0.7)
}

/// Of the words that a message of serde about an unknown field or variant lists, the one most like it, as a question.
pub fn nearest_in_message(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let unknown = quoted.next().filter(|_| is_unknown)?;
    nearest_word(unknown, quoted).map(|word| format!("did you mean `{word}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_of_the_listed_words_is_asked_about() {
        let message = "unknown field `modle`, expected one of `model`, `profile`";
        assert_eq!(nearest_in_message(message).as_deref(), Some("did you mean `model`?"));
        assert_eq!(nearest_in_message("invalid type: string \"`a`\", expected `b`"), None);
        assert_eq!(nearest_word("x", []), None);
    }

    #[test]
    fn a_word_that_is_like_none_of_them_is_not_taken_for_one() {
        let known = ["openai", "command"];
        assert_eq!(similar_word("opnai", known), Some("openai"));
        assert_eq!(similar_word("zzz", known), None);
        assert_eq!(similar_word("claude", known), None);
    }
}
