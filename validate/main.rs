//! The end-to-end proof on the built program. Each part starts restage as a user would, breaks things, and looks at the
//! disk and at /proc; figures are printed beside what they are compared with, measured in the same run.

#![expect(clippy::print_stdout, reason = "its lines are its purpose")]
#![expect(clippy::expect_used, reason = "a broken test bed ends the proof")]
#![expect(
    clippy::disallowed_methods,
    reason = "waiting on conditions of real processes has a deadline on the real clock"
)]

mod behave;
mod chaos;
mod flow_speed;
mod flows;
mod hostile;
mod kit;
mod peers;
mod people;
mod scale;
mod screen;
mod speed;
mod survive;
mod terminal;

use std::process::ExitCode;
use std::time::Instant;

use kit::Outcome;

/// What a part needs to know.
struct Options {
    /// Kills in the chaos part.
    campaign: usize,
    /// How far a figure may lie above what is aimed at: 1 with `--strict`; more by default, because a busy machine must
    /// not fail a proof. The figures themselves are always printed beside the aim.
    slack: f64,
    /// Install what is compared with.
    peers: bool,
}

type Part = (&'static str, fn(&Options) -> Outcome);

const PARTS: &[Part] = &[
    ("Configuration", |_| behave::configuration()),
    ("Headless demo", |_| behave::demo()),
    ("Silence and timeouts", |_| behave::silence()),
    ("Stops", |_| behave::stops()),
    ("Bounded logs", |_| behave::bounded_logs()),
    ("Whole trees", |_| survive::trees()),
    ("Successor", |_| survive::successor()),
    ("Keeper killed", |_| survive::keeper_killed()),
    ("Headless killed", |_| survive::headless_killed()),
    ("Everything killed at once", |_| survive::all_killed()),
    ("Nothing left behind", |_| survive::nothing_left()),
    ("Identity", |_| survive::identity()),
    ("Two at once", |_| survive::two_at_once()),
    ("Full disk", |_| hostile::full_disk()),
    ("Bad surroundings", |_| hostile::surroundings()),
    ("Backoff", |_| speed::backoff()),
    ("Restart latency", |options| speed::restart(options.slack)),
    ("Printing", |options| speed::printing(options.slack)),
    ("A thousand runners", |options| scale::thousand(options.slack)),
    ("Dashboard: keys", |options| screen::keys(options.slack)),
    ("Dashboard: idle", |options| screen::idle(options.slack)),
    ("Dashboard: a huge log", |options| screen::open(options.slack)),
    ("Flows: full disk", |_| flows::full_disk()),
    ("Flows: overhead", |options| flow_speed::overhead(options.slack)),
    ("Flows: nothing to do", |options| flow_speed::nothing_to_do(options.slack)),
    ("Flows: a dense graph", |options| flow_speed::dense_graph(options.slack)),
    ("Flows: beside others", |options| peers::compare(options.peers)),
    ("Flows: ten thousand stages", |options| flow_speed::ten_thousand(options.slack)),
    ("Flows: a long history", |options| flow_speed::history(options.slack)),
    ("Flows: chaos", |options| flows::kills(options.campaign)),
    ("Flows: sixteen people", |options| people::campaign(options.campaign)),
    ("Chaos", |options| chaos::campaign(options.campaign)),
];

fn main() -> ExitCode {
    let mut options = Options { campaign: 30, slack: 3.0, peers: false };
    let mut only: Vec<String> = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--strict" {
            options.slack = 1.0;
            continue;
        }
        if argument == "--peers" {
            options.peers = true;
            continue;
        }
        match (argument.as_str(), arguments.next()) {
            ("--list", _) => {
                for (name, _) in PARTS {
                    println!("{name}");
                }
                return ExitCode::SUCCESS;
            }
            ("--only", Some(name)) => only.push(name.to_lowercase()),
            ("--campaign", Some(count)) if count.parse::<usize>().is_ok() => {
                options.campaign = count.parse().unwrap_or(options.campaign);
            }
            (other, _) => {
                println!("validate: {other}: known are --list, --only NAME, --campaign N, --strict, --peers");
                return ExitCode::from(2);
            }
        }
    }
    let chosen: Vec<&Part> = PARTS
        .iter()
        .filter(|(name, _)| only.is_empty() || only.iter().any(|wanted| name.to_lowercase().contains(wanted)))
        .collect();
    if chosen.is_empty() {
        println!("validate: no part is called so; --list names them");
        return ExitCode::from(2);
    }
    let failed = chosen.into_iter().filter(|part| !passes(part, &options)).count();
    if failed == 0 {
        println!("All validations passed!");
        ExitCode::SUCCESS
    } else {
        println!("{failed} validations failed");
        ExitCode::FAILURE
    }
}

fn passes((name, part): &Part, options: &Options) -> bool {
    let begin = Instant::now();
    let outcome = part(options);
    let seconds = begin.elapsed().as_secs_f64();
    match outcome {
        Ok(told) => {
            println!("[OK] PASS: {name}  ({seconds:.1} s)");
            for line in told {
                println!("       {line}");
            }
            true
        }
        Err(why) => {
            println!("[FAIL] {name}  ({seconds:.1} s)");
            for line in why.lines() {
                println!("       {line}");
            }
            false
        }
    }
}
