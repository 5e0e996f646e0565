//! Reading `/metrics`.

use std::collections::BTreeMap;

/// The samples of a scrape.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics(Vec<Sample>);

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Metrics {
    /// Reads Prometheus' text. Lines that are none of its samples are passed over: they are not ours to judge.
    pub(super) fn read(text: &str) -> Self {
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// The samples of this name.
    pub(super) fn of(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum over the samples of this name with this label.
    pub(super) fn sum(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let fits = |sample: &&Sample| {
            label.is_none_or(|(label, value)| sample.labels.get(label).is_some_and(|own| own == value))
        };
        self.of(name).filter(fits).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some(Sample {
        name: name.to_owned(),
        labels: read_labels(labels.trim_end_matches('}')),
        value: value.parse().ok()?,
    })
}

/// `a="x",b="y"`; values may hold escaped quotes.
fn read_labels(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let (mut value, mut chars) = (String::new(), rest.char_indices());
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => value.extend(chars.next().map(|(_, escaped)| if escaped == 'n' { '\n' } else { escaped })),
                '"' => {
                    end = at + 1;
                    break;
                }
                _ => value.push(c),
            }
        }
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        text = &rest[end..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read_with_their_labels() {
        let text = "# TYPE a gauge\na{q=\"x\",p=\"y \\\"z\\\"\"} 0.5\na{q=\"w\"} 2\nb 3\nnonsense\n";
        let metrics = Metrics::read(text);
        let first = metrics.of("a").next().unwrap();
        assert_eq!((first.labels["q"].as_str(), first.labels["p"].as_str()), ("x", "y \"z\""));
        assert_eq!(metrics.sum("a", None).to_bits(), 2.5_f64.to_bits());
        assert_eq!(metrics.sum("a", Some(("q", "w"))).to_bits(), 2.0_f64.to_bits());
        assert_eq!(metrics.sum("b", None).to_bits(), 3.0_f64.to_bits());
        assert_eq!(metrics.of("c").count(), 0);
    }
}
