//! Sessions: what a login begins, and what every token of it ends with. Refresh tokens are rows of their own; access
//! tokens are none, unless they were withdrawn one by one.
//!
//! Whoever writes takes rows in this order, so that no two wait for each other: the principal, its sessions, their
//! refresh tokens, tokens that were issued in them, counters of failed logins.

mod ending;
mod in_force;
mod refresh;

use std::fmt;

use super::backend::Row;
use super::statement::Statement;
use super::{ChangeKind, Page, Store, StoreError, Write};
use crate::clock::UnixMillis;

pub use in_force::{RefreshInForce, SessionInForce};
pub use refresh::{NewRefresh, RefreshRecord, RefreshState};

/// A session in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSession {
    /// From [`super::IdKind::generate`].
    pub id: String,
    /// Name of the realm.
    pub realm: String,
    /// Id of the principal, of the same realm.
    pub subject_id: String,
    /// What it began with: `password`, `client_credentials`, …
    pub grant: String,
    /// From where.
    pub client_ip: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// When.
    pub at: UnixMillis,
    /// Over from then on.
    pub expires_at: UnixMillis,
    /// See [`Session::current_jti`].
    pub current_jti: Option<String>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `ses_…`; the `sid` of its tokens.
    pub id: String,
    /// Name of the realm.
    pub realm: String,
    /// Id of the principal.
    pub subject_id: String,
    /// What it began with.
    pub grant: String,
    /// From where.
    pub client_ip: Option<String>,
    /// With what.
    pub user_agent: Option<String>,
    /// When it began.
    pub created_at: UnixMillis,
    /// When new tokens were last issued in it.
    pub last_seen_at: UnixMillis,
    /// Over from then on.
    pub expires_at: UnixMillis,
    /// Ended since then.
    pub revoked_at: Option<UnixMillis>,
    /// Why it was ended.
    pub revoke_reason: Option<String>,
    /// The one access token that works, where each new one ends the one before; none: all of them do.
    pub current_jti: Option<String>,
}

/// Which sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only of these realms; none = of all.
    pub realms: Option<Vec<String>>,
    /// Id of their principal.
    pub subject_id: Option<String>,
    /// Neither ended nor over at this time.
    pub live_at: Option<UnixMillis>,
}

/// What must still be so when a session begins.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The stored hash of the password that was compared; none: whatever it is.
    pub password_phc: Option<String>,
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected").field("has_password_phc", &self.password_phc.is_some()).finish()
    }
}

/// What [`read`] takes, in its order. `s` is the session.
pub(super) const COLUMNS: &str = "s.id, s.realm, s.subject_id, s.grant_type, s.client_ip, s.user_agent, s.created_at, \
     s.last_seen_at, s.expires_at, s.revoked_at, s.revoke_reason, s.current_jti";

/// How many they are.
pub(super) const WIDTH: usize = 12;

impl Store {
    /// The session with this id, whatever its state.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        let rows = select().bind(" WHERE s.id = ", id).read(&*self.inner.database).await?;
        rows.into_iter().next().as_mut().map(read).transpose()
    }

    /// Sessions in the order of their ids.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn sessions(&self, filter: &SessionFilter, page: &Page) -> Result<Vec<Session>, StoreError> {
        let rows = filter
            .narrow(select())
            .bind_some(" AND s.id > ", page.after.as_deref())
            .bind(" ORDER BY s.id LIMIT ", page.rows())
            .read(&*self.inner.database)
            .await?;
        rows.into_iter().map(|mut row| read(&mut row)).collect()
    }

    /// How many sessions there are.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn session_count(&self, filter: &SessionFilter) -> Result<u64, StoreError> {
        let rows = filter.narrow(Statement::new("SELECT COUNT(*) FROM sessions s")).read(&*self.inner.database).await?;
        let count = rows.into_iter().next().as_mut().map(Row::int).transpose()?;
        Ok(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
    }
}

impl SessionFilter {
    fn narrow(&self, statement: Statement) -> Statement {
        let mut statement = statement.push(" WHERE 1 = 1");
        if let Some(realms) = &self.realms {
            statement = statement.bind_list(" AND s.realm IN ", realms.iter().map(String::as_str));
        }
        if let Some(at) = self.live_at {
            statement = statement.bind(" AND s.revoked_at IS NULL AND s.expires_at > ", at);
        }
        statement.bind_some(" AND s.subject_id = ", self.subject_id.as_deref())
    }
}

