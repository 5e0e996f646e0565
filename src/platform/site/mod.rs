//! The sample site: tickets for shows, with a seat map, in two versions of markup.
//!
//! Its pages are the templates of `examples/booking-site`; what is booked is kept in memory. A redesign is
//! one call: the addresses and the bookings stay, the markup changes.

mod bookings;
mod files;
mod template;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as Segment, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use url::form_urlencoded;

use self::bookings::{BoxOffice, Customer, Refusal};
use self::files::Files;

pub use self::files::Version;
pub(super) use self::template::escaped;

/// The site; cheap to clone.
#[derive(Debug, Clone)]
pub struct Site {
    files: Arc<Files>,
    state: Arc<Mutex<Inside>>,
}

#[derive(Debug)]
struct Inside {
    version: Version,
    office: BoxOffice,
}

impl Site {
    /// The site of the files that are in the program, or of a folder like `examples/booking-site`.
    pub fn new(version: Version, folder: Option<&Path>) -> Result<Self, String> {
        let files = folder.map_or_else(|| Ok(Files::embedded()), Files::read)?;
        let office = BoxOffice::open(&files.shows)?;
        Ok(Self { files: Arc::new(files), state: Arc::new(Mutex::new(Inside { version, office })) })
    }

    /// Shows another version from now on.
    pub fn redesign(&self, version: Version) {
        self.inside().version = version;
    }

    /// Forgets all bookings.
    pub fn reset(&self) {
        self.inside().office.reset();
    }

    /// The ids of the shows, which are the last part of `/shows/ID`.
    pub fn shows(&self) -> Vec<String> {
        let shows = self.inside().office.search("", "");
        shows.iter().filter_map(|show| show["id"].as_str().map(str::to_owned)).collect()
    }

    /// How many bookings there are.
    pub fn bookings(&self) -> usize {
        self.inside().office.bookings()
    }

    /// The site's addresses.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(home))
            .route("/search", get(search))
            .route("/shows/{id}", get(show))
            .route("/checkout", get(checkout))
            .route("/bookings", post(book))
            .route("/bookings/{code}", get(booking))
            .route(
                "/help",
                get(|State(site): State<Site>| async move { site.page(StatusCode::OK, "help.html", &json!({})) }),
            )
            .route("/style.css", get(style))
            .route("/reset", post(|State(site): State<Site>| async move { site.reset() }))
            .fallback(|State(site): State<Site>| async move { site.no_page() })
            .with_state(self.clone())
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, status: StatusCode, name: &'static str, values: &Value) -> Response {
        let version = self.inside().version;
        match template::fill(self.files.page(version, name), values) {
            Ok(html) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
            Err(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{}/{name}: {error}", version.name())).into_response()
            }
        }
    }

    fn no_page(&self) -> Response {
        let values = json!({ "heading": "Not here", "reason": "There is no such page.", "back": "/" });
        self.page(StatusCode::NOT_FOUND, "refused.html", &values)
    }

    fn refused(&self, show: &str, refusal: &Refusal) -> Response {
        let (status, heading, reason) = match refusal {
            Refusal::NoShow => return self.no_page(),
            Refusal::NoSeats => (StatusCode::UNPROCESSABLE_ENTITY, "No seat", "Choose at least one seat.".to_owned()),
            Refusal::NoSuchSeat(seat) => {
                (StatusCode::UNPROCESSABLE_ENTITY, "No such seat", format!("There is no seat {seat}."))
            }
            Refusal::Taken(seats) => {
                (StatusCode::CONFLICT, "Seats are taken", format!("Somebody else has {}.", seats.join(", ")))
            }
        };
        let values = json!({ "heading": heading, "reason": reason, "back": format!("/shows/{show}") });
        self.page(status, "refused.html", &values)
    }
}

