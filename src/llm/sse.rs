//! Server-sent events out of bytes that arrive in any pieces.
//!
//! Source: HTML Standard, section 9.2.6, "Interpreting an event stream". It decodes malformed UTF-8 to replacement
//! characters; here it is refused, because an answer with holes is no answer. `id` and `retry` are for clients that
//! connect again, which would ask again; they are ignored.

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Its type; empty when none is named.
    pub(super) kind: String,
    /// Its data, the lines of several `data` fields joined.
    pub(super) data: String,
}

/// Bytes that are no event stream that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// A line or an event is larger than the limit.
    TooLarge,
    /// A line is not UTF-8.
    NotText,
}

/// Reads one stream.
#[derive(Debug)]
pub(super) struct Events {
    /// The most bytes of a line, and of the data of an event.
    limit: usize,
    /// The line that has not ended.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return: a line feed that follows it belongs to it.
    after_return: bool,
    /// Whether a line was read: a byte order mark may only come before.
    started: bool,
    kind: String,
    data: String,
}

impl Events {
    pub(super) fn new(limit: usize) -> Self {
        Events {
            limit,
            line: Vec::new(),
            after_return: false,
            started: false,
            kind: String::new(),
            data: String::new(),
        }
    }

    /// The events that are whole with these bytes. What the stream ends in the middle of is no event.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Malformed> {
        let mut events = Vec::new();
        for &byte in bytes {
            let belongs_to_the_last = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if belongs_to_the_last => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()?),
                _ if self.line.len() >= self.limit => return Err(Malformed::TooLarge),
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self) -> Result<Option<Event>, Malformed> {
        let bytes = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&bytes).map_err(|_| Malformed::NotText)?;
        let line = match std::mem::replace(&mut self.started, true) {
            false => line.strip_prefix('\u{feff}').unwrap_or(line),
            true => line,
        };
        if line.is_empty() {
            return Ok(self.end_of_event());
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // A line without a field name is a comment, which keeps the connection open.
            "event" => self.kind = value.to_owned(),
            "data" if self.data.len() + value.len() >= self.limit => return Err(Malformed::TooLarge),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            _ => {}
        }
        Ok(None)
    }

    fn end_of_event(&mut self) -> Option<Event> {
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        data.pop()?;
        Some(Event { kind, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 100;

    fn read(bytes: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let events = Events::new(LIMIT).push(bytes)?;
        Ok(events.into_iter().map(|event| (event.kind, event.data)).collect())
    }

    fn one(kind: &str, data: &str) -> Result<Vec<(String, String)>, Malformed> {
        Ok(vec![(kind.to_owned(), data.to_owned())])
    }

    #[test]
    fn an_event_is_its_data_lines_and_ends_with_an_empty_line() {
        assert_eq!(read(b"data: a\n\n"), one("", "a"));
        assert_eq!(read(b"event: x\ndata:a\ndata:  b\ndata\n\n"), one("x", "a\n b\n"));
        assert_eq!(read(b"\xef\xbb\xbfdata: a\r\rdata: b"), one("", "a"));
        assert_eq!(
            read(b": keep-alive\r\nid: 7\r\nretry: 1\r\ndata: a\r\n\r\n"),
            one("", "a")
        );
    }

    #[test]
    fn a_type_without_data_is_no_event_and_does_not_stick() {
        assert_eq!(read(b"event: x\n\ndata: a\n\n"), one("", "a"));
        assert_eq!(read(b"\n\n\r\n\n"), Ok(Vec::new()));
        assert_eq!(read(b"data: whole\n\ndata: cut off"), one("", "whole"));
    }

    #[test]
    fn no_line_and_no_event_grows_without_end() {
        let line = vec![b'x'; LIMIT + 1];
        assert_eq!(read(&line), Err(Malformed::TooLarge));
        assert_eq!(read(&b"data: 0123456789\n".repeat(20)), Err(Malformed::TooLarge));
        assert!(read(&b"data: 0123456789\n\n".repeat(20)).is_ok());
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(read(b"data: a\xff\n\n"), Err(Malformed::NotText));
        assert_eq!(read("data: \u{1f980}\n\n".as_bytes()), one("", "\u{1f980}"));
    }

    /// Streams of what matters to the parser: ends of lines, fields, characters of several bytes.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let pieces: [&[u8]; 12] = [
            b"data: ",
            b"data",
            b"event: e",
            b": comment",
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            "\u{1f980}".as_bytes(),
            b"\xff",
            b"\xef\xbb\xbf",
            b"{}",
        ];
        let piece = prop::sample::select(pieces.to_vec());
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(bytes in stream(), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8)) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let mut reader = Events::new(LIMIT);
            let in_pieces: Result<Vec<Vec<Event>>, Malformed> =
                cuts.windows(2).map(|ends| reader.push(&bytes[ends[0]..ends[1]])).collect();
            prop_assert_eq!(in_pieces.map(|events| events.concat()), Events::new(LIMIT).push(&bytes));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for event in Events::new(LIMIT).push(&bytes).unwrap_or_default() {
                prop_assert!(event.data.len() < LIMIT && !event.data.contains('\r'));
            }
        }

        #[test]
        fn what_is_written_as_an_event_is_read_back(kind in "[a-z._]{0,10}", data in "[^\r\n]{0,20}(\n[^\r\n]{0,20}){0,2}") {
            let lines: String = data.split('\n').map(|line| format!("data: {line}\n")).collect();
            let text = format!("event: {kind}\n{lines}\n");
            prop_assert_eq!(Events::new(1000).push(text.as_bytes()), Ok(vec![Event { kind, data }]));
        }
    }
}
