//! The shipped dashboard and alerts speak of what there is: every metric, label and value in them is one that the program
//! has, and every metric is shown or alerted on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::support::gateway::Gateway;
use super::support::process::installed;
use super::support::realms::Standard;
use super::support::upstream::Upstream;

const DASHBOARD: &str = "config/grafana/portcullis.json";
const ALERTS: &str = "config/prometheus/alerts.yml";

/// What Prometheus adds to every sample.
const ADDED: &[&str] = &["instance", "job"];

/// Metrics of the process and of Prometheus itself, which have none of our labels.
const OTHERS: &[&str] = &[
    "up",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

/// Metrics that neither the dashboard nor an alert needs, and why.
const NOT_SHOWN: &[(&str, &str)] = &[];

/// Functions and aggregations of the query language that are used.
const FUNCTIONS: &[&str] =
    &["changes", "count", "histogram_quantile", "increase", "max", "min", "rate", "sum", "time", "topk", "vector"];

/// What takes a list of labels in parentheses.
const GROUPINGS: &[&str] = &["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Words that stand alone.
const OPERATORS: &[&str] = &["and", "or", "unless", "offset", "bool"];

/// A metric as the source declares it.
#[derive(Debug)]
struct Declared {
    labels: BTreeSet<String>,
    histogram: bool,
}

type Catalogue = BTreeMap<String, Declared>;

/// Every metric that is declared in `src/telemetry/metrics`.
fn declared() -> Catalogue {
    let mut found = Catalogue::new();
    for entry in fs::read_dir("src/telemetry/metrics").expect("the source") {
        let path = entry.expect("an entry").path();
        if path.ends_with("declare.rs") || path.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file");
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for (at, _) in code.match_indices("declare.") {
            let call = &code[at + "declare.".len()..];
            let Some((makes, arguments)) = call.split_once('(').filter(|(name, _)| name.chars().all(is_word)) else {
                continue;
            };
            let told = format!("{}: {makes} wants its name, text and labels as literals", path.display());
            let (name, rest) = literal(arguments).expect(&told);
            let (_, rest) = literal(rest.trim_start_matches([',', ' ', '\n'])).expect(&told);
            let mut labels = BTreeSet::new();
            // What is made in several has labels.
            if makes.ends_with('s') {
                let mut rest = rest.trim_start_matches([',', ' ', '\n']).strip_prefix("&[").expect(&told);
                while let Some((label, after)) = literal(rest) {
                    labels.insert(label);
                    rest = after.trim_start_matches([',', ' ', '\n']);
                }
                assert!(rest.starts_with(']'), "{told}");
            }
            let histogram = makes == "histograms";
            let twice = found.insert(format!("portcullis_{name}"), Declared { labels, histogram });
            assert!(twice.is_none(), "{name} is declared twice");
        }
    }
    assert!(found.len() >= 20, "where are the metrics declared? {found:#?}");
    found
}

/// A string literal without escapes at the start of `text`, and what follows.
fn literal(text: &str) -> Option<(String, &str)> {
    let (inside, rest) = text.trim_start().strip_prefix('"')?.split_once('"')?;
    Some((inside.to_owned(), rest))
}

/// What may be spoken of: the declared, and what others count.
fn catalogue() -> Catalogue {
    let mut all = declared();
    for name in OTHERS {
        all.insert((*name).to_owned(), Declared { labels: BTreeSet::new(), histogram: false });
    }
    all
}

/// Label, operator, value.
type Matcher = (String, String, String);

/// One `metric{label="value"}`.
#[derive(Debug, PartialEq)]
struct Selector {
    metric: String,
    matchers: Vec<Matcher>,
}

/// What an expression of the query language speaks of.
#[derive(Debug, Default)]
struct Spoken {
    selectors: Vec<Selector>,
    /// Labels in `by (…)` and its kin.
    grouped: BTreeSet<String>,
}

impl Spoken {
    fn read(expression: &str) -> Result<Self, String> {
        let mut spoken = Self::default();
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                rest = quoted(rest)?.1;
            } else if first == '[' {
                rest = rest.split_once(']').ok_or("`[` is not closed")?.1;
            } else if first.is_ascii_digit() || first == '.' {
                rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
            } else if is_word(first) {
                rest = spoken.word(rest)?;
            } else {
                rest = &rest[first.len_utf8()..];
            }
        }
        Ok(spoken)
    }

    /// Takes the word at the start, with what belongs to it; returns what follows.
    fn word<'t>(&mut self, text: &'t str) -> Result<&'t str, String> {
        let rest = text.trim_start_matches(is_word);
        let word = &text[..text.len() - rest.len()];
        let after = rest.trim_start();
        if GROUPINGS.contains(&word) {
            let (list, rest) = after.strip_prefix('(').and_then(|list| list.split_once(')')).ok_or("no list")?;
            self.grouped.extend(list.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()));
            return Ok(rest);
        }
        if OPERATORS.contains(&word) {
            return Ok(rest);
        }
        if after.starts_with('(') {
            return if FUNCTIONS.contains(&word) { Ok(rest) } else { Err(format!("`{word}` is no function we use")) };
        }
        // An aggregation whose labels stand before what is aggregated.
        if FUNCTIONS.contains(&word) && GROUPINGS.iter().any(|grouping| after.starts_with(grouping)) {
            return Ok(rest);
        }
        let (matchers, rest) = match after.strip_prefix('{') {
            Some(inside) => matchers(inside)?,
            None => (Vec::new(), rest),
        };
        self.selectors.push(Selector { metric: word.to_owned(), matchers });
        Ok(rest)
    }

    /// What is wrong with it.
    fn faults(&self, known: &Catalogue, literals: &str) -> Vec<String> {
        let mut faults = Vec::new();
        let mut possible: BTreeSet<&str> = ADDED.iter().copied().collect();
        if self.selectors.is_empty() {
            faults.push("speaks of no metric".to_owned());
        }
        for Selector { metric, matchers } in &self.selectors {
            let (base, part) = parts(metric, known);
            let Some(declared) = known.get(base) else {
                faults.push(format!("there is no metric {metric}"));
                continue;
            };
            if declared.histogram == part.is_empty() {
                faults.push(format!("{metric}: a histogram is asked by _bucket, _sum or _count, and nothing else is"));
            }
            let mut labels: BTreeSet<&str> = declared.labels.iter().map(String::as_str).collect();
            labels.extend(ADDED);
            if part == "_bucket" {
                labels.insert("le");
            }
            for (label, operator, value) in matchers {
                if !labels.contains(label.as_str()) {
                    faults.push(format!("{metric} has no label {label}"));
                } else if !ADDED.contains(&label.as_str()) && !value.contains('$') {
                    let values =
                        if operator.ends_with('~') { value.split('|').collect() } else { vec![value.as_str()] };
                    for value in values {
                        let status = value.chars().all(|c| c.is_ascii_digit() || c == '.');
                        let known = status || literals.contains(&format!("\"{value}\""));
                        if !known {
                            faults.push(format!("{metric}: {label} is never {value:?}"));
                        }
                    }
                }
            }
            possible.extend(labels);
        }
        for label in self.grouped.iter().filter(|label| !possible.contains(label.as_str())) {
            faults.push(format!("groups by {label}, which none of its metrics has"));
        }
        faults
    }

    /// Labels that a result may have.
    fn result_labels(&self, known: &Catalogue) -> BTreeSet<String> {
        if !self.grouped.is_empty() {
            return self.grouped.clone();
        }
        let declared = self.selectors.iter().filter_map(|selector| known.get(parts(&selector.metric, known).0));
        let labels = declared.flat_map(|metric| metric.labels.iter().cloned());
        labels.chain(ADDED.iter().map(|label| (*label).to_owned())).collect()
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

/// The metric, and which part of a histogram is asked for.
fn parts<'n>(name: &'n str, known: &Catalogue) -> (&'n str, &'n str) {
    for part in ["_bucket", "_sum", "_count"] {
        if let Some(base) = name.strip_suffix(part).filter(|base| known.get(*base).is_some_and(|one| one.histogram)) {
            return (base, &name[base.len()..]);
        }
    }
    (name, "")
}

