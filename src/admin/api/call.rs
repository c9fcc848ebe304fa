//! One call: from what is asked to what is answered.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::endpoint::{Endpoint, Found, find};
use super::fields::Values;
use super::{Actor, ActorKind, Admin, Answer, Ask, Refusal, Surroundings};
use crate::clock::UnixMillis;
use crate::nearest;
use crate::password::Hasher;
use crate::store::{AuditEntry, AuditOutcome, Fault, Remembered, Store, StoreError, Write};

/// Most characters of an `Idempotency-Key`.
const MAX_KEY: usize = 255;

/// A call that may be made: the endpoint was found, the scope is there, query and body were read.
pub(super) struct Call<'a> {
    pub(super) admin: &'a Admin,
    pub(super) actor: &'a Actor,
    /// The time of the call.
    pub(super) now: UnixMillis,
    /// The values of `{name}` in the path, decoded.
    pub(super) path: Vec<String>,
    /// The query, by its declaration.
    pub(super) query: Values,
    /// The body, by its declaration.
    pub(super) body: Values,
    pub(super) ask: &'a Ask,
    /// `Idempotency-Key`, where the endpoint understands it.
    creation: Option<&'a str>,
}

impl Call<'_> {
    pub(super) fn store(&self) -> &Store {
        &self.admin.store
    }

    /// Where passwords are hashed.
    pub(super) fn hasher(&self) -> &Hasher {
        &self.admin.hasher
    }

    pub(super) fn surroundings(&self) -> &dyn Surroundings {
        &*self.admin.surroundings
    }

    /// The n-th `{name}` of the path.
    pub(super) fn id(&self, n: usize) -> &str {
        self.path.get(n).map_or("", String::as_str)
    }

    /// The realm is one of the configuration, and the actor may enter it.
    ///
    /// # Errors
    /// See [`Refusal::Realm`]; a realm that is not configured is an invalid field `realm`.
    pub(super) fn enter(&self, realm: &str) -> Result<(), Refusal> {
        // First what the actor may: others learn nothing about which realms there are.
        if !self.actor.may_enter(realm) {
            return Err(Refusal::Realm(realm.to_owned()));
        }
        let realms = self.surroundings().realms();
        if realms.iter().any(|known| *known.name == *realm) {
            return Ok(());
        }
        let hint = nearest::hint(realm, realms.iter().map(|known| &*known.name));
        Err(Refusal::field("realm", format!("names no realm of the configuration{hint}")))
    }

    /// The actor may do what concerns every realm.
    ///
    /// # Errors
    /// [`Refusal::AllRealms`].
    pub(super) fn enter_all(&self) -> Result<(), Refusal> {
        if self.actor.realms.is_none() { Ok(()) } else { Err(Refusal::AllRealms) }
    }

    /// The version that `If-Match` demands; none = whatever it is.
    ///
    /// # Errors
    /// [`Refusal::Invalid`]: no entity tag. [`Refusal::Stale`]: one that nothing here ever has.
    pub(super) fn version(&self) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.ask.if_match.as_deref().map(str::trim).filter(|text| *text != "*") else {
            return Ok(None);
        };
        // Weak tags never match here (RFC 9110 section 13.1.1).
        let (weak, tag) = text.strip_prefix("W/").map_or((false, text), |tag| (true, tag));
        let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).filter(|tag| !tag.contains('"'));
        let Some(tag) = tag else {
            return Err(Refusal::field("If-Match", "must be one entity tag as ETag tells it, such as \"3\""));
        };
        tag.parse().ok().filter(|_| !weak).map(Some).ok_or(Refusal::Stale)
    }

    /// An audit event of this call that went well. `realm` is empty where it is about none.
    pub(super) fn event(
        &self,
        action: &str,
        realm: &str,
        target: (&str, &str),
        detail: Map<String, Value>,
    ) -> AuditEntry {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        AuditEntry {
            at: self.now,
            realm: given(realm),
            actor_kind: self.actor.kind.as_str().to_owned(),
            actor_id: self.actor.id.clone(),
            actor_ip: self.actor.ip,
            action: action.to_owned(),
            target_kind: given(target.0),
            target_id: given(target.1),
            outcome: AuditOutcome::Ok,
            reason: None,
            request_id: Some(self.ask.request_id.clone()),
            detail,
        }
    }

    /// Commits, waits until this process has taken the change in, and gives `answer`, to whose body (an object) it adds
    /// `effective`: since when the change is in force, here and elsewhere. A creation (`made` = id of what was made) is
    /// remembered under its `Idempotency-Key`; `secret`: the answer holds one and is not kept.
    ///
    /// # Errors
    /// The store refuses. Nothing was written.
    pub(super) async fn finish(
        &self,
        write: Write,
        made: Option<&str>,
        secret: bool,
        answer: Answer,
    ) -> Result<Answer, Refusal> {
        Ok(self.settle(write, made, secret, answer).await?.0)
    }

    /// The same after a change of signing keys, which this process reads anew.
    ///
    /// # Errors
    /// As [`Call::finish`].
    pub(super) async fn finish_signing(
        &self,
        write: Write,
        made: Option<&str>,
        answer: Answer,
    ) -> Result<Answer, Refusal> {
        let (answer, seq) = self.settle(write, made, false, answer).await?;
        if let Some(seq) = seq {
            self.surroundings().signing_keys_applied(seq).await;
        }
        Ok(answer)
    }

    async fn settle(
        &self,
        mut write: Write,
        made: Option<&str>,
        secret: bool,
        mut answer: Answer,
    ) -> Result<(Answer, Option<i64>), Refusal> {
        self.tell_effect(&mut answer);
        if let (Some(key), Some(made)) = (self.creation, made) {
            let kept = Remembered {
                fingerprint: fingerprint(self.ask),
                target_id: made.to_owned(),
                status: answer.status,
                body: answer.body.clone().filter(|_| !secret),
            };
            write.remember(&rememberer(self.actor), key, &kept, self.now).await?;
        }
        let seq = write.commit().await?;
        if let Some(seq) = seq {
            self.surroundings().applied(seq).await;
        }
        Ok((answer, seq))
    }

    fn tell_effect(&self, answer: &mut Answer) {
        let Some(Value::Object(body)) = &mut answer.body else { return };
        let elsewhere = self.surroundings().propagation().as_millis();
        // No node runs in the process of a command: there is only elsewhere.
        let here = self.surroundings().generation().map(|_| "now");
        let elsewhere = u64::try_from(elsewhere).unwrap_or(u64::MAX);
        body.insert("effective".to_owned(), json!({ "this_node": here, "other_nodes_within_ms": elsewhere }));
    }
}

