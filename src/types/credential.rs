//! What looks like a credential: by the name of a file, or by the shape of a text.
//!
//! - A shape is one that its maker documents: a prefix, an alphabet, a length. Words that only speak of keys are none.
//! - Placeholders are none either: a token of one letter again and again, or the examples of a maker's own manual.
//! - A finding says what it is and where, and never repeats it.
//!
//! It is a net for accidents, not a proof: a password without a shape passes.

use super::RepoPath;
use std::ops::Range;
use std::rc::Rc;

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

/// How long the label of a private key is at most, as in `-----BEGIN OPENSSH PRIVATE KEY-----`.
const KEY_LABEL: usize = 40;

/// Where something stands that looks like a credential, and what it looks like.
type Found = (Range<usize>, &'static str);

/// Something in a text that looks like a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// What it looks like.
    pub what: &'static str,
    /// The line in which it begins, from one.
    pub line: usize,
    /// The byte at which it begins.
    pub start: usize,
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

/// The first credential in a text. The time that it takes is proportional to the text, whatever stands there.
pub fn credential_in(text: &str) -> Option<Credential> {
    let mut first: Option<Found> = None;
    // What begins behind the first one found so far is of no interest, so each kind is looked for until its own first.
    for mut kind in kinds(text) {
        let earlier = kind.next().filter(|(range, _)| {
            first
                .as_ref()
                .is_none_or(|(found, _)| begin_and_end(range) < begin_and_end(found))
        });
        first = earlier.or(first);
    }
    let (range, what) = first?;
    Some(Credential {
        what,
        line: 1 + text[..range.start].matches('\n').count(),
        start: range.start,
    })
}

/// The text with all that looks like a credential struck out.
pub fn without_credentials(text: &str) -> String {
    struck_from(text, 0)
}

/// The last `bytes` of a text with all that looks like a credential struck out, also one that begins before them: half of a
/// credential has no shape, so the whole text is looked at.
pub fn end_without_credentials(text: &str, bytes: usize) -> String {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    struck_from(text, from)
}

fn struck_from(text: &str, from: usize) -> String {
    let mut found: Vec<Found> = kinds(text).into_iter().flatten().collect();
    found.sort_by_key(|(range, _)| begin_and_end(range));
    let mut out = String::with_capacity(text.len() - from);
    let mut done = from;
    let mut covered = 0;
    for (range, what) in found {
        // One that begins inside another is struck out with it.
        if range.start < covered || range.end <= from {
            continue;
        }
        covered = range.end;
        out.push_str(&text[done..range.start.max(done)]);
        out.push_str(&format!("[struck out: {what}]"));
        done = range.end;
    }
    out.push_str(&text[done..]);
    out
}

fn begin_and_end(range: &Range<usize>) -> (usize, usize) {
    (range.start, range.end)
}

/// What there is of each kind, each in the order in which it begins.
///
/// The text is hostile, and some of it is megabytes: none of them goes over the same bytes again for each hit.
fn kinds(text: &str) -> Vec<Box<dyn Iterator<Item = Found> + '_>> {
    let mut kinds: Vec<Box<dyn Iterator<Item = Found> + '_>> =
        vec![Box::new(private_keys(text)), Box::new(rests_of_keys(text))];
    for token in &TOKENS {
        kinds.push(Box::new(tokens(text, token)));
    }
    for prefix in ["AKIA", "ASIA"] {
        kinds.push(Box::new(aws_ids(text, prefix)));
    }
    // Of the same length: only the letters of ASCII change.
    let small: Rc<str> = text.to_ascii_lowercase().into();
    for (name, what, least) in ASSIGNED {
        kinds.push(Box::new(assigned(text, small.clone(), name, what, least)));
    }
    kinds
}

