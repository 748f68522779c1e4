//! NATS with an operator: users show a JWT that an account signed, out of a credentials file.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// When the tokens were made: NATS wants a time, and any will do.
const ISSUED_AT: u64 = 1_700_000_000;

/// An operator with an account that has JetStream; users come from it.
pub struct Operator {
    account: KeyPair,
    config: String,
}

/// What a user may do.
#[derive(Clone, Debug, Default)]
pub struct Permissions {
    /// Where it may publish; everywhere if nothing is named.
    pub publish: Vec<String>,
    /// What it may subscribe to; everything if nothing is named.
    pub subscribe: Vec<String>,
}

impl Operator {
    /// Makes the keys.
    ///
    /// # Errors
    /// When something cannot be signed.
    pub fn new() -> anyhow::Result<Self> {
        let operator = KeyPair::new_operator();
        let (account, system) = (KeyPair::new_account(), KeyPair::new_account());
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1,
        });
        let mut with_storage = limits.clone();
        for key in ["mem_storage", "disk_storage", "streams", "consumer"] {
            with_storage[key] = json!(-1);
        }
        let of_account = |limits: Value| json!({"limits": limits, "type": "account", "version": 2});
        let itself = json!({"type": "operator", "version": 2});
        let config = format!(
            "operator: {operator_token}\nsystem_account: {system_key}\nresolver: MEMORY\n\
             resolver_preload: {{ {key}: {account_token}, {system_key}: {system_token} }}\n",
            operator_token = token(&operator, &operator, "operator", &itself)?,
            key = account.public_key(),
            account_token = token(&operator, &account, "lattice", &of_account(with_storage))?,
            system_key = system.public_key(),
            system_token = token(&operator, &system, "system", &of_account(limits))?,
        );
        Ok(Self { account, config })
    }

    /// What a server has to be told.
    #[must_use]
    pub fn config(&self) -> String {
        self.config.clone()
    }

    /// Writes a user's credentials file; its path and the seed in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn credentials(
        &self,
        folder: &Path,
        name: &str,
        permissions: &Permissions,
    ) -> anyhow::Result<(PathBuf, String)> {
        let user = KeyPair::new_user();
        let allow = |subjects: &[String]| match subjects {
            [] => json!({}),
            subjects => json!({"allow": subjects}),
        };
        let claims = json!({
            "pub": allow(&permissions.publish), "sub": allow(&permissions.subscribe),
            "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2,
        });
        let token = token(&self.account, &user, name, &claims)?;
        let seed = user.seed()?;
        let file = folder.join(format!("{name}.creds"));
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        std::fs::write(&file, text)?;
        Ok((file, seed))
    }
}

impl Permissions {
    /// What `deploy/nats/lattice.conf` permits a user.
    ///
    /// # Errors
    /// When the file is not written as we write it.
    pub fn of_the_config(user: &str) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(crate::repository("deploy/nats/lattice.conf"))?;
        let code: Vec<&str> = text
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default())
            .collect();
        let code = code.join("\n");
        let start = code.find(&format!("user: {user},")).context("the user")?;
        let list = |key: &str| {
            let key = code[start..].find(key).context("the list")? + start;
            let list = code[key..].split(['[', ']']).nth(1).context("the list")?;
            let subjects = list.split('"').skip(1).step_by(2);
            anyhow::Ok(subjects.map(str::to_owned).collect())
        };
        Ok(Self {
            publish: list("publish:")?,
            subscribe: list("subscribe:")?,
        })
    }
}

/// Claims as NATS reads them, signed.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: &Value) -> anyhow::Result<String> {
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let claims = json!({
        "jti": uuid::Uuid::new_v4().simple().to_string(),
        "iat": ISSUED_AT,
        "iss": issuer.public_key(),
        "sub": subject.public_key(),
        "name": name,
        "nats": nats,
    });
    let text = [header, claims].map(|part| BASE64.encode(part.to_string()));
    let text = text.join(".");
    let signature = issuer.sign(text.as_bytes())?;
    Ok(format!("{text}.{}", BASE64.encode(signature)))
}
