use ModelErrorKind::*;
use serde_json::json;

use super::*;

fn kind_of_status(status: u16, body: Value) -> ModelErrorKind {
    ModelError::from_status(status, &body.to_string(), None).kind
}

fn kind_of_code(code: &str) -> ModelErrorKind {
    ModelError::from_event(&json!({"code": code, "message": "m"})).kind
}

#[test]
fn each_status_has_its_kind() {
    let plain = json!({"error": {"message": "m"}});
    assert_eq!(kind_of_status(500, plain.clone()), Server { status: 500 });
    assert_eq!(kind_of_status(503, plain.clone()), Server { status: 503 });
    assert_eq!(kind_of_status(408, plain.clone()), Server { status: 408 });
    assert_eq!(kind_of_status(429, plain.clone()), RateLimited);
    assert_eq!(kind_of_status(400, plain.clone()), InvalidRequest);
    assert_eq!(kind_of_status(401, plain.clone()), Unauthorized);
    assert_eq!(kind_of_status(404, plain.clone()), Refused { status: 404 });
    assert_eq!(kind_of_status(302, plain), Refused { status: 302 });
}

#[test]
fn the_words_of_the_body_refine_the_status() {
    let code = |code: &str| json!({"error": {"code": code, "message": "m"}});
    assert_eq!(
        kind_of_status(503, code("server_is_overloaded")),
        Overloaded
    );
    assert_eq!(kind_of_status(503, code("slow_down")), Overloaded);
    assert_eq!(
        kind_of_status(500, code("slow_down")),
        Server { status: 500 }
    );
    let used_up = json!({"error": {"type": "usage_limit_reached", "message": "m"}});
    assert_eq!(kind_of_status(429, used_up), UsageLimit);
    assert_eq!(
        kind_of_status(429, json!({"error": {"type": "usage_not_included"}})),
        UsageLimit
    );
    assert_eq!(
        kind_of_status(400, code("context_length_exceeded")),
        ContextTooLong
    );
    let image = json!({"error": {"message": "The image data does not represent a valid image."}});
    assert_eq!(kind_of_status(400, image), InvalidImage);
}

#[test]
fn each_code_in_the_stream_has_its_kind() {
    assert_eq!(kind_of_code("rate_limit_exceeded"), RateLimited);
    assert_eq!(kind_of_code("context_length_exceeded"), ContextTooLong);
    assert_eq!(kind_of_code("insufficient_quota"), UsageLimit);
    assert_eq!(kind_of_code("usage_not_included"), UsageLimit);
    assert_eq!(kind_of_code("server_is_overloaded"), Overloaded);
    assert_eq!(kind_of_code("slow_down"), Overloaded);
    for code in ["invalid_prompt", "bio_policy", "cyber_policy"] {
        assert_eq!(kind_of_code(code), Rejected { code: code.into() });
    }
    assert_eq!(
        kind_of_code("something_else"),
        Failed {
            code: Some("something_else".into())
        }
    );
    assert_eq!(
        ModelError::from_event(&Value::Null).kind,
        Failed { code: None }
    );
}

#[test]
fn a_delay_in_the_words_is_found() {
    let error = ModelError::from_event(&json!({
        "code": "rate_limit_exceeded",
        "message": "Rate limit reached. Please try again in 1.5s.",
    }));
    assert_eq!(error.retry_after, Some(Duration::from_millis(1500)));
}

#[test]
fn the_message_is_what_the_provider_said() {
    let told = |body: &str| ModelError::from_status(400, body, None).message;
    let start = "the provider answered with status 400";
    assert_eq!(
        told(r#"{"error":{"message":"no such model"}}"#),
        format!("{start}: no such model")
    );
    assert_eq!(told(r#"{"detail":"nope"}"#), format!("{start}: nope"));
    assert_eq!(told(r#"{"x":1}"#), format!("{start}: {{\"x\":1}}"));
    assert_eq!(
        told("<html>bad gateway</html>\n"),
        format!("{start}: <html>bad gateway</html>")
    );
    assert_eq!(told(""), start);
    let long = told(&"é".repeat(5_000));
    assert_eq!(long.chars().filter(|&c| c == 'é').count(), MAX_SHOWN_CHARS);
}
