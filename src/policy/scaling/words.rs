//! A decision as a sentence for people.

use super::limits::{Ceiling, Full};
use super::proposals::largest;
use super::{Bounds, Decision, Direction, Limiter, Pace, Rules, Standing};

/// What a decision was made with.
pub(super) struct Grounds<'a> {
    pub(super) rules: &'a Rules,
    pub(super) bounds: Bounds,
    pub(super) ceiling: Ceiling,
    pub(super) has_turned: bool,
}

/// `grows from 2 to 6: 60 jobs wait, 5 a worker aimed at, which asks for 12; at most +100 % or +4 in 15 s`.
pub(super) fn reason(decided: &Decision, grounds: &Grounds<'_>) -> String {
    let Decision { current, target, .. } = decided;
    let change = match decided.direction {
        Direction::Up => format!("grows from {current} to {target}"),
        Direction::Down => format!("shrinks from {current} to {target}"),
        Direction::Hold => format!("stays at {current}"),
    };
    let asked = match largest(&decided.proposals) {
        Some(winner) => format!("{}, which asks for {}", winner.text, winner.wants.unwrap_or(*current)),
        None => "no signal has a say".to_owned(),
    };
    let limit = limit(decided, grounds).map_or_else(String::new, |limit| format!("; {limit}"));
    format!("{change}: {asked}{limit}")
}

fn limit(decided: &Decision, grounds: &Grounds<'_>) -> Option<String> {
    let Grounds { rules, bounds, ceiling, has_turned } = grounds;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    Some(match decided.limiter {
        Limiter::None => return None,
        Limiter::Tolerance => format!("within {} of it nothing changes", percent(rules.tolerance)),
        Limiter::Missing => {
            let missing = decided.proposals.iter().filter(|it| it.standing == Standing::Missing);
            let texts: Vec<&str> = missing.map(|it| it.text.as_str()).collect();
            format!("{}, so it does not shrink", texts.join(" and "))
        }
        Limiter::Stabilised if *has_turned && decided.target > decided.recommendation => {
            format!("it grew again after it had shrunk, so it stays for {} s", seconds(2 * rules.down_window_ms))
        }
        Limiter::Stabilised if decided.target > decided.recommendation => {
            format!("more was asked for within {} s", seconds(rules.down_window_ms))
        }
        Limiter::Stabilised => format!("less was asked for within {} s", seconds(rules.up_window_ms)),
        Limiter::Rate if decided.direction == Direction::Down => pace('-', &rules.down),
        Limiter::Rate if decided.target > decided.recommendation => pace('-', &rules.down),
        Limiter::Rate => pace('+', &rules.up),
        Limiter::Headroom => match ceiling.veto {
            Some(Full::Cpu(pressure)) => full("CPU", pressure, rules.cpu_headroom),
            Some(Full::Memory(pressure)) => full("memory", pressure, rules.memory_headroom),
            None => format!("the machine has room for {}", ceiling.high),
        },
        Limiter::Max => format!("{} is the most", bounds.max),
        Limiter::Min => match bounds.floor {
            Some(floor) if decided.target > bounds.min => {
                let until = floor.until.map_or(String::new(), |until| format!(" until {until}"));
                format!("a floor of {} holds{until}", bounds.low)
            }
            _ => format!("{} is the fewest", bounds.min),
        },
    })
}

fn full(what: &str, pressure: f64, share: f64) -> String {
    format!("{what} is at {:.0} %, and from {:.0} % on no pool grows", pressure * 100.0, share * 100.0)
}

fn pace(sign: char, pace: &Pace) -> String {
    let (share, workers) = (pace.share * 100.0, pace.workers);
    format!("at most {sign}{share:.0} % or {sign}{workers} in {} s", seconds(pace.period_ms))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds far below 2^52")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}
