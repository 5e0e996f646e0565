//! The names of a server's tools, for the metrics of calls whose tools the payload names.

use std::time::Duration;

use rmcp::model::PaginatedRequestParams;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::session::Session;

/// Names that become metric labels, at most; and the longest, in bytes.
const TOOLS_MAX: usize = 200;
const TOOL_BYTES_MAX: usize = 64;
/// Pages of the list that are read at most.
const PAGES_MAX: usize = 10;
/// How long the list may take: no run should wait long for a label.
const LIST_MAX: Duration = Duration::from_secs(5);

/// The tools that a server lists, once it was asked.
#[derive(Debug, Default)]
pub(super) struct Tools(OnceCell<Vec<String>>);

impl Tools {
    /// The label for a tool: its name, if the server lists it.
    pub(super) async fn label(&self, session: &Session, tool: &str) -> String {
        let names = self.0.get_or_init(|| list(session)).await;
        if names.iter().any(|name| name == tool) { tool.to_owned() } else { "other".to_owned() }
    }
}

/// What the server lists in time.
async fn list(session: &Session) -> Vec<String> {
    let mut names = Vec::new();
    let listing = async {
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let params = PaginatedRequestParams::default().with_cursor(cursor);
            let Ok(page) = session.peer().list_tools(Some(params)).await else { return };
            let fitting = page.tools.into_iter().map(|tool| tool.name.into_owned());
            names.extend(fitting.filter(|name| name.len() <= TOOL_BYTES_MAX));
            cursor = page.next_cursor;
            if cursor.is_none() || names.len() >= TOOLS_MAX {
                return;
            }
        }
    };
    if timeout(LIST_MAX, listing).await.is_err() {
        tracing::debug!("An MCP server does not list its tools");
    }
    names.truncate(TOOLS_MAX);
    names
}