/// The fields of a form.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// A field by the names that the versions give it; empty if it is not there.
    fn get(&self, names: &[&str]) -> &str {
        self.0.iter().find(|(name, _)| names.contains(&name.as_str())).map_or("", |(_, value)| value.trim())
    }

    fn seats(&self) -> Vec<String> {
        let mut seats: Vec<String> = Vec::new();
        for (name, value) in &self.0 {
            if matches!(name.as_str(), "seat" | "seats[]") && !seats.contains(value) {
                seats.push(value.clone());
            }
        }
        seats
    }
}

async fn home(State(site): State<Site>) -> Response {
    let shows = site.inside().office.search("", "").into_iter().take(3).collect::<Vec<_>>();
    site.page(StatusCode::OK, "index.html", &json!({ "shows": shows }))
}

async fn search(State(site): State<Site>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    let shows = site.inside().office.search(fields.get(&["q"]), fields.get(&["genre"]));
    site.page(StatusCode::OK, "search.html", &json!({ "shows": shows }))
}

async fn show(State(site): State<Site>, Segment(id): Segment<String>) -> Response {
    let show = site.inside().office.show(&id);
    show.map_or_else(|| site.no_page(), |show| site.page(StatusCode::OK, "show.html", &show))
}

async fn checkout(State(site): State<Site>, RawQuery(query): RawQuery) -> Response {
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    let show = fields.get(&["show"]);
    let quote = site.inside().office.quote(show, &fields.seats());
    match quote {
        Ok(quote) => site.checkout_page(StatusCode::OK, quote, None),
        Err(refusal) => site.refused(show, &refusal),
    }
}

impl Site {
    fn checkout_page(&self, status: StatusCode, mut quote: Value, error: Option<&str>) -> Response {
        let basket = self.inside().office.new_basket();
        quote["basket"] = json!(basket);
        quote["error"] = json!(error);
        let mut response = self.page(status, "checkout.html", &quote);
        if let Ok(cookie) = format!("basket={basket}; Path=/; HttpOnly; SameSite=Lax").parse() {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }
}

async fn book(State(site): State<Site>, headers: HeaderMap, body: Bytes) -> Response {
    let fields = Fields::read(&body);
    let (show, seats) = (fields.get(&["show"]).to_owned(), fields.seats());
    let quote = site.inside().office.quote(&show, &seats);
    let quote = match quote {
        Ok(quote) => quote,
        Err(refusal) => return site.refused(&show, &refusal),
    };
    let cookies = headers.get(header::COOKIE).and_then(|cookies| cookies.to_str().ok()).unwrap_or("");
    let basket = format!("basket={}", fields.get(&["basket"]));
    let customer = Customer {
        name: fields.get(&["name", "customer[name]"]).to_owned(),
        email: fields.get(&["email", "customer[email]"]).to_owned(),
    };
    // What browsers check, a site has to check again.
    let missing = if customer.name.is_empty() {
        Some("Tell us your name.")
    } else if !customer.email.contains('@') {
        Some("Tell us your e-mail address.")
    } else if fields.get(&["payment"]).is_empty() {
        Some("Say how you will pay.")
    } else if fields.get(&["terms"]).is_empty() {
        Some("Accept the terms.")
    } else if !cookies.split("; ").any(|cookie| cookie == basket) {
        Some("Your basket belongs to another browser. Please send the form again.")
    } else {
        None
    };
    if let Some(missing) = missing {
        return site.checkout_page(StatusCode::UNPROCESSABLE_ENTITY, quote, Some(missing));
    }
    let booked = site.inside().office.book(&show, &seats, &customer);
    match booked {
        Ok(code) => (StatusCode::SEE_OTHER, [(header::LOCATION, format!("/bookings/{code}"))]).into_response(),
        Err(refusal) => site.refused(&show, &refusal),
    }
}

async fn booking(State(site): State<Site>, Segment(code): Segment<String>) -> Response {
    let booking = site.inside().office.booking(&code).cloned();
    booking.map_or_else(|| site.no_page(), |booking| site.page(StatusCode::OK, "confirmation.html", &booking))
}

async fn style(State(site): State<Site>) -> Response {
    let version = site.inside().version;
    ([(header::CONTENT_TYPE, "text/css")], site.files.page(version, "style.css").to_owned()).into_response()
}
