//! Identifier and password for a session.
//!
//! Unknown, wrong, disabled and (within a lock) right passwords end alike, in answer and in work: whoever asks learns
//! nothing of an account but by signing in to it.

use serde_json::{Map, Value};

use super::body::{FieldProblem, canonical_identifier};
use super::directory::{Attributes, SignIn, as_entries};
use super::facts::Person;
use super::policy::{Action, Directory, HttpDirectory};
use super::refusal::{Cause, Refusal};
use super::session::Beginner;
use super::throttle::Turn;
use super::trace::{Target, with};
use super::{Reply, Service};
use crate::clock::UnixMillis;
use crate::password::{Attempted, HashFault, Phc, needs_rehash};
use crate::store::{Client, ClientKind, DirectorySubject, Holder, LoginRecord};

/// What failures are counted by of names that nobody can have: no canonical name is a blank.
pub(super) const NOBODY: &str = " ";

/// Somebody whose password was found good.
pub(super) struct Proven {
    pub(super) client: Client,
    pub(super) password_phc: Option<String>,
}

/// What was typed.
pub(super) struct Typed {
    /// As it came.
    pub(super) identifier: String,
    /// By which it is counted and looked for; none: nobody can be called so.
    pub(super) canonical: Option<String>,
    pub(super) password: Attempted,
}

impl<'a> Service<'a> {
    pub(super) async fn password(self) -> Result<Reply, Refusal> {
        let Action::Password { identifier, password, access, refresh, plans, single_session } = &self.grant.action
        else {
            return Err(Refusal::Internal);
        };
        let fields = self.fields()?;
        let typed = self.typed(&fields, identifier, password)?;
        // Names that nobody can have are counted, too, all together.
        let turn = self.turn(typed.canonical.as_deref().unwrap_or(NOBODY)).await?;
        let proven = match &self.realm.directory {
            Some(Directory::Local { .. }) => self.sign_in_here(&typed, &turn).await?,
            Some(Directory::Http(directory)) => self.sign_in_there(directory, &typed, &fields, &turn).await?,
            None => return Err(Refusal::Internal),
        };
        let Proven { mut client, password_phc } = proven;
        self.realm.default_roles(&mut client);
        if !plans.is_empty() && !client.plan.as_ref().is_some_and(|plan| plans.iter().any(|one| **one == **plan)) {
            return Err(Refusal::PlanDenied);
        }
        let who = Beginner { client: &client, password_phc, scope: None };
        let beginning = self.prepare(&who, *access, *refresh)?;
        let mut write = self.inner.store.begin().await?;
        if *single_session {
            write.revoke_sessions_of(&client.id, "another session began", None, self.ask.now).await?;
        }
        self.begin(&mut write, &beginning).await?;
        turn.succeeded(&mut write, &self.realm.realm, self.ask.now).await?;
        let seq = write.commit().await?;
        if !turn.is_clean() {
            self.show_lock(client.id.clone(), None, 0);
        }
        self.settle(seq.filter(|_| *single_session)).await;
        let person = Person::of(&client, &self.realm.scopes_of(&client));
        Ok(self.welcome(person, beginning.minted, None))
    }

