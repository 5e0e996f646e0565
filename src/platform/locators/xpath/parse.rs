//! Text to expression.

use super::{Axis, Path, Step};

/// Deeper brackets are no locator.
const DEPTH_MAX: usize = 16;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// A string.
    Text(String),
    /// A number.
    Number(f64),
    /// A path.
    Path(Path),
    /// A path in brackets with predicates over all that it selects.
    Filtered(Box<Expression>, Vec<Expression>),
    /// A function with its arguments.
    Call(String, Vec<Expression>),
    /// `and`, `or`, or a comparison.
    Binary(&'static str, Box<Expression>, Box<Expression>),
}

/// Reads an expression, or says what is wrong with it and where.
pub fn parse(text: &str) -> Result<Expression, String> {
    let mut reader = Reader { text, at: 0, depth: 0 };
    let expression = reader.either()?;
    reader.blank();
    if reader.at < text.len() { Err(reader.wrong("the end")) } else { Ok(expression) }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

/// Functions and how many arguments they take.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("not", 1, 1),
    ("contains", 2, 2),
    ("starts-with", 2, 2),
    ("normalize-space", 0, 1),
    ("concat", 2, 64),
    ("string", 0, 1),
    ("last", 0, 0),
    ("position", 0, 0),
    ("count", 1, 1),
];

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn wrong(&self, expected: &str) -> String {
        let found: String = self.rest().chars().take(20).collect();
        format!("XPath {:?}: at character {} {expected} should stand, not {found:?}", self.text, self.at + 1)
    }

    fn blank(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn takes(&mut self, token: &str) -> bool {
        self.blank();
        let is_there = self.rest().starts_with(token);
        self.at += if is_there { token.len() } else { 0 };
        is_there
    }

    fn takes_word(&mut self, word: &str) -> bool {
        self.blank();
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '('));
        let is_there = self.rest().strip_prefix(word).is_some_and(ends);
        self.at += if is_there { word.len() } else { 0 };
        is_there
    }

    fn needs(&mut self, token: &str) -> Result<(), String> {
        if self.takes(token) { Ok(()) } else { Err(self.wrong(&format!("{token:?}"))) }
    }

    fn name(&mut self) -> Option<&'t str> {
        self.blank();
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let rest = self.rest();
        let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let name = &rest[..end];
        let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
        self.at += if is_name { end } else { 0 };
        is_name.then_some(name)
    }

    fn either(&mut self) -> Result<Expression, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong(&format!("nothing deeper than {DEPTH_MAX} brackets")));
        }
        let mut left = self.both()?;
        while self.takes_word("or") {
            left = Expression::Binary("or", Box::new(left), Box::new(self.both()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn both(&mut self) -> Result<Expression, String> {
        let mut left = self.comparison()?;
        while self.takes_word("and") {
            left = Expression::Binary("and", Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression, String> {
        let left = self.value()?;
        let sign = ["!=", "<=", ">=", "=", "<", ">"].into_iter().find(|sign| self.takes(sign));
        match sign {
            Some(sign) => Ok(Expression::Binary(sign, Box::new(left), Box::new(self.value()?))),
            None => Ok(left),
        }
    }

    fn value(&mut self) -> Result<Expression, String> {
        self.blank();
        let rest = self.rest();
        match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let end = rest[1..].find(quote).ok_or_else(|| self.wrong("a string that ends"))?;
                self.at += end + 2;
                Ok(Expression::Text(rest[1..=end].to_owned()))
            }
            Some(c) if c.is_ascii_digit() => {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                let number = rest[..end].parse().map_err(|_| self.wrong("a number"))?;
                self.at += end;
                Ok(Expression::Number(number))
            }
            Some('(') => self.filtered(),
            _ => self.call_or_path(),
        }
    }

    fn filtered(&mut self) -> Result<Expression, String> {
        self.needs("(")?;
        let inner = self.either()?;
        self.needs(")")?;
        let predicates = self.predicates()?;
        Ok(if predicates.is_empty() { inner } else { Expression::Filtered(Box::new(inner), predicates) })
    }

    fn call_or_path(&mut self) -> Result<Expression, String> {
        let start = self.at;
        if let Some(name) = self.name()
            && self.takes("(")
        {
            if name == "text" {
                self.at = start;
                return Ok(Expression::Path(self.path()?));
            }
            let known = FUNCTIONS.iter().find(|(known, ..)| *known == name);
            let Some((_, least, most)) = known else {
                self.at = start;
                return Err(self.wrong("a function that is known here"));
            };
            let mut arguments = Vec::new();
            while !self.takes(")") {
                if !arguments.is_empty() {
                    self.needs(",")?;
                }
                arguments.push(self.either()?);
            }
            if arguments.len() < *least || arguments.len() > *most {
                self.at = start;
                return Err(self.wrong(&format!("{name}() with {least} to {most} arguments")));
            }
            return Ok(Expression::Call(name.to_owned(), arguments));
        }
        self.at = start;
        Ok(Expression::Path(self.path()?))
    }

    fn path(&mut self) -> Result<Path, String> {
        let mut path = Path { is_absolute: false, steps: Vec::new(), attribute: None, ends_in_text: false };
        self.blank();
        let mut is_deep = false;
        if self.takes("//") {
            (path.is_absolute, is_deep) = (true, true);
        } else if self.takes("/") {
            path.is_absolute = true;
        }
        loop {
            if is_deep {
                path.steps.push(Step { axis: Axis::DescendantOrSelf, name: None, predicates: Vec::new() });
            }
            if self.last_step(&mut path)? {
                return Ok(path);
            }
            if self.takes("//") {
                is_deep = true;
            } else if self.takes("/") {
                is_deep = false;
            } else {
                return Ok(path);
            }
        }
    }

    /// Reads a step; answers whether no other can follow.
    fn last_step(&mut self, path: &mut Path) -> Result<bool, String> {
        if self.takes("@") {
            let name = self.name().ok_or_else(|| self.wrong("the name of an attribute"))?;
            path.attribute = Some(name.to_owned());
            return Ok(true);
        }
        if self.takes("text()") {
            path.ends_in_text = true;
            return Ok(true);
        }
        let step = if self.takes("..") {
            Step { axis: Axis::Parent, name: None, predicates: Vec::new() }
        } else if self.takes(".") {
            Step { axis: Axis::Itself, name: None, predicates: Vec::new() }
        } else {
            self.named_step()?
        };
        path.steps.push(step);
        Ok(false)
    }

    fn named_step(&mut self) -> Result<Step, String> {
        const AXES: &[(&str, Axis)] = &[
            ("child::", Axis::Child),
            ("descendant-or-self::", Axis::DescendantOrSelf),
            ("descendant::", Axis::Descendant),
            ("self::", Axis::Itself),
            ("parent::", Axis::Parent),
            ("ancestor::", Axis::Ancestor),
            ("following-sibling::", Axis::FollowingSibling),
            ("preceding-sibling::", Axis::PrecedingSibling),
        ];
        let axis = AXES.iter().find(|(word, _)| self.takes(word)).map_or(Axis::Child, |(_, axis)| *axis);
        let name = if self.takes("*") || self.takes("node()") {
            None
        } else {
            let name = self.name().ok_or_else(|| self.wrong("the name of an element"))?;
            Some(name.to_ascii_lowercase())
        };
        if self.rest().starts_with([':', '(']) {
            return Err(self.wrong("an axis or a test that is known here"));
        }
        Ok(Step { axis, name, predicates: self.predicates()? })
    }

    fn predicates(&mut self) -> Result<Vec<Expression>, String> {
        let mut predicates = Vec::new();
        while self.takes("[") {
            predicates.push(self.either()?);
            self.needs("]")?;
        }
        Ok(predicates)
    }
}
