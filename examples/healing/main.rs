//! Measures locators and healing on any pages; `scripts/healing.sh` gives it pages that nobody here wrote.
//!
//! - `healing locators OUT FILE...` writes the locators of every element that a person can act on to OUT, one page a
//!   line, for another engine to check.
//! - `healing mutations FILE...` changes the pages by seeded rules, heals, and prints what came of it on those pages
//!   that nothing was fitted on.
//! - `healing fit FILE...` fits weights on the other pages.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a measuring tool for developers"
)]

mod measure;
mod mutate;
mod tables;

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use ganger::platform::locators::survey::Survey;
use ganger::platform::locators::{deadline_in, generate};
use ganger::platform::page::{Limits, Page, is_interactive, is_visible};
use tokio::time::Instant;
use url::Url;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("locators") if arguments.len() > 2 => locators(&arguments[1], &arguments[2..]),
        Some("mutations") if arguments.len() > 1 => measure::mutations(&arguments[1..]),
        Some("fit") if arguments.len() > 1 => measure::fit(&arguments[1..]),
        _ => anyhow::bail!("healing locators OUT FILE... | healing mutations FILE... | healing fit FILE..."),
    }
}

/// The page of a file; nothing if it is refused.
fn page(file: &str) -> anyhow::Result<Option<Page>> {
    let bytes = std::fs::read(file).with_context(|| file.to_owned())?;
    let path = Path::new(file).canonicalize()?;
    let url = Url::from_file_path(&path).map_err(|()| anyhow::anyhow!("{file} is no path"))?;
    Ok(Page::parse(url, String::from_utf8_lossy(&bytes).into_owned(), &Limits::default()).ok())
}

/// What a person can act on.
fn targets(survey: &Survey<'_>) -> Vec<usize> {
    let acts = |at: &usize| is_interactive(&survey.at(*at).element) && is_visible(&survey.at(*at).element);
    (0..survey.len()).filter(acts).collect()
}

fn locators(out: &str, files: &[String]) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::fs::File::create(out)?);
    let (mut pages, mut refused, mut elements, mut written, mut slowest) = (0, 0, 0, 0, (0.0, String::new(), 0));
    let mut bare = 0;
    for file in files {
        let Some(page) = page(file)? else {
            refused += 1;
            continue;
        };
        let begun = Instant::now();
        let survey = Survey::of(&page);
        let batch = generate(&page, &survey, &targets(&survey), deadline_in(60_000));
        let took = begun.elapsed().as_secs_f64() * 1e3;
        if took > slowest.0 {
            slowest = (took, file.clone(), batch.done.len());
        }
        let found: Vec<_> = batch
            .done
            .iter()
            .map(|located| serde_json::json!({ "at": located.at, "tag": survey.at(located.at).tag(), "locators": located.locators }))
            .collect();
        pages += 1;
        elements += found.len();
        bare += batch.done.iter().filter(|located| located.locators.len() < 3).count();
        written += batch.done.iter().map(|located| located.locators.len()).sum::<usize>();
        let line =
            serde_json::json!({ "file": Path::new(file).canonicalize()?, "elements": survey.len(), "found": found });
        writeln!(out, "{line}")?;
    }
    println!(
        "{pages} pages ({refused} refused), {elements} elements, {written} locators, {:.1} an element, {bare} elements with fewer than three",
        written as f64 / elements.max(1) as f64
    );
    println!("slowest page: {:.0} ms for {} elements, {}", slowest.0, slowest.2, slowest.1);
    Ok(())
}
