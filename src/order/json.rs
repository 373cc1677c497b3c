//! A strict JSON reader for documents that people and models write.
//!
//! - A key that stands twice in one object is a defect: two readers of such a text may see two documents.
//! - Size, depth and number of values are bounded before anything is built from them.
//! - Every defect has a place: a JSON pointer, and line and column in the text as it was given.
//! - Nothing here knows what an order or a proposal is.

use crate::types::escape_control;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use std::fmt;
use std::ops::Range;

/// How many values one document may hold; an order or a proposal has a few hundred.
const MAX_VALUES: usize = 100_000;

/// How many defects are listed; the others are counted.
const MAX_DEFECTS: usize = 50;

/// How much of a foreign text is quoted in a message, in characters.
const MAX_QUOTED: usize = 60;

/// A place in a text, for people: both count from one, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// The place of a byte of `text`.
    fn of(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        Place {
            line: before.iter().filter(|byte| **byte == b'\n').count() + 1,
            // A continuation byte of UTF-8 is not a character of its own.
            column: before[line_start..].iter().filter(|byte| **byte & 0xc0 != 0x80).count() + 1,
        }
    }
}

/// One thing that is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Defect {
    /// The value, as a JSON pointer (RFC 6901); empty for the document as a whole.
    pub pointer: String,
    /// Where it stands in the text.
    pub place: Place,
    /// What is wrong and what is wanted.
    pub text: String,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.place.line, self.place.column)?;
        if !self.pointer.is_empty() {
            write!(f, "{}: ", escape_control(&self.pointer))?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that is wrong with a document: at least one defect, and how many more there are than are listed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Defects {
    /// The first defects, in the order in which they were found.
    pub listed: Vec<Defect>,
    /// How many more were found.
    pub omitted: usize,
}

impl Defects {
    /// The only defect of a document that could not be read any further.
    pub fn one(pointer: &str, place: Place, text: impl Into<String>) -> Self {
        let defect = Defect {
            pointer: pointer.to_owned(),
            place,
            text: text.into(),
        };
        Defects {
            listed: vec![defect],
            omitted: 0,
        }
    }
}

impl fmt::Display for Defects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, defect) in self.listed.iter().enumerate() {
            let separator = if number == 0 { "" } else { "\n" };
            write!(f, "{separator}{defect}")?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\nand {omitted} more"),
        }
    }
}

/// One step from a value to a value inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// To the value of a key.
    Key(String),
    /// To an element of a list.
    Index(usize),
}

/// The way from the document to one of its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pointer(Vec<Step>);

impl Pointer {
    /// The document itself.
    pub fn root() -> Self {
        Pointer::default()
    }

    /// The value of a key of this object.
    pub fn key(&self, name: &str) -> Self {
        self.with(Step::Key(name.to_owned()))
    }

    /// An element of this list, counted from zero.
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Pointer(steps)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| match step {
            Step::Key(name) => write!(f, "/{}", name.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => write!(f, "/{index}"),
        })
    }
}

/// A document that is valid JSON, with what is wrong in it so far.
#[derive(Debug)]
pub struct Document<'t> {
    whole: &'t str,
    part: &'t str,
    root: Value,
    defects: Defects,
}

impl<'t> Document<'t> {
    /// Reads bytes that are to be one JSON document of at most `max` bytes.
    ///
    /// # Errors
    /// When they are too many, not UTF-8, not JSON, or nested beyond reason. Keys that stand twice are found too, but
    /// they do not end the reading: they are among the defects of [`Document::finish`].
    pub fn read_bytes(bytes: &'t [u8], max: usize) -> Result<Self, Defects> {
        let start = Place { line: 1, column: 1 };
        if bytes.len() > max {
            let text = format!("the text has {} bytes; at most {max} are read", bytes.len());
            return Err(Defects::one("", start, text));
        }
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(Defects::one("", start, "the text looks like UTF-16; save it as UTF-8"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let place = Place::of(&valid, valid.len());
            Defects::one(
                "",
                place,
                format!("byte {:#04x} is not UTF-8", bytes[error.valid_up_to()]),
            )
        })?;
        Document::read(text, 0..text.len())
    }

