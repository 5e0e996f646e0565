//! The policy `seating_selection`: which seats a party gets. Plain values in, plain values out.

use rmcp::schemars::{self, JsonSchema};
use serde::{Deserialize, Serialize};

/// What a choice has to obey.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// How many seats.
    pub count: usize,
    /// Side by side in one row.
    pub adjacent: bool,
    /// The most that one seat may cost.
    pub max_price: Option<f64>,
    /// The most that all may cost together.
    pub max_total: Option<f64>,
    /// How many of them have to be wheelchair places.
    pub accessible: usize,
    /// No nearer to the stage than this row, counted from 1.
    pub row_min: Option<u32>,
    /// No farther from the stage than this row.
    pub row_max: Option<u32>,
    /// What is better where several choices would do.
    pub prefer: Prefer,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            count: 2,
            adjacent: true,
            max_price: None,
            max_total: None,
            accessible: 0,
            row_min: None,
            row_max: None,
            prefer: Prefer::Front,
        }
    }
}

/// What is better where several choices would do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prefer {
    /// Near to the stage.
    #[default]
    Front,
    /// Far from it.
    Back,
    /// Cheap.
    Cheap,
}

/// A seat of a seat map.
#[derive(Debug, Clone, PartialEq)]
pub struct Seat {
    /// Its row, counted from 1 at the stage: A is 1.
    pub row: u32,
    /// Its number in the row.
    pub number: u32,
    /// What it costs; nothing is known of those that do not say.
    pub price: Option<f64>,
    /// Whether it is a wheelchair place.
    pub accessible: bool,
    /// Whether it can be had.
    pub free: bool,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The seats, as places in the list that was given.
    pub seats: Vec<usize>,
    /// What they cost together, as far as they say.
    pub total: f64,
}

impl Seat {
    /// A seat of what a page says: `A-12` or "Row A, seat 12, €45.00, wheelchair place".
    pub fn read(value: &str, words: &str, price: Option<&str>, free: bool) -> Option<Self> {
        let (row, number) = place(value).or_else(|| place_in_words(words))?;
        let small = words.to_lowercase();
        let accessible = small.contains("wheelchair") || small.contains("accessible");
        let price = price.and_then(amount).or_else(|| amount_in_words(words));
        Some(Self { row, number, price, accessible, free })
    }

    /// Its name, such as `A-12`.
    pub fn name(&self) -> String {
        format!("{}-{}", letters(self.row), self.number)
    }
}

/// `A-12`, `A12`, `AB 3`.
fn place(text: &str) -> Option<(u32, u32)> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_alphabetic())?;
    let (row, number) = text.split_at(split);
    let number = number.trim_start_matches(['-', ' ', '_']).parse().ok()?;
    // Longer words are no rows: `ticket-2`.
    (1..=2).contains(&row.len()).then(|| (row_number(row), number))
}

/// "Row A, seat 12" in any order and case.
fn place_in_words(words: &str) -> Option<(u32, u32)> {
    let parts: Vec<&str> = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let after = |word: &str| {
        let at = parts.iter().position(|part| part.eq_ignore_ascii_case(word))?;
        parts.get(at + 1).copied()
    };
    let row = after("row").filter(|row| row.len() <= 2 && row.chars().all(|c| c.is_ascii_alphabetic()))?;
    Some((row_number(row), after("seat")?.parse().ok()?))
}

/// A is 1, Z is 26, AA is 27.
fn row_number(letters: &str) -> u32 {
    letters.bytes().fold(0, |number, letter| number * 26 + u32::from(letter.to_ascii_uppercase() - b'A') + 1)
}

fn letters(mut row: u32) -> String {
    let mut letters = Vec::new();
    while row > 0 {
        row -= 1;
        letters.insert(0, char::from(b'A' + u8::try_from(row % 26).unwrap_or(0)));
        row /= 26;
    }
    letters.into_iter().collect()
}

fn amount(text: &str) -> Option<f64> {
    let digits: String = text.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
    digits.parse().ok()
}

