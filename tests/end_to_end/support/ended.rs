//! How one call of the program ended.

use serde_json::Value;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

/// How one call of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Self {
        Ended {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last document on standard output; every line before it has to be one as well.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let documents = self.text();
        let documents = documents.lines().map(serde_json::from_str::<Value>);
        let documents: Vec<_> = documents.collect::<Result<_, _>>().expect("a document a line");
        for document in documents.iter().filter(|document| document["event"].is_string()) {
            super::schema::follows("event", document);
        }
        documents.into_iter().next_back().expect("a document")
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// It has to end with `code` and one problem for people: what, why or what to do, with all of `words` in it.
    #[track_caller]
    pub(crate) fn explains(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let labelled = |label: &str| self.stderr.lines().filter(|line| line.starts_with(label)).count();
        assert_eq!((labelled("error: "), labelled("help: ")), (1, 1), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` in {self:#?}");
        }
    }

    /// The same as JSON on standard output, and nothing for people on standard error.
    #[track_caller]
    pub(crate) fn explains_in_json(&self, code: i32, class: &str, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.stderr, "", "{self:#?}");
        let problem = &self.json()["problem"];
        assert_eq!(problem["exit_code"], code, "{problem:#}");
        assert_eq!(problem["class"], class, "{problem:#}");
        assert!(problem["hint"].is_string(), "{problem:#}");
        let lines = |value: &Value| match value {
            Value::Array(lines) => lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect(),
            line => vec![line.as_str().unwrap().to_owned()],
        };
        let told: Vec<String> = ["message", "causes", "hint"].map(|key| lines(&problem[key])).concat();
        for word in words {
            assert!(told.iter().any(|line| line.contains(word)), "`{word}` in {problem:#}");
        }
    }
}