    /// Reads a part of a text that is to be one JSON document; places are those in the whole text.
    ///
    /// # Errors
    /// As for [`Document::read_bytes`], without the limit on the size, which is the caller's.
    pub fn read(whole: &'t str, part: Range<usize>) -> Result<Self, Defects> {
        let offset = part.start;
        let part = &whole[part];
        let mut path = Pointer::root();
        let mut found = Found::default();
        let mut deserializer = serde_json::Deserializer::from_str(part);
        let root = Reader {
            part,
            path: &mut path,
            found: &mut found,
        }
        .deserialize(&mut deserializer)
        .and_then(|root| deserializer.end().map(|()| root))
        .map_err(|error| explain(whole, part, offset, &error))?;
        let mut document = Document {
            whole,
            part,
            root,
            defects: Defects {
                listed: Vec::new(),
                omitted: 0,
            },
        };
        for (pointer, within) in &found.duplicates {
            let text = "the key stands twice in this object; keep one".to_owned();
            document.add_at(pointer, offset + within, text);
        }
        document.defects.omitted += found.more_duplicates;
        Ok(document)
    }

    /// Adds a defect of one of the values.
    pub fn add(&mut self, pointer: &Pointer, text: String) {
        let offset = match self.defects.listed.len() {
            MAX_DEFECTS.. => 0, // It will only be counted.
            _ => self.offset_of(pointer),
        };
        self.add_at(pointer, offset, text);
    }

    fn add_at(&mut self, pointer: &Pointer, offset: usize, text: String) {
        if self.defects.listed.len() == MAX_DEFECTS {
            self.defects.omitted += 1;
            return;
        }
        let place = Place::of(self.whole, offset);
        self.defects.listed.push(Defect {
            pointer: pointer.to_string(),
            place,
            text,
        });
    }

    /// Takes the values out, to be read while defects are added.
    pub fn take_root(&mut self) -> Value {
        std::mem::take(&mut self.root)
    }

    /// Gives `value` unless anything was wrong.
    ///
    /// # Errors
    /// All defects found while reading and added since.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Defects> {
        match value {
            Some(value) if self.defects.listed.is_empty() => Ok(value),
            _ => Err(self.defects),
        }
    }

    /// How many defects were found so far.
    pub fn defect_count(&self) -> usize {
        self.defects.listed.len() + self.defects.omitted
    }

    /// Finds a value again in the text. The tree of values holds no places, because only values with a defect need one,
    /// and those are few.
    fn offset_of(&self, pointer: &Pointer) -> usize {
        let mut text = self.part.trim_start_matches([' ', '\t', '\r', '\n']);
        for step in &pointer.0 {
            let inner = match step {
                Step::Key(name) => member(text, name),
                Step::Index(index) => element(text, *index),
            };
            // A value that is missing stands where the object stands that lacks it.
            let Some(inner) = inner else { break };
            text = inner;
        }
        text.as_ptr() as usize - self.whole.as_ptr() as usize
    }
}

/// The text of a key's value in an object.
fn member<'t>(object: &'t str, name: &str) -> Option<&'t str> {
    let named =
        |(key, _): &(&RawValue, &RawValue)| serde_json::from_str::<String>(key.get()).is_ok_and(|key| key == name);
    entries(object)?.into_iter().find(named).map(|(_, value)| value.get())
}

/// The text of an element of a list.
fn element(list: &str, index: usize) -> Option<&str> {
    let elements: Vec<&RawValue> = serde_json::from_str(list).ok()?;
    elements.get(index).map(|element| element.get())
}

/// The members of an object, unread, in the order of the text.
fn entries(text: &str) -> Option<Vec<(&RawValue, &RawValue)>> {
    struct Entries;
    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(&'de RawValue, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = Vec::new();
            while let Some(entry) = map.next_entry()? {
                entries.push(entry);
            }
            Ok(entries)
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Entries).ok()
}

