//! Java's `.properties` format, as `java.util.Properties.load` reads it.
//!
//! Comments (`#`, `!`), continuation lines, the three separators (`=`, `:`, white space), escapes
//! and `\u` sequences. Bytes are UTF-8, or else Latin-1, which is all Java knows.

use std::fmt;

/// One setting, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub value: String,
}

/// A `\u` that is not followed by four hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MalformedEscape {
    /// Of the file, the first being 1.
    pub line: usize,
}

impl fmt::Display for MalformedEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.line;
        write!(f, "line {line}: malformed \\uxxxx escape")
    }
}

impl std::error::Error for MalformedEscape {}

/// Reads all settings; a name may occur more than once.
pub fn parse(bytes: &[u8]) -> Result<Vec<Entry>, MalformedEscape> {
    let latin1 = || bytes.iter().map(|&byte| char::from(byte)).collect();
    let text = std::str::from_utf8(bytes).map_or_else(|_| latin1(), str::to_owned);
    logical_lines(&text)
        .into_iter()
        .map(|(line, text)| entry(&text).ok_or(MalformedEscape { line }))
        .collect()
}

/// One setting as a line of such a file (without escapes of other than separators).
pub fn render(name: &str, value: &str) -> String {
    let escape = |text: &str| {
        let special = |c: char| matches!(c, '\\' | ':' | '=' | '#' | '!');
        let escaped = text.chars().map(|c| match special(c) {
            true => format!("\\{c}"),
            false => c.to_string(),
        });
        escaped.collect::<String>()
    };
    format!("{}={}\n", escape(name), escape(value))
}

const WHITE: [char; 3] = [' ', '\t', '\x0c'];

/// Joins continued lines and leaves out comments and blanks; with the number of the first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in text.split('\n').enumerate() {
        let line = line.trim_start_matches(WHITE);
        if open.is_none() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let (number, mut joined) = open.take().unwrap_or((at + 1, String::new()));
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            joined.push_str(&line[..line.len() - 1]);
            open = Some((number, joined));
        } else {
            joined.push_str(line);
            lines.push((number, joined));
        }
    }
    // The last line may end in the middle of a continuation.
    lines.extend(open.filter(|(_, text)| !text.is_empty()));
    lines
}

/// Splits at the first separator that is not escaped. `None` for a malformed `\u`.
fn entry(line: &str) -> Option<Entry> {
    let mut escaped = false;
    let name_end = line.find(|c: char| {
        let ends = !escaped && (WHITE.contains(&c) || c == '=' || c == ':');
        escaped = !escaped && c == '\\';
        ends
    });
    let (name, rest) = line.split_at(name_end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(WHITE);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    Some(Entry {
        name: unescape(name)?,
        value: unescape(value.trim_start_matches(WHITE))?,
    })
}

/// Java's characters are UTF-16 units: two `\u` may make one character.
fn unescape(text: &str) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                None => continue,
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some('u') => {
                    let digits = chars.as_str().get(..4)?;
                    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                        return None;
                    }
                    units.push(u16::from_str_radix(digits, 16).ok()?);
                    chars = chars.as_str()[4..].chars();
                    continue;
                }
                Some(other) => other,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let entries = parse(text.as_bytes()).unwrap();
        entries.into_iter().map(|e| (e.name, e.value)).collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn three_separators() {
        for text in ["a=b", "a:b", "a b", "a = b", "a \t: b", "  a   b", "a=\tb"] {
            assert_eq!(one(text), pair("a", "b"), "{text}");
        }
        assert_eq!(one("a"), pair("a", ""));
        assert_eq!(one("a="), pair("a", ""));
        assert_eq!(one("a = = b"), pair("a", "= b"));
        assert_eq!(
            one("listeners=PLAINTEXT://:9092"),
            pair("listeners", "PLAINTEXT://:9092")
        );
        assert_eq!(one("a=b  "), pair("a", "b  "));
    }

    #[test]
    fn comments_and_blank_lines() {
        assert_eq!(pairs("# a=b\n  ! c=d\n\n \t\n#\\\ne=f\n"), [pair("e", "f")]);
        assert_eq!(one("a=b # no comment"), pair("a", "b # no comment"));
    }

    #[test]
    fn continued_lines() {
        assert_eq!(one("a=b,\\\n    c"), pair("a", "b,c"));
        assert_eq!(one("a=b\\\r\n  # c"), pair("a", "b# c"));
        assert_eq!(pairs("a=b\\\\\nc=d"), [pair("a", "b\\"), pair("c", "d")]);
        assert_eq!(one("a=b\\"), pair("a", "b"));
        assert_eq!(pairs("a=b\\\n\nc=d"), [pair("a", "b"), pair("c", "d")]);
        assert_eq!(pairs("a=b\rc=d"), [pair("a", "b"), pair("c", "d")]);
    }

    #[test]
    fn escapes() {
        assert_eq!(one(r"a\ b\=c\:d=e"), pair("a b=c:d", "e"));
        assert_eq!(one(r"a=\t\n\r\f\q\\"), pair("a", "\t\n\r\x0cq\\"));
        assert_eq!(one(r"a=C:\\temp"), pair("a", r"C:\temp"));
    }

    #[test]
    fn unicode() {
        assert_eq!(one(r"a=\u00fc\u20AC\ud83d\ude00"), pair("a", "ü€😀"));
        assert_eq!(one("a=ü"), pair("a", "ü"));
        let latin1 = parse(b"a=\xfc").unwrap();
        assert_eq!(latin1[0].value, "ü");
        assert_eq!(parse(b"x=1\n\na=\\u00g0"), Err(MalformedEscape { line: 3 }));
        assert_eq!(parse(b"a=\\u12"), Err(MalformedEscape { line: 1 }));
        assert_eq!(
            parse("a=\\u1ü".as_bytes()),
            Err(MalformedEscape { line: 1 })
        );
    }

    #[test]
    fn repeated_names_are_all_given() {
        assert_eq!(pairs("a=1\na=2"), [pair("a", "1"), pair("a", "2")]);
    }

    #[test]
    fn what_is_rendered_reads_back() {
        for (name, value) in [("a", "b"), ("a:b", "c=d\\e"), ("x", "#1!")] {
            assert_eq!(one(&render(name, value)), pair(name, value));
        }
    }
}