/// The text in the quotes at the start, and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    Err("a quote is not closed".to_owned())
}

/// `label="value",…}`: the matchers, and what follows the brace.
fn matchers(mut text: &str) -> Result<(Vec<Matcher>, &str), String> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start_matches([',', ' ', '\n']);
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((found, rest));
        }
        let rest = text.trim_start_matches(is_word);
        let label = &text[..text.len() - rest.len()];
        let from = rest.find('"').ok_or("a matcher without a value")?;
        let operator = rest[..from].trim();
        if label.is_empty() || !["=", "!=", "=~", "!~"].contains(&operator) {
            return Err(format!("no matcher: {text}"));
        }
        let (value, after) = quoted(&rest[from..])?;
        found.push((label.to_owned(), operator.to_owned(), value));
        text = after;
    }
}

/// The text of all our source: values of closed labels stand in it as literals.
fn literals() -> String {
    fn collect(directory: &Path, text: &mut String) {
        for entry in fs::read_dir(directory).expect("the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, text);
            } else {
                text.push_str(&fs::read_to_string(path).expect("a source file"));
            }
        }
    }
    let mut text = String::new();
    collect(Path::new("src"), &mut text);
    text
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(DASHBOARD).expect("the dashboard")).expect("JSON")
}

/// Alerts by name, in their order.
fn alerts() -> Vec<(String, Value)> {
    let file: Value = serde_yaml::from_str(&fs::read_to_string(ALERTS).expect("the alerts")).expect("YAML");
    let groups = file["groups"].as_array().expect("groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    rules.map(|rule| (rule["alert"].as_str().expect("a name").to_owned(), rule.clone())).collect()
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

/// Every expression: where it stands, the text, and the labels that texts beside it name.
fn expressions() -> Vec<(String, String, BTreeSet<String>)> {
    let dashboard = dashboard();
    let mut found = Vec::new();
    for panel in panels(&dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let place = format!("panel {}", panel["title"]);
            let expression = target["expr"].as_str().expect("an expression").to_owned();
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            let labels = legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            found.push((place, expression, labels.map(str::to_owned).collect()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inside = query.strip_prefix("label_values(").and_then(|query| query.strip_suffix(')')).expect("a query");
        let (expression, label) = inside.rsplit_once(',').expect("a label");
        assert_eq!(variable["definition"], query);
        found.push((format!("variable {}", variable["name"]), expression.to_owned(), [label.trim().to_owned()].into()));
    }
    for note in dashboard["annotations"]["list"].as_array().expect("annotations") {
        found.push((format!("annotation {}", note["name"]), note["expr"].as_str().expect("one").to_owned(), [].into()));
    }
    for (name, rule) in alerts() {
        let told: String =
            rule["annotations"].as_object().expect("annotations").values().map(Value::to_string).collect();
        let labels = told.split("$labels.").skip(1).map(|rest| rest.chars().take_while(|c| is_word(*c)).collect());
        found.push((name, rule["expr"].as_str().expect("an expression").to_owned(), labels.collect()));
    }
    found
}

#[test]
fn dashboard_and_alerts_speak_only_of_metrics_labels_and_values_that_there_are() {
    let (known, literals) = (catalogue(), literals());
    let mut faults = Vec::new();
    for (place, expression, labels) in expressions() {
        let spoken = Spoken::read(&expression).unwrap_or_else(|fault| panic!("{place}: {fault}: {expression}"));
        let more =
            labels.difference(&spoken.result_labels(&known)).map(|l| format!("its text names {l}")).collect::<Vec<_>>();
        let all = spoken.faults(&known, &literals).into_iter().chain(more);
        faults.extend(all.map(|fault| format!("{place}: {fault}: {expression}")));
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn every_metric_is_shown_or_alerted_on() {
    let known = catalogue();
    let mut used = BTreeSet::new();
    for (_, expression, _) in expressions() {
        let spoken = Spoken::read(&expression).expect("an expression");
        used.extend(spoken.selectors.iter().map(|selector| parts(&selector.metric, &known).0.to_owned()));
    }
    for (name, why) in NOT_SHOWN {
        assert!(known.contains_key(*name) && !used.contains(*name) && !why.is_empty(), "{name} does not belong here");
    }
    let left_out = |name: &&String| NOT_SHOWN.iter().any(|(other, _)| other == name);
    let missing: Vec<_> = known.keys().filter(|name| !used.contains(*name) && !left_out(name)).collect();
    assert!(missing.is_empty(), "{missing:?}: show them in {DASHBOARD}, or say in NOT_SHOWN why not");
}

#[test]
fn what_the_source_declares_is_what_a_gateway_tells() {
    let (upstream, standard) = (Upstream::start(), Standard::new());
    let gw = Gateway::standard(&standard, &upstream);
    gw.get("/me/x").bearer(&standard.alice().sign()).send().ok();
    gw.get("/me/x").send().denied("missing_credentials");
    gw.get("/me/x").bearer("rubbish").send().denied("token_invalid");
    let known = declared();
    let mut seen = BTreeSet::new();
    for line in gw.metrics().lines().filter(|line| line.starts_with("portcullis_")) {
        let sample = Spoken::read(line).unwrap_or_else(|fault| panic!("{fault}: {line}"));
        let selector = &sample.selectors[0];
        let (base, part) = parts(&selector.metric, &known);
        let declared = known.get(base).unwrap_or_else(|| panic!("{base} is not declared as this test reads it"));
        let mut labels: BTreeSet<_> = selector.matchers.iter().map(|(label, ..)| label.clone()).collect();
        assert_eq!(part == "_bucket", labels.remove("le"), "{line}");
        assert_eq!(labels, declared.labels, "{line}");
        seen.insert(base.to_owned());
    }
    assert!(seen.len() >= 15, "{seen:?}");
    for name in OTHERS.iter().filter(|name| **name != "up") {
        assert!(gw.metrics().lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is not told");
    }
}

#[test]
fn every_alert_says_what_it_means_and_what_to_do_and_is_in_the_manual() {
    let manual = fs::read_to_string("docs/operations.md").expect("the manual");
    let cases = fs::read_to_string("config/prometheus/alerts.test.yml").expect("the cases");
    let mut names = BTreeSet::new();
    for (name, rule) in alerts() {
        assert!(name.starts_with("Portcullis") && names.insert(name.clone()), "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        for text in ["summary", "description", "action"] {
            let told = rule["annotations"][text].as_str().unwrap_or_default();
            assert!(told.len() > 10, "{name} has no {text}");
        }
        let row = format!("| `{name}` | {severity} |");
        assert!(manual.contains(&row), "docs/operations.md has no row that begins with {row}");
        let shown = cases.contains(&format!("alertname=\"{name}\"")) || cases.contains(&format!("alertname: {name}\n"));
        assert!(shown, "alerts.test.yml does not show when {name} fires");
    }
    for told in manual.split("| `Portcullis").skip(1).filter_map(|rest| rest.split('`').next()) {
        assert!(names.contains(&format!("Portcullis{told}")), "docs/operations.md tells of Portcullis{told}");
    }
}

#[test]
fn every_outcome_of_a_request_is_explained_beside_its_panel_and_in_the_manual() {
    let source = fs::read_to_string("src/telemetry/mod.rs").expect("the source");
    let names = source.split("impl Outcome {").nth(1).and_then(|rest| rest.split("\n}\n").next()).expect("the names");
    let names: Vec<_> = names.lines().filter_map(|line| Some(literal(line.split_once("=> ")?.1)?.0)).collect();
    assert!(names.len() >= 8 && names.iter().any(|name| name == "allowed"), "{names:?}");
    let dashboard = dashboard();
    let panel = panels(&dashboard).iter().find(|panel| panel["title"] == "Requests by outcome").expect("the panel");
    let manual = fs::read_to_string("docs/operations.md").expect("the manual");
    for name in names {
        let told = panel["description"].as_str().is_some_and(|text| text.contains(&format!("`{name}`")));
        assert!(told, "the panel does not say what `{name}` is");
        assert!(manual.contains(&format!("\n| `{name}` | ")), "docs/operations.md does not say what `{name}` is");
    }
}

#[test]
fn the_dashboard_is_one_that_can_be_imported() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "portcullis");
    let names: Vec<_> =
        dashboard["templating"]["list"].as_array().expect("variables").iter().map(|v| &v["name"]).collect();
    assert_eq!(names, ["datasource", "instance", "realm", "route"]);
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: its id is taken");
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{title} does not fit");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title} lies over another panel");
            }
        }
        if panel["type"] != "row" {
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(panel["description"].as_str().is_some_and(|text| text.len() > 5), "{title} says nothing");
        }
    }
}

/// Prometheus' own tool reads every expression, and plays the alerts through.
#[test]
fn prometheus_itself_understands_all_of_it() {
    if !installed("promtool", "prometheus") {
        return;
    }
    let run = |arguments: &[&str], directory: &Path| {
        let ended = Command::new("promtool").args(arguments).current_dir(directory).output().expect("promtool");
        assert!(
            ended.status.success(),
            "{}{}",
            String::from_utf8_lossy(&ended.stdout),
            String::from_utf8_lossy(&ended.stderr)
        );
    };
    run(&["check", "rules", "alerts.yml"], Path::new("config/prometheus"));
    run(&["test", "rules", "alerts.test.yml"], Path::new("config/prometheus"));
    let rules: Vec<_> = expressions()
        .into_iter()
        .enumerate()
        .map(|(n, (_, expression, _))| {
            json!({ "record": format!("r{n}"), "expr": expression.replace("$__rate_interval", "5m") })
        })
        .collect();
    let directory = tempfile::TempDir::new().expect("a directory");
    // What is JSON is YAML.
    let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] }).to_string();
    fs::write(directory.path().join("dashboard.yml"), file).expect("a file");
    run(&["check", "rules", "dashboard.yml"], directory.path());
}

