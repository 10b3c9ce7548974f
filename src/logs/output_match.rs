//! What the end of an attempt's log says about a retry. It must not know what comes of it: `domain::retry` decides.

use std::io;
use std::path::Path;

use super::blocks::open_log;
use super::sanitize::{Keep, sanitize};
use super::tail::last_bytes;
use crate::domain::retry::OutputMatch;
use crate::domain::spec::{Pattern, RetryPolicy};

/// How much of the log is looked at.
pub const LOOKED_AT: u64 = 64 << 10;

/// True where the log has to be read at all.
pub fn is_needed(policy: &RetryPolicy) -> bool {
    !policy.on_output.is_empty() || !policy.not_on_output.is_empty()
}

/// Reads the end of the log and matches it.
pub fn match_log(log: &Path, policy: &RetryPolicy) -> io::Result<OutputMatch> {
    if !is_needed(policy) {
        return Ok(OutputMatch::default());
    }
    Ok(match_output(&last_bytes(&open_log(log)?, LOOKED_AT)?, policy))
}

/// A pattern matches the bytes as they are, or the text that a person sees: colours within a sentence must not hide it.
pub fn match_output(output: &[u8], policy: &RetryPolicy) -> OutputMatch {
    let shown = output.contains(&0x1b).then(|| sanitize(output, Keep::Nothing));
    let first = |patterns: &[Pattern]| {
        let hit = patterns.iter().find(|Pattern(regex)| {
            regex.is_match(output) || shown.as_ref().is_some_and(|text| regex.is_match(text.as_bytes()))
        });
        hit.map(|Pattern(regex)| regex.as_str().to_owned())
    };
    match first(&policy.not_on_output) {
        Some(pattern) => OutputMatch::NoRetry(pattern),
        None => first(&policy.on_output).map_or(OutputMatch::None, OutputMatch::Retry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::spec::{Backoff, Jitter};
    use std::time::Duration;

    fn policy(retry: &[&str], no_retry: &[&str]) -> RetryPolicy {
        let patterns =
            |list: &[&str]| list.iter().map(|p| Pattern(regex::bytes::Regex::new(p).unwrap())).collect();
        RetryPolicy {
            enabled: true,
            max_retries: 3,
            backoff: Backoff {
                base: Duration::ZERO,
                multiplier: 1.0,
                cap: Duration::ZERO,
                jitter: Jitter::None,
            },
            reset_after: None,
            on_exit_codes: None,
            not_on_exit_codes: Vec::new(),
            success_exit_codes: vec![0],
            on_output: patterns(retry),
            not_on_output: patterns(no_retry),
        }
    }

    #[test]
    fn the_end_of_the_log_is_matched_and_nothing_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut content = b"early word\n".to_vec();
        content.resize(usize::try_from(LOOKED_AT).unwrap(), b'x');
        content.extend_from_slice(b"\nerror: \x1b[31mrate\x1b[0m limit \xff\n");
        std::fs::write(&log, &content).unwrap();
        let seen = |retry: &[&str], no_retry: &[&str]| match_log(&log, &policy(retry, no_retry)).unwrap();
        assert_eq!(seen(&["early word"], &["early"]), OutputMatch::None);
        assert_eq!(seen(&["absent", r"rate limit"], &["absent"]), OutputMatch::Retry("rate limit".into()));
        assert_eq!(seen(&[], &[r"(?-u)\xff"]), OutputMatch::NoRetry(r"(?-u)\xff".into()));
        assert_eq!(seen(&[r"(?m)^error: "], &["limit"]), OutputMatch::NoRetry("limit".into()));
    }

    #[test]
    fn a_log_that_is_not_there_matters_only_where_it_is_needed() {
        let absent = Path::new("/nowhere/log");
        assert_eq!(match_log(absent, &policy(&[], &[])).unwrap(), OutputMatch::default());
        assert!(match_log(absent, &policy(&["x"], &[])).is_err());
    }
}