pub(super) async fn dispatch(admin: &Admin, ask: Ask, actor: &Actor) -> Answer {
    let request_id = ask.request_id.as_str();
    let (endpoint, path) = match find(&ask.method, &ask.path) {
        Found::Endpoint(endpoint, path) => (endpoint, path),
        Found::OtherMethods(allow) => {
            let detail = format!("{} is not offered here, but {allow}", ask.method);
            let answer = Answer::problem(405, "method_not_allowed", detail, request_id);
            return Answer { allow: Some(allow), ..answer };
        }
        Found::Nothing => return Refusal::NotFound("the admin API has no such path".to_owned()).answer(request_id),
    };
    match perform(admin, endpoint, path, &ask, actor).await {
        Ok(answer) => answer,
        Err(refusal) => {
            note_denial(admin, endpoint, &ask, actor, &refusal).await;
            refusal.answer(request_id)
        }
    }
}

async fn perform(
    admin: &Admin,
    endpoint: &Endpoint,
    path: Vec<String>,
    ask: &Ask,
    actor: &Actor,
) -> Result<Answer, Refusal> {
    permit(endpoint, actor)?;
    let now = admin.clock.now();
    let creation = idempotency_key(endpoint, ask)?;
    if let Some(key) = creation
        && let Some(answer) = replay(admin, ask, actor, key, now).await?
    {
        return Ok(answer);
    }
    let (query, body) = read(endpoint, ask)?;
    let call = Call { admin, actor, now, path, query, body, ask, creation };
    let outcome = (endpoint.handler)(&call).await;
    match (outcome, creation) {
        // Somebody may have been faster with the same request: then that was this one's answer.
        (Err(refusal), Some(key)) if is_conflict(&refusal) => {
            Ok(replay(admin, ask, actor, key, now).await?.ok_or(refusal)?)
        }
        (outcome, _) => outcome,
    }
}

fn permit(endpoint: &Endpoint, actor: &Actor) -> Result<(), Refusal> {
    match (actor.kind, endpoint.scope) {
        (ActorKind::Cli, _) => Ok(()),
        (ActorKind::AdminToken, None) => Err(Refusal::MachineOnly),
        (ActorKind::AdminToken, Some(scope)) if actor.scopes.iter().any(|held| held == scope) => Ok(()),
        (ActorKind::AdminToken, Some(scope)) => Err(Refusal::Scope(scope)),
    }
}

