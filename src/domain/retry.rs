//! When a bad end is tried again, and after how long. Nothing here knows a process, a clock or a log.

use std::collections::VecDeque;
use std::time::Duration;

use super::spec::{Backoff, Jitter, RestartPolicy, RetryBudget, RetryPolicy};
use super::time::Mono;
use super::verdict::{Outcome, Verdict};

/// How long to wait before the next try when `used` retries are spent already: `min(base × multiplier^used, cap)`,
/// then the jitter, which only ever shortens. `random` lies in `[0, 1)`.
pub fn delay(backoff: &Backoff, used: u32, random: f64) -> Duration {
    let whole = without_jitter(backoff, used);
    match backoff.jitter {
        Jitter::None => whole,
        Jitter::Equal => whole / 2 + part(whole / 2, random),
        Jitter::Full => part(whole, random),
    }
}

fn without_jitter(backoff: &Backoff, used: u32) -> Duration {
    if backoff.base.is_zero() || backoff.base >= backoff.cap {
        return backoff.base.min(backoff.cap);
    }
    let factor = backoff.multiplier.max(1.0).powi(i32::try_from(used).unwrap_or(i32::MAX));
    let seconds = backoff.base.as_secs_f64() * factor;
    // Also true of infinity, so that what is converted below always fits.
    if seconds >= backoff.cap.as_secs_f64() { backoff.cap } else { Duration::from_secs_f64(seconds) }
}

fn part(of: Duration, random: f64) -> Duration {
    of.mul_f64(random.clamp(0.0, 1.0)).min(of)
}

/// What the patterns of the policy found in the last output of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OutputMatch {
    /// Nothing of what was looked for, or nothing was looked for.
    #[default]
    None,
    /// This pattern of `retry_on_output`.
    Retry(String),
    /// This pattern of `no_retry_on_output`; it wins over the other kind.
    NoRetry(String),
}

/// What follows an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// A bad end that is tried again, if retries are left.
    Retry,
    /// A good end under `restart: always`: started again, without a retry being spent.
    Again,
    /// A good end, and that was it.
    Done,
    /// A bad end that is not tried again, and why: a clause for a person.
    No(String),
}

/// What the policy says to an end. The limit of retries is the caller's affair: it alone knows the count.
///
/// `restart: always` also outweighs a retry that is switched off, as in other supervisors; exit codes and output that
/// forbid a retry outweigh both.
pub fn should_retry(
    policy: &RetryPolicy,
    restart: RestartPolicy,
    outcome: &Outcome,
    output: &OutputMatch,
) -> Decision {
    match outcome.verdict {
        Verdict::Completed => {
            return match restart {
                RestartPolicy::Always => Decision::Again,
                RestartPolicy::OnCrash | RestartPolicy::Never => Decision::Done,
            };
        }
        Verdict::Stopped => return Decision::No("it was stopped".into()),
        Verdict::Exit
        | Verdict::Signal
        | Verdict::Inactive
        | Verdict::TimedOut
        | Verdict::Unhealthy
        | Verdict::SpawnFailed
        | Verdict::Lost => {}
    }
    if let Some(reason) = switched_off(policy, restart).or_else(|| refused_by_code(policy, outcome)) {
        return Decision::No(reason);
    }
    refused_by_output(policy, outcome, output).map_or(Decision::Retry, Decision::No)
}

fn switched_off(policy: &RetryPolicy, restart: RestartPolicy) -> Option<String> {
    match restart {
        RestartPolicy::Never => Some("`restart` is `never`".into()),
        RestartPolicy::OnCrash if !policy.enabled => Some("`retry_on_crash` is off".into()),
        RestartPolicy::OnCrash | RestartPolicy::Always => None,
    }
}

/// Only an end by exit code is judged by its code.
fn refused_by_code(policy: &RetryPolicy, outcome: &Outcome) -> Option<String> {
    let code = outcome.exit_code.filter(|_| outcome.verdict == Verdict::Exit)?;
    if policy.not_on_exit_codes.contains(&code) {
        return Some(format!("exit code {code} is in `no_retry_exit_codes`"));
    }
    let wanted = policy.on_exit_codes.as_ref()?;
    (!wanted.contains(&code)).then(|| format!("exit code {code} is not in `retry_on_exit_codes`"))
}

