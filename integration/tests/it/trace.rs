//! One trace, from whoever started `farstep` to the command on the other machine.

use anyhow::Result;
use farstep_integration::{Lab, Running};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What `exec` prints of the trace on the far machine, with these variables on the near one, and
/// what it says besides.
async fn told(variables: &[(&str, &str)]) -> Result<(String, String)> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    let script = "echo \"$TRACEPARENT|$TRACESTATE\"";
    let mut farstep = lab.farstep(&["exec", "--", "sh", "-c", script]);
    farstep.env_remove("TRACEPARENT").env_remove("TRACESTATE");
    farstep.envs(variables.iter().copied());
    let done = Running::start(&mut farstep)?.finish().await?;
    assert_eq!(done.code, Some(0), "{}", done.err());
    Ok((done.out(), done.err()))
}

#[tokio::test]
async fn a_trace_goes_on_in_the_command_on_the_other_machine() -> Result<()> {
    let both = [("TRACEPARENT", PARENT), ("TRACESTATE", "a=1")];
    assert_eq!(
        told(&both).await?,
        (format!("{PARENT}|a=1\n"), String::new())
    );
    assert_eq!(told(&[]).await?, ("|\n".to_owned(), String::new()));
    Ok(())
}

#[tokio::test]
async fn a_trace_that_is_none_is_not_handed_on() -> Result<()> {
    let (out, err) = told(&[("TRACEPARENT", "00-00-00-00")]).await?;
    assert_eq!(out, "|\n");
    assert!(err.contains("is ignored"), "{err}");
    Ok(())
}