/// The figure beside a sign of money.
fn amount_in_words(words: &str) -> Option<f64> {
    let at = words.find(['€', '$', '£'])?;
    let after = words[at..].chars().skip(1).skip_while(|c| c.is_whitespace());
    let figure: String = after.take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    figure.trim_end_matches('.').parse().ok()
}

/// Chooses seats, or says which rule cannot be obeyed.
pub fn choose(seats: &[Seat], rules: &Rules) -> Result<Choice, String> {
    if rules.count == 0 || rules.accessible > rules.count {
        return Err(format!("{} seats, {} of them accessible, is nothing to choose", rules.count, rules.accessible));
    }
    let mut fitting: Vec<usize> = (0..seats.len()).filter(|at| fits(&seats[*at], rules)).collect();
    let groups: Vec<Vec<usize>> = if rules.adjacent {
        fitting.sort_by_key(|at| (seats[*at].row, seats[*at].number));
        side_by_side(seats, &fitting, rules.count)
    } else {
        apart(seats, fitting.clone(), rules).into_iter().collect()
    };
    let found = groups.len();
    let suitable = groups.into_iter().filter(|group| {
        let accessible = group.iter().filter(|at| seats[**at].accessible).count();
        accessible >= rules.accessible && rules.max_total.is_none_or(|most| total(seats, group) <= most)
    });
    let best = suitable.min_by(|one, other| rank(seats, one, rules).total_cmp(&rank(seats, other, rules)));
    best.map(|group| Choice { total: total(seats, &group), seats: group }).ok_or_else(|| {
        let how = if rules.adjacent { " side by side" } else { "" };
        let count = rules.count;
        match found {
            0 => format!("there are no {count} free seats{how} among the {} that fit", fitting.len()),
            _ => format!("no {count} free seats{how} keep to the total or have {} accessible ones", rules.accessible),
        }
    })
}

fn fits(seat: &Seat, rules: &Rules) -> bool {
    // A seat that does not say its price cannot be shown to be cheap enough.
    let affordable = rules.max_price.is_none_or(|most| seat.price.is_some_and(|price| price <= most));
    let known = rules.max_total.is_none() || seat.price.is_some();
    let row = rules.row_min.is_none_or(|min| seat.row >= min) && rules.row_max.is_none_or(|max| seat.row <= max);
    seat.free && affordable && known && row
}

/// All groups of so many seats with consecutive numbers in one row; `sorted` is by row and number.
fn side_by_side(seats: &[Seat], sorted: &[usize], count: usize) -> Vec<Vec<usize>> {
    let follows = |pair: &[usize]| {
        let (one, next) = (&seats[pair[0]], &seats[pair[1]]);
        one.row == next.row && one.number + 1 == next.number
    };
    sorted.windows(count).filter(|group| group.windows(2).all(follows)).map(<[usize]>::to_vec).collect()
}

/// The best seats wherever they are: first the accessible ones that have to be, then any.
fn apart(seats: &[Seat], mut fitting: Vec<usize>, rules: &Rules) -> Option<Vec<usize>> {
    // Under a total only the cheapest can be shown to be enough.
    let order = if rules.max_total.is_some() { Prefer::Cheap } else { rules.prefer };
    let value = |at: &usize| rank(seats, &[*at], &Rules { prefer: order, ..rules.clone() });
    fitting.sort_by(|one, other| value(one).total_cmp(&value(other)));
    let (accessible, usual): (Vec<usize>, Vec<usize>) = fitting.into_iter().partition(|at| seats[*at].accessible);
    let mut group: Vec<usize> = accessible.iter().copied().take(rules.accessible).collect();
    // Places that others need are given away last.
    group.extend(usual.iter().chain(accessible.iter().skip(rules.accessible)).take(rules.count - group.len()));
    (group.len() == rules.count).then_some(group)
}

fn total(seats: &[Seat], group: &[usize]) -> f64 {
    group.iter().filter_map(|at| seats[*at].price).sum()
}

