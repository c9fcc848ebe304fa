//! The verdict on a request that nobody sent, step by step, by the gate that decides about real ones. Nothing is counted,
//! noted or kept for it. Where questions come from and where answers go (the command line, the admin API) does not
//! belong here.

mod question;

use std::io::{self, Write};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::{Clock, SettableClock};
use crate::gate::Gate;
use crate::gate::cors::Objection;
use crate::gate::headers::{Asked, identity_for_people};
use crate::gate::outcome::{Decision, Denial, Permit};
use crate::gate::policy::Snapshot;
use crate::gate::request::RequestId;
use crate::gate::shadow::is_carried_out;
use crate::gate::trail::{Step, Trail};
use crate::gate::verify::jwks;
use crate::gate::verify::stored::StoredKeys;
use crate::identity::CredentialKind;
use crate::outbound::HttpFetch;

pub use question::Question;

/// What is said of a verdict that is not carried out.
pub const UNENFORCED: &str = "not enforced (`enforce = false`): it goes on as it came, without identity headers";

/// What the gate says to a [`Question`].
#[derive(Debug)]
pub struct Verdict {
    heading: String,
    trail: Trail,
    decision: Result<Decision, Denial>,
    /// Whether that is carried out; if not, the request is forwarded whatever it is.
    enforced: bool,
    /// What a browser will hold against the request that a preflight asks for.
    objection: Option<Objection>,
    /// Names and values that the upstream would get.
    identity: Vec<(String, String)>,
    /// The status that the realm's dialect refuses with, and that of the answer to a preflight.
    status: Option<u16>,
}

/// Judges by `snapshot` and the keys in `keys`. Key sets are used as they are: somebody else keeps them fresh.
pub async fn judge(snapshot: &Snapshot, keys: Arc<StoredKeys>, question: &Question) -> Verdict {
    let mut trail = Trail::explaining();
    let decision = Gate::new(0, keys).decide(snapshot, &question.request(), &mut trail).await;
    let (mut status, mut objection) = (None, None);
    if let Ok(Decision::Preflight(preflight)) = &decision {
        status = Some(204);
        objection = preflight.objection(question.request().headers);
    }
    if let Err(denial) = &decision {
        let dialect = trail.realm.as_ref().map_or(&snapshot.dialect, |realm| &realm.dialect);
        status = Some(dialect.render(denial, &RequestId::generate(question.now())).status);
    }
    let heading = format!("{} {} from {}", question.method(), question.url, question.peer());
    let request_id = RequestId::generate(question.now());
    let request = question.request();
    if let (Some(endpoint), Some(steps)) = (&snapshot.decision, &mut trail.steps)
        && endpoint.rest(request.path).is_some()
    {
        let saw = "answers questions of proxies here (`[decision]`): ask about the request that one tells of".into();
        steps.insert(0, Step { name: "endpoint", saw, passed: true });
    }
    let asked = Asked { method: request.method, path: request.path, request_id: &request_id, now: request.now };
    let identity = match &decision {
        Ok(Decision::Forward(permit)) => identity_for_people(permit, &asked),
        Ok(Decision::Preflight(_)) | Err(_) => Vec::new(),
    };
    let enforced = is_carried_out(&decision, request.method, &trail);
    Verdict { heading, trail, decision, enforced, objection, identity, status }
}

/// Judges where no gateway runs: key sets that are needed are fetched, and are fresh at the time of the question.
pub async fn judge_alone(snapshot: &Snapshot, keys: Arc<StoredKeys>, question: &Question) -> Verdict {
    let sets = snapshot.remote_key_sets();
    let maintenance = tokio::spawn(jwks::maintain(
        move || sets.clone(),
        Arc::default(),
        Arc::new(HttpFetch::new()),
        Arc::new(SettableClock::new(question.now())) as Arc<dyn Clock>,
    ));
    let verdict = judge(snapshot, keys, question).await;
    maintenance.abort();
    verdict
}

