//! Every case of the specification's vectors, run against the public API.
//!
//! The file lies beside the checkout, not in it. On a machine without it the test says that it
//! was skipped; where `CI=true`, its absence is a failure.

#![expect(
    clippy::unwrap_used,
    reason = "a broken vector file should stop the test on the spot"
)]

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use base64_simd::STANDARD as BASE64;
use farstep_path_uri::{Convention, LegacyPath, PathUri, PathUriError};
use serde_json::{Value, json};

/// A fact that the case claims and this crate does not share.
type Mismatch = String;

#[test]
fn every_case_of_the_vectors_holds() {
    let path = vectors_path();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            panic!("the vectors are required here: {}: {error}", path.display())
        }
        Err(error) => {
            eprintln!("skipped: no vectors at {}: {error}", path.display());
            return;
        }
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["format"], "farstep.path-uri-vectors/1");
    let cases = file["cases"].as_array().unwrap();
    assert_eq!(json!(cases.len()), file["case_count"]);

    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            check(case)
                .err()
                .map(|why| format!("{}: {why}", case["id"]))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

fn vectors_path() -> PathBuf {
    std::env::var_os("FARSTEP_PATH_URI_VECTORS").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../shared/spec/path-uri-vectors.json"
            ))
        },
        PathBuf::from,
    )
}

/// Compares every field present in `ok`, or the kind of the error.
fn check(case: &Value) -> Result<(), Mismatch> {
    let got = run(case["op"].as_str().unwrap(), &case["input"]);
    match (&case["ok"], &case["error"], got) {
        (Value::Object(wanted), Value::Null, Ok(got)) => {
            let differing = wanted
                .iter()
                .find(|(field, value)| got.get(field.as_str()) != Some(value));
            differing.map_or(Ok(()), |(field, value)| {
                Err(format!("{field}: wanted {value}, got {}", got[field]))
            })
        }
        (Value::Null, error @ Value::Object(_), Err(got)) => {
            let kinds = error["kinds"].as_array().unwrap();
            if !kinds.contains(&json!(got.kind.as_str())) {
                return Err(format!("wanted one of {kinds:?}, got {}: {got}", got.kind));
            }
            match error.get("scheme") {
                Some(scheme) if *scheme != json!(got.scheme) => {
                    Err(format!("wanted scheme {scheme}, got {:?}", got.scheme))
                }
                _ => Ok(()),
            }
        }
        (_, _, got) => Err(format!(
            "wanted {}{}, got {got:?}",
            case["ok"], case["error"]
        )),
    }
}

/// What this crate makes of the operation, in the vocabulary of the vectors.
fn run(op: &str, input: &Value) -> Result<Value, PathUriError> {
    let text = |field: &str| input[field].as_str().unwrap();
    let uri = |field: &str| PathUri::parse(text(field));
    let named = || match text("convention") {
        "posix" => Convention::Posix,
        "windows" => Convention::Windows,
        other => panic!("unknown convention {other}"),
    };
    Ok(match op {
        "parse" => {
            let uri = uri("uri")?;
            json!({
                "uri": uri, "encoded_path": uri.encoded_path(), "host": uri.host(), "opaque": uri.is_opaque(),
                "convention": convention(&uri), "depth": uri.depth(), "file_name": uri.file_name(),
            })
        }
        "join" => described(&uri("base")?.join(text("path"))?),
        "join_descendant" => described(&uri("base")?.join_descendant(text("path"))?),
        "parent" => uri("uri")?
            .parent()
            .map_or(json!({ "uri": null }), |parent| described(&parent)),
        "ancestors" => json!({ "uris": uri("uri")?.ancestors().collect::<Vec<_>>() }),
        "file_name" => json!({ "name": uri("uri")?.file_name() }),
        "contains" => json!({ "contains": uri("base")?.contains(&uri("uri")?) }),
        "relative_to" => json!({ "relative": uri("uri")?.relative_to(&uri("base")?) }),
        "overlaps" => json!({ "overlaps": uri("a")?.overlaps(&uri("b")?) }),
        "equal" => {
            let (a, b) = (uri("a")?, uri("b")?);
            json!({ "equal": a == b, "hash_equal": hash(&a) == hash(&b) })
        }
        "from_native" => described(&PathUri::from_native(text("path"), named())?),
        "to_native" => json!({ "native": uri("uri")?.to_native(named())? }),
        "display" => json!({ "display": uri("uri")?.display_native() }),
        "infer_native" => {
            let path = LegacyPath::new(text("path"));
            json!({
                "convention": path.convention().map(Convention::as_str),
                "uri": path.to_uri(), "render_for_ui": path.render_for_ui(),
            })
        }
        "resolve" => {
            let home = input["home"].as_str().map(PathUri::parse).transpose()?;
            described(&LegacyPath::new(text("path")).resolve(&uri("cwd")?, home.as_ref())?)
        }
        "from_host_posix" => described(&PathUri::from_posix_bytes(&native_bytes(input))?),
        "from_host_windows" => {
            let units: Vec<u16> = text("path").encode_utf16().collect();
            described(&PathUri::from_windows_wide(&units)?)
        }
        "to_host_posix" => spelled(&uri("uri")?.to_posix_bytes()?),
        "to_host_windows" => {
            let units = uri("uri")?.to_windows_wide()?;
            json!({ "path": String::from_utf16(&units).unwrap() })
        }
        other => panic!("no such operation: {other}"),
    })
}

fn described(uri: &PathUri) -> Value {
    json!({ "uri": uri, "convention": convention(uri), "opaque": uri.is_opaque() })
}

fn convention(uri: &PathUri) -> Option<&'static str> {
    uri.convention().map(Convention::as_str)
}

fn native_bytes(input: &Value) -> Vec<u8> {
    match &input["bytes_b64"] {
        Value::String(encoded) => BASE64.decode_to_vec(encoded).unwrap(),
        _ => input["path"].as_str().unwrap().into(),
    }
}

fn spelled(bytes: &[u8]) -> Value {
    json!({ "path": std::str::from_utf8(bytes).ok(), "bytes_b64": BASE64.encode_to_string(bytes) })
}

fn hash(uri: &PathUri) -> u64 {
    let mut hasher = DefaultHasher::new();
    uri.hash(&mut hasher);
    hasher.finish()
}
