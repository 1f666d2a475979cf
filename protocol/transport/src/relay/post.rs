//! One JSON request to a registry, over a byte stream that is there already.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, http};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// An answer's body, in bytes: many times what keys and URLs take.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The HTTP status.
    pub status: u16,
    /// Seconds after which to ask again, if it says so.
    pub retry_after: Option<u64>,
    /// Which wish it says was followed (`Preference-Applied`, RFC 7240).
    pub followed: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Why nothing did.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The request cannot be written.
    #[error("the request cannot be written: {0}")]
    Request(#[from] http::Error),
    /// The exchange broke.
    #[error("the exchange broke: {0}")]
    Exchange(#[from] hyper::Error),
    /// The answer is too long.
    #[error("the answer is longer than {BODY_BYTES_MAX} bytes")]
    TooLong,
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Body(String),
}

/// Posts `body` to `path` of `host`, which is what stands between the slashes of the URL.
pub async fn post<S>(
    stream: S,
    host: &str,
    path: &str,
    bearer: &str,
    header: Option<(&'static str, &str)>,
    body: Vec<u8>,
) -> Result<Posted, PostError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut authorization =
        HeaderValue::try_from(format!("Bearer {bearer}")).map_err(http::Error::from)?;
    authorization.set_sensitive(true);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, host)
        .header(AUTHORIZATION, authorization)
        .header(CONTENT_TYPE, "application/json");
    if let Some((name, value)) = header {
        request = request.header(HeaderName::from_static(name), value);
    }
    let request = request.body(Full::new(Bytes::from(body)))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|error| match error.is::<LengthLimitError>() {
            true => PostError::TooLong,
            false => PostError::Body(error.to_string()),
        })?;
        let retry_after = head.headers.get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let followed = head.headers.get("preference-applied");
        let followed = followed.and_then(|value| Some(value.to_str().ok()?.to_owned()));
        Ok(Posted {
            followed,
            status: head.status.as_u16(),
            retry_after,
            body: body.to_bytes(),
        })
    };
    // The connection is driven for as long as the exchange takes, and not longer.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    let mut is_driven = true;
    loop {
        tokio::select! {
            posted = &mut exchange => return posted,
            driven = &mut connection, if is_driven => {
                driven?;
                is_driven = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    async fn answered(answer: &[u8]) -> (Result<Posted, PostError>, String) {
        let (near, mut far) = duplex(1 << 20);
        let server = async move {
            let mut asked = vec![0; 4096];
            let mut length = 0;
            while !asked[..length].ends_with(b"{}") {
                length += far.read(&mut asked[length..]).await.unwrap();
            }
            far.write_all(answer).await.unwrap();
            asked.truncate(length);
            String::from_utf8(asked).unwrap()
        };
        let header = Some(("x-request-id", "req_1"));
        let posting = post(near, "h:1", "/p/a", "secret", header, b"{}".to_vec());
        tokio::join!(posting, server)
    }

    #[tokio::test]
    async fn a_registry_is_asked_and_its_answer_read() {
        let answer = b"HTTP/1.1 503 No\r\nretry-after: 7\r\npreference-applied: wait=3\r\n\
            content-length: 2\r\n\r\nno";
        let (posted, asked) = answered(answer).await;
        let expected = Posted {
            status: 503,
            retry_after: Some(7),
            followed: Some("wait=3".to_owned()),
            body: Bytes::from_static(b"no"),
        };
        assert_eq!(posted.unwrap(), expected);
        assert!(
            asked.starts_with("POST /p/a HTTP/1.1\r\nhost: h:1\r\n"),
            "{asked}"
        );
        assert!(
            asked.contains("authorization: Bearer secret\r\n"),
            "{asked}"
        );
        assert!(
            asked.contains("content-type: application/json\r\n"),
            "{asked}"
        );
        assert!(asked.contains("x-request-id: req_1\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_cut_short() {
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_vec();
        answer.resize(answer.len() + 500_000, b'x');
        let (posted, _) = answered(&answer).await;
        assert!(matches!(posted, Err(PostError::TooLong)), "{posted:?}");
    }
}
