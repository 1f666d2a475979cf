//! `farstep ls`, `cat`, `rm` and `mkdir`.

use anyhow::{Result, ensure};
use farstep_integration::Lab;

use crate::commands::transcript;

#[tokio::test]
async fn what_goes_wrong_with_files_is_said() -> Result<()> {
    let told = transcript(&[
        "farstep mkdir a/b",
        "farstep mkdir -p a/b",
        "farstep mkdir a",
        "farstep exec -- sh -c 'printf x > a/f; ln -s nowhere a/dangling; mkfifo a/pipe'",
        "farstep mkdir a/f",
        "farstep mkdir -p a/f",
        "farstep ls nowhere:x",
        "farstep ls missing",
        "farstep ls builder:/missing tester:.",
        "farstep ls a/f/x",
        "farstep ls 'builder:C:\\x'",
        "farstep ls -e tester a",
        "farstep cat a",
        "farstep cat a/missing a/f",
        "farstep cat a/pipe",
        "farstep cat a/dangling",
        "farstep cat",
        "farstep rm a",
        "farstep rm a/missing",
        "farstep rm -f a/missing",
        "farstep rm -r .",
        "farstep rm -rf /",
        "farstep rm a/dangling",
        "farstep rm -r a",
        "farstep ls",
    ])
    .await?;
    insta::assert_snapshot!(told);
    Ok(())
}

#[tokio::test]
async fn bytes_are_shown_as_they_are_and_several_files_one_after_the_other() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    // More than is asked for at once, with an end inside a block and one at its edge.
    let long: Vec<u8> = (0..12_345_678_u32)
        .map(|n| (n.wrapping_mul(n) >> 7) as u8)
        .collect();
    let even = vec![b'\r'; 2 << 20];
    std::fs::write(far.folder.join("long"), &long)?;
    std::fs::write(far.folder.join("even"), &even)?;
    std::fs::write(far.folder.join("crlf"), b"a\r\nb\0\xff\n")?;
    let done = lab.run(&["cat", "crlf", "far:long", "even"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let expected = [b"a\r\nb\0\xff\n".as_slice(), &long, &even].concat();
    ensure!(done.stdout == expected, "{} bytes", done.stdout.len());
    // What claims to be empty and is not.
    let done = lab.run(&["cat", "/proc/version"]).await?;
    ensure!(
        done.stdout == std::fs::read("/proc/version")?,
        "{}",
        done.out()
    );
    Ok(())
}

#[tokio::test]
async fn a_listing_is_sorted_and_says_what_was_asked_for() -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    for name in ["b", ".hidden", "a"] {
        let path = far.folder.join(name);
        std::fs::write(&path, "12345")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640))?;
    }
    std::os::unix::fs::symlink("a", far.folder.join("link"))?;
    let listed = |args: &'static [&'static str]| {
        let lab = &lab;
        async move { lab.run(&[&["ls"], args].concat()).await }
    };
    assert_eq!(listed(&[]).await?.out(), "a\nb\nlink\n");
    assert_eq!(
        listed(&["-a", "far:"]).await?.out(),
        ".hidden\na\nb\nlink\n"
    );
    let long = listed(&["-l"]).await?.out();
    let columns: Vec<Vec<&str>> = long
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let shown: Vec<_> = columns
        .iter()
        .map(|line| (line[0], line[1], line[line.len() - 1]))
        .collect();
    assert_eq!(
        shown,
        [
            ("-rw-r-----", "5", "a"),
            ("-rw-r-----", "5", "b"),
            ("lrw-r-----", "5", "link")
        ]
    );
    let rows = listed(&["--json"]).await?.json_lines()?;
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[2]["name"], "link");
    assert_eq!(rows[2]["link"], true);
    assert_eq!(rows[0]["mode"], "640");
    assert_eq!(rows[0]["kind"], "file");
    Ok(())
}

#[tokio::test]
async fn a_link_is_removed_itself() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    std::fs::create_dir(far.folder.join("kept"))?;
    std::fs::write(far.folder.join("kept/f"), "x")?;
    std::os::unix::fs::symlink("kept", far.folder.join("link"))?;
    let done = lab.run(&["rm", "link"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    std::os::unix::fs::symlink("kept", far.folder.join("link"))?;
    let done = lab.run(&["rm", "-r", "link"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    ensure!(far.folder.join("kept/f").exists() && !far.folder.join("link").is_symlink());
    Ok(())
}
