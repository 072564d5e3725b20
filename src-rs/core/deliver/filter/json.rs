//! Whether a JSON text has a certain value at a certain path: one pass over the text, without recursion or allocation.
//!
//! The whole text is checked, as strictly as `JSON.parse` does it: a text that is no JSON is neither right nor wrong.

/// What a path may lead to.
#[derive(Debug, PartialEq)]
pub enum Scalar {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, compared by its value as a double: `1`, `1.0` and `1e0` are equal.
    Number(f64),
    /// A string, compared with the text for which its escapes stand.
    Text(String),
}

/// One step of a path.
#[derive(Debug, PartialEq)]
struct Step {
    /// The name of an object's member.
    key: Box<str>,
    /// The number of an array's element: the name, if it is a number as JavaScript writes it.
    element: Option<u64>,
}

impl From<String> for Step {
    fn from(key: String) -> Self {
        let number = key.parse().ok();
        let element = number.filter(|number: &u32| number.to_string() == key);
        Self {
            key: key.into_boxed_str(),
            element: element.map(u64::from),
        }
    }
}

/// The condition that a path leads to a value.
#[derive(Debug, PartialEq)]
pub struct JsonCondition {
    path: Box<[Step]>,
    equals: Scalar,
}

impl JsonCondition {
    /// The condition that `path` leads to `equals`. An empty path leads to the whole text.
    #[must_use]
    pub fn new(path: Vec<String>, equals: Scalar) -> Self {
        Self {
            path: path.into_iter().map(Into::into).collect(),
            equals,
        }
    }

    /// Whether the condition holds for a text; `None` if it is no JSON. `nesting` is memory that is used again.
    pub(super) fn holds(&self, text: &[u8], nesting: &mut Vec<u64>) -> Option<bool> {
        let mut search = Search {
            condition: self,
            nesting,
            depth: 0,
            followed: 0,
            element: 0,
            is_next: true,
            found: false,
        };
        search.run(Reader { text, at: 0 })?;
        Some(search.found)
    }
}

/// What may stand next.
#[derive(Clone, Copy)]
enum Expected {
    Value,
    /// A value, or the end of an empty array.
    ValueOrEnd,
    Key,
    /// A key, or the end of an empty object.
    KeyOrEnd,
    /// A comma, or the end of what is open.
    Rest,
}

/// A search for the value, while the text is read.
struct Search<'search> {
    condition: &'search JsonCondition,
    /// For each open object or array, from the outermost on, a bit: whether it is an object.
    nesting: &'search mut Vec<u64>,
    /// How many objects and arrays are open.
    depth: usize,
    /// How many of them, from the outermost on, the path leads through.
    followed: usize,
    /// In an array on the path, the number of the next element.
    element: u64,
    /// Whether the path leads to the value that comes next.
    is_next: bool,
    /// Whether the last value to which the path has led is the one that is asked for. Of members with the same name the last one
    /// counts, so this may change.
    found: bool,
}

impl Search<'_> {
    /// Reads the whole text; `None` if it is no JSON.
    fn run(&mut self, mut reader: Reader<'_>) -> Option<()> {
        let mut expected = Expected::Value;
        loop {
            let byte = match (reader.next_token(), expected) {
                (Some(byte), _) => byte,
                (None, Expected::Rest) if self.depth == 0 => return Some(()),
                (None, _) => return None,
            };
            expected = match (expected, byte) {
                (Expected::ValueOrEnd, b']') | (Expected::KeyOrEnd, b'}') => self.close(),
                (Expected::Key | Expected::KeyOrEnd, b'"') => {
                    self.key(reader.string()?);
                    if reader.next_token()? != b':' {
                        return None;
                    }
                    Expected::Value
                }
                (Expected::Value | Expected::ValueOrEnd, _) => {
                    self.count_element();
                    self.value(byte, &mut reader)?
                }
                (Expected::Rest, b',') if self.depth > 0 => {
                    if self.is_in_object() {
                        Expected::Key
                    } else {
                        Expected::Value
                    }
                }
                (Expected::Rest, b']') if self.depth > 0 && !self.is_in_object() => self.close(),
                (Expected::Rest, b'}') if self.depth > 0 && self.is_in_object() => self.close(),
                _ => return None,
            };
        }
    }

    /// Notes the name of the member that comes next.
    fn key(&mut self, name: Text<'_>) {
        self.is_next = self
            .step()
            .is_some_and(|step| name.is_equal_to(step.key.as_bytes()));
        if self.is_next {
            self.found = false;
        }
    }

    /// Counts the element that comes next, if it is one of an array on the path.
    fn count_element(&mut self) {
        if self.depth == 0 || self.is_in_object() {
            return;
        }
        let step = self.step();
        self.is_next = step.is_some_and(|step| step.element == Some(self.element));
        if self.depth == self.followed {
            self.element = self.element.saturating_add(1);
        }
    }

    /// The step of the path that leads on from the innermost of what is open.
    fn step(&self) -> Option<&Step> {
        let is_followed = self.depth > 0 && self.depth == self.followed;
        is_followed
            .then(|| self.condition.path.get(self.depth - 1))
            .flatten()
    }

    /// Reads a value that begins with this byte, or opens it.
    fn value(&mut self, first: u8, reader: &mut Reader<'_>) -> Option<Expected> {
        let is_target = self.is_next && self.depth == self.condition.path.len();
        let equals = &self.condition.equals;
        let is_equal = match first {
            b'{' | b'[' => {
                if is_target {
                    self.found = false;
                }
                return Some(self.open(first == b'{'));
            }
            b'"' => {
                let text = reader.string()?;
                matches!(equals, Scalar::Text(wanted) if is_target && text.is_equal_to(wanted.as_bytes()))
            }
            b't' => reader.word(b"rue")? && *equals == Scalar::Bool(true),
            b'f' => reader.word(b"alse")? && *equals == Scalar::Bool(false),
            b'n' => reader.word(b"ull")? && *equals == Scalar::Null,
            _ => {
                let number = reader.number(first)?;
                let value = || str::from_utf8(number).ok()?.parse::<f64>().ok();
                matches!(equals, Scalar::Number(wanted) if is_target && value() == Some(*wanted))
            }
        };
        if is_target {
            self.found = is_equal;
        }
        Some(Expected::Rest)
    }

    fn open(&mut self, is_object: bool) -> Expected {
        let is_followed =
            self.is_next && self.depth == self.followed && self.depth < self.condition.path.len();
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        if word == self.nesting.len() {
            self.nesting.push(0);
        }
        self.depth += 1;
        self.is_next = false;
        if is_followed {
            self.followed = self.depth;
            self.element = 0;
        }
        if is_object {
            self.nesting[word] |= bit;
            Expected::KeyOrEnd
        } else {
            self.nesting[word] &= !bit;
            Expected::ValueOrEnd
        }
    }

    fn close(&mut self) -> Expected {
        if self.followed == self.depth {
            self.followed -= 1;
            // If an array is around it, the path led to this element of it, and to no later one.
            self.element = u64::MAX;
        }
        self.depth -= 1;
        Expected::Rest
    }

    fn is_in_object(&self) -> bool {
        let place = self.depth - 1;
        self.nesting[place / 64] & (1 << (place % 64)) != 0
    }
}

