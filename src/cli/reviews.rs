//! `ganger reviews`

mod page;

use bytes::Bytes;
use clap::Subcommand;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::clock::{Clock, SystemClock};

use self::page::ReviewText;
use super::client::{Call, Client, ClientArgs, segment};
use super::failure::{DONE, Failure, Outcome};
use super::output::{self, Format};
use super::submit::read_json;

/// The flags of `reviews`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what waits for a person, or what was decided.
    List(ListArgs),
    /// Show a review: why, what is proposed, and what that rests on.
    Show {
        /// The job.
        id: String,
    },
    /// Take the proposal: the job succeeds, and the jobs that wait for this start.
    Approve {
        /// The job.
        id: String,
        /// The result of a job that has none: JSON, @FILE, or - for stdin.
        #[arg(long, value_name = "JSON")]
        result: Option<String>,
        #[command(flatten)]
        words: Words,
    },
    /// Refuse the proposal: the job fails, and nothing follows.
    Reject {
        /// The job.
        id: String,
        #[command(flatten)]
        words: Words,
    },
    /// Approve with another proposal or another result.
    Edit(EditArgs),
    /// Submit a linked new job with the payload of one in review, or with another; the review stays open.
    Replay {
        /// The old job.
        id: String,
        /// Another payload: JSON, @FILE, or - for stdin.
        #[arg(long, value_name = "JSON")]
        payload: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("edits").required(true).multiple(true).args(["proposal", "result"]))]
struct EditArgs {
    /// The job.
    id: String,
    /// What is put in the place of the whole proposal: JSON, @FILE, or - for stdin. Nothing of the old one is kept, so give
    /// every member that `reviews show` lists, such as `element` and `locator` of a healing.
    #[arg(long, value_name = "JSON")]
    proposal: Option<String>,
    /// What is put in the place of the result: JSON, @FILE, or - for stdin.
    #[arg(long, value_name = "JSON")]
    result: Option<String>,
    #[command(flatten)]
    words: Words,
}

/// Who and why, for the others.
#[derive(Debug, clap::Args)]
struct Words {
    /// Who decides; the token's name or the address when left out.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// Why, for those who wonder later.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "With --all and -o json, each review is one line of JSON.")]
struct ListArgs {
    /// Only of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only of this type.
    #[arg(long = "type", value_name = "TYPE")]
    job_type: Option<String>,
    /// Only for this reason: requested, failed, poison or late.
    #[arg(long)]
    reason: Option<String>,
    /// Those that are decided instead: any, approved, edited, rejected or retried.
    #[arg(long, value_name = "HOW")]
    decided: Option<String>,
    /// The newest first, instead of the one that has waited longest.
    #[arg(long)]
    newest: bool,
    /// The most reviews of a page, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Go on where another page ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// List all pages.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Deserialize)]
struct Page<'a> {
    #[serde(borrow)]
    reviews: Vec<&'a RawValue>,
    next_cursor: Option<String>,
}

impl Args {
    pub(super) async fn run(self) -> Outcome {
        let client = Client::new(&self.client)?;
        let json = self.client.output == Format::Json;
        match self.action {
            Action::List(args) => args.run(&client, json).await,
            Action::Show { id } => {
                let reply = client.expect(&Call::get(path(&id, ""))).await?;
                let text = if json { reply.text() } else { reply.json::<ReviewText>()?.page() };
                output::data(&text)?;
                Ok(DONE)
            }
            Action::Approve { id, result, words } => {
                let body = body(words, [("result", result)])?;
                order(&client, &path(&id, "/approve"), body, json).await
            }
            Action::Reject { id, words } => order(&client, &path(&id, "/reject"), body(words, [])?, json).await,
            Action::Edit(EditArgs { id, proposal, result, words }) => {
                let body = body(words, [("proposal", proposal), ("result", result)])?;
                order(&client, &path(&id, "/approve"), body, json).await
            }
            Action::Replay { id, payload } => {
                let nobody = Words { by: None, note: None };
                order(&client, &path(&id, "/replay"), body(nobody, [("payload", payload)])?, json).await
            }
        }
    }
}

fn path(id: &str, action: &str) -> String {
    format!("/v1/reviews/{}{action}", segment(id))
}

/// The body of an order: words, and members that hold JSON.
fn body<const N: usize>(words: Words, texts: [(&str, Option<String>); N]) -> Result<Bytes, Failure> {
    let mut body = Map::new();
    for (name, value) in [("by", words.by), ("note", words.note)] {
        body.extend(value.map(|value| (name.to_owned(), Value::from(value))));
    }
    for (name, text) in texts {
        if let Some(text) = text {
            body.insert(name.to_owned(), json!(read_json(&format!("--{name}"), &text)?));
        }
    }
    Ok(Value::Object(body).to_string().into())
}

#[derive(Debug, Deserialize)]
struct Decided {
    id: String,
    state: String,
}

async fn order(client: &Client, path: &str, body: Bytes, json: bool) -> Outcome {
    let reply = client.expect(&Call::post(path).json(body)).await?;
    if json {
        output::data(&reply.text())?;
    } else {
        let job: Decided = reply.json()?;
        output::data(&format!("{} {}", job.id, job.state))?;
    }
    Ok(DONE)
}

impl ListArgs {
    fn call(&self, cursor: Option<&str>) -> Call {
        let order = if self.newest { "newest" } else { "oldest" };
        let mut call = Call::get("/v1/reviews").query("limit", self.limit.to_string()).query("order", order);
        let filters = [
            ("queue", self.queue.as_deref()),
            ("type", self.job_type.as_deref()),
            ("reason", self.reason.as_deref()),
            ("decided", self.decided.as_deref()),
            ("cursor", cursor),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        call
    }

    async fn run(&self, client: &Client, json: bool) -> Outcome {
        let mut cursor = self.cursor.clone();
        loop {
            let reply = client.expect(&self.call(cursor.as_deref())).await?;
            if json && !self.all {
                output::data(&reply.text())?;
                return Ok(DONE);
            }
            let page: Page<'_> = reply.json_borrowed()?;
            if json {
                for review in &page.reviews {
                    output::data(review.get())?;
                }
            } else if !page.reviews.is_empty() || !self.all {
                output::data(&self.table(&page.reviews)?)?;
            }
            match page.next_cursor {
                Some(next) if self.all => cursor = Some(next),
                Some(next) => {
                    output::talk(&format!("there are more: --cursor {next}, or --all"));
                    return Ok(DONE);
                }
                None => return Ok(DONE),
            }
        }
    }

    fn table(&self, reviews: &[&RawValue]) -> Result<String, Failure> {
        let now = SystemClock.now();
        let read = |review: &&RawValue| serde_json::from_str::<ReviewText>(review.get());
        let read: Result<Vec<ReviewText>, _> = reviews.iter().map(read).collect();
        let read = read.map_err(|error| Failure::failed(format!("a review cannot be read: {error}")))?;
        Ok(if self.decided.is_some() {
            let headings = ["ID", "TYPE", "REASON", "CONFIDENCE", "VERDICT", "BY", "DECIDED", "NOTE"];
            output::table(&headings, read.iter().map(ReviewText::decided_row).collect())
        } else {
            let headings = ["ID", "AGE", "TYPE", "REASON", "CONFIDENCE", "WHY"];
            output::table(&headings, read.iter().map(|review| review.open_row(now)).collect())
        })
    }
}