    fn typed(self, fields: &Map<String, Value>, identifier: &str, password: &str) -> Result<Typed, Refusal> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let password = Attempted::new(text(password).to_owned()).map_err(|fault| Refusal::Fields {
            problems: vec![FieldProblem { field: password.to_owned(), message: fault.to_string() }],
            message: self.grant.invalid.clone(),
        })?;
        let identifier = text(identifier).to_owned();
        Ok(Typed { canonical: canonical_identifier(&identifier), identifier, password })
    }

    /// Against the store.
    async fn sign_in_here(self, typed: &Typed, turn: &Turn<'_>) -> Result<Proven, Refusal> {
        let found = match &typed.canonical {
            Some(name) => self.inner.store.login_record(&self.realm.realm, name).await?,
            None => None,
        };
        self.judge(typed, found, turn).await
    }

    /// Compares with what the store has of whoever it may be.
    pub(super) async fn judge(
        self,
        typed: &Typed,
        found: Option<LoginRecord>,
        turn: &Turn<'_>,
    ) -> Result<Proven, Refusal> {
        if self.realm.addresses_first
            && let Some(record) = &found
        {
            self.check_addresses(&record.addresses)?;
        }
        let phc = found.as_ref().and_then(|record| record.password_phc.as_ref());
        let phc = phc.map(|stored| Phc::stored(stored.expose()));
        let fits = self.inner.hasher.verify(&typed.password, phc.as_ref()).await.map_err(busy)?;
        let (record, cause) = match found {
            None => (None, Some(Cause::Unknown)),
            Some(record) if !fits => (Some(record), Some(Cause::Password)),
            Some(record) if !record.client.status.may_act() => (Some(record), Some(Cause::Disabled)),
            Some(record) => (Some(record), None),
        };
        if let Some(cause) = cause {
            let principal = record.as_ref().map(|record| record.client.id.as_str());
            return Err(self.failed(turn, principal, cause).await);
        }
        let Some(LoginRecord { client, addresses, .. }) = record else { return Err(Refusal::Internal) };
        self.check_addresses(&addresses)?;
        let password_phc = match phc {
            Some(phc) if needs_rehash(&phc) => self.rehash(&client, &typed.password, phc).await,
            phc => phc.map(Phc::into_text),
        };
        Ok(Proven { client, password_phc })
    }

    /// Keeps the password by the current parameters from now on. Returns what is kept; where that failed, as it was: the
    /// next sign-in tries again. None: somebody else has changed it meanwhile, most likely to the same.
    async fn rehash(self, client: &Client, password: &Attempted, old: Phc) -> Option<String> {
        let replaced = async {
            let new = self.inner.hasher.hash(password).await.map_err(busy)?;
            let mut write = self.inner.store.begin().await?;
            let now = self.ask.now;
            let replaced = write.set_password_phc(&client.id, Some(old.expose()), new.expose(), now).await?;
            write.commit().await?;
            Ok::<_, Refusal>(replaced.then(|| new.expose().to_owned()))
        };
        match replaced.await {
            Ok(Some(new)) => Some(new),
            Ok(None) => self.replaced(client, password).await,
            Err(_) => Some(old.into_text()),
        }
    }

    /// The hash that is kept now, if the password fits it; else one that no session begins with.
    async fn replaced(self, client: &Client, password: &Attempted) -> Option<String> {
        let found = self.inner.store.login_record(&self.realm.realm, &client.identifier).await.ok()??;
        let phc = Phc::stored(found.password_phc?.expose());
        let fits = self.inner.hasher.verify(password, Some(&phc)).await.unwrap_or(false);
        Some(if fits { phc.into_text() } else { String::new() })
    }

    /// Counts a failure and leaves its trace. What cannot be counted is not answered: else an outage of the store would
    /// be the time to guess.
    pub(super) async fn failed(self, turn: &Turn<'_>, principal: Option<&str>, cause: Cause) -> Refusal {
        let noted = async {
            let mut write = self.inner.store.begin().await?;
            let realm = &*self.realm.realm;
            let attempts = turn.failed(&mut write, realm, self.ask.now).await?;
            let locked = attempts.locked_until.filter(|until| self.ask.now < *until);
            let target = Target { kind: "client", id: principal };
            let reason = match cause {
                Cause::Unknown => "unknown",
                Cause::Disabled => "disabled",
                _ => "password",
            };
            write.audit(self.denied("login.denied", target, reason));
            if let Some(until) = locked {
                write.audit(with(self.denied("login.locked", target, reason), "until", until.to_string().into()));
            }
            write.commit().await?;
            if let (Some(principal), Some(until)) = (principal, locked) {
                self.show_lock(principal.to_owned(), Some(until), attempts.failed);
            }
            Ok::<_, Refusal>(())
        };
        match noted.await {
            Ok(()) => Refusal::InvalidCredentials(cause),
            Err(refusal) => refusal,
        }
    }

    /// Lets administrators see whether an account is locked. Nobody waits for it: by the time an answer takes, a name that is
    /// somebody's shall not differ from one that is not.
    pub(super) fn show_lock(self, principal: String, until: Option<UnixMillis>, failed: u32) {
        let (store, now) = (self.inner.store.clone(), self.ask.now);
        tokio::spawn(async move {
            let shown = async {
                let mut write = store.begin().await?;
                write.mirror_lock(&principal, until, failed, now).await?;
                write.commit().await
            };
            if let Err(error) = shown.await {
                tracing::warn!(%error, "a lock is in force, but not shown");
            }
        });
    }

    /// At the application, unless the password has moved here already.
    async fn sign_in_there(
        self,
        directory: &HttpDirectory,
        typed: &Typed,
        fields: &Map<String, Value>,
        turn: &Turn<'_>,
    ) -> Result<Proven, Refusal> {
        if directory.migrate
            && let Some(name) = &typed.canonical
            && let Some(record) = self.inner.store.login_record(&self.realm.realm, name).await?
            && record.password_phc.is_some()
        {
            return self.judge(typed, Some(record), turn).await;
        }
        let sign_in = SignIn { identifier: typed.identifier.trim(), password: typed.password.expose(), fields };
        let attributes = match self.sign_in_upstream(directory, &sign_in).await {
            Ok(attributes) => attributes,
            Err(Refusal::InvalidCredentials(cause)) => return Err(self.failed(turn, None, cause).await),
            // An outage is nobody's failure.
            Err(refusal) => return Err(refusal),
        };
        self.check_addresses(&as_entries(&attributes))?;
        let proven = match &typed.canonical {
            Some(name) if directory.migrate => self.move_in(name, &typed.password, attributes).await?,
            Some(_) | None => Proven { client: self.remember(&attributes).await?, password_phc: None },
        };
        let addresses = self.inner.store.addresses(Holder::Client, &proven.client.id).await?;
        self.check_addresses(&addresses)?;
        if proven.client.status.may_act() {
            Ok(proven)
        } else {
            Err(self.failed(turn, Some(&proven.client.id), Cause::Disabled).await)
        }
    }

    /// The first good sign-in of somebody who is to live here from now on.
    async fn move_in(self, name: &str, password: &Attempted, attributes: Attributes) -> Result<Proven, Refusal> {
        let phc = self.inner.hasher.hash(password).await.map_err(busy)?;
        let (store, realm, now) = (&self.inner.store, &*self.realm.realm, self.ask.now);
        let entered = store.login_record(realm, name).await?;
        if entered.as_ref().is_some_and(|record| record.client.kind != ClientKind::User) {
            tracing::error!(realm, identifier = name, "a user of the directory is called like a client of the store");
            return Err(Refusal::DirectoryUnavailable);
        }
        let newcomer = match &entered {
            Some(record) => record.client.clone(),
            None => self.remember(&attributes).await?,
        };
        let mut write = store.begin().await?;
        match &entered {
            // Somebody was entered here without a password.
            Some(record) => _ = write.set_password_phc(&record.client.id, None, phc.expose(), now).await?,
            None => _ = write.adopt_principal(&newcomer.id, name, phc.expose(), now).await?,
        }
        write.commit().await?;
        // Of two that came at once, either's hash is of the password that the directory has just found good.
        let record = store.login_record(realm, name).await?.ok_or(Refusal::StoreUnavailable)?;
        Ok(Proven { client: record.client, password_phc: None })
    }

    /// Whoever lives in the application has a row here, so that sessions can be listed, ended and refused.
    async fn remember(self, attributes: &Attributes) -> Result<Client, Refusal> {
        let Attributes { subject, roles, plan, tenant, attributes, .. } = attributes.clone();
        let subject = DirectorySubject { subject, roles, plan, tenant, attributes };
        let mut write = self.inner.store.begin().await?;
        let client = write.directory_principal(&self.realm.realm, &subject, "directory", self.ask.now).await?;
        write.commit().await?;
        Ok(client)
    }
}

pub(super) fn busy(fault: HashFault) -> Refusal {
    match fault {
        HashFault::Busy { retry_after } => Refusal::Overloaded(retry_after),
        HashFault::NoRandomness | HashFault::Failed | HashFault::Malformed => {
            tracing::error!(%fault, "a password cannot be judged");
            Refusal::Internal
        }
    }
}
