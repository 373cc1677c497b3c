//! What nobody is to see again.

use secrecy::{ExposeSecret as _, SecretString};

/// The shortest secret that is looked for in answers. Anything shorter is no secret and might be a word.
const MIN_SECRET_BYTES: usize = 8;

/// The secrets of one provider, each with what stands in its place.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<(&'static str, SecretString)>);

impl Secrets {
    /// Adds a secret; one that is empty is none.
    pub(super) fn add(&mut self, name: &'static str, secret: SecretString) {
        if !secret.expose_secret().trim().is_empty() {
            self.0.push((name, secret));
        }
    }

    /// The text with every secret struck out.
    pub(super) fn redact(&self, text: &str) -> String {
        let strike = |text: String, (name, secret): &(&str, SecretString)| {
            text.replace(secret.expose_secret(), &format!("[{name}]"))
        };
        self.0.iter().fold(text.to_owned(), strike)
    }

    /// Whether any of them is in these bytes.
    pub(super) fn occur_in(&self, bytes: &[u8]) -> bool {
        let secrets = self.0.iter().map(|(_, secret)| secret.expose_secret().as_bytes());
        let mut long_ones = secrets.filter(|secret| secret.len() >= MIN_SECRET_BYTES);
        long_ones.any(|secret| bytes.windows(secret.len()).any(|window| window == secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_struck_out_and_only_long_ones_are_looked_for() {
        let mut secrets = Secrets::default();
        for (name, secret) in [("api key", "planted-key"), ("proxy password", "pw"), ("empty", " ")] {
            secrets.add(name, secret.to_owned().into());
        }
        assert_eq!(
            secrets.redact("a planted-key b pw c"),
            "a [api key] b [proxy password] c"
        );
        assert!(secrets.occur_in(b"xplanted-keyx") && !secrets.occur_in(b"pw"));
        assert!(!Secrets::default().occur_in(b"anything"));
        assert!(!format!("{secrets:?}").contains("planted"));
    }
}
