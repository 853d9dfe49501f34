use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{Method, header};

use crate::ApiError;

/// Most bytes of a form body; a query is text, not data.
const FORM_BYTES_MAX: usize = 4 << 20;

/// Parameters of a request, from the URL and, for a POST form, from its body; repeats are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// From `a=1&b=2`, percent-decoded; `+` is a space.
    pub(crate) fn from_encoded(text: &str) -> Self {
        Self(
            text.split('&')
                .filter(|p| !p.is_empty())
                .map(|p| {
                    let (name, value) = p.split_once('=').unwrap_or((p, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The first value that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Names and values in order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::invalid(format!("parameter {name:?} is missing")))
    }

    /// Whether a switch is on: there with a value that is not 0 or false.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|v| !matches!(v, "" | "0" | "false"))
    }

    /// A whole number of at least `min`.
    pub(crate) fn number(&self, name: &str, min: usize) -> Result<Option<usize>, ApiError> {
        self.get(name)
            .map(|v| match v.parse::<usize>() {
                Ok(n) if n >= min => Ok(n),
                _ => Err(ApiError::invalid(format!(
                    "parameter {name:?} is {v:?}, not a whole number of at least {min}"
                ))),
            })
            .transpose()
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        let hex = |at: usize| bytes.get(at).and_then(|c| (*c as char).to_digit(16));
        match (b, hex(i + 1), hex(i + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                i += 3;
            }
            (b'+', ..) => {
                out.push(b' ');
                i += 1;
            }
            _ => {
                out.push(b);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        let mut params = Self::from_encoded(request.uri().query().unwrap_or(""));
        let form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|t| t.starts_with("application/x-www-form-urlencoded"));
        if *request.method() == Method::POST && form {
            let body: Body = request.into_body();
            let bytes = to_bytes(body, FORM_BYTES_MAX).await.map_err(|_too_long| {
                ApiError::invalid(format!("form body is over {FORM_BYTES_MAX} bytes"))
            })?;
            // The body's values come first: Prometheus' clients repeat nothing between the two.
            let mut from_body = Self::from_encoded(&String::from_utf8_lossy(&bytes));
            from_body.0.append(&mut params.0);
            params = from_body;
        }
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_keeps_repeats() {
        let p = Params::from_encoded("match[]=up&match[]=a%7Bb%3D%22c%22%7D&q=x+y&e=%zz&n=3");
        assert_eq!(p.all("match[]").collect::<Vec<_>>(), ["up", "a{b=\"c\"}"]);
        assert_eq!(p.get("q"), Some("x y"));
        assert_eq!(p.get("e"), Some("%zz"));
        assert_eq!(p.number("n", 1).unwrap(), Some(3));
        assert!(p.number("q", 1).is_err());
        assert!(p.required("none").unwrap_err().message.contains("none"));
    }
}
