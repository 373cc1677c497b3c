//! What looks like a credential: by the name of a file, or by the shape of a text.
//!
//! - A shape is one that its maker documents: a prefix, an alphabet, a length. Words that only speak of keys are none.
//! - Placeholders are none either: a token of one letter again and again, or the examples of a maker's own manual.
//! - A finding says what it is and where, and never repeats it.
//!
//! It is a net for accidents, not a proof: a password without a shape passes.

use crate::types::RepoPath;
use std::ops::Range;

/// Files that hold credentials, by their whole name in small letters.
const NAMES: [(&str, &str); 27] = [
    (".env", "variables, among them usually keys"),
    (".envrc", "variables, among them usually keys"),
    (".npmrc", "tokens of npm"),
    (".pypirc", "tokens of a package index"),
    (".netrc", "passwords of servers"),
    ("_netrc", "passwords of servers"),
    (".git-credentials", "passwords of git servers"),
    (".pgpass", "passwords of databases"),
    (".my.cnf", "passwords of databases"),
    (".htpasswd", "passwords of a web server"),
    (".dockercfg", "passwords of registries"),
    (".vault-token", "a token of a vault"),
    (".boto", "keys of a cloud"),
    (".s3cfg", "keys of a cloud"),
    (".terraformrc", "tokens of a cloud"),
    ("credentials", "keys of a cloud or a registry"),
    ("credentials.json", "keys of a cloud or a registry"),
    ("credentials.toml", "keys of a cloud or a registry"),
    ("credentials.csv", "keys of a cloud or a registry"),
    ("kubeconfig", "keys of a cluster"),
    ("secrets.json", "secrets"),
    ("secrets.yaml", "secrets"),
    ("secrets.yml", "secrets"),
    ("secrets.toml", "secrets"),
    ("secrets.env", "secrets"),
    (".secrets", "secrets"),
    ("secring.gpg", "private keys"),
];

/// Names of private keys as ssh-keygen(1) chooses them.
const SSH_KEYS: [&str; 6] = [
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_ecdsa_sk",
    "id_ed25519_sk",
];

/// Endings of names.
const ENDINGS: [(&str, &str); 10] = [
    (".env", "variables, among them usually keys"),
    (".tfstate", "the state of Terraform, with every secret in it"),
    (".tfstate.backup", "the state of Terraform, with every secret in it"),
    (".kubeconfig", "keys of a cluster"),
    (".p12", "a store of private keys"),
    (".pfx", "a store of private keys"),
    (".jks", "a store of private keys"),
    (".keystore", "a store of private keys"),
    (".kdbx", "a store of passwords"),
    (".ppk", "a private key"),
];

/// Endings of paths, for names that mean nothing without their directory.
const PLACES: [(&str, &str); 4] = [
    (".kube/config", "keys of a cluster"),
    (".docker/config.json", "passwords of registries"),
    (".aws/config", "keys of a cloud"),
    (".config/gh/hosts.yml", "tokens of GitHub"),
];

/// What follows `.env.` in the name of a file that is there to be shown.
const SPECIMENS: [&str; 6] = ["example", "sample", "template", "dist", "defaults", "schema"];

/// Who may find what follows a prefix a token.
struct Token {
    prefix: &'static str,
    what: &'static str,
    alphabet: fn(char) -> bool,
    least: usize,
}

