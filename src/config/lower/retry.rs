//! The retry policy of a runner, and the values in it that must fit one another.

use std::time::Duration;

use super::{Lowering, pick};
use crate::config::raw::RawRetry;
use crate::config::read::{At, Spot};
use crate::domain::spec::{Backoff, Jitter, RestartPolicy, RetryPolicy};

const BASE: Duration = Duration::from_secs(5);
const CAP: Duration = Duration::from_mins(5);

impl Lowering<'_, '_> {
    pub(super) fn retry(&mut self, own: &RawRetry, restart: RestartPolicy) -> RetryPolicy {
        let file = &self.file.supervision.retry;
        self.retry_pairs(own, file);
        let reset_after = match restart {
            RestartPolicy::Always => Some(Duration::from_mins(10)),
            RestartPolicy::OnCrash | RestartPolicy::Never => None,
        };
        RetryPolicy {
            enabled: pick(own.enabled.as_ref(), file.enabled.as_ref(), true),
            max_retries: pick(own.max_retries.as_ref(), file.max_retries.as_ref(), 3),
            backoff: Backoff {
                base: pick(own.backoff.as_ref(), file.backoff.as_ref(), BASE),
                multiplier: pick(own.multiplier.as_ref(), file.multiplier.as_ref(), 2.0),
                cap: pick(own.cap.as_ref(), file.cap.as_ref(), CAP),
                jitter: pick(own.jitter.as_ref(), file.jitter.as_ref(), Jitter::None),
            },
            reset_after: pick(own.reset_after.as_ref(), file.reset_after.as_ref(), reset_after),
            on_exit_codes: own
                .on_exit_codes
                .as_ref()
                .or(file.on_exit_codes.as_ref())
                .map(|at| at.value.clone()),
            not_on_exit_codes: pick(
                own.not_on_exit_codes.as_ref(),
                file.not_on_exit_codes.as_ref(),
                Vec::new(),
            ),
            success_exit_codes: pick(
                own.success_exit_codes.as_ref(),
                file.success_exit_codes.as_ref(),
                vec![0],
            ),
            on_output: pick(own.on_output.as_ref(), file.on_output.as_ref(), Vec::new()),
            not_on_output: pick(own.not_on_output.as_ref(), file.not_on_output.as_ref(), Vec::new()),
        }
    }

    /// Values that must fit one another. A pair that comes whole from the file is looked at once, for the file.
    pub(super) fn retry_pairs(&mut self, own: &RawRetry, file: &RawRetry) {
        if own.unclear || file.unclear {
            return;
        }
        let base = pick(own.backoff.as_ref(), file.backoff.as_ref(), BASE);
        let cap = pick(own.cap.as_ref(), file.cap.as_ref(), CAP);
        if let Some(spot) = spot(own.backoff.as_ref()).or_else(|| spot(own.cap.as_ref()))
            && base > cap
        {
            let message = format!(
                "the first wait of {} seconds is above the longest of {} seconds",
                base.as_secs_f64(),
                cap.as_secs_f64()
            );
            let hint = "raise retry_max_backoff_seconds or lower retry_backoff_seconds".to_owned();
            self.reader.error(spot, message, Some(hint));
        }
        let yes = own.on_exit_codes.as_ref().or(file.on_exit_codes.as_ref());
        let no = own.not_on_exit_codes.as_ref().or(file.not_on_exit_codes.as_ref());
        if let (Some(yes), Some(no)) = (yes, no)
            && let Some(spot) =
                spot(own.not_on_exit_codes.as_ref()).or_else(|| spot(own.on_exit_codes.as_ref()))
            && let Some(code) = no.value.iter().find(|code| yes.value.contains(code))
        {
            let message = format!("exit code {code} is to be retried and not to be retried");
            self.reader.error(spot, message, Some("take it out of one of the two lists".into()));
        }
        let success = own.success_exit_codes.as_ref().or(file.success_exit_codes.as_ref());
        if let (Some(yes), Some(spot)) =
            (yes, spot(own.on_exit_codes.as_ref()).or_else(|| spot(own.success_exit_codes.as_ref())))
        {
            let good = success.map_or(&[0][..], |at| &at.value);
            if let Some(code) = yes.value.iter().find(|code| good.contains(code)) {
                let message = format!("exit code {code} is a good end, so it is not retried as a crash");
                self.reader.warn(
                    spot,
                    message,
                    Some("take it out of success_exit_codes, or out of here".into()),
                );
            }
        }
    }
}

fn spot<T>(at: Option<&At<T>>) -> Option<Spot> {
    at.map(|at| at.spot)
}
