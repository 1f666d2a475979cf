//! `farstep demo`: exits 0 when everything happened, and 1 when it did not.

use anyhow::Result;
use farstep_integration::Lab;

#[tokio::test]
async fn the_demo_succeeds_and_says_that_its_model_is_scripted() -> Result<()> {
    let lab = Lab::new()?;
    let done = lab.run(&["demo"]).await?;
    assert_eq!(done.code, Some(0), "{}\n{}", done.out(), done.err());
    for word in ["builder", "server", "scripted"] {
        assert!(done.out().contains(word), "no {word} in:\n{}", done.out());
    }
    Ok(())
}

#[tokio::test]
async fn the_demo_fails_when_an_executor_is_killed_in_the_middle() -> Result<()> {
    for (place, step) in [("builder", "test"), ("server", "start")] {
        let lab = Lab::new()?;
        let done = lab.run(&["demo", "--kill", place, "--after", step]).await?;
        assert_eq!(
            done.code,
            Some(1),
            "{place}: {}\n{}",
            done.out(),
            done.err()
        );
        assert!(done.out().contains('✗'), "{place}: {}", done.out());
        assert!(
            !done.out().contains("All of it happened"),
            "{place}: {}",
            done.out()
        );
    }
    Ok(())
}