/// Sources: GitHub's "About authentication to GitHub", "GitHub's token formats"; GitLab's "Token overview"; Slack's "Token
/// types"; the patterns of GitHub's "Supported secret scanning patterns" for the rest.
const TOKENS: [Token; 25] = [
    token("ghp_", "a token of GitHub", is_alphanumeric, 30),
    token("gho_", "a token of GitHub", is_alphanumeric, 30),
    token("ghu_", "a token of GitHub", is_alphanumeric, 30),
    token("ghs_", "a token of GitHub", is_alphanumeric, 30),
    token("ghr_", "a token of GitHub", is_alphanumeric, 30),
    token("github_pat_", "a token of GitHub", is_word, 22),
    token("glpat-", "a token of GitLab", is_word_or_dash, 20),
    token("xoxa-", "a token of Slack", is_word_or_dash, 10),
    token("xoxb-", "a token of Slack", is_word_or_dash, 10),
    token("xoxe-", "a token of Slack", is_word_or_dash, 10),
    token("xoxp-", "a token of Slack", is_word_or_dash, 10),
    token("xoxr-", "a token of Slack", is_word_or_dash, 10),
    token("xoxs-", "a token of Slack", is_word_or_dash, 10),
    token("xapp-", "a token of Slack", is_word_or_dash, 10),
    token("hooks.slack.com/services/T", "a webhook of Slack", is_path, 20),
    token("sk-", "a key of a model's maker", is_word_or_dash, 20),
    token("AIza", "a key of Google", is_word_or_dash, 35),
    token("sk_live_", "a key of Stripe", is_alphanumeric, 16),
    token("rk_live_", "a key of Stripe", is_alphanumeric, 16),
    token("npm_", "a token of npm", is_alphanumeric, 36),
    token("pypi-AgEI", "a token of a package index", is_word_or_dash, 20),
    token("hf_", "a token of Hugging Face", is_alphanumeric, 30),
    token("dop_v1_", "a token of DigitalOcean", is_alphanumeric, 60),
    token("SG.", "a key of SendGrid", is_word_dash_or_dot, 60),
    token("AGE-SECRET-KEY-1", "a private key", is_alphanumeric, 50),
];

const fn token(prefix: &'static str, what: &'static str, alphabet: fn(char) -> bool, least: usize) -> Token {
    Token {
        prefix,
        what,
        alphabet,
        least,
    }
}

/// What is assigned to a name that says what it is, and how long it is at least.
const ASSIGNED: [(&str, &str, usize); 3] = [
    ("aws_secret_access_key", "a secret key of AWS", 40),
    ("_authtoken", "a token of npm", 8),
    ("client-key-data", "a key of a cluster", 40),
];

/// How far behind the mark of a private key its first line may be: there are headers between them in old formats.
const KEY_WITHIN: usize = 300;

/// How many letters of base64 in a row are part of a key; no word is as long.
const KEY_RUN: usize = 40;

/// Something in a text that looks like a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// What it looks like.
    pub what: &'static str,
    /// The line in which it begins, from one.
    pub line: usize,
    range: Range<usize>,
}

/// What a file holds by its name, when that is credentials. Names are compared without regard to case.
pub fn credential_name(path: &RepoPath) -> Option<&'static str> {
    let path = path.as_str().to_lowercase();
    let name = path.rsplit('/').next().unwrap_or(&path);
    if let Some(variant) = name.strip_prefix(".env.") {
        let shown = SPECIMENS
            .iter()
            .any(|specimen| variant.split('.').any(|part| part == *specimen));
        return (!shown).then_some("variables, among them usually keys");
    }
    if SSH_KEYS.contains(&name) || is_in_ssh(&path, name) {
        return Some("a private key");
    }
    let is_there = |place: &str| path == place || path.ends_with(&format!("/{place}"));
    let by_name = NAMES.iter().filter(|(known, _)| *known == name);
    let by_place = PLACES.iter().filter(|(place, _)| is_there(place));
    let by_ending = ENDINGS.iter().filter(|(ending, _)| name.ends_with(ending));
    by_name.chain(by_place).chain(by_ending).map(|(_, what)| *what).next()
}

/// Whatever somebody keeps beside their keys, except what is there for others.
fn is_in_ssh(path: &str, name: &str) -> bool {
    let is_public = name.ends_with(".pub") || ["config", "known_hosts", "authorized_keys"].contains(&name);
    !is_public && (path.starts_with(".ssh/") || path.contains("/.ssh/"))
}

/// The first credential in a text.
pub fn credential_in(text: &str) -> Option<Credential> {
    credentials(text).into_iter().next()
}

