//! Bounded capture of an output stream: the head and the tail are kept, the middle is counted.

use super::report::Captured;
use std::collections::VecDeque;

/// Collects a stream of any length in a fixed amount of memory.
#[derive(Debug)]
pub(super) struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    half: usize,
    dropped: u64,
}

impl Capture {
    /// Keeps at most `limit` bytes, half of them from the start.
    pub(super) fn new(limit: u64) -> Self {
        let half = usize::try_from(limit / 2).unwrap_or(usize::MAX).max(1);
        Capture {
            head: Vec::new(),
            tail: VecDeque::new(),
            half,
            dropped: 0,
        }
    }

    /// Takes the next bytes of the stream.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(self.half - self.head.len()));
        self.head.extend_from_slice(first);
        // Of a piece longer than the tail only its end can stay.
        let skipped = rest.len().saturating_sub(self.half);
        self.tail.extend(&rest[skipped..]);
        let over = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..over);
        self.dropped += (skipped + over) as u64;
    }

    /// What was kept.
    pub(super) fn finish(self) -> Captured {
        Captured {
            head: self.head,
            tail: self.tail.into(),
            dropped: self.dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(limit: u64, pieces: &[&[u8]]) -> Captured {
        let mut capture = Capture::new(limit);
        pieces.iter().for_each(|piece| capture.push(piece));
        capture.finish()
    }

    #[test]
    fn a_short_stream_is_kept_whole() {
        assert_eq!(captured(8, &[b"abc", b"defgh"]).to_bytes(), b"abcdefgh");
        assert_eq!(captured(8, &[]).to_bytes(), b"");
    }

    #[test]
    fn of_a_long_stream_both_ends_are_kept_and_the_middle_is_counted() {
        let result = captured(4, &[b"abcdefgh", b"ij"]);
        assert_eq!(
            (&*result.head, &*result.tail, result.dropped),
            (&b"ab"[..], &b"ij"[..], 6)
        );
        assert_eq!(result.total(), 10);
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost_count_of(limit in 0u64..64, pieces in proptest::collection::vec(proptest::collection::vec(0u8.., 0..40), 0..20)) {
            let whole = pieces.concat();
            let views: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            let result = captured(limit, &views);
            proptest::prop_assert_eq!(result.total(), whole.len() as u64);
            proptest::prop_assert!(whole.starts_with(&result.head) && whole.ends_with(&result.tail));
            proptest::prop_assert!(result.head.len() + result.tail.len() <= limit.max(2) as usize);
        }
    }
}
