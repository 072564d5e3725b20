//! The payloads of a buffer, one after the other in blocks: no allocation for each, and no payload keeps another alive.

use std::collections::VecDeque;

/// The size of a buffer's first block: most buffers never hold much.
const FIRST_BLOCK: usize = 4 * 1024;
/// Blocks grow up to this size, and are freed one by one as they are read.
const LARGEST_BLOCK: usize = 64 * 1024;

/// A queue of byte strings whose lengths somebody else keeps.
#[derive(Debug, Default)]
pub(super) struct Text {
    blocks: VecDeque<Vec<u8>>,
    /// How much of the first block has been taken.
    taken: usize,
}

impl Text {
    /// Adds one at the end.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let fits = |block: &&mut Vec<u8>| block.capacity() - block.len() >= bytes.len();
        if let Some(last) = self.blocks.back_mut().filter(fits) {
            last.extend_from_slice(bytes);
            return;
        }
        let size = match self.blocks.back() {
            Some(last) => (2 * last.capacity()).min(LARGEST_BLOCK),
            None => FIRST_BLOCK,
        };
        let mut block = Vec::with_capacity(size.max(bytes.len()));
        block.extend_from_slice(bytes);
        self.blocks.push_back(block);
    }

    /// Appends the first `length` bytes to `target` and forgets them.
    pub(super) fn take(&mut self, length: usize, target: &mut Vec<u8>) {
        self.eat(length, |bytes| target.extend_from_slice(bytes));
    }

    /// Forgets the first `length` bytes.
    pub(super) fn skip(&mut self, length: usize) {
        self.eat(length, |_| ());
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Moves everything from `other` to the end of this.
    pub(super) fn append(&mut self, other: &mut Self) {
        let Self { mut blocks, taken } = std::mem::take(other);
        let Some(first) = blocks.pop_front() else {
            return;
        };
        // Small blocks are put together: there may be thousands.
        if taken > 0 || first.len() < FIRST_BLOCK {
            self.push(&first[taken..]);
        } else {
            self.blocks.push_back(first);
        }
        self.blocks.append(&mut blocks);
    }

    fn eat(&mut self, mut length: usize, mut use_bytes: impl FnMut(&[u8])) {
        while length > 0 {
            let is_last = self.blocks.len() == 1;
            let Some(first) = self.blocks.front_mut() else {
                return;
            };
            let here = length.min(first.len() - self.taken);
            use_bytes(&first[self.taken..self.taken + here]);
            self.taken += here;
            length -= here;
            if self.taken < first.len() {
                return;
            }
            self.taken = 0;
            if is_last {
                // Kept for what comes next.
                first.clear();
            } else {
                self.blocks.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &mut Text, length: usize) -> String {
        let mut target = Vec::new();
        text.take(length, &mut target);
        String::from_utf8(target).unwrap()
    }

    #[test]
    fn what_was_pushed_is_taken_in_order_across_blocks() {
        let mut text = Text::default();
        let words: Vec<String> = (0..20_000).map(|number| format!("word {number}")).collect();
        for word in &words {
            text.push(word.as_bytes());
        }
        assert!(text.blocks.len() > 1);
        let all = words.concat();
        assert_eq!(taken(&mut text, 10), all[..10]);
        text.skip(5);
        assert_eq!(taken(&mut text, all.len() - 15), all[15..]);
        assert_eq!(text.blocks.len(), 1, "one block is kept");
        assert!(text.blocks[0].is_empty());
    }

    #[test]
    fn a_block_that_was_read_is_freed() {
        let mut text = Text::default();
        for _ in 0..100 {
            text.push(&[b'x'; 8000]);
        }
        let before = text.blocks.len();
        text.skip(400_000);
        assert!(text.blocks.len() < before);
    }

    #[test]
    fn another_queue_is_appended_without_what_was_taken_of_it() {
        let (mut first, mut second) = (Text::default(), Text::default());
        first.push(b"abc");
        first.skip(1);
        second.push(b"defgh");
        second.skip(2);
        first.append(&mut second);
        first.push(b"i");
        assert_eq!(taken(&mut first, 6), "bcfghi");
        second.push(b"new");
        assert_eq!(taken(&mut second, 3), "new");
    }
}