/// The text with all that looks like a credential struck out.
pub fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for Credential { what, range, .. } in credentials(text) {
        if range.start >= done {
            out.push_str(&text[done..range.start]);
            out.push_str(&format!("[struck out: {what}]"));
            done = range.end;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// All of them, in the order in which they begin.
fn credentials(text: &str) -> Vec<Credential> {
    let mut found: Vec<(Range<usize>, &'static str)> = private_keys(text);
    let beginnings: Vec<_> = found.iter().map(|(range, _)| range.clone()).collect();
    found.extend(rests_of_keys(text, &beginnings));
    found.extend(TOKENS.iter().flat_map(|token| tokens(text, token)));
    found.extend(aws_ids(text));
    found.extend(assigned(text));
    found.sort_by_key(|(range, _)| (range.start, range.end));
    let credential = |(range, what): (Range<usize>, _)| Credential {
        what,
        line: 1 + text[..range.start].matches('\n').count(),
        range,
    };
    found.into_iter().map(credential).collect()
}

/// Private keys in PEM: a line that is the mark, or the mark with base64 behind it, as in a string of a program.
/// Source: RFC 7468, section 2, and section 10 for PKCS #8; OpenSSH and PGP use the same marks.
fn private_keys(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let mut found = Vec::new();
    for (start, mark) in text.match_indices("-----BEGIN ") {
        let label = start + mark.len();
        let Some(length) = text[label..].find("-----").filter(|length| *length <= 40) else {
            continue;
        };
        let is_private = text[label..label + length]
            .trim_end_matches(" BLOCK")
            .ends_with("PRIVATE KEY");
        let behind = label + length + 5;
        if is_private && (is_a_line(text, start, behind) || has_base64(&text[behind..])) {
            let end = text[behind..].find("-----END ").map_or(text.len(), |end| behind + end);
            found.push((start..end, "a private key"));
        }
    }
    found
}

/// What is left of private keys whose beginning was cut off, as at the start of the end of a long output: lines of base64
/// before the mark of their end.
fn rests_of_keys(text: &str, whole: &[Range<usize>]) -> Vec<(Range<usize>, &'static str)> {
    let mut found = Vec::new();
    for (end, mark) in text.match_indices("-----END ") {
        let label = text[end + mark.len()..].split("-----").next().unwrap_or_default();
        let is_private = label.trim_end_matches(" BLOCK").ends_with("PRIVATE KEY") && label.len() <= 40;
        if !is_private || whole.iter().any(|range| range.end == end) {
            continue;
        }
        let mut start = end;
        for line in text[..end].split_inclusive('\n').rev() {
            let body = line.trim();
            if body.is_empty() || !body.chars().all(is_base64) {
                break;
            }
            start -= line.len();
        }
        if start < end {
            found.push((start..end, "a private key"));
        }
    }
    found
}

fn is_a_line(text: &str, start: usize, end: usize) -> bool {
    let before = text[..start].rsplit('\n').next().unwrap_or_default();
    let after = text[end..].split('\n').next().unwrap_or_default();
    before.trim().is_empty() && after.trim().is_empty()
}

fn has_base64(text: &str) -> bool {
    let near = text.chars().take(KEY_WITHIN);
    let mut run = 0;
    for character in near {
        run = if is_base64(character) { run + 1 } else { 0 };
        if run >= KEY_RUN {
            return true;
        }
    }
    false
}

fn tokens<'t>(text: &'t str, token: &'t Token) -> impl Iterator<Item = (Range<usize>, &'static str)> + 't {
    text.match_indices(token.prefix).filter_map(move |(start, prefix)| {
        let rest = &text[start + prefix.len()..];
        let end = rest
            .find(|character| !(token.alphabet)(character))
            .unwrap_or(rest.len());
        let is_token = end >= token.least && begins(text, start) && is_random(&rest[..end]);
        is_token.then(|| (start..start + prefix.len() + end, token.what))
    })
}

/// Ids of keys of AWS, which have exactly twenty letters. Source: AWS's "IAM identifiers", "Unique identifiers"; ids in its
/// manuals end with EXAMPLE.
fn aws_ids(text: &str) -> Vec<(Range<usize>, &'static str)> {
    let mut found = Vec::new();
    for prefix in ["AKIA", "ASIA"] {
        for (start, _) in text.match_indices(prefix) {
            let rest = &text[start..];
            let is_part = |character: char| character.is_ascii_uppercase() || character.is_ascii_digit();
            let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
            let goes_on = rest[end..].starts_with(|character: char| character.is_ascii_alphanumeric());
            if end == 20 && !goes_on && begins(text, start) && !rest[..end].ends_with("EXAMPLE") {
                found.push((start..start + end, "a key of AWS"));
            }
        }
    }
    found
}

/// What is assigned to names that are known, as in `name = "value"`, `name: value` or `"name": "value"`.
fn assigned(text: &str) -> Vec<(Range<usize>, &'static str)> {
    // Of the same length: only the letters of ASCII change.
    let small = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for (name, what, least) in ASSIGNED {
        for (at, _) in small.match_indices(name) {
            let rest = &text[at + name.len()..];
            let value = rest.trim_start_matches(['"', '\'', ' ', '\t']);
            let Some(value) = value.strip_prefix([':', '=']) else {
                continue;
            };
            let value = value.trim_start_matches(['"', '\'', ' ', '\t']);
            let end = value.find(|character| !is_base64(character) && !"-_.".contains(character));
            let length = end.unwrap_or(value.len());
            if length >= least && is_random(&value[..length]) && !value[..length].to_uppercase().contains("EXAMPLE") {
                let start = text.len() - rest.len() + (rest.len() - value.len());
                found.push((start..start + length, what));
            }
        }
    }
    found
}

/// Whether a token can begin here: not in the middle of a word.
fn begins(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    !before.is_some_and(is_word_or_dash)
}

/// Whether it has what a random text has: several letters, and a digit. A name in words has none, and `xxxx` only one.
fn is_random(text: &str) -> bool {
    let mut different: Vec<char> = text.chars().collect();
    different.sort_unstable();
    different.dedup();
    different.len() >= 5 && text.contains(|character: char| character.is_ascii_digit())
}

fn is_alphanumeric(character: char) -> bool {
    character.is_ascii_alphanumeric()
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn is_word_or_dash(character: char) -> bool {
    is_word(character) || character == '-'
}

fn is_word_dash_or_dot(character: char) -> bool {
    is_word_or_dash(character) || character == '.'
}

fn is_path(character: char) -> bool {
    is_word(character) || character == '/'
}

fn is_base64(character: char) -> bool {
    character.is_ascii_alphanumeric() || "+/=".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Twenty letters and digits; what is made of it is a token by its prefix alone.
    const BODY: &str = "a1b2c3d4e5f6g7h8i9j0";

    fn by_name(path: &str) -> bool {
        credential_name(&RepoPath::parse(path).unwrap()).is_some()
    }

    #[test]
    fn files_of_credentials_are_known_by_name_in_any_directory_and_case() {
        for path in [
            ".env",
            "deploy/.ENV",
            ".env.production",
            "prod.env",
            "id_rsa",
            "keys/id_ed25519",
            ".npmrc",
            ".netrc",
            "a/.aws/credentials",
            "credentials",
            "terraform.tfstate",
            "terraform.tfstate.backup",
            "kubeconfig",
            ".kube/config",
            "home/.ssh/work",
            "cert.p12",
        ] {
            assert!(by_name(path), "{path}");
        }
        for path in [
            ".env.example",
            ".env.local.sample",
            "environment.py",
            "src/credentials.py",
            "id_rsa.pub",
            "config",
            "docker/config.json",
            ".ssh/config",
            "cert.pem",
            "src/secrets.rs",
            "npmrc.md",
        ] {
            assert!(!by_name(path), "{path}");
        }
    }

    #[test]
    fn private_keys_are_known_as_lines_and_in_strings() {
        for label in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
            let key = format!("x\n-----BEGIN {label}PRIVATE KEY-----\nplanted\n-----END {label}PRIVATE KEY-----\n");
            let found = credential_in(&key).unwrap();
            assert_eq!((found.what, found.line), ("a private key", 2), "{label}");
            assert!(!without_credentials(&key).contains("planted"));
        }
        let base64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7".to_owned();
        let string = format!("KEY = \"-----BEGIN PRIVATE KEY-----\\n{base64}\\n-----END PRIVATE KEY-----\"");
        assert!(credential_in(&string).is_some());
        assert!(credential_in(&format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{base64}")).is_some());
    }

    #[test]
    fn a_private_key_whose_beginning_was_cut_off_is_one_all_the_same() {
        let rest = "anted+\nplanted/==\n-----END EC PRIVATE KEY-----\nfailed\n";
        let struck = without_credentials(rest);
        assert_eq!(
            struck,
            "[struck out: a private key]-----END EC PRIVATE KEY-----\nfailed\n"
        );
        assert_eq!(
            credential_in("the mark is\n-----END PRIVATE KEY-----\n"),
            None,
            "words and no key"
        );
        assert_eq!(credential_in("planted\n-----END CERTIFICATE-----\n"), None);
    }

    #[test]
    fn code_that_speaks_of_keys_has_none() {
        for text in [
            "if text.startswith(\"-----BEGIN PRIVATE KEY-----\"):",
            "-----BEGIN CERTIFICATE-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n",
            "-----BEGIN PUBLIC KEY-----\n",
            "a token begins with ghp_ and has 36 letters",
            "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "AKIAIOSFODNN7EXAMPLE",
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "aws_secret_access_key = os.environ[\"AWS_SECRET_ACCESS_KEY\"]",
            "//registry.example.com/:_authToken=${NPM_TOKEN}",
            ".sk-folding-cube-with-a-long-name { }",
            "task-a1b2c3d4e5f6g7h8i9j0k1l2",
            "xoxb-your-token-here",
            "",
        ] {
            assert_eq!(credential_in(text), None, "{text}");
        }
    }

    #[test]
    fn tokens_are_known_by_their_shape_and_struck_out() {
        for (before, token, after) in [
            ("t = \"", format!("ghp_{BODY}{BODY}"), "\""),
            ("", format!("github_pat_{BODY}_{BODY}"), "\n"),
            ("url https://x:", format!("glpat-{BODY}"), "@host"),
            ("SLACK=", "xoxb-123456789012-abcdefghij".to_owned(), ""),
            ("", format!("sk-proj-{BODY}{BODY}"), " "),
            ("key: ", format!("sk-ant-api03-{BODY}-{BODY}"), ""),
            ("id ", "AKIAQ7R4T2Z9B5N8M1K3".to_owned(), "."),
            ("AWS_SECRET_ACCESS_KEY=", format!("{BODY}{BODY}"), "\n"),
            ("//x/:_authToken=", BODY.to_owned(), "\n"),
            ("\"aws_secret_access_key\": \"", format!("{BODY}{BODY}"), "\""),
        ] {
            let text = format!("{before}{token}{after}");
            assert!(credential_in(&text).is_some(), "{text}");
            let struck = without_credentials(&text);
            assert!(struck.starts_with(before) && struck.ends_with(after), "{struck}");
            assert!(struck.contains("[struck out: ") && !struck.contains(&token), "{struck}");
            assert_eq!(credential_in(&struck), None, "{struck}");
        }
    }

    proptest! {
        #[test]
        fn what_has_no_credential_is_left_alone(text in "(?s).{0,300}") {
            let struck = without_credentials(&text);
            match credential_in(&text) {
                None => prop_assert_eq!(struck, text),
                Some(found) => prop_assert!(found.line <= 1 + text.matches('\n').count()),
            }
        }

        #[test]
        fn nothing_around_a_token_hides_it(before in "(?s).{0,40}[ =\n]", after in "(?s)[ \n.].{0,40}") {
            let text = format!("{before}ghp_{BODY}{BODY}{after}");
            prop_assert!(!without_credentials(&text).contains(BODY), "{}", text);
        }
    }
}
