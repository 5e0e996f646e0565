//! Expression to elements.

use std::collections::BTreeMap;

use super::{Axis, Expression, Path, Step};
use crate::platform::locators::survey::{Survey, squeezed};

/// Steps of work for one expression: a second at most.
const WORK_MAX: usize = 3_000_000;

/// The elements that an expression selects, in document order, or why that cannot be said.
pub fn select(survey: &Survey<'_>, expression: &Expression) -> Result<Vec<usize>, String> {
    let mut run = Run { survey, work: 0 };
    match run.value(expression, &Context { at: None, position: 1, last: 1 })? {
        Value::Elements(elements) => Ok(elements),
        _ => Err("the XPath selects no elements: it is a value".to_owned()),
    }
}

/// The element that is looked at (none: the page itself), and its place among those looked at.
struct Context {
    at: Option<usize>,
    position: usize,
    last: usize,
}

enum Value {
    Elements(Vec<usize>),
    /// Attributes or pieces of text.
    Strings(Vec<String>),
    Text(String),
    Number(f64),
    Truth(bool),
}

struct Run<'s, 'p> {
    survey: &'s Survey<'p>,
    work: usize,
}

impl Run<'_, '_> {
    fn worked(&mut self, steps: usize) -> Result<(), String> {
        self.work += steps;
        if self.work > WORK_MAX { Err("the XPath needs too much work on this page".to_owned()) } else { Ok(()) }
    }

    fn value(&mut self, expression: &Expression, context: &Context) -> Result<Value, String> {
        self.worked(1)?;
        Ok(match expression {
            Expression::Text(text) => Value::Text(text.clone()),
            Expression::Number(number) => Value::Number(*number),
            Expression::Path(path) => self.path(path, context)?,
            Expression::Filtered(inner, predicates) => match self.value(inner, context)? {
                Value::Elements(elements) => Value::Elements(self.kept(elements, predicates)?),
                _ => return Err("only elements have predicates".to_owned()),
            },
            Expression::Call(name, arguments) => self.call(name, arguments, context)?,
            Expression::Binary("and", left, right) => {
                Value::Truth(self.truth(left, context)? && self.truth(right, context)?)
            }
            Expression::Binary("or", left, right) => {
                Value::Truth(self.truth(left, context)? || self.truth(right, context)?)
            }
            Expression::Binary(sign, left, right) => {
                let (left, right) = (self.value(left, context)?, self.value(right, context)?);
                Value::Truth(self.compared(sign, &left, &right)?)
            }
        })
    }

    fn path(&mut self, path: &Path, context: &Context) -> Result<Value, String> {
        let mut from: Vec<Option<usize>> = vec![if path.is_absolute { None } else { context.at }];
        let mut steps = path.steps.as_slice();
        while let [step, rest @ ..] = steps {
            // `//name` is one look into the list of that name, not a walk through the page.
            let is_deep = step.axis == Axis::DescendantOrSelf && step.name.is_none() && step.predicates.is_empty();
            let found = match rest {
                [next, behind @ ..] if is_deep && next.axis == Axis::Child => {
                    steps = behind;
                    self.below(&from, next)?
                }
                _ => {
                    steps = rest;
                    self.stepped(&from, step)?
                }
            };
            from = found.into_iter().map(Some).collect();
        }
        let elements: Vec<usize> = from.into_iter().flatten().collect();
        if let Some(name) = &path.attribute {
            let values = elements.iter().filter_map(|at| self.survey.at(*at).attribute(name));
            return Ok(Value::Strings(values.map(str::to_owned).collect()));
        }
        if path.ends_in_text {
            let texts = elements.iter().flat_map(|at| self.survey.at(*at).element.children());
            let texts = texts.filter_map(|child| child.value().as_text().map(|text| text.to_string()));
            return Ok(Value::Strings(texts.collect()));
        }
        Ok(Value::Elements(elements))
    }

