//! `holdpoint keys`: who may come in over HTTP.

use holdpoint_engine::RunOptions;
use holdpoint_graph::actor::Actor;
use holdpoint_graph::ids::Tenant;
use holdpoint_server::identity::keys::{Fresh, is_valid, revoked};
use holdpoint_store::{ApiKeyRecord, Error as StoreError};
use serde_json::{Value, json};

use crate::cli::access_arguments::{KeysArguments, KeysCommand, Owner, span_ms, tenant};
use crate::cli::context::{Context, actor};
use crate::cli::output;
use crate::failure::{EXIT_DONE, EXIT_INVALID, Failure};
use crate::host::Host;

/// Makes, lists or revokes keys.
///
/// # Errors
/// Names that no key can have, and the store's.
pub async fn run(context: &Context, arguments: KeysArguments) -> Result<u8, Failure> {
    match arguments.command {
        None => list(context, &Owner { tenant: Tenant::default().to_string(), ..Owner::default() }).await,
        Some(KeysCommand::List { who }) => list(context, &who).await,
        Some(KeysCommand::Create { name, role, expires_in, holder_groups, who }) => {
            let host = context.host()?;
            let (by, tenant) = acting(context, &who)?;
            let now_ms = host.engine.now_ms();
            let lasts_ms = expires_in.as_deref().map(|text| span_ms("--expires-in", text)).transpose()?;
            let expires_at_ms = lasts_ms.map(|lasts_ms| now_ms.saturating_add(lasts_ms));
            create(context, &host, Fresh { name, tenant, roles: role, groups: holder_groups, expires_at_ms, by }).await
        }
        Some(KeysCommand::Revoke { name, who }) => revoke(context, &name, &who).await,
    }
}

async fn create(context: &Context, host: &Host, fresh: Fresh) -> Result<u8, Failure> {
    let now_ms = host.engine.now_ms();
    let invalid = |reason: String| Failure::invalid("HP0892", reason, "nothing was made; mend it and repeat");
    let (key, record, entry) = fresh.make(now_ms).map_err(invalid)?;
    host.store.put_key(record.clone(), vec![entry]).await.map_err(|error| match error {
        StoreError::Exists(_) => Failure::invalid(
            "HP0893",
            format!("a key named {} stands", record.name),
            "revoke it first with `holdpoint keys revoke`, or choose another name",
        ),
        other => Failure::from_store(&other),
    })?;
    if context.json {
        let mut shown = key_json(&record, now_ms);
        shown["key"] = key.into();
        output::print_json(&shown);
    } else {
        output::print_text(&key);
        output::print_note(&format!(
            "this is the key of {}; it is shown this once. Send it as `x-api-key` or `Authorization: Bearer`",
            record.name
        ));
    }
    Ok(EXIT_DONE)
}

async fn list(context: &Context, who: &Owner) -> Result<u8, Failure> {
    let host = context.existing_host()?;
    let (_, tenant) = acting(context, who)?;
    let keys = host.store.keys(Some(&tenant)).await.map_err(|error| Failure::from_store(&error))?;
    let now_ms = host.engine.now_ms();
    if context.json {
        output::print_json(&keys.iter().map(|key| key_json(key, now_ms)).collect());
        return Ok(EXIT_DONE);
    }
    if keys.is_empty() {
        output::print_text("no keys; make one with: holdpoint keys create NAME --role ROLE");
        return Ok(EXIT_DONE);
    }
    let rows = keys.iter().map(|key| {
        vec![
            key.name.clone(),
            key.roles.join(", "),
            key.groups.join(", "),
            state(key, now_ms),
            output::time_text(key.created_at_ms),
            key.created_by.clone(),
        ]
    });
    output::print_text(&output::table(&["name", "roles", "groups", "state", "made", "by"], rows));
    Ok(EXIT_DONE)
}

async fn revoke(context: &Context, name: &str, who: &Owner) -> Result<u8, Failure> {
    let host = context.existing_host()?;
    let (by, tenant) = acting(context, who)?;
    let now_ms = host.engine.now_ms();
    let entry = revoked(&tenant, name, by, now_ms);
    let done = host.store.revoke_key(&tenant, name, now_ms, vec![entry]).await;
    if !done.map_err(|error| Failure::from_store(&error))? {
        let cure = "`holdpoint keys list` shows what there is";
        return Err(Failure {
            exit: EXIT_INVALID,
            ..Failure::invalid("HP0894", format!("no key named {name:?} stands"), cure)
        });
    }
    if context.json {
        output::print_json(&json!({ "name": name, "revoked_at": output::time_text(now_ms) }));
    } else {
        output::print_text(&format!("the key {} opens nothing any more", output::visible(name)));
    }
    Ok(EXIT_DONE)
}

/// Who does it, and for which tenant: on a server, whoever has proven who they are.
fn acting(context: &Context, who: &Owner) -> Result<(Actor, Tenant), Failure> {
    let mut options = RunOptions::default();
    options.principal.actor = Actor::asserted(actor(who.by.clone()));
    options.principal.tenant = tenant(&who.tenant)?;
    let principal = context.options(options).principal;
    Ok((principal.actor, principal.tenant))
}

fn state(key: &ApiKeyRecord, now_ms: u64) -> String {
    match (key.revoked_at_ms, key.expires_at_ms) {
        (Some(at_ms), _) => format!("revoked at {}", output::time_text(at_ms)),
        (None, Some(at_ms)) if at_ms <= now_ms => format!("expired at {}", output::time_text(at_ms)),
        (None, Some(at_ms)) => format!("until {}", output::time_text(at_ms)),
        (None, None) => "stands".to_owned(),
    }
}

fn key_json(key: &ApiKeyRecord, now_ms: u64) -> Value {
    json!({
        "name": key.name,
        "tenant": key.tenant.as_str(),
        "roles": key.roles,
        "groups": key.groups,
        "valid": is_valid(key, now_ms),
        "created_at": output::time_text(key.created_at_ms),
        "created_by": key.created_by,
        "expires_at": key.expires_at_ms.map(output::time_text),
        "revoked_at": key.revoked_at_ms.map(output::time_text),
    })
}
