//! A new key.

use std::time::Duration;

use serde_json::json;

use crate::admin::api::call::Call;
use crate::admin::api::find::{self, Named};
use crate::admin::api::rules::{self, Faults};
use crate::admin::api::{Answer, Refusal, addresses, json};
use crate::gate::policy::Realm;
use crate::gate::verify::api_key::PlainKey;
use crate::store::{Client, Fault, Holder, IdKind, NewKey};

/// A key lives so long where nobody says otherwise.
const DEFAULT_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

pub(super) async fn create(call: &Call<'_>) -> Result<Answer, Refusal> {
    let body = &call.body;
    let scopes = body.texts("scopes");
    let networks = body.networks("ip_allowlist").unwrap_or_default();
    let expires_at = if body.has("expires_at") { body.time("expires_at") } else { Some(call.now.plus(DEFAULT_LIFE)) };

    let mut faults = Faults::default();
    let (realm, owner) = belonging(call, &mut faults).await?;
    if let Some(realm) = &realm {
        faults.scopes(realm, "scopes", scopes.as_deref().unwrap_or_default());
    }
    faults.end("expires_at", expires_at, call.now);
    let form = realm.as_ref().and_then(|realm| faults.form(realm, body.text("prefix")));
    let (Some(realm), Some(owner), Some(form)) = (&realm, owner, form) else {
        return Err(faults.refusal());
    };
    faults.result()?;

    let key = PlainKey::generate(&form.prefix)?;
    let id = IdKind::Key.generate(call.now)?;
    let mut warnings = rules::idle_scopes(realm, &owner, scopes.as_deref());
    if expires_at.is_none() {
        warnings.push(rules::NO_END.to_owned());
    }
    let new = NewKey {
        id: id.clone(),
        realm: realm.name.to_string(),
        owner_id: owner.id.clone(),
        name: body.text("name").unwrap_or_default().to_owned(),
        prefix: form.prefix.to_string(),
        hint: rules::hint(key.expose()),
        digest: key.digest(),
        scopes,
        attributes: body.object("attributes").cloned().unwrap_or_default(),
        expires_at,
        created_by: call.actor.id.clone(),
        at: call.now,
    };
    let mut write = call.store().begin().await?;
    write.create_key(&new).await.map_err(|error| match error.fault {
        // 178 random bits do not meet: the owner went away since it was looked up.
        Fault::Conflict => Refusal::field("owner_id", "is not there any more"),
        _ => error.into(),
    })?;
    for entry in &addresses::entries(call, Holder::Key, &id, &networks)? {
        write.add_address(&realm.name, entry).await?;
    }
    let made = write.key(&id).await?.ok_or_else(|| find::no_key(&id))?;
    let shown = json::key(&made, &networks, call.now);
    let chosen = ["owner_id", "owner", "name", "prefix", "hint", "scopes", "attributes", "expires_at", "ip_allowlist"];
    write.audit(call.event("key.created", &realm.name, ("key", &id), json::members(&shown, &chosen)));

    let shown = json::noting(json::with(shown, [("secret", json!(key.expose()))]), &warnings);
    let location = Some(format!("/admin/v1/keys/{id}"));
    let answer = Answer { status: 201, location, ..Answer::versioned(shown, made.version) };
    call.finish(write, Some(&id), true, answer).await
}

/// Realm and owner of a new key. An owner's id tells the realm; an identifier needs one.
async fn belonging(
    call: &Call<'_>,
    faults: &mut Faults,
) -> Result<(Option<std::sync::Arc<Realm>>, Option<Client>), Refusal> {
    let named = match (call.body.text("owner_id"), call.body.text("owner")) {
        (Some(id), None) => Some(Named::Id(id)),
        (None, Some(identifier)) => Some(Named::Identifier(identifier)),
        (Some(_), Some(_)) => {
            faults.add("owner", "must not stand beside owner_id");
            None
        }
        (None, None) => {
            faults.add("owner_id", "is required: the id of the client that the key belongs to");
            None
        }
    };
    let by_id = match (&named, call.body.text("realm")) {
        (Some(Named::Id(id)), None) if find::is_client_id(id) => {
            call.store().client(id).await?.map(|owner| owner.realm).filter(|realm| call.actor.may_enter(realm))
        }
        _ => None,
    };
    let realm = faults.take(find::realm_for(call, call.body.text("realm").or(by_id.as_deref())))?;
    let owner = match (&realm, &named) {
        (Some(realm), Some(named)) => match find::owner(call, realm, named).await? {
            Ok(owner) => Some(owner),
            Err(fault) => {
                faults.add(named.field(), fault);
                None
            }
        },
        (_, _) => None,
    };
    Ok((realm, owner))
}
