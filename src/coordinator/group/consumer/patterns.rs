//! The regular expressions that members subscribe with: RE2's syntax, matched in linear time.
//!
//! They come from clients. What one compiles to is bounded, and matching takes no longer than its size times the length
//! of a topic's name. Not understood, unlike in RE2: `\C`, and `\Q` within brackets.

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};

/// Of an expression. What it takes to compile one grows with its length: these may take ten milliseconds.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Of an expression with Unicode's classes, each of which may take milliseconds to work out.
const UNICODE_TEXT_BYTES_MAX: usize = 128;

/// Of a compiled expression. The larger it is, the longer it may take to match it: for a long name most of a
/// millisecond, and a tenth of that if it is small.
const COMPILED_BYTES_MAX: usize = 512 << 10;
const SMALL_BYTES_MAX: usize = 64 << 10;

/// How many names are matched at one stretch, of an expression that is small when it is compiled and of a larger one.
const MATCHES_OF_SMALL: usize = 64;
const MATCHES_OF_LARGE: usize = 8;

const TOO_LARGE: &str = "it is too large";

/// A regular expression for names of topics.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// How many names may be matched at one stretch.
    pub matches_per_step: usize,
}

impl Pattern {
    /// An error says what is wrong, in words for the user.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TOO_LARGE.to_owned());
        }
        let text = escape_quoted(text);
        if let Some(flag) = unknown_flag(&text) {
            return Err(format!("the flag {flag} is not known"));
        }
        if text.contains(')') {
            // By itself, too: `a)(b` must not become right by what is put around it.
            compile(&text, COMPILED_BYTES_MAX)?;
        }
        let text = format!(r"\A(?:{text})\z");
        let small = compile(&text, SMALL_BYTES_MAX).map(|regex| (regex, MATCHES_OF_SMALL));
        let large = |_| compile(&text, COMPILED_BYTES_MAX).map(|regex| (regex, MATCHES_OF_LARGE));
        let (regex, matches_per_step) = small.or_else(large)?;
        Ok(Self {
            regex,
            matches_per_step,
        })
    }

    /// Whether it matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name.as_bytes())
    }
}

/// Classes like `\w` are ASCII only, as in RE2, unless the expression needs Unicode and is short.
fn compile(text: &str, bytes_max: usize) -> Result<Regex, String> {
    let is_short = text.len() <= UNICODE_TEXT_BYTES_MAX;
    let compile = |unicode| {
        RegexBuilder::new(text)
            .unicode(unicode)
            .size_limit(bytes_max)
            .build()
    };
    compile(false)
        .or_else(|error| match is_short {
            true => compile(true),
            false => Err(error),
        })
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => TOO_LARGE.to_owned(),
            error => {
                // Several lines, the last of which says what is wrong.
                let error = error.to_string();
                let last = error.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            }
        })
}

/// A flag, as in `(?i)`, that RE2 does not know.
fn unknown_flag(text: &str) -> Option<char> {
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '(']) {
        let from = &rest[at..];
        let flags = from.strip_prefix("(?").unwrap_or_default();
        let is_flag = |flag: &char| flag.is_ascii_alphabetic() || *flag == '-';
        let mut flags = flags.chars().take_while(is_flag);
        if let Some(unknown) = flags.find(|flag| matches!(flag, 'u' | 'x' | 'R')) {
            return Some(unknown);
        }
        // A backslash goes with what it escapes.
        let len = if from.starts_with('\\') { 2 } else { 1 };
        let len: usize = from.chars().take(len).map(char::len_utf8).sum();
        rest = &from[len..];
    }
    None
}

/// With what stands between `\Q` and `\E` escaped.
fn escape_quoted(text: &str) -> Cow<'_, str> {
    if !text.contains(r"\Q") {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, from) = rest.split_at(at);
        escaped.push_str(before);
        if let Some(quoted) = from.strip_prefix(r"\Q") {
            let (quoted, after) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
            escaped.push_str(&regex::escape(quoted));
            rest = after;
        } else {
            // A backslash and what it escapes.
            let len = from.chars().take(2).map(char::len_utf8).sum();
            escaped.push_str(&from[..len]);
            rest = &from[len..];
        }
    }
    escaped.push_str(rest);
    Cow::Owned(escaped)
}