/// What printed nothing, because it never started or because nobody saw its end, is not judged by its output.
fn refused_by_output(policy: &RetryPolicy, outcome: &Outcome, output: &OutputMatch) -> Option<String> {
    if matches!(outcome.verdict, Verdict::SpawnFailed | Verdict::Lost) {
        return None;
    }
    match output {
        OutputMatch::NoRetry(pattern) => {
            Some(format!("its output matches {pattern:?} of `no_retry_on_output`"))
        }
        OutputMatch::None if !policy.on_output.is_empty() => {
            Some("its last output matches nothing of `retry_on_output`".into())
        }
        OutputMatch::None | OutputMatch::Retry(_) => None,
    }
}

/// The retries of all runners within the last `per`: a sliding window, so that no stretch of that length ever holds
/// more than `max` of them.
#[derive(Debug, Clone)]
pub struct RetryBudgetWindow {
    budget: RetryBudget,
    /// The oldest first.
    spent: VecDeque<Mono>,
}

impl RetryBudgetWindow {
    pub const fn new(budget: RetryBudget) -> Self {
        Self { budget, spent: VecDeque::new() }
    }

    pub const fn budget(&self) -> RetryBudget {
        self.budget
    }

    /// Other limits from now on; what was spent stays spent.
    pub fn set_budget(&mut self, budget: RetryBudget) {
        self.budget = budget;
    }

    /// When the next retry may start; `None`: now.
    pub fn free_at(&self, now: Mono) -> Option<Mono> {
        let max = usize::try_from(self.budget.max).unwrap_or(usize::MAX);
        if max == 0 {
            return Some(now.plus(self.budget.per));
        }
        let newest_in_the_way = self.spent.len().checked_sub(max)?;
        let free = self.spent[newest_in_the_way].plus(self.budget.per);
        (free > now).then_some(free)
    }

    pub fn spend(&mut self, now: Mono) {
        while self.spent.front().is_some_and(|oldest| oldest.plus(self.budget.per) <= now) {
            self.spent.pop_front();
        }
        self.spent.push_back(now);
    }

