//! What happens outside: MCP servers, calls and commands.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::handler::outside::{Errand, Notice};
use crate::policy::remediation::{Call, Facts, Template};

use super::super::super::core::Core;
use super::super::calls;
use super::{Done, Goal, text};

/// Ends the sessions with a server on all nodes, then runs the command that restarts it, if there is one.
pub(super) async fn restart(
    core: &Core,
    server: &str,
    command: &[String],
    facts: &Facts<'_>,
    stop: CancellationToken,
) -> Result<Done, String> {
    let mut words = calls::everywhere(core, &calls::Order::RestartServer(server.to_owned())).await?;
    if let Some((program, args)) = command.split_first() {
        let ran = self::command(core, program, args, &BTreeMap::new(), facts, stop).await?;
        words = format!("{words}; {}", ran.words);
    }
    Ok(Done::of(words, Goal::Nothing))
}

/// Posts what the fields say, or all facts where there are none.
pub(super) async fn post(core: &Core, call: &Call, facts: &Facts<'_>, stop: CancellationToken) -> Result<Done, String> {
    let body = if call.fields.is_empty() {
        facts.json()
    } else {
        let member = |(name, template): (&String, &Template)| (name.clone(), Value::String(template.render(facts)));
        call.fields.iter().map(member).collect()
    };
    let notice = Notice {
        id: format!("remediation-{}", facts.number),
        url: call.url.clone(),
        secret: call.secret.clone(),
        token: call.token.clone(),
        body: text(&body).into(),
    };
    let outside = core.setup.load().outside.clone();
    let answer = tokio::select! {
        biased;
        answer = outside.post(notice) => answer.map_err(|error| format!("{}: {error}", call.place))?,
        // Whether it arrived is not known.
        () = stop.cancelled() => return Err(format!("{} had not answered", call.place)),
    };
    Ok(Done::of(format!("{} answered {answer}", call.place), Goal::Nothing))
}

/// Runs a command with the facts in its environment and on its stdin.
pub(super) async fn command(
    core: &Core,
    program: &str,
    args: &[String],
    env: &BTreeMap<String, String>,
    facts: &Facts<'_>,
    stop: CancellationToken,
) -> Result<Done, String> {
    let mut variables = facts.variables();
    variables.extend(env.clone());
    let errand =
        Errand { program: program.to_owned(), args: args.to_vec(), env: variables, input: text(&facts.json()).into() };
    let outside = core.setup.load().outside.clone();
    Ok(Done::of(outside.run(errand, stop).await?, Goal::Nothing))
}