/// What was found besides the values.
#[derive(Default)]
struct Found {
    values: usize,
    /// Keys that stood before in their object, each with its offset in the part that is read.
    duplicates: Vec<(Pointer, usize)>,
    more_duplicates: usize,
}

/// Builds a value and notes the keys that stand twice in one object; of those the first counts.
struct Reader<'a> {
    part: &'a str,
    path: &'a mut Pointer,
    found: &'a mut Found,
}

impl Reader<'_> {
    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.found.values += 1;
        if self.found.values > MAX_VALUES {
            return Err(E::custom(format_args!(
                "the document has more than {MAX_VALUES} values"
            )));
        }
        Ok(())
    }

    fn note_duplicate(&mut self, offset: usize) {
        match self.found.duplicates.len() {
            MAX_DEFECTS.. => self.found.more_duplicates += 1,
            _ => self.found.duplicates.push((self.path.clone(), offset)),
        }
    }

    fn inner(&mut self) -> Reader<'_> {
        Reader {
            part: self.part,
            path: self.path,
            found: self.found,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            self.path.0.push(Step::Index(values.len()));
            let next = sequence.next_element_seed(self.inner())?;
            self.path.0.pop();
            match next {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Map::new();
        // A key is taken unread first, because only so does the place of a second one remain known.
        while let Some(key) = map.next_key::<&RawValue>()? {
            let name: String = serde_json::from_str(key.get()).map_err(A::Error::custom)?;
            let seen_before = values.contains_key(&name);
            self.path.0.push(Step::Key(name.clone()));
            if seen_before {
                self.note_duplicate(key.get().as_ptr() as usize - self.part.as_ptr() as usize);
            }
            let value = map.next_value_seed(self.inner())?;
            self.path.0.pop();
            if !seen_before {
                values.insert(name, value);
            }
        }
        Ok(Value::Object(values))
    }
}

/// Says in plain words why a text is not JSON. `offset` is where the part begins in the whole.
fn explain(whole: &str, part: &str, offset: usize, error: &serde_json::Error) -> Defects {
    let within = match error.is_eof() {
        true => part.len(),
        false => offset_of_place(part, error.line(), error.column()),
    };
    let place = Place::of(whole, offset + within);
    let said = error.to_string();
    let said = said.split(" at line ").next().unwrap_or(&said);
    let rest = part[within..].trim_start();
    let advice = if error.is_eof() {
        "the text ends in the middle of the document"
    } else if said.starts_with("recursion limit") {
        "lists and objects are nested too deeply"
    } else if ["NaN", "Infinity", "-Infinity"]
        .iter()
        .any(|word| rest.starts_with(word))
    {
        "NaN and Infinity are not JSON"
    } else if rest.starts_with("//") || rest.starts_with("/*") || rest.starts_with('#') {
        "JSON has no comments"
    } else if rest.starts_with('\u{feff}') {
        "the text begins with a byte order mark; save it without"
    } else if rest.starts_with('\'') {
        "texts stand in double quotes"
    } else if said.contains("surrogate") || said.contains("hex escape") {
        "half of a surrogate pair is not a character; write the character itself"
    } else {
        ""
    };
    let text = match advice {
        "" => format!("not valid JSON: {said}"),
        advice => format!("not valid JSON: {advice}"),
    };
    let text = match rest.lines().next() {
        Some(line) if !error.is_eof() => format!("{text}, at {}", quote(&beginning(line, 20))),
        _ => text,
    };
    Defects::one("", place, text)
}

