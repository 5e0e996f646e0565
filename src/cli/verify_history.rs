//! `ganger verify-history`

use std::fs::File;
use std::io::{self, BufRead, BufReader};

use serde_json::{Value, json};

use crate::history::{self, Malformed, Place, Reader, Verdict, Violation};

use super::failure::{DONE, FAILED, Failure, Outcome};
use super::output::{self, Format};

/// The flags of `verify-history`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 sound, 1 violations found, 2 the files are no history.")]
pub(super) struct Args {
    /// Files of events as docs/HISTORY.md describes them, one JSON object a line; `-` is stdin. Together
    /// they are one history.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Excuse nothing with a fault: for histories in which nothing was broken.
    #[arg(long)]
    strict: bool,
    /// How the verdict is written.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Args {
    pub(super) fn run(self) -> Outcome {
        let mut reader = Reader::default();
        for (number, name) in self.files.iter().enumerate() {
            self.read(number, name, &mut reader)?;
        }
        let verdict = history::check(&reader.finish(), self.strict);
        match self.output {
            Format::Json => output::data(&self.json(&verdict).to_string())?,
            Format::Table => self.table(&verdict)?,
        }
        Ok(if verdict.is_sound() { DONE } else { FAILED })
    }

    fn read(&self, file: usize, name: &str, reader: &mut Reader) -> Result<(), Failure> {
        let unreadable = |error: io::Error| Failure::usage(format!("{name} cannot be read: {error}"));
        let input: Box<dyn BufRead> = match name {
            "-" => Box::new(io::stdin().lock()),
            name => Box::new(BufReader::new(File::open(name).map_err(unreadable)?)),
        };
        for (number, line) in input.lines().enumerate() {
            let place = Place { file, line: number + 1 };
            reader.line(place, &line.map_err(unreadable)?).map_err(|Malformed { place, reason }| {
                Failure::usage(format!("{} is no history: {reason}; see docs/HISTORY.md", self.place(place)))
            })?;
        }
        Ok(())
    }

    /// A line by the name of its file.
    fn place(&self, place: Place) -> String {
        format!("{}:{}", self.files.get(place.file).map_or("?", String::as_str), place.line)
    }

    fn places(&self, violation: &Violation) -> Vec<String> {
        violation.seen.iter().map(|&place| self.place(place)).collect()
    }

    fn json(&self, verdict: &Verdict) -> Value {
        let violations: Vec<Value> = verdict
            .violations
            .iter()
            .map(|violation| {
                json!({
                    "invariant": violation.invariant.to_string(), "job": violation.job, "what": violation.what,
                    "seen": self.places(violation),
                })
            })
            .collect();
        json!({ "sound": verdict.is_sound(), "violations": violations, "summary": verdict.summary })
    }

    fn table(&self, verdict: &Verdict) -> io::Result<()> {
        if !verdict.is_sound() {
            let row = |violation: &Violation| {
                let seen = self.places(violation).join(" ");
                vec![violation.invariant.to_string(), violation.job.clone(), violation.what.clone(), seen]
            };
            let rows = verdict.violations.iter().map(row).collect();
            output::data(&output::table(&["INVARIANT", "JOB", "WHAT", "SEEN"], rows))?;
        }
        let summary = json!(verdict.summary);
        let rows = summary.as_object().into_iter().flatten();
        let rows = rows.map(|(name, count)| vec![name.replace('_', " "), count.to_string()]).collect();
        output::data(&output::table(&["COUNTED", ""], rows))?;
        output::talk(if verdict.is_sound() { "sound" } else { "not sound" });
        Ok(())
    }
}
