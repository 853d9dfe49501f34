//! Access tokens by OAuth 2.0 client credentials. Source: RFC 6749 sections 2.3.1 and 4.4.

use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::OAuth2Settings;
use super::http::{HttpClient, fetch};

/// Bytes of a token server's answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);
/// A token is renewed so long before it ends, and at the latest after an hour.
const RESERVE: Duration = Duration::from_secs(10);
const AGE_MAX: Duration = Duration::from_secs(3600);

/// The token of one client, asked for when it is needed.
#[derive(Debug)]
pub(super) struct TokenSource {
    settings: OAuth2Settings,
    client: HttpClient,
    /// Who comes while one is asked for waits for it.
    token: Mutex<Option<(String, Instant)>>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

impl TokenSource {
    pub(super) fn new(settings: &OAuth2Settings, user_agent: &str) -> Result<Self, String> {
        let client = HttpClient::new(&settings.http, user_agent, Some(TIMEOUT), true)?;
        Ok(Self { settings: settings.clone(), client, token: Mutex::default() })
    }

    pub(super) async fn token(&self) -> Result<String, String> {
        let mut held = self.token.lock().await;
        if let Some((token, until)) = &*held
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let fail = |why: String| format!("oauth2 token: {why}");
        let settings = &self.settings;
        let secret = settings.client_secret.read().map_err(|e| fail(e.to_string()))?;
        let mut form = vec![("grant_type", "client_credentials")];
        let scopes = settings.scopes.join(" ");
        if !scopes.is_empty() {
            form.push(("scope", &scopes));
        }
        form.extend(settings.parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let request = self
            .client
            .post(&settings.token_url)
            .basic_auth(&settings.client_id, Some(secret))
            .form(&form);
        let (body, _) = fetch(request, ANSWER_BYTES_MAX).await.map_err(|e| fail(e.to_string()))?;
        let answer: Answer = serde_json::from_slice(&body).map_err(|e| fail(e.to_string()))?;
        let lasts = answer.expires_in.map_or(AGE_MAX, Duration::from_secs).min(AGE_MAX);
        let until = Instant::now() + lasts.saturating_sub(RESERVE);
        *held = Some((answer.access_token.clone(), until));
        Ok(answer.access_token)
    }
}