/// Private keys in PEM: a line that is the mark, or the mark with base64 behind it, as in a string of a program.
/// Source: RFC 7468, section 2, and section 10 for PKCS #8; OpenSSH and PGP use the same marks.
fn private_keys(text: &str) -> impl Iterator<Item = Found> + '_ {
    let mut ends = text.match_indices("-----END ").map(|(at, _)| at).peekable();
    let mut done = 0;
    text.match_indices("-----BEGIN ").filter_map(move |(start, mark)| {
        if start < done {
            return None;
        }
        let label = start + mark.len();
        let length = label_length(&text[label..])?;
        let behind = label + length + 5;
        let is_key =
            is_private(&text[label..label + length]) && (is_a_line(text, start, behind) || has_base64(&text[behind..]));
        if !is_key {
            return None;
        }
        // Marks lie behind one another, so those before this one are before all that follow.
        while ends.next_if(|end| *end < behind).is_some() {}
        done = ends.peek().copied().unwrap_or(text.len());
        Some((start..done, "a private key"))
    })
}

/// What is left of private keys whose beginning was cut off, as at the start of the end of a long output: lines of base64
/// before the mark of their end.
fn rests_of_keys(text: &str) -> impl Iterator<Item = Found> + '_ {
    let mut whole = private_keys(text).map(|(range, _)| range.end).peekable();
    // Behind the mark before, which is no base64: no line is looked at twice.
    let mut floor = 0;
    text.match_indices("-----END ").filter_map(move |(end, mark)| {
        let from = std::mem::replace(&mut floor, end + mark.len());
        let label = &text[end + mark.len()..];
        let is_end = label_length(label).is_some_and(|length| is_private(&label[..length]));
        while whole.next_if(|one| *one < end).is_some() {}
        if !is_end || whole.peek() == Some(&end) {
            return None;
        }
        let mut start = end;
        for line in text[from..end].split_inclusive('\n').rev() {
            let body = line.trim();
            let is_cut = from > 0 && start - line.len() == from;
            if is_cut || body.is_empty() || !body.chars().all(is_base64) {
                break;
            }
            start -= line.len();
        }
        (start < end).then_some((start..end, "a private key"))
    })
}

/// How long the label of a mark is, when the mark ends.
fn label_length(text: &str) -> Option<usize> {
    let longest = KEY_LABEL + "-----".len();
    let near = &text.as_bytes()[..text.len().min(longest)];
    near.windows(5).position(|window| window == b"-----")
}

fn is_private(label: &str) -> bool {
    label.trim_end_matches(" BLOCK").ends_with("PRIVATE KEY")
}

fn is_a_line(text: &str, start: usize, end: usize) -> bool {
    let is_blank = |character: char| character != '\n' && character.is_whitespace();
    let before = text[..start].trim_end_matches(is_blank);
    let after = text[end..].trim_start_matches(is_blank);
    (before.is_empty() || before.ends_with('\n')) && (after.is_empty() || after.starts_with('\n'))
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

fn tokens<'t>(text: &'t str, token: &'static Token) -> impl Iterator<Item = Found> + 't {
    let mut done = 0;
    text.match_indices(token.prefix).filter_map(move |(start, prefix)| {
        // What begins inside of a run that was looked at is a part of it, and none when the run is none.
        if start < done || !begins(text, start) {
            return None;
        }
        let rest = &text[start + prefix.len()..];
        let end = rest
            .find(|character| !(token.alphabet)(character))
            .unwrap_or(rest.len());
        done = start + prefix.len() + end;
        let is_token = end >= token.least && is_random(&rest[..end]);
        is_token.then_some((start..done, token.what))
    })
}

/// Ids of keys of AWS, which have exactly twenty letters. Source: AWS's "IAM identifiers", "Unique identifiers"; ids in its
/// manuals end with EXAMPLE.
fn aws_ids<'t>(text: &'t str, prefix: &'static str) -> impl Iterator<Item = Found> + 't {
    text.match_indices(prefix).filter_map(move |(start, _)| {
        if !begins(text, start) {
            return None;
        }
        let rest = &text[start..];
        let is_part = |character: char| character.is_ascii_uppercase() || character.is_ascii_digit();
        let end = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
        let goes_on = rest[end..].starts_with(|character: char| character.is_ascii_alphanumeric());
        let is_id = end == 20 && !goes_on && !rest[..end].ends_with("EXAMPLE");
        is_id.then_some((start..start + end, "a key of AWS"))
    })
}

/// What is assigned to a name that is known, as in `name = "value"`, `name: value` or `"name": "value"`. `small` is the text
/// in small letters.
fn assigned<'t>(
    text: &'t str,
    small: Rc<str>,
    name: &'static str,
    what: &'static str,
    least: usize,
) -> impl Iterator<Item = Found> + 't {
    let is_around = |character: char| ['"', '\'', ' ', '\t'].contains(&character);
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(at) = small[from..].find(name) {
            let rest = &text[from + at + name.len()..];
            from = text.len() - rest.len();
            let Some(value) = rest.trim_start_matches(is_around).strip_prefix([':', '=']) else {
                continue;
            };
            let value = value.trim_start_matches(is_around);
            let end = value.find(|character| !is_base64(character) && !"-_.".contains(character));
            let value = &value[..end.unwrap_or(value.len())];
            let start = value.as_ptr() as usize - text.as_ptr() as usize;
            let example = value.to_ascii_uppercase().rfind("EXAMPLE");
            // A name inside of a value has a part of it as its own value. Only one behind an example can be more than that.
            from = start + example.unwrap_or(value.len());
            if example.is_none() && value.len() >= least && is_random(value) {
                return Some((start..from, what));
            }
        }
        None
    })
}