    pub fn used(&self, now: Mono) -> u32 {
        let live = self.spent.iter().rev().take_while(|at| at.plus(self.budget.per) > now).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn backoff(jitter: Jitter) -> Backoff {
        Backoff { base: seconds(5), multiplier: 2.0, cap: seconds(300), jitter }
    }

    #[test]
    fn the_default_backoff_doubles_up_to_its_cap() {
        let delays: Vec<u64> = (0..8).map(|n| delay(&backoff(Jitter::None), n, 0.7).as_secs()).collect();
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn extreme_values_neither_overflow_nor_pass_the_cap() {
        let b = Backoff { base: seconds(1), multiplier: 1e308, cap: Duration::MAX, jitter: Jitter::None };
        assert_eq!(delay(&b, u32::MAX, 0.0), Duration::MAX);
        let zero = Backoff { base: Duration::ZERO, ..b };
        assert_eq!(delay(&zero, u32::MAX, 0.0), Duration::ZERO);
        let base_above_cap = Backoff { base: seconds(10), cap: seconds(2), ..b };
        assert_eq!(delay(&base_above_cap, 0, 0.0), seconds(2));
    }

    fn policy() -> RetryPolicy {
        RetryPolicy {
            enabled: true,
            max_retries: 3,
            backoff: backoff(Jitter::None),
            reset_after: None,
            on_exit_codes: None,
            not_on_exit_codes: vec![],
            success_exit_codes: vec![0],
            on_output: vec![],
            not_on_output: vec![],
        }
    }

    fn ended(verdict: Verdict, exit_code: Option<i32>) -> Outcome {
        Outcome { verdict, exit_code, signal: None, detail: None }
    }

    fn pattern(text: &str) -> super::super::spec::Pattern {
        super::super::spec::Pattern(regex::bytes::Regex::new(text).unwrap())
    }

    #[test]
    fn what_follows_each_kind_of_end() {
        use RestartPolicy::{Always, Never, OnCrash};
        let exit_1 = ended(Verdict::Exit, Some(1));
        let good = ended(Verdict::Completed, Some(0));
        let decide = |p: &RetryPolicy, r, o: &Outcome| should_retry(p, r, o, &OutputMatch::None);

        assert_eq!(decide(&policy(), OnCrash, &good), Decision::Done);
        assert_eq!(decide(&policy(), Always, &good), Decision::Again);
        assert_eq!(decide(&policy(), OnCrash, &exit_1), Decision::Retry);
        assert!(matches!(decide(&policy(), Never, &exit_1), Decision::No(_)));
        assert!(matches!(decide(&policy(), Always, &ended(Verdict::Stopped, Some(0))), Decision::No(_)));

        let off = RetryPolicy { enabled: false, ..policy() };
        assert_eq!(decide(&off, OnCrash, &exit_1), Decision::No("`retry_on_crash` is off".into()));
        assert_eq!(decide(&off, Always, &exit_1), Decision::Retry);
    }

    #[test]
    fn exit_codes_judge_ends_by_exit_code_only() {
        let p = RetryPolicy { not_on_exit_codes: vec![64], on_exit_codes: Some(vec![1, 64]), ..policy() };
        let decide =
            |o: &Outcome| should_retry(&p, RestartPolicy::OnCrash, o, &OutputMatch::None) == Decision::Retry;
        assert!(decide(&ended(Verdict::Exit, Some(1))));
        assert!(!decide(&ended(Verdict::Exit, Some(2))));
        assert!(!decide(&ended(Verdict::Exit, Some(64))));
        assert!(decide(&ended(Verdict::TimedOut, Some(64))));
        assert!(decide(&ended(Verdict::Signal, None)));
    }

    #[test]
    fn output_decides_where_patterns_are_given() {
        let p = RetryPolicy { on_output: vec![pattern("overloaded")], ..policy() };
        let decide =
            |o: Verdict, m| should_retry(&p, RestartPolicy::OnCrash, &ended(o, None), &m) == Decision::Retry;
        assert!(decide(Verdict::Signal, OutputMatch::Retry("overloaded".into())));
        assert!(!decide(Verdict::Signal, OutputMatch::None));
        assert!(!decide(Verdict::Signal, OutputMatch::NoRetry("bad key".into())));
        assert!(decide(Verdict::SpawnFailed, OutputMatch::None), "it could not print anything");
    }

    proptest! {
        #[test]
        fn delays_are_monotone_and_capped(base in 0u64..100_000, mult in 1.0f64..1e6, cap in 0u64..1_000_000) {
            let b = Backoff {
                base: Duration::from_millis(base),
                multiplier: mult,
                cap: Duration::from_millis(cap),
                jitter: Jitter::None,
            };
            let mut last = Duration::ZERO;
            for used in [0, 1, 2, 3, 10, 100, 10_000, u32::MAX] {
                let now = delay(&b, used, 0.0);
                prop_assert!(now >= last && now <= b.cap);
                last = now;
            }
        }

        #[test]
        fn jitter_stays_within_its_bounds(used in 0u32..40, random in 0.0f64..1.0) {
            let whole = delay(&backoff(Jitter::None), used, random);
            let equal = delay(&backoff(Jitter::Equal), used, random);
            let full = delay(&backoff(Jitter::Full), used, random);
            prop_assert!(equal >= whole / 2 && equal <= whole);
            prop_assert!(full <= whole);
        }

        #[test]
        fn no_window_ever_holds_more_than_the_budget(
            max in 1u32..5,
            per in 1u64..50,
            steps in proptest::collection::vec(0u64..20, 1..200),
        ) {
            let mut window = RetryBudgetWindow::new(RetryBudget { max, per: seconds(per) });
            let mut now = Mono::from_nanos(0);
            let mut spent: Vec<Mono> = Vec::new();
            for step in steps {
                now = now.plus(seconds(step));
                match window.free_at(now) {
                    None => {
                        window.spend(now);
                        spent.push(now);
                    }
                    Some(free) => {
                        prop_assert!(free > now && free.since(now) <= seconds(per));
                        prop_assert_eq!(window.free_at(free), None);
                    }
                }
                let within = spent.iter().filter(|at| at.plus(seconds(per)) > now).count();
                prop_assert!(within <= max as usize);
                prop_assert_eq!(window.used(now) as usize, within);
            }
        }
    }
}
