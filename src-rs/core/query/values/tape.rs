//! The form in which the values of a result cross to JavaScript: a few flat streams, read in the order in which they were written.
//!
//! A `Codec` writes a value, and `src-ts/query/values/reader.ts` reads it by the codec's shape, so the streams need no
//! marks that tell what stands where.

/// The flag of a null.
pub(super) const NULL: u8 = 0;
/// The flag of a value, and of `true`.
pub(super) const PRESENT: u8 = 1;
/// The flag of `false`, and of a value in another form than is usual: an infinite interval, a moment as text.
pub(super) const OTHER: u8 = 2;

/// So many bytes of text a row may have, which is as many as the server can send in one.
pub(crate) const MOST_BYTES: usize = 1 << 30;

/// Values on their way to JavaScript.
#[derive(Debug, Default, PartialEq)]
pub struct Tape {
    /// One for each value: 0 for null, 1 for a value, 2 for `false` and for a value in another form than is usual.
    pub flags: Vec<u8>,
    /// Numbers, lengths and moments.
    pub numbers: Vec<f64>,
    /// Integers of 64 bits.
    pub integers: Vec<i64>,
    /// Texts.
    pub texts: Texts,
    /// Bytes, one value after the other. Their lengths are among the numbers.
    pub bytes: Vec<u8>,
}

/// Texts one after the other.
#[derive(Debug, Default, PartialEq)]
pub struct Texts {
    all: String,
    ends: Vec<usize>,
}

impl Texts {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The texts in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let text = &self.all[start..*end];
            start = *end;
            text
        })
    }
}

impl Tape {
    /// How many values it has, those within others counted too.
    pub(crate) fn len(&self) -> usize {
        self.flags.len()
    }

    /// How many bytes its texts and bytes have.
    pub(crate) fn bytes_len(&self) -> usize {
        self.texts.all.len() + self.bytes.len()
    }

    pub(super) fn flag(&mut self, flag: u8) {
        self.flags.push(flag);
    }

    pub(super) fn null(&mut self) {
        self.flag(NULL);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.flag(if value { PRESENT } else { OTHER });
    }

    pub(super) fn number(&mut self, value: impl Into<f64>) {
        self.flag(PRESENT);
        self.numbers.push(value.into());
    }

    pub(super) fn integer(&mut self, value: i64) {
        self.flag(PRESENT);
        self.integers.push(value);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.flag(PRESENT);
        self.unflagged_text(text);
    }

    /// A text for which there is a flag already.
    pub(super) fn unflagged_text(&mut self, text: &str) {
        self.texts.all.push_str(text);
        self.texts.ends.push(self.texts.all.len());
    }

    /// A text that `write` appends.
    pub(super) fn write_text(&mut self, write: impl FnOnce(&mut String)) {
        self.flag(PRESENT);
        write(&mut self.texts.all);
        self.texts.ends.push(self.texts.all.len());
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.flag(PRESENT);
        self.length(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// A length or a count. None is above 2^31, so a double holds it.
    pub(super) fn length(&mut self, length: usize) {
        self.numbers.push(length as f64);
    }
}