/// Whether a token can begin here: not in the middle of a word.
fn begins(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back();
    !before.is_some_and(is_word_or_dash)
}

/// Whether it has what a random text has: several letters, and a digit. A name in words has none, and `xxxx` only one.
fn is_random(text: &str) -> bool {
    let mut different: Vec<char> = Vec::with_capacity(5);
    for character in text.chars() {
        if different.len() < 5 && !different.contains(&character) {
            different.push(character);
        }
    }
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

    #[test]
    fn the_time_is_proportional_to_the_text_whatever_stands_there() {
        let token = format!("ghp_{BODY}{BODY} ");
        let (mark, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
        let bare = format!("{mark}\n");
        let ended = format!("{end}\n");
        for shape in [
            "sk-",
            "xsk-",
            "SG.",
            "ghp_",
            "AKIA",
            "hooks.slack.com/services/T",
            "_authtoken=",
            "_authtoken=EXAMPLE",
            "_authtoken ",
            "-----BEGIN ",
            "-----END ",
            mark,
            &bare,
            end,
            &ended,
            &token,
            "\n",
            "a",
        ] {
            let took = |bytes: usize| {
                let text = shape.repeat(bytes / shape.len());
                let once = || {
                    let begun = std::time::Instant::now();
                    credential_in(&text);
                    without_credentials(&text);
                    begun.elapsed()
                };
                // The shorter of two, because others use the machine.
                once().min(once())
            };
            // A text of eight times the size would take sixty-four times as long if each hit went over all of it.
            let (one, eight) = (took(32 << 10), took(256 << 10));
            assert!(eight < one * 24, "{shape:?}: {one:?} and {eight:?}");
        }
    }

    #[test]
    fn the_end_of_a_text_has_no_half_of_what_begins_before_it() {
        let token = format!("ghp_{BODY}{BODY}");
        let text = format!("{}{token}\nbye", "x ".repeat(100));
        for bytes in 1..text.len() {
            let end = end_without_credentials(&text, bytes);
            assert!(end.len() <= bytes + 40 && end.ends_with('e'), "{end}");
            assert!(!end.contains("j0"), "{bytes}: {end}");
        }
        assert_eq!(
            end_without_credentials(&text, 10),
            "[struck out: a token of GitHub]\nbye"
        );
        assert_eq!(end_without_credentials(&text, 3), "bye");
        assert_eq!(end_without_credentials("\u{e9}a", 2), "a", "between characters");
    }

    #[test]
    fn what_is_inside_of_a_longer_word_is_found_where_the_word_is_none() {
        assert!(credential_in(&format!("_authtoken=EXAMPLE_authtoken={BODY}")).is_some());
        assert!(credential_in(&format!("SG.SG.{BODY}{BODY}.{BODY}")).is_some());
        let two =
            format!("sk-{BODY} -----BEGIN PRIVATE KEY-----\nplanted\n-----END PRIVATE KEY-----\nghp_{BODY}{BODY}");
        let found = credential_in(&two).unwrap();
        assert_eq!(
            (found.what, found.line, found.start),
            ("a key of a model's maker", 1, 0)
        );
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
