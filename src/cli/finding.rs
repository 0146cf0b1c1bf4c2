//! What a look at something has found: `tune` and `doctor` tell it, each in its own words.

use std::fmt;
use std::io;

use super::host::HostError;

/// How much something matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// The broker works, and could do better.
    Advice,
    /// The broker does not start.
    Needed,
    /// The kernel does not say.
    Unknown,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) setting: String,
    pub(super) found: String,
    pub(super) verdict: Verdict,
    /// Why, and what to do; nothing where all is well.
    pub(super) remedy: String,
}

pub(super) fn finding(
    setting: impl Into<String>,
    found: impl Into<String>,
    verdict: Verdict,
    remedy: &str,
) -> Finding {
    let remedy = match verdict {
        Verdict::Fine | Verdict::Unknown => String::new(),
        Verdict::Advice | Verdict::Needed => remedy.to_owned(),
    };
    Finding {
        setting: setting.into(),
        found: found.into(),
        verdict,
        remedy,
    }
}

pub(super) fn fine_if(is_fine: bool) -> Verdict {
    match is_fine {
        true => Verdict::Fine,
        false => Verdict::Advice,
    }
}

/// What a check of the start says: what is wrong, a colon, and what to do.
pub(super) fn needed(setting: &str, checked: Result<(), impl fmt::Display>) -> Finding {
    let Err(error) = checked else {
        return finding(setting, "works", Verdict::Fine, "");
    };
    let error = error.to_string();
    let (found, remedy) = error.split_once(": ").unwrap_or((&error, &error));
    finding(setting, found, Verdict::Needed, remedy)
}

/// A folder that is not there yet, or is another user's, tells nothing.
pub(super) fn direct_io(checked: Result<(), HostError>) -> Finding {
    use io::ErrorKind::{NotFound, PermissionDenied};
    let setting = "direct I/O";
    match checked {
        Err(HostError::NoDirectIo { source, .. })
            if [NotFound, PermissionDenied].contains(&source.kind()) =>
        {
            finding(setting, source.to_string(), Verdict::Unknown, "")
        }
        checked => needed(setting, checked),
    }
}
