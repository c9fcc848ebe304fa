//! The admin API of a running gateway, asked over HTTP.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use zeroize::Zeroizing;

use super::args::Via;
use super::prompt::{Person, Terminal, one_line};
use super::{Stop, Way};
use crate::admin::api::{Answer, Ask};
use crate::cli::environment;
use crate::outbound::{AdminClient, AdminRequest};

/// The variable that holds the token where no file is named.
const VARIABLE: &str = "PORTCULLIS_ADMIN_TOKEN";

/// A gateway.
pub(super) struct Remote {
    client: AdminClient,
}

/// Prepares to ask the admin API at `url`; nothing is sent yet. `input_taken`: the verb reads standard input.
pub(super) fn connect(url: &str, via: &Via, input_taken: bool) -> Result<Remote, Stop> {
    let client = client_of(url, via, input_taken, &mut Terminal)?;
    Ok(Remote { client })
}

/// The client for `url` with the token that `via` names.
///
/// # Errors
/// There is no token, no such file, or the URL will not do.
fn client_of(url: &str, via: &Via, input_taken: bool, person: &mut dyn Person) -> Result<AdminClient, Stop> {
    let unfit = |text| Stop::Wrong(format!("--admin {url}: {text}"));
    AdminClient::check_url(url).map_err(unfit)?;
    let token = match via.token_file.as_deref() {
        Some(file) if file == Path::new("-") && input_taken => {
            let text =
                "standard input cannot hold both the token and what the command reads: put the token into a file";
            return Err(Stop::Wrong(text.to_owned()));
        }
        Some(file) if file == Path::new("-") => person.secret()?,
        Some(file) => {
            let text = std::fs::read_to_string(file).map(Zeroizing::new);
            let text = text.map_err(|error| Stop::Wrong(format!("{}: {error}", file.display())))?;
            let line = one_line(&text).map_err(|_| Stop::Wrong(format!("{}: holds no token", file.display())))?;
            Zeroizing::new(line.to_owned())
        }
        None => match environment(VARIABLE).filter(|token| !token.is_empty()) {
            Some(token) => Zeroizing::new(token),
            None => {
                let text =
                    format!("an admin token is needed: in the variable {VARIABLE}, or in a file, --token-file FILE");
                return Err(Stop::Wrong(text));
            }
        },
    };
    let authorities = via.admin_ca.as_deref().map(std::fs::read).transpose();
    let authorities = authorities.map_err(|error| Stop::Wrong(format!("--admin-ca: {error}")))?;
    AdminClient::new(url, token.trim(), authorities.as_deref()).map_err(unfit)
}

#[async_trait]
impl Way for Remote {
    async fn put(&self, ask: Ask, patience: Duration) -> Result<Answer, Stop> {
        let target = if ask.query.is_empty() { ask.path } else { format!("{}?{}", ask.path, ask.query) };
        let request = AdminRequest {
            method: ask.method,
            target,
            body: ask.body,
            idempotency_key: ask.idempotency_key,
            if_match: ask.if_match,
            timeout: patience,
        };
        let reply = self.client.send(request).await.map_err(Stop::Failed)?;
        let body = match serde_json::from_slice::<Value>(&reply.body) {
            Ok(body) => Some(body),
            Err(_) if reply.body.is_empty() => None,
            Err(_) => {
                let status = reply.status;
                return Err(Stop::Failed(format!(
                    "the answer (status {status}) is not an admin API's: look at the URL"
                )));
            }
        };
        Ok(Answer {
            etag: reply.etag,
            retry_after: reply.retry_after,
            status: reply.status,
            body,
            ..Answer::ok(Value::Null)
        })
    }
}
