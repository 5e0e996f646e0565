//! Who is replaced now.
//!
//! At most a fifth of a pool (one worker at least) within half a minute, so that a wrong judgement stays a small
//! one. Where more than half of a pool is unhealthy the cause is not the workers: nobody is replaced, and the alarm is
//! raised. A hang is certain, so the alarm does not hold it up; it counts against the budget all the same. A worker
//! that was replaced and whose task would not end still holds a thread and a name: a pool never has more of these
//! than members.

use crate::mutant::mutant;

use super::{HealthRules, Verdict, Why};

/// Pools smaller than this do not panic: one sick worker of two is no majority that says anything.
const PANIC_SIZE_MIN: usize = 3;

/// A pool's workers, without those that are on their way out.
#[derive(Debug, Clone, Copy)]
pub struct Staff<'a> {
    /// Each worker's number and what it is found to be.
    pub workers: &'a [(usize, Verdict)],
    /// Automatic replacements within the window before now.
    pub replaced: usize,
    /// Workers that were replaced and whose tasks will not end.
    pub lost: usize,
    /// Whether somebody is on the way out, so that recycling waits.
    pub is_draining: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Who is replaced, most certain first.
    pub replace: Vec<(usize, Why)>,
    /// Who is recycled.
    pub recycle: Option<(usize, Why)>,
    /// Whether so many are sick that the cause is shared.
    pub panic: bool,
}

/// Decides who is replaced and who is recycled.
#[must_use]
pub fn plan(staff: &Staff<'_>, rules: &HealthRules) -> Plan {
    let size = staff.workers.len();
    let sick = staff.workers.iter().filter_map(|(number, verdict)| match verdict {
        Verdict::Hung => Some((*number, Why::Hung)),
        Verdict::Unhealthy(why) => Some((*number, *why)),
        Verdict::Healthy | Verdict::Recycle(_) => None,
    });
    let mut sick: Vec<(usize, Why)> = sick.collect();
    let panic = panics(size, sick.len(), rules);
    // A hang first, then what takes memory from others; the oldest names first among equals.
    sick.sort_by_key(|(number, why)| (rank(why), *number));
    let budget = share_of(size, rules.replace_share).max(1).saturating_sub(staff.replaced);
    let mut room_for_lost = size.saturating_sub(staff.lost);
    let may_go = |(_, why): &(usize, Why)| match why {
        Why::Hung => {
            let fits = room_for_lost > 0;
            room_for_lost = room_for_lost.saturating_sub(1);
            fits
        }
        _ => !panic || mutant!(panic_ignored),
    };
    let replace: Vec<(usize, Why)> = sick.into_iter().filter(may_go).take(budget).collect();
    let due = staff.workers.iter().find_map(|(number, verdict)| match verdict {
        Verdict::Recycle(why) => Some((*number, *why)),
        _ => None,
    });
    let recycle = due.filter(|_| !panic && !staff.is_draining && replace.is_empty());
    Plan { replace, recycle, panic }
}

/// Whether so many of a pool are sick that the cause is shared.
#[must_use]
pub fn panics(size: usize, sick: usize, rules: &HealthRules) -> bool {
    size >= PANIC_SIZE_MIN && share_of(size, rules.panic_share) < sick
}

fn rank(why: &Why) -> u8 {
    match why {
        Why::Hung => 0,
        Why::Memory { .. } => 1,
        Why::SuccessRate { .. } | Why::Jobs(_) | Why::Growth(_) => 2,
    }
}