/// A JSON text that is being read.
struct Reader<'text> {
    text: &'text [u8],
    at: usize,
}

impl<'text> Reader<'text> {
    fn next(&mut self) -> Option<u8> {
        let byte = *self.text.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// The first byte behind white space.
    fn next_token(&mut self) -> Option<u8> {
        loop {
            let byte = self.next()?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
        }
    }

    /// The rest of a word. `None`: it is another one.
    fn word(&mut self, rest: &[u8]) -> Option<bool> {
        self.text[self.at..].strip_prefix(rest)?;
        self.at += rest.len();
        Some(true)
    }

    /// The rest of a string, behind its opening quote.
    fn string(&mut self) -> Option<Text<'text>> {
        let from = self.at;
        let mut has_escapes = false;
        loop {
            match self.next()? {
                b'"' => break,
                b'\\' => {
                    has_escapes = true;
                    match self.next()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            let digits = self.text.get(self.at..self.at + 4)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return None;
                            }
                            self.at += 4;
                        }
                        _ => return None,
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
        }
        Some(Text {
            raw: &self.text[from..self.at - 1],
            has_escapes,
        })
    }

    /// The whole of a number, of which the first byte is read.
    fn number(&mut self, first: u8) -> Option<&'text [u8]> {
        let from = self.at - 1;
        let leading = if first == b'-' { self.next()? } else { first };
        match leading {
            b'0' => {}
            b'1'..=b'9' => self.skip_digits(),
            _ => return None,
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.text.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(&self.text[from..self.at])
    }

    /// At least one digit.
    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        self.skip_digits();
        (self.at > from).then_some(())
    }

    fn skip_digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }
}

/// A string as it is written, without its quotes; its escapes have the right form.
#[derive(Clone, Copy)]
struct Text<'text> {
    raw: &'text [u8],
    has_escapes: bool,
}

impl Text<'_> {
    /// Whether the string stands for this text. Half of a surrogate pair stands for no text.
    fn is_equal_to(self, mut wanted: &[u8]) -> bool {
        if !self.has_escapes {
            return self.raw == wanted;
        }
        let mut rest = self.raw;
        while let Some((first, behind)) = rest.split_first() {
            let mut utf8 = [0; 4];
            let written: &[u8] = if *first == b'\\' {
                let Some((character, behind)) = unescape(behind) else {
                    return false;
                };
                rest = behind;
                character.encode_utf8(&mut utf8).as_bytes()
            } else {
                rest = behind;
                std::slice::from_ref(first)
            };
            let Some(behind) = wanted.strip_prefix(written) else {
                return false;
            };
            wanted = behind;
        }
        wanted.is_empty()
    }
}

/// The character for which an escape stands, given from behind its backslash on, and what follows it.
fn unescape(escape: &[u8]) -> Option<(char, &[u8])> {
    let (kind, rest) = escape.split_first()?;
    let character = match kind {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (unit, rest) = code_unit(rest)?;
            if !(0xd800..0xdc00).contains(&unit) {
                return Some((char::from_u32(unit)?, rest));
            }
            let (low, rest) = code_unit(rest.strip_prefix(b"\\u")?)?;
            let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            let character = 0x1_0000 + ((unit - 0xd800) << 10) + low;
            return Some((char::from_u32(character)?, rest));
        }
        other => char::from(*other),
    };
    Some((character, rest))
}

/// Four hexadecimal digits, and what follows them.
fn code_unit(digits: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, rest) = digits.split_first_chunk::<4>()?;
    let unit = u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    Some((unit, rest))
}

#[cfg(test)]
mod tests;
