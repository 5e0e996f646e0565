//! `render_report`: figures as a text for people.

use std::fmt::Write;

use rmcp::schemars::{self, JsonSchema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Context;
use super::super::reply::{Reply, ToolResult};
use super::super::site::escaped;
use super::{Query, figures_of};

/// Arguments of `render_report`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReportArgs {
    /// Its title.
    pub title: Option<String>,
    /// How it is written.
    pub format: Format,
    /// Figures that `query_analytics` answered; without them they are asked for now.
    pub figures: Option<Value>,
    /// What to ask for, if no figures are given.
    pub query: Query,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Both.
    #[default]
    Both,
    /// Markdown.
    Markdown,
    /// A page of HTML that needs nothing else.
    Html,
}

/// `render_report`
pub async fn render_report(context: &Context, args: ReportArgs) -> ToolResult {
    let figures = match args.figures {
        Some(figures) => figures,
        None => figures_of(context, &args.query).await?,
    };
    let report = Report::of(args.title.as_deref().unwrap_or("Job report"), &figures);
    let mut result = json!({ "title": report.title, "taken_at": figures["taken_at"] });
    if args.format != Format::Html {
        result["markdown"] = json!(report.markdown());
    }
    if args.format != Format::Markdown {
        result["html"] = json!(report.html());
    }
    Ok(Reply::new(result))
}

/// A report before it is written.
struct Report {
    title: String,
    lead: String,
    sections: Vec<Section>,
}

struct Section {
    heading: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Report {
    fn of(title: &str, figures: &Value) -> Self {
        let jobs = &figures["jobs"];
        let lead = format!(
            "{} jobs, accepted from {} to {}; {} of those that ended well or badly succeeded. Taken at {}.",
            shown(&jobs["total"]),
            shown(&jobs["oldest"]),
            shown(&jobs["newest"]),
            percent(&jobs["success_rate"]),
            shown(&figures["taken_at"]),
        );
        let sections = vec![
            Section {
                heading: "Job types",
                columns: vec![
                    "Type",
                    "Jobs",
                    "Succeeded",
                    "In review",
                    "Retried",
                    "Wait p95 (ms)",
                    "Run p50 (ms)",
                    "Run p95 (ms)",
                ],
                rows: members(&jobs["by_type"], |name, of| {
                    let times = [&of["wait_ms"]["p95"], &of["run_ms"]["p50"], &of["run_ms"]["p95"]];
                    let counts = [
                        shown(&of["total"]),
                        percent(&of["success_rate"]),
                        percent(&of["review_rate"]),
                        shown(&of["retried"]),
                    ];
                    std::iter::once(name.to_owned()).chain(counts).chain(times.map(shown)).collect()
                }),
            },
            Section {
                heading: "States",
                columns: vec!["State", "Jobs"],
                rows: members(&jobs["by_state"], |name, count| vec![name.to_owned(), shown(count)]),
            },
            Section {
                heading: "Errors",
                columns: vec!["Class", "Jobs"],
                rows: members(&jobs["errors"], |name, count| vec![name.to_owned(), shown(count)]),
            },
            Section {
                heading: "Queues",
                columns: vec!["Queue", "Ready", "Scheduled", "Running", "Paused", "SLA (ms)"],
                rows: items(&figures["queues"], &["name", "ready", "scheduled", "running", "paused", "sla_ms"]),
            },
            Section {
                heading: "Pools",
                columns: vec!["Pool", "Queue", "Min", "Max", "Desired", "Idle", "Busy"],
                rows: items(&figures["pools"], &["name", "queue", "min", "max", "desired", "idle", "busy"]),
            },
            Section {
                heading: "Measures",
                columns: vec!["Series", "Value"],
                rows: members(&figures["measures"], |name, value| vec![name.to_owned(), shown(value)]),
            },
        ];
        let sections = sections.into_iter().filter(|section| !section.rows.is_empty()).collect();
        Self { title: title.to_owned(), lead, sections }
    }

    fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}\n", one_line(&self.title), one_line(&self.lead));
        for section in &self.sections {
            let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
            let columns: Vec<String> = section.columns.iter().map(|&column| column.to_owned()).collect();
            let line = vec!["---".to_owned(); columns.len()];
            // Writing into a String does not fail.
            write!(text, "\n## {}\n\n{}{}", section.heading, row(&columns), row(&line)).ok();
            for cells in &section.rows {
                text += &row(&cells.iter().map(|cell| one_line(cell)).collect::<Vec<_>>());
            }
        }
        text
    }

    fn html(&self) -> String {
        let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
            let cells: Vec<String> = cells.map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
            format!("<tr>{}</tr>\n", cells.concat())
        };
        let mut body = format!("<h1>{}</h1>\n<p>{}</p>\n", escaped(&self.title), escaped(&self.lead));
        for section in &self.sections {
            let head = cells("th", &mut section.columns.iter().copied());
            let rows: String =
                section.rows.iter().map(|row| cells("td", &mut row.iter().map(String::as_str))).collect();
            write!(body, "<h2>{}</h2>\n<table>\n{head}{rows}</table>\n", section.heading).ok();
        }
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{}</title>\
             <style>body{{font:16px/1.5 sans-serif;margin:2rem}}td,th{{padding:.2rem .8rem;text-align:left}}</style></head>\n\
             <body>\n{body}</body>\n</html>\n",
            escaped(&self.title)
        )
    }
}

/// A cell of a Markdown table: names come from outside and must not end it.
fn one_line(text: &str) -> String {
    text.replace('|', "\\|").replace(['\r', '\n'], " ").replace('<', "&lt;")
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        other => other.to_string(),
    }
}

fn percent(share: &Value) -> String {
    share.as_f64().map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

fn members(object: &Value, row: impl Fn(&str, &Value) -> Vec<String>) -> Vec<Vec<String>> {
    object.as_object().into_iter().flatten().map(|(name, value)| row(name, value)).collect()
}

fn items(list: &Value, columns: &[&str]) -> Vec<Vec<String>> {
    let row = |item: &Value| columns.iter().map(|column| shown(&item[*column])).collect();
    list.as_array().into_iter().flatten().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let figures = json!({
            "taken_at": "2026-01-01T00:00:00Z",
            "jobs": { "total": 3, "success_rate": 0.5, "by_state": { "failed": 1, "<b>|x": 2 }, "errors": {}, "by_type": {
                "t": { "total": 3, "success_rate": null, "retried": 0, "wait_ms": null, "run_ms": { "p50": 1, "p95": 2 } },
            } },
            "queues": [{ "name": "plan", "ready": 4, "paused": false }],
        });
        Report::of("A & B", &figures)
    }

    #[test]
    fn a_report_is_markdown() {
        let text = report().markdown();
        assert!(text.starts_with("# A & B\n"), "{text}");
        assert!(text.contains("50.0 % of those") && text.contains("| &lt;b>\\|x | 2 |"), "{text}");
        assert!(text.contains("| t | 3 | – | – | 0 | – | 1 | 2 |") && text.contains("| plan | 4 |"), "{text}");
        assert!(!text.contains("## Errors"), "an empty section has no place: {text}");
    }

    #[test]
    fn a_report_is_html() {
        let text = report().html();
        assert!(text.contains("<h1>A &amp; B</h1>") && text.contains("<td>&lt;b&gt;|x</td>"), "{text}");
    }
}