#[test]
fn a_fault_in_an_expression_is_found() {
    let (known, literals) = (catalogue(), literals());
    let faults = |expression: &str| Spoken::read(expression).map(|spoken| spoken.faults(&known, &literals));
    for good in [
        r#"sum by (realm) (rate(portcullis_requests_total{outcome="denied",realm=~"$realm"}[5m])) > 0.5"#,
        "histogram_quantile(0.99, sum by (realm, le) (rate(portcullis_request_duration_seconds_bucket[5m])))",
        r#"portcullis_denials_total{reason=~"no_route|unknown_host"} unless portcullis_denials_total offset 15m"#,
        r#"up{job="portcullis"} == 0"#,
    ] {
        assert_eq!(faults(good), Ok(Vec::new()), "{good}");
    }
    for (bad, fault) in [
        ("rate(portcullis_request_total[5m])", "there is no metric portcullis_request_total"),
        (r#"portcullis_requests_total{status="200"}"#, "portcullis_requests_total has no label status"),
        (r#"portcullis_requests_total{outcome="refused-not"}"#, "outcome is never \"refused-not\""),
        (r#"portcullis_denials_total{reason=~"no_route|nobody_knows"}"#, "reason is never \"nobody_knows\""),
        ("sum by (upstream) (portcullis_requests_total)", "groups by upstream, which none of its metrics has"),
        ("sum by (le) (portcullis_requests_total)", "groups by le"),
        ("rate(portcullis_request_duration_seconds[5m])", "a histogram is asked by _bucket"),
        ("vector(1)", "speaks of no metric"),
    ] {
        let found = faults(bad).expect("readable");
        assert!(found.iter().any(|found| found.contains(fault)), "{bad}: {found:?}");
    }
    assert!(faults("rat(portcullis_requests_total[5m])").is_err());
    assert!(faults("portcullis_requests_total{outcome=}").is_err());
}
