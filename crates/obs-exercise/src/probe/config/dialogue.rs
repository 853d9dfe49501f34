//! `tcp:`, `unix:` and `websocket:` of a module: who says what when.

use regex::bytes::Regex;

use super::http::Credentials;
use super::{Query, Tcp, WebSocket, family};
use crate::exchange::StepError;
use crate::probe::forms::{QueryForm, TcpForm, WebSocketForm};

/// The steps of a dialogue.
pub(super) fn check(forms: &[QueryForm], place: &str) -> Result<Vec<Query>, StepError> {
    forms
        .iter()
        .enumerate()
        .map(|(i, form)| {
            let place = format!("{place}.query_response[{i}].expect");
            let expect = form
                .expect
                .as_deref()
                .filter(|e| !e.is_empty())
                .map(|p| Regex::new(p).map_err(|e| StepError::new(&place, e.to_string())))
                .transpose()?;
            Ok(Query {
                expect,
                expect_bytes: form.expect_bytes.clone(),
                labels: form.labels.iter().map(|l| (l.name.clone(), l.value.clone())).collect(),
                send: form.send.clone(),
                starttls: form.starttls,
            })
        })
        .collect()
}

impl TcpForm {
    pub(super) fn check(self, place: &str) -> Result<Tcp, StepError> {
        Ok(Tcp {
            family: family(&self.preferred_ip_protocol, self.ip_protocol_fallback, place)?,
            dialogue: check(&self.query_response, place)?,
            tls: self.tls.then(|| self.tls_config.clone()),
            upgrade: self.tls_config,
        })
    }
}

impl WebSocketForm {
    pub(super) fn check(self, place: &str) -> Result<WebSocket, StepError> {
        if let Some(i) = self.query_response.iter().position(|q| q.starttls) {
            let reason = "a WebSocket is encrypted from the start, by wss://";
            return Err(StepError::new(format!("{place}.query_response[{i}].starttls"), reason));
        }
        let credentials = Credentials {
            basic_auth: self.basic_auth.as_ref(),
            bearer_token: self.bearer_token.as_deref(),
            bearer_token_file: self.bearer_token_file.as_ref(),
            authorization: self.authorization.as_ref(),
        };
        let mut headers: Vec<(String, String)> = self.headers.into_iter().collect();
        headers.extend(credentials.check(place)?);
        Ok(WebSocket {
            family: family(&self.preferred_ip_protocol, self.ip_protocol_fallback, place)?,
            headers,
            subprotocols: self.subprotocols,
            dialogue: check(&self.query_response, place)?,
            tls: self.tls_config,
        })
    }
}