    /// Children, at any depth, of these; predicates count among the children of one parent.
    fn below(&mut self, from: &[Option<usize>], step: &Step) -> Result<Vec<usize>, String> {
        let survey = self.survey;
        let mut found = Vec::new();
        let mut reached = 0;
        for start in from {
            let (first, end) = start.map_or((0, survey.len()), |at| (at + 1, survey.at(at).end));
            // What stands inside something that was looked through already is known.
            let first = first.max(reached);
            reached = reached.max(end);
            if first >= end {
                continue;
            }
            match &step.name {
                Some(name) => {
                    let list = survey.with_tag(name);
                    let from = list.partition_point(|at| *at < first);
                    let to = list.partition_point(|at| *at < end);
                    found.extend_from_slice(&list[from..to]);
                }
                None => found.extend(first..end),
            }
        }
        self.worked(found.len())?;
        if step.predicates.is_empty() {
            return Ok(found);
        }
        let mut families: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for at in found {
            families.entry(survey.at(at).parent).or_default().push(at);
        }
        let mut kept = Vec::new();
        for family in families.into_values() {
            kept.extend(self.kept(family, &step.predicates)?);
        }
        kept.sort_unstable();
        Ok(kept)
    }

    fn stepped(&mut self, from: &[Option<usize>], step: &Step) -> Result<Vec<usize>, String> {
        let mut found = Vec::new();
        for start in from {
            let along = self.along(step.axis, *start)?;
            let named = along.into_iter().filter(|at| self.has_name(*at, step.name.as_deref())).collect();
            found.extend(self.kept(named, &step.predicates)?);
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    fn has_name(&self, at: usize, name: Option<&str>) -> bool {
        let element = self.survey.at(at);
        name.is_none_or(|name| element.tag() == name && element.has_plain_name())
    }

    fn along(&mut self, axis: Axis, from: Option<usize>) -> Result<Vec<usize>, String> {
        let survey = self.survey;
        let children = |parent: Option<usize>| {
            let (first, end) = parent.map_or((0, survey.len()), |at| (at + 1, survey.at(at).end));
            std::iter::successors((first < end).then_some(first), move |at| {
                Some(survey.at(*at).end).filter(|next| *next < end)
            })
        };
        let found: Vec<usize> = match (axis, from) {
            (Axis::Child, _) => children(from).collect(),
            (Axis::Descendant | Axis::DescendantOrSelf, None) => (0..survey.len()).collect(),
            (Axis::Descendant, Some(at)) => (at + 1..survey.at(at).end).collect(),
            (Axis::DescendantOrSelf, Some(at)) => (at..survey.at(at).end).collect(),
            (Axis::Itself, Some(at)) => vec![at],
            (Axis::Parent, Some(at)) => survey.at(at).parent.into_iter().collect(),
            (Axis::Ancestor, Some(at)) => survey.ancestors(at).collect(),
            (Axis::FollowingSibling, Some(at)) => {
                children(survey.at(at).parent).skip_while(|other| *other <= at).collect()
            }
            (Axis::PrecedingSibling, Some(at)) => {
                let mut before: Vec<usize> = children(survey.at(at).parent).take_while(|other| *other < at).collect();
                before.reverse();
                before
            }
            (_, None) => Vec::new(),
        };
        self.worked(found.len())?;
        Ok(found)
    }

    /// Those for which all predicates hold, each counted among what the one before has left.
    fn kept(&mut self, mut elements: Vec<usize>, predicates: &[Expression]) -> Result<Vec<usize>, String> {
        for predicate in predicates {
            let last = elements.len();
            let mut kept = Vec::new();
            for (before, at) in elements.into_iter().enumerate() {
                let context = Context { at: Some(at), position: before + 1, last };
                let holds = match self.value(predicate, &context)? {
                    Value::Number(number) => is_place(number, context.position),
                    value => is_true(&value),
                };
                if holds {
                    kept.push(at);
                }
            }
            elements = kept;
        }
        Ok(elements)
    }

    fn truth(&mut self, expression: &Expression, context: &Context) -> Result<bool, String> {
        Ok(is_true(&self.value(expression, context)?))
    }

    fn call(&mut self, name: &str, arguments: &[Expression], context: &Context) -> Result<Value, String> {
        let mut texts = Vec::new();
        if matches!(name, "contains" | "starts-with" | "concat") {
            for argument in arguments {
                let value = self.value(argument, context)?;
                texts.push(self.text(&value)?);
            }
        }
        let own = |run: &mut Self| match arguments.first() {
            Some(argument) => {
                let value = run.value(argument, context)?;
                run.text(&value)
            }
            None => context.at.map_or(Ok(String::new()), |at| run.text(&Value::Elements(vec![at]))),
        };
        Ok(match name {
            "not" => Value::Truth(!self.truth(&arguments[0], context)?),
            "contains" => Value::Truth(texts[0].contains(&texts[1])),
            "starts-with" => Value::Truth(texts[0].starts_with(&texts[1])),
            "concat" => Value::Text(texts.concat()),
            "normalize-space" => Value::Text(squeezed(&own(self)?)),
            "string" => Value::Text(own(self)?),
            "last" => Value::Number(number_of(context.last)),
            "position" => Value::Number(number_of(context.position)),
            "count" => match self.value(&arguments[0], context)? {
                Value::Elements(elements) => Value::Number(number_of(elements.len())),
                Value::Strings(strings) => Value::Number(number_of(strings.len())),
                _ => return Err("count() counts elements only".to_owned()),
            },
            other => return Err(format!("the function {other}() is not known here")),
        })
    }

    /// The string value: of the first element, if there are several.
    fn text(&mut self, value: &Value) -> Result<String, String> {
        Ok(match value {
            Value::Elements(elements) => elements.first().map_or_else(String::new, |at| self.survey.whole_text(*at)),
            Value::Strings(strings) => strings.first().cloned().unwrap_or_default(),
            Value::Text(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Truth(truth) => truth.to_string(),
        })
        .inspect(|text| self.work += text.len() / 64)
    }

    /// Sets are equal to a value if any of their members is.
    fn compared(&mut self, sign: &str, left: &Value, right: &Value) -> Result<bool, String> {
        let (lefts, rights) = (self.members(left)?, self.members(right)?);
        self.worked(lefts.len().saturating_mul(rights.len()))?;
        let numbers =
            !matches!(sign, "=" | "!=") || matches!(left, Value::Number(_)) || matches!(right, Value::Number(_));
        let holds = |left: &String, right: &String| {
            if !numbers {
                return (left == right) == (sign == "=");
            }
            let (left, right) = (left.trim().parse::<f64>(), right.trim().parse::<f64>());
            let (Ok(left), Ok(right)) = (left, right) else { return sign == "!=" };
            match left.partial_cmp(&right) {
                Some(order) => match sign {
                    "=" => order.is_eq(),
                    "!=" => order.is_ne(),
                    "<" => order.is_lt(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    _ => order.is_ge(),
                },
                None => false,
            }
        };
        Ok(lefts.iter().any(|left| rights.iter().any(|right| holds(left, right))))
    }

    fn members(&mut self, value: &Value) -> Result<Vec<String>, String> {
        match value {
            Value::Elements(elements) => elements.iter().map(|at| self.text(&Value::Elements(vec![*at]))).collect(),
            Value::Strings(strings) => Ok(strings.clone()),
            other => Ok(vec![self.text(other)?]),
        }
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Elements(elements) => !elements.is_empty(),
        Value::Strings(strings) => !strings.is_empty(),
        Value::Text(text) => !text.is_empty(),
        Value::Number(number) => *number != 0.0,
        Value::Truth(truth) => *truth,
    }
}

fn is_place(number: f64, position: usize) -> bool {
    (number - number_of(position)).abs() < 0.5
}

/// Places and counts are far below what a float holds exactly.
fn number_of(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
