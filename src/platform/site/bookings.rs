//! Shows, seats, and who has them.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Value, json};

/// What `shows.json` holds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Programme {
    hall: Hall,
    shows: Vec<Show>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hall {
    aisle_after: u32,
    accessible: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(rename = "row")]
    name: String,
    seats: u32,
    price: u32,
}

/// A show.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Show {
    id: String,
    title: String,
    genre: String,
    venue: String,
    date: String,
    time: String,
    about: String,
    taken: Vec<String>,
}

/// Why a booking cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    NoShow,
    NoSeats,
    NoSuchSeat(String),
    Taken(Vec<String>),
}

/// Who books.
#[derive(Debug, Clone, Default)]
pub(super) struct Customer {
    pub(super) name: String,
    pub(super) email: String,
}

/// The box office. Seats are finite, and so is what it remembers.
#[derive(Debug)]
pub(super) struct BoxOffice {
    programme: Programme,
    taken: HashMap<String, HashSet<String>>,
    bookings: BTreeMap<String, Value>,
    baskets: u64,
}

impl BoxOffice {
    pub(super) fn open(shows: &str) -> Result<Self, String> {
        let programme = serde_json::from_str(shows).map_err(|error| format!("shows.json: {error}"))?;
        let mut office = Self { programme, taken: HashMap::new(), bookings: BTreeMap::new(), baskets: 0 };
        office.reset();
        Ok(office)
    }

    /// Forgets all bookings.
    pub(super) fn reset(&mut self) {
        self.bookings.clear();
        let shows = self.programme.shows.iter();
        self.taken = shows.map(|show| (show.id.clone(), show.taken.iter().cloned().collect())).collect();
    }

    /// The shows whose title or venue has the words, of a kind if one is named.
    pub(super) fn search(&self, words: &str, genre: &str) -> Vec<Value> {
        let words = words.trim().to_lowercase();
        let fits = |show: &&Show| {
            let text = format!("{} {}", show.title, show.venue).to_lowercase();
            text.contains(&words) && (genre.is_empty() || show.genre == genre)
        };
        self.programme.shows.iter().filter(fits).map(facts).collect()
    }

    /// A show with its seat map.
    pub(super) fn show(&self, id: &str) -> Option<Value> {
        let show = self.find(id)?;
        let (hall, taken) = (&self.programme.hall, self.taken.get(id));
        let seat = |row: &Row, number: u32| {
            let name = format!("{}-{number}", row.name);
            json!({
                "number": number,
                "taken": taken.is_some_and(|taken| taken.contains(&name)),
                "accessible": hall.accessible.contains(&name),
                "aisle": number == hall.aisle_after,
                "seat": name,
            })
        };
        let row = |row: &Row| {
            let seats: Vec<Value> = (1..=row.seats).map(|number| seat(row, number)).collect();
            json!({ "row": row.name, "price": row.price, "seats": seats })
        };
        let mut facts = facts(show);
        facts["rows"] = hall.rows.iter().map(row).collect();
        Some(facts)
    }

    /// What the checkout shows for these seats, if all can still be had.
    pub(super) fn quote(&self, id: &str, seats: &[String]) -> Result<Value, Refusal> {
        let show = self.find(id).ok_or(Refusal::NoShow)?;
        if seats.is_empty() {
            return Err(Refusal::NoSeats);
        }
        let mut total = 0;
        for seat in seats {
            total += self.price(seat).ok_or_else(|| Refusal::NoSuchSeat(seat.clone()))?;
        }
        let taken = self.taken.get(id);
        let gone: Vec<String> =
            seats.iter().filter(|seat| taken.is_some_and(|taken| taken.contains(*seat))).cloned().collect();
        if !gone.is_empty() {
            return Err(Refusal::Taken(gone));
        }
        let mut quote = facts(show);
        quote["chosen"] = seats.iter().map(|seat| json!({ "seat": seat })).collect();
        quote["seat_names"] = json!(seats.join(", "));
        quote["total"] = json!(total);
        Ok(quote)
    }

    /// Books seats and answers the booking's code.
    pub(super) fn book(&mut self, id: &str, seats: &[String], customer: &Customer) -> Result<String, Refusal> {
        let mut booking = self.quote(id, seats)?;
        let code = format!("CC-{:05}", self.bookings.len() + 1);
        booking["code"] = json!(code);
        booking["name"] = json!(customer.name);
        booking["email"] = json!(customer.email);
        self.taken.entry(id.to_owned()).or_default().extend(seats.iter().cloned());
        self.bookings.insert(code.clone(), booking);
        Ok(code)
    }

    pub(super) fn booking(&self, code: &str) -> Option<&Value> {
        self.bookings.get(code)
    }

    pub(super) fn bookings(&self) -> usize {
        self.bookings.len()
    }

    /// A name for a basket that nobody has had.
    pub(super) fn new_basket(&mut self) -> String {
        self.baskets += 1;
        format!("basket-{}", self.baskets)
    }

    fn find(&self, id: &str) -> Option<&Show> {
        self.programme.shows.iter().find(|show| show.id == id)
    }

    fn price(&self, seat: &str) -> Option<u32> {
        let (row, number) = seat.split_once('-')?;
        let row = self.programme.hall.rows.iter().find(|one| one.name == row)?;
        let number: u32 = number.parse().ok()?;
        (1..=row.seats).contains(&number).then_some(row.price)
    }
}

fn facts(show: &Show) -> Value {
    json!({
        "id": show.id, "title": show.title, "genre": show.genre, "venue": show.venue, "date": show.date,
        "time": show.time, "about": show.about,
    })
}