/// Smaller is better. Wheelchair places that nobody asked for count as far behind all others.
fn rank(seats: &[Seat], group: &[usize], rules: &Rules) -> f64 {
    let needless = group.iter().filter(|at| seats[**at].accessible).count().saturating_sub(rules.accessible);
    let row = |at: &usize| f64::from(seats[*at].row);
    let value: f64 = match rules.prefer {
        Prefer::Front => group.iter().map(row).sum(),
        Prefer::Back => -group.iter().map(row).sum::<f64>(),
        Prefer::Cheap => total(seats, group),
    };
    #[expect(clippy::cast_precision_loss, reason = "a party is small")]
    let needless = needless as f64;
    value + needless * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three rows of six: A at 60, B at 45, C at 30; C-1 and C-2 are wheelchair places; A-3 is taken.
    fn hall() -> Vec<Seat> {
        let mut seats = Vec::new();
        for (row, price) in [(1, 60.0), (2, 45.0), (3, 30.0)] {
            for number in 1..=6 {
                let accessible = row == 3 && number <= 2;
                seats.push(Seat { row, number, price: Some(price), accessible, free: (row, number) != (1, 3) });
            }
        }
        seats
    }

    fn names(rules: &Rules) -> Result<Vec<String>, String> {
        let seats = hall();
        choose(&seats, rules).map(|choice| choice.seats.iter().map(|at| seats[*at].name()).collect())
    }

    #[test]
    fn a_seat_is_read_from_its_value_or_its_words() {
        let seat = Seat::read("B-12", "", Some("45.00"), true).unwrap();
        assert_eq!((seat.row, seat.number, seat.price, seat.accessible), (2, 12, Some(45.0), false));
        let words = "Seat 3, row AA, € 12.50, wheelchair place";
        let seat = Seat::read("9f3c", words, None, true).unwrap();
        assert_eq!((seat.row, seat.number, seat.price, seat.accessible), (27, 3, Some(12.5), true));
        assert_eq!(seat.name(), "AA-3");
        assert_eq!(Seat::read("newsletter", "Send me news", None, true), None);
        assert_eq!(Seat::read("ticket-2", "", None, true), None);
    }

    #[test]
    fn adjacent_seats_are_in_one_row_and_none_is_taken() {
        let rules = Rules { count: 3, ..Rules::default() };
        assert_eq!(names(&rules).unwrap(), ["A-4", "A-5", "A-6"]);
        assert_eq!(names(&Rules { count: 4, ..Rules::default() }).unwrap(), ["B-1", "B-2", "B-3", "B-4"]);
        assert!(names(&Rules { count: 7, ..Rules::default() }).unwrap_err().contains("side by side"));
    }

    #[test]
    fn prices_rows_and_preferences_are_obeyed() {
        let cheap = Rules { max_price: Some(45.0), ..Rules::default() };
        assert_eq!(names(&cheap).unwrap(), ["B-1", "B-2"]);
        assert_eq!(names(&Rules { max_total: Some(60.0), ..Rules::default() }).unwrap(), ["C-3", "C-4"]);
        assert_eq!(names(&Rules { row_min: Some(2), row_max: Some(2), ..Rules::default() }).unwrap(), ["B-1", "B-2"]);
        assert_eq!(names(&Rules { prefer: Prefer::Cheap, ..Rules::default() }).unwrap(), ["C-3", "C-4"]);
        assert!(names(&Rules { max_total: Some(59.0), ..Rules::default() }).is_err());
    }

    #[test]
    fn wheelchair_places_are_for_those_who_ask() {
        assert_eq!(names(&Rules { accessible: 1, ..Rules::default() }).unwrap(), ["C-2", "C-3"]);
        let apart = Rules { count: 3, accessible: 2, adjacent: false, ..Rules::default() };
        assert_eq!(names(&apart).unwrap(), ["C-1", "C-2", "A-1"]);
        assert!(names(&Rules { accessible: 3, ..Rules::default() }).is_err());
        let all = Rules { count: 17, adjacent: false, ..Rules::default() };
        assert_eq!(names(&all).unwrap().len(), 17);
    }
}
