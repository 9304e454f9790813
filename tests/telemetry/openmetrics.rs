//! A strict reader of as much of the OpenMetrics text format 1.0.0 as is written here.

use std::collections::{BTreeMap, BTreeSet};

/// Metrics of one name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Family {
    /// Without the suffix of samples.
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) unit: Option<String>,
    pub(crate) help: String,
    pub(crate) samples: Vec<Sample>,
}

impl Family {
    /// The name by which it is known: with the suffix of its only sample.
    pub(crate) fn known_as(&self) -> String {
        match self.kind.as_str() {
            "counter" => format!("{}_total", self.name),
            "info" => format!("{}_info", self.name),
            _ => self.name.clone(),
        }
    }

    /// The names of all samples that it may have.
    pub(crate) fn sample_names(&self) -> Vec<String> {
        suffixes(&self.kind).iter().map(|suffix| format!("{}{suffix}", self.name)).collect()
    }

    /// The names of the labels of its samples, without `le`.
    pub(crate) fn labels(&self) -> BTreeSet<&str> {
        let labels = self.samples.iter().flat_map(|sample| sample.labels.keys());
        labels.map(String::as_str).filter(|label| *label != "le").collect()
    }
}

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: String,
}

/// The families of a text, or what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<Family>, String> {
    let text = text.strip_suffix("# EOF\n").ok_or("it does not end with `# EOF`")?;
    let mut families: Vec<Family> = Vec::new();
    for line in text.lines() {
        let wrong = |fault: &str| format!("{fault}: {line}");
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (Some(what), Some(name), Some(rest)) = (words.next(), words.next(), words.next())
            else {
                return Err(wrong("a comment without a text"));
            };
            if families.last().is_none_or(|family| family.name != name) {
                if families.iter().any(|family| family.name == name) {
                    return Err(wrong("a family in two places"));
                }
                families.push(Family { name: name.to_owned(), ..Family::default() });
            }
            let family = families.last_mut().ok_or_else(|| wrong("no family"))?;
            if !family.samples.is_empty() {
                return Err(wrong("a comment behind samples"));
            }
            match what {
                "HELP" => family.help = rest.to_owned(),
                "TYPE" => family.kind = rest.to_owned(),
                "UNIT" if name.ends_with(&format!("_{rest}")) => {
                    family.unit = Some(rest.to_owned())
                }
                _ => return Err(wrong("a comment of no known kind")),
            }
            continue;
        }
        let sample = sample(line).ok_or_else(|| wrong("no sample"))?;
        let family = families.last_mut().ok_or_else(|| wrong("a sample without a family"))?;
        if !family.sample_names().contains(&sample.name) {
            return Err(wrong("a sample of another family"));
        }
        if family.samples.iter().any(|s| (&s.name, &s.labels) == (&sample.name, &sample.labels)) {
            return Err(wrong("a sample that is there twice"));
        }
        family.samples.push(sample);
    }
    for family in &families {
        whole(family).map_err(|fault| format!("{}: {fault}", family.name))?;
    }
    Ok(families)
}

fn whole(family: &Family) -> Result<(), String> {
    if family.help.is_empty() || suffixes(&family.kind).is_empty() {
        return Err("no help or no type".to_owned());
    }
    for sample in &family.samples {
        let value: f64 = sample.value.parse().map_err(|_| format!("a value: {}", sample.value))?;
        if family.kind != "gauge" && value < 0.0 {
            return Err(format!("a negative count: {value}"));
        }
        if sample.name.ends_with("_bucket") != sample.labels.contains_key("le") {
            return Err("`le` belongs to buckets".to_owned());
        }
    }
    if family.kind == "histogram" { buckets(family) } else { Ok(()) }
}

/// Buckets grow, and the last one has all.
fn buckets(family: &Family) -> Result<(), String> {
    let mut series: BTreeMap<_, Vec<(f64, u64)>> = BTreeMap::new();
    let of = |suffix: &str| {
        let name = format!("{}{suffix}", family.name);
        family.samples.iter().filter(move |sample| sample.name == name)
    };
    for sample in of("_bucket") {
        let mut labels = sample.labels.clone();
        let le = labels.remove("le").unwrap_or_default();
        let le = if le == "+Inf" { Ok(f64::INFINITY) } else { le.parse() };
        let bound = (le.map_err(|_| "a bound"), sample.value.parse());
        let (Ok(le), Ok(count)) = bound else { return Err(format!("{sample:?}")) };
        series.entry(labels).or_default().push((le, count));
    }
    for sample in of("_count") {
        let buckets = series.remove(&sample.labels).unwrap_or_default();
        if !buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1) {
            return Err(format!("buckets do not grow: {buckets:?}"));
        }
        let all = buckets
            .last()
            .is_some_and(|(le, count)| le.is_infinite() && count.to_string() == sample.value);
        if !all {
            return Err(format!("the last bucket has not all: {buckets:?}"));
        }
    }
    if series.is_empty() { Ok(()) } else { Err("buckets without a count".to_owned()) }
}

/// `name{label="value",…} value`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find([' ', '{'])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, quoted) = rest.split_once("=\"")?;
            let (value, behind) = unquote(quoted)?;
            if !is_name(label) || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            match behind.split_at_checked(1)? {
                (",", more) => rest = more,
                ("}", more) => {
                    rest = more;
                    break;
                }
                _ => return None,
            }
        }
    }
    let value = rest.strip_prefix(' ')?;
    let good = is_name(name) && !value.is_empty() && !value.contains(' ');
    good.then(|| Sample { name: name.to_owned(), labels, value: value.to_owned() })
}

/// The text up to the closing quotation mark, and what is behind it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_count", "_sum"],
        "info" => &["_info"],
        _ => &[],
    }
}

#[test]
fn refuses_what_is_not_openmetrics() {
    let good = "# HELP a_seconds It.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                a_seconds_total{b=\"\\\"\\n\"} 1\n# EOF\n";
    let family = &parse(good).expect("OpenMetrics")[0];
    assert_eq!(family.samples[0].labels["b"], "\"\n");
    for (from, to) in [
        ("# EOF\n", ""),
        ("_total", ""),
        ("counter", "sum"),
        ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes"),
        ("} 1", "} x"),
        ("} 1", "} -1"),
        ("\\n", "\n"),
        ("{b=", "{le="),
        ("# HELP a_seconds It.\n", ""),
        ("# EOF", "a_seconds_total{b=\"\\\"\\n\"} 1\n# EOF"),
    ] {
        assert_ne!(good.replace(from, to), good, "{from}");
        parse(&good.replace(from, to)).expect_err(to);
    }
}