/// The byte at a line and column as serde_json counts them: columns in bytes, from one, or zero for the end of the line
/// before.
fn offset_of_place(text: &str, line: usize, column: usize) -> usize {
    let line_start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let mut offset = (line_start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// Names a value in a message: what it is, and its beginning.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("`{value}`"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the text {}", quote(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// Quotes a foreign text in a message: on one line, harmless on a terminal, and not too long.
pub fn quote(text: &str) -> String {
    // Cut before it is escaped, because the text may be megabytes.
    let line = escape_control(&beginning(text, MAX_QUOTED + 1))
        .replace('\n', "\\n")
        .replace('\t', "\\t");
    match line.chars().count() > MAX_QUOTED {
        true => format!("`{}…`", beginning(&line, MAX_QUOTED)),
        false => format!("`{line}`"),
    }
}

fn beginning(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// What a value should be, with an example to copy.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// Its kind, as in `a list of texts`.
    pub what: &'static str,
    /// An example, as it stands in the document.
    pub example: &'static str,
}

impl Document<'_> {
    /// Adds that a value is not what is wanted.
    pub fn add_wrong(&mut self, at: &Pointer, found: &Value, want: Want) {
        let Want { what, example } = want;
        self.add(
            at,
            format!("{} is not {what}; write for example {example}", describe(found)),
        );
    }

    /// The members of an object.
    pub fn object<'v>(&mut self, at: &Pointer, value: &'v Value, want: Want) -> Option<&'v Map<String, Value>> {
        if value.is_object() {
            return value.as_object();
        }
        self.add_wrong(at, value, want);
        None
    }

    /// A member that has to be there.
    pub fn member<'v>(
        &mut self,
        at: &Pointer,
        object: &'v Map<String, Value>,
        key: &str,
        want: Want,
    ) -> Option<(Pointer, &'v Value)> {
        let at = at.key(key);
        if let Some(value) = object.get(key) {
            return Some((at, value));
        }
        let misspelled = object.keys().find(|found| strsim::damerau_levenshtein(found, key) <= 2);
        let remark = misspelled.map_or(String::new(), |found| {
            format!(" (there is {}; is it meant?)", quote(found))
        });
        let Want { what, example } = want;
        self.add(&at, format!("missing{remark}; write {what}, for example {example}"));
        None
    }

    /// A text that has to be there.
    pub fn text<'v>(
        &mut self,
        at: &Pointer,
        object: &'v Map<String, Value>,
        key: &str,
        want: Want,
    ) -> Option<(Pointer, &'v str)> {
        let (at, value) = self.member(at, object, key, want)?;
        let text = self.as_text(&at, value, want)?;
        Some((at, text))
    }

    /// A list that has to be there, with the place of each element.
    pub fn list<'v>(
        &mut self,
        at: &Pointer,
        object: &'v Map<String, Value>,
        key: &str,
        want: Want,
    ) -> Option<(Pointer, Vec<(Pointer, &'v Value)>)> {
        let (at, value) = self.member(at, object, key, want)?;
        let elements = self.as_list(&at, value, want)?;
        Some((at, elements))
    }

    /// The value, when it is a text.
    pub fn as_text<'v>(&mut self, at: &Pointer, value: &'v Value, want: Want) -> Option<&'v str> {
        if !value.is_string() {
            self.add_wrong(at, value, want);
        }
        value.as_str()
    }

    /// The elements, when the value is a list.
    pub fn as_list<'v>(&mut self, at: &Pointer, value: &'v Value, want: Want) -> Option<Vec<(Pointer, &'v Value)>> {
        let Some(elements) = value.as_array() else {
            self.add_wrong(at, value, want);
            return None;
        };
        Some(
            elements
                .iter()
                .enumerate()
                .map(|(index, element)| (at.index(index), element))
                .collect(),
        )
    }
}