impl Write {
    /// Begins a session of an active principal, with its first refresh token if it has one, and notes the login. False:
    /// the principal is gone or disabled, or not as [`Expected`]; then nothing is done.
    ///
    /// The principal's row is taken first: whoever disables it or ends all its sessions finds this one, or forbids it.
    ///
    /// # Errors
    /// [`super::Fault::Conflict`]: an id is taken.
    pub async fn begin_session(
        &mut self,
        session: &NewSession,
        refresh: Option<&NewRefresh>,
        expected: &Expected,
        login_ip: Option<&str>,
    ) -> Result<bool, StoreError> {
        let allowed = Statement::new("UPDATE principals SET")
            .bind(" last_login_at = ", session.at)
            .bind(", last_login_ip = ", login_ip)
            .bind(" WHERE status = 'active' AND id = ", session.subject_id.as_str())
            .bind(" AND realm = ", session.realm.as_str())
            .bind_some(" AND password_phc = ", expected.password_phc.as_deref())
            .execute(&mut *self.transaction)
            .await?;
        if allowed == 0 {
            return Ok(false);
        }
        let values = vec![
            session.id.as_str().into(),
            session.realm.as_str().into(),
            session.subject_id.as_str().into(),
            session.grant.as_str().into(),
            session.client_ip.as_deref().into(),
            session.user_agent.as_deref().into(),
            session.at.into(),
            session.at.into(),
            session.expires_at.into(),
            session.current_jti.as_deref().into(),
        ];
        Statement::new(
            "INSERT INTO sessions (id, realm, subject_id, grant_type, client_ip, user_agent, created_at, last_seen_at, \
             expires_at, current_jti)",
        )
        .bind_rows(" VALUES ", [values])
        .execute(&mut *self.transaction)
        .await?;
        if let Some(refresh) = refresh {
            self.insert_refresh(refresh).await?;
        }
        Ok(true)
    }

    /// Puts an access token in the place of the one that was presented, which ends. False: another one is in that place,
    /// or the session or its principal is not in force.
    ///
    /// # Errors
    /// The store is out of reach.
    pub async fn renew_session(
        &mut self,
        sid: &str,
        presented_jti: &str,
        new_jti: &str,
        expires_at: UnixMillis,
        at: UnixMillis,
    ) -> Result<bool, StoreError> {
        let rows = Statement::new("UPDATE sessions SET")
            .bind(" current_jti = ", new_jti)
            .bind(", expires_at = ", expires_at)
            .bind(", last_seen_at = ", at)
            .bind(" WHERE revoked_at IS NULL AND expires_at > ", at)
            .bind(" AND id = ", sid)
            .bind(" AND current_jti = ", presented_jti)
            .bind(" AND NOT EXISTS (SELECT 1 FROM revoked_tokens r WHERE r.jti = ", presented_jti)
            .push(") AND ")
            .push(OF_AN_ACTIVE_PRINCIPAL)
            .push(" RETURNING realm")
            .fetch(&mut *self.transaction)
            .await?;
        let Some(mut row) = rows.into_iter().next() else { return Ok(false) };
        self.change(&row.text()?, ChangeKind::Session, sid, at);
        Ok(true)
    }
}

/// Said of a row of `sessions`.
const OF_AN_ACTIVE_PRINCIPAL: &str = "EXISTS (SELECT 1 FROM principals p WHERE p.id = sessions.subject_id \
     AND p.realm = sessions.realm AND p.status = 'active')";

fn select() -> Statement {
    Statement::new("SELECT ").push(COLUMNS).push(" FROM sessions s")
}

/// A session from [`COLUMNS`].
pub(super) fn read(row: &mut Row) -> Result<Session, StoreError> {
    Ok(Session {
        id: row.text()?,
        realm: row.text()?,
        subject_id: row.text()?,
        grant: row.text()?,
        client_ip: row.opt_text()?,
        user_agent: row.opt_text()?,
        created_at: row.time()?,
        last_seen_at: row.time()?,
        expires_at: row.time()?,
        revoked_at: row.opt_time()?,
        revoke_reason: row.opt_text()?,
        current_jti: row.opt_text()?,
    })
}