/// Query and body, with the faults of both.
fn read(endpoint: &Endpoint, ask: &Ask) -> Result<(Values, Values), Refusal> {
    let query = Values::from_query(&ask.query, endpoint.query);
    let body = match endpoint.body {
        Some(fields) => Values::from_json(&ask.body, fields),
        None if ask.body.is_empty() => Ok(Values::default()),
        None => Err(Refusal::field("body", "is not taken here")),
    };
    match (query, body) {
        (Ok(query), Ok(body)) => Ok((query, body)),
        (Err(Refusal::Invalid(mut faults)), Err(Refusal::Invalid(more))) => {
            faults.extend(more);
            Err(Refusal::Invalid(faults))
        }
        (Err(refusal), _) | (_, Err(refusal)) => Err(refusal),
    }
}

fn idempotency_key<'a>(endpoint: &Endpoint, ask: &'a Ask) -> Result<Option<&'a str>, Refusal> {
    let Some(key) = ask.idempotency_key.as_deref().filter(|_| endpoint.creates) else { return Ok(None) };
    let fits = (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    let text = || format!("must be 1 to {MAX_KEY} visible ASCII characters");
    if fits { Ok(Some(key)) } else { Err(Refusal::field("Idempotency-Key", text())) }
}

/// The answer to the same request before, if there was one.
async fn replay(
    admin: &Admin,
    ask: &Ask,
    actor: &Actor,
    key: &str,
    now: UnixMillis,
) -> Result<Option<Answer>, Refusal> {
    let Some(kept) = admin.store.remembered(&rememberer(actor), key, now).await? else { return Ok(None) };
    if kept.fingerprint != fingerprint(ask) {
        return Err(Refusal::KeyReused);
    }
    let Remembered { target_id, status, body: Some(body), .. } = kept else {
        return Err(Refusal::Conflict {
            code: "already_created",
            text: "this request was done before; its secret is shown once and kept nowhere".to_owned(),
            target: Some(kept.target_id),
        });
    };
    let etag = body.get("version").and_then(Value::as_i64).map(|version| format!("\"{version}\""));
    let location = (status == 201).then(|| format!("{}/{target_id}", ask.path));
    Ok(Some(Answer { status, etag, location, ..Answer::ok(body) }))
}

/// Whose `Idempotency-Key`s they are.
fn rememberer(actor: &Actor) -> String {
    match actor.kind {
        ActorKind::AdminToken => actor.id.clone(),
        // A user of the machine may be called like the id of a token.
        ActorKind::Cli => format!("cli:{}", actor.id),
    }
}

/// SHA-256 over what is asked. Lengths keep the parts apart.
fn fingerprint(ask: &Ask) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [ask.method.as_str().as_bytes(), ask.path.as_bytes(), ask.query.as_bytes(), &ask.body] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// Whether it may come of the same request, made at the same time.
fn is_conflict(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Conflict { .. } | Refusal::Stale | Refusal::Store(StoreError { fault: Fault::Conflict, .. })
    )
}

/// Refusals of what somebody is not allowed to do are audited.
async fn note_denial(admin: &Admin, endpoint: &Endpoint, ask: &Ask, actor: &Actor, refusal: &Refusal) {
    let realm = match refusal {
        // Only a realm that there is: the name comes from outside.
        Refusal::Realm(realm) => {
            admin.surroundings.realms().iter().any(|known| *known.name == **realm).then(|| realm.clone())
        }
        Refusal::Scope(_) | Refusal::MachineOnly | Refusal::AllRealms => None,
        Refusal::Invalid(_)
        | Refusal::NotFound(_)
        | Refusal::Conflict { .. }
        | Refusal::Reload(_)
        | Refusal::Stale
        | Refusal::KeyReused
        | Refusal::Overloaded(_)
        | Refusal::Store(_) => return,
    };
    let mut detail = Map::new();
    detail.insert("endpoint".to_owned(), format!("{} {}", endpoint.method, endpoint.path).into());
    let entry = AuditEntry {
        at: admin.clock.now(),
        realm,
        actor_kind: actor.kind.as_str().to_owned(),
        actor_id: actor.id.clone(),
        actor_ip: actor.ip,
        action: "admin.denied".to_owned(),
        target_kind: None,
        target_id: None,
        outcome: AuditOutcome::Denied,
        reason: Some(refusal.code().to_owned()),
        request_id: Some(ask.request_id.clone()),
        detail,
    };
    admin.denials.of_known.write(&admin.store, entry).await;
}