/// The part between a code fence's first line, whatever is written on it, and its closing mark; all but the blanks
/// around it when there is no fence.
pub fn unfence(text: &str) -> Range<usize> {
    let trimmed = text.trim();
    let fenced = || {
        let (_, inner) = trimmed.strip_prefix("```")?.split_once('\n')?;
        inner.strip_suffix("```")
    };
    let body = fenced().unwrap_or(trimmed);
    let start = body.as_ptr() as usize - text.as_ptr() as usize;
    start..start + body.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Value, Defects> {
        let mut document = Document::read_bytes(text.as_bytes(), 1 << 20)?;
        let root = document.take_root();
        document.finish(Some(root))
    }

    fn only_defect(text: &str) -> String {
        let defects = read(text).expect_err(text);
        assert_eq!((defects.listed.len(), defects.omitted), (1, 0), "{defects}");
        defects.to_string()
    }

    #[test]
    fn every_key_that_stands_twice_is_found_where_it_stands_again() {
        let defects =
            read("{\"a\": 1,\n \"b\": [{\"c\": 1, \"\\u0063\": 2}],\n \"a\": {\"d\": 1, \"d\": 2}}").expect_err("two");
        let found: Vec<_> = defects
            .listed
            .iter()
            .map(|defect| (defect.pointer.as_str(), defect.place))
            .collect();
        let place = |line, column| Place { line, column };
        assert_eq!(
            found,
            [("/b/0/c", place(2, 17)), ("/a", place(3, 2)), ("/a/d", place(3, 16))]
        );
    }

    #[test]
    fn columns_count_characters() {
        let defect = only_defect("{\"é\": 1, \"é\": 2}");
        assert!(defect.starts_with("line 1, column 10: /é: "), "{defect}");
    }

    #[test]
    fn what_is_not_json_is_explained() {
        for (text, place, advice) in [
            ("{\"a\": NaN}", "line 1, column 7", "NaN and Infinity"),
            ("{\"a\": -Infinity}", "line 1, column 8", "not valid JSON"),
            ("// c\n{}", "line 1, column 1", "no comments"),
            ("{'a': 1}", "line 1, column 2", "double quotes"),
            ("{\"a\": [1,\n2", "line 2, column 2", "ends in the middle"),
            ("{\"a\": 1,}", "line 1, column 9", "trailing comma"),
            ("{\"a\": \"\\ud800\"}", "line 1, column", "surrogate"),
            ("\u{feff}{}", "line 1, column 1", "byte order mark"),
            ("{} {}", "line 1, column 4", "trailing characters"),
            ("{\"a\": 1e999}", "line 1, column", "out of range"),
        ] {
            let defect = only_defect(text);
            assert!(defect.starts_with(place) && defect.contains(advice), "{text}: {defect}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_have_a_place() {
        let defects = Document::read_bytes(b"{\n\"\xff\"}", 100).expect_err("not UTF-8");
        assert_eq!(defects.to_string(), "line 2, column 2: byte 0xff is not UTF-8");
        let defects = Document::read_bytes(b"\xff\xfe{\0}\0", 100).expect_err("UTF-16");
        assert!(defects.to_string().contains("UTF-16"));
    }

    #[test]
    fn size_depth_and_number_of_values_are_bounded() {
        assert!(only_defect(&"[".repeat(100_000)).contains("nested too deeply"));
        assert!(only_defect(&format!("[{}0]", "0,".repeat(MAX_VALUES))).contains("more than 100000 values"));
        let defects = Document::read_bytes(b"[1]", 2).expect_err("three bytes");
        assert!(defects.to_string().contains("at most 2"));
    }

    #[test]
    fn many_defects_are_counted_not_listed() {
        let text = format!("[{}0]", "{\"a\":1,\"a\":1},".repeat(1000));
        let defects = read(&text).expect_err("a thousand duplicates");
        assert_eq!(
            (defects.listed.len(), defects.omitted),
            (MAX_DEFECTS, 1000 - MAX_DEFECTS)
        );
    }

    #[test]
    fn a_quoted_text_is_short_and_harmless() {
        assert_eq!(quote("a\n\u{1b}[2J"), "`a\\n\\u{1b}[2J`");
        assert_eq!(quote(&"x".repeat(1000)).chars().count(), MAX_QUOTED + 3);
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(text in r#"([\[\]{},:"a0\\ \n]|null|1e5|"a":|\\ud83d|\\ude00|é){0,24}"#) {
            // Without duplicates both see the same values; with them we refuse. We never accept more.
            if let Ok(value) = read(&text) {
                prop_assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
            }
        }
    }
}