/// The whole workers in a share of `size`, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a pool of at most 10,000"
)]
fn share_of(size: usize, share: f64) -> usize {
    // A hair more, so that 0.20 of 15 is three.
    (size as f64 * share + 1e-9) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SICK: Verdict = Verdict::Unhealthy(Why::SuccessRate { rate: 0.1, median: 1.0 });
    const LEAK: Verdict = Verdict::Unhealthy(Why::Memory { bytes: 9, limit: 10 });
    const DUE: Verdict = Verdict::Recycle(Why::Jobs(100));

    fn staff(verdicts: &[Verdict]) -> Vec<(usize, Verdict)> {
        verdicts.iter().enumerate().map(|(at, verdict)| (at + 1, *verdict)).collect()
    }

    /// Numbers replaced, number recycled, panic.
    fn planned(verdicts: &[Verdict], replaced: usize, is_draining: bool) -> (Vec<usize>, Option<usize>, bool) {
        let workers = staff(verdicts);
        let plan = plan(&Staff { workers: &workers, replaced, lost: 0, is_draining }, &HealthRules::default());
        let numbers = plan.replace.iter().map(|(number, _)| *number).collect();
        (numbers, plan.recycle.map(|(number, _)| number), plan.panic)
    }

    #[test]
    fn a_fifth_at_a_time_the_certain_ones_first() {
        use Verdict::{Healthy as Well, Hung};
        assert_eq!(planned(&[], 0, false), (vec![], None, false));
        assert_eq!(planned(&[Well, Well], 0, false), (vec![], None, false));
        assert_eq!(planned(&[SICK], 0, false), (vec![1], None, false));
        assert_eq!(planned(&[SICK], 1, false), (vec![], None, false), "the budget is spent");
        assert_eq!(planned(&[Well, SICK], 0, false), (vec![2], None, false), "two are no majority");
        assert_eq!(planned(&[SICK, SICK], 0, false), (vec![1], None, false));
        let ten = [SICK, Well, LEAK, Well, Hung, Well, Well, Well, Well, Well];
        assert_eq!(planned(&ten, 0, false), (vec![5, 3], None, false));
        assert_eq!(planned(&ten, 1, false), (vec![5], None, false));
        assert_eq!(planned(&ten, 2, false), (vec![], None, false));
    }

    #[test]
    fn where_most_are_sick_nobody_is_replaced_but_the_hung() {
        use Verdict::{Healthy as Well, Hung};
        assert_eq!(planned(&[SICK, SICK, Well], 0, false), (vec![], None, true));
        assert_eq!(planned(&[SICK, SICK, Well, Well], 0, false), (vec![1], None, false), "half is not more than half");
        assert_eq!(planned(&[SICK, SICK, SICK, Well], 0, false), (vec![], None, true));
        assert_eq!(planned(&[SICK, SICK, Hung, DUE], 0, false), (vec![3], None, true), "nor recycled");
    }

    #[test]
    fn one_is_recycled_at_a_time_and_only_when_nothing_else_is_up() {
        use Verdict::Healthy as Well;
        assert_eq!(planned(&[Well, DUE, DUE], 0, false), (vec![], Some(2), false));
        assert_eq!(planned(&[Well, DUE, DUE], 0, true), (vec![], None, false));
        assert_eq!(planned(&[DUE, SICK, Well], 0, false), (vec![2], None, false));
    }

    #[test]
    fn a_pool_never_has_more_lost_workers_than_members() {
        let workers = staff(&[Verdict::Hung, LEAK]);
        let rules = HealthRules { replace_share: 1.0, ..HealthRules::default() };
        let numbers = |lost| {
            let staff = Staff { workers: &workers, replaced: 0, lost, is_draining: false };
            plan(&staff, &rules).replace.iter().map(|(number, _)| *number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(1), [1, 2]);
        assert_eq!(numbers(2), [2], "a leak leaves nobody behind");
    }

    fn verdicts() -> impl Strategy<Value = Vec<Verdict>> {
        let one = prop_oneof![Just(Verdict::Healthy), Just(Verdict::Hung), Just(SICK), Just(LEAK), Just(DUE),];
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        #[test]
        fn never_more_than_the_budget(
            verdicts in verdicts(), replaced in 0_usize..10, lost in 0_usize..40, is_draining: bool,
        ) {
            let workers = staff(&verdicts);
            let plan = plan(&Staff { workers: &workers, replaced, lost, is_draining }, &HealthRules::default());
            let budget = (workers.len() / 5).max(1);
            prop_assert!(plan.replace.len() + replaced.min(budget) <= budget);
            let is_sick = |number: usize| !matches!(verdicts[number - 1], Verdict::Healthy | Verdict::Recycle(_));
            prop_assert!(plan.replace.iter().all(|(number, _)| is_sick(*number)));
            let sick = verdicts.iter().filter(|v| matches!(v, Verdict::Hung | Verdict::Unhealthy(_))).count();
            prop_assert_eq!(plan.panic, workers.len() >= 3 && sick * 2 > workers.len());
            let only_hung = plan.replace.iter().all(|(_, why)| *why == Why::Hung);
            prop_assert!(!plan.panic || only_hung && plan.recycle.is_none());
            let hung = plan.replace.iter().filter(|(_, why)| *why == Why::Hung).count();
            prop_assert!(hung == 0 || hung + lost <= workers.len());
            prop_assert!(!(is_draining && plan.recycle.is_some()));
        }

        /// Whatever happens in whatever order, no window of half a minute sees more than the budget.
        #[test]
        fn never_more_than_the_budget_in_any_window(
            ticks in prop::collection::vec((0_i64..15_000, verdicts()), 1..40),
        ) {
            let rules = HealthRules::default();
            let size = 10;
            let (mut now, mut times) = (0, Vec::<i64>::new());
            for (pause, mut verdicts) in ticks {
                now += pause;
                verdicts.resize(size, Verdict::Healthy);
                let workers = staff(&verdicts);
                let replaced = times.iter().filter(|at| now - **at < 30_000).count();
                let plan = plan(&Staff { workers: &workers, replaced, lost: 0, is_draining: false }, &rules);
                times.extend(plan.replace.iter().map(|_| now));
                for at in &times {
                    prop_assert!(times.iter().filter(|other| (0..30_000).contains(&(**other - at))).count() <= 2);
                }
            }
        }
    }
}