impl Verdict {
    /// Whether the request would be forwarded, were the verdict enforced; of a preflight: whether the browser would go on.
    pub fn allowed(&self) -> bool {
        self.decision.is_ok() && self.objection.is_none()
    }

    fn permit(&self) -> Option<&Permit> {
        match &self.decision {
            Ok(Decision::Forward(permit)) => Some(permit),
            Ok(Decision::Preflight(_)) | Err(_) => None,
        }
    }

    /// Adds a step about the store, where a key was judged: that there is none yet, or (`passed` = false) that it could
    /// not be asked.
    pub fn note_store(&mut self, saw: String, passed: bool) {
        if self.trail.credential == Some(CredentialKind::ApiKey)
            && let Some(steps) = &mut self.trail.steps
        {
            let credential = steps.iter().position(|step| step.name == "credential").map_or(0, |at| at + 1);
            steps.insert(credential, Step { name: "store", saw, passed });
        }
    }

    /// For a terminal.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}\n", printable(&self.heading))?;
        for step in self.trail.steps.iter().flatten() {
            let mark = if step.passed { "ok " } else { "NO " };
            writeln!(out, "  {mark} {:<15} {}", step.name, printable(&step.saw))?;
        }
        match &self.decision {
            Ok(Decision::Preflight(_)) => {
                match &self.objection {
                    None => writeln!(out, "\npreflight: answered by the gateway, 204; the browser goes on")?,
                    Some(objection) => writeln!(
                        out,
                        "\npreflight: answered by the gateway, 204; the browser does not go on: {}",
                        printable(&objection.to_string())
                    )?,
                }
                self.write_unenforced(out)
            }
            Ok(Decision::Forward(permit)) => {
                let target = permit.target().unwrap_or("the path as it came");
                match &permit.route().upstream {
                    Some(upstream) => writeln!(out, "\nallowed: goes to {}, {target}", upstream.name)?,
                    None => writeln!(out, "\nallowed: the gateway answers itself")?,
                }
                for (name, value) in &self.identity {
                    writeln!(out, "  {name}: {}", printable(value))?;
                }
                self.write_unenforced(out)
            }
            Err(denial) => {
                let why = denial.why.map_or(String::new(), |why| format!(" ({why}: {})", why.text()));
                writeln!(out, "\nrefused: {} {}{why}", self.status.unwrap_or_default(), denial.reason)?;
                self.write_unenforced(out)
            }
        }
    }

    fn write_unenforced(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.enforced {
            return Ok(());
        }
        writeln!(out, "{UNENFORCED}")
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let step = |step: &Step| json!({ "step": step.name, "passed": step.passed, "saw": step.saw });
        let identity: serde_json::Map<_, _> =
            self.identity.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let denial = self.decision.as_ref().err();
        let preflight = matches!(self.decision, Ok(Decision::Preflight(_)));
        let preflight =
            preflight.then(|| self.objection.as_ref().map_or_else(|| "allowed".to_owned(), ToString::to_string));
        json!({
            "allowed": self.allowed(),
            "enforced": self.enforced,
            "status": self.status,
            "reason": denial.map(|denial| denial.reason.as_str()),
            "why": denial.and_then(|denial| denial.why).map(|why| why.as_str()),
            "realm": self.trail.realm.as_ref().map(|realm| &*realm.name),
            "route": self.trail.route.as_ref().map(|route| &*route.name),
            "upstream": self.permit().and_then(|permit| permit.route().upstream.as_ref()).map(|upstream| &*upstream.name),
            "preflight": preflight,
            "identity_headers": identity,
            "steps": self.trail.steps.iter().flatten().map(step).collect::<Vec<_>>(),
        })
    }
}

/// A text that may quote the request, as it can be shown on a terminal.
fn printable(text: &str) -> String {
    let escaped = |c: char| -> Vec<char> { if matches!(c, '"' | '\'') { vec![c] } else { c.escape_debug().collect() } };
    text.chars().flat_map(escaped).collect()
}
