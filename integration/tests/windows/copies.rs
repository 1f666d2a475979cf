//! `farstep cp`, `ls`, `cat`, `rm` and `mkdir` with a Windows environment, from this machine.

use anyhow::{Result, ensure};
use farstep_integration::Lab;

use crate::machine::Windows;
use crate::together::entry;

#[tokio::test]
async fn places_on_a_drive_are_copied_to_and_from_and_listed() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let lab = Lab::new()?;
    lab.environments(&entry(&windows, true)?)?;
    let (_, folder) = windows.folder()?;
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let place = |path: &str| format!("win:C:\\{name}\\{path}");
    let run = async |args: &[&str]| -> Result<String> {
        let done = lab.run(args).await?;
        ensure!(done.code == Some(0), "{args:?}: {}", done.err());
        Ok(done.out())
    };
    let tree = lab.folder("tree")?;
    std::fs::create_dir(tree.join("Sub dir"))?;
    std::fs::write(tree.join("crlf.txt"), "a\r\nb\n")?;
    let long: Vec<u8> = (0..3_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 9) as u8)
        .collect();
    std::fs::write(tree.join("Sub dir/long.bin"), &long)?;
    run(&["cp", "-r", "tree", &place("there")]).await?;
    ensure!(std::fs::read(folder.join("there/Sub dir/long.bin"))? == long);
    assert_eq!(run(&["ls", &place("there")]).await?, "Sub dir\ncrlf.txt\n");
    assert_eq!(run(&["cat", &place("there/crlf.txt")]).await?, "a\r\nb\n");
    run(&["cp", "-r", &place("there"), "back"]).await?;
    let back = lab.path().join("back");
    ensure!(std::fs::read(back.join("Sub dir/long.bin"))? == long);
    assert_eq!(std::fs::read(back.join("crlf.txt"))?, b"a\r\nb\n");
    run(&["cp", "tree/crlf.txt", &place("there/Sub dir")]).await?;
    run(&["mkdir", "-p", &place("a\\b")]).await?;
    run(&["rm", "-r", &place("a")]).await?;
    assert_eq!(run(&["ls", "-a", &place("")]).await?, "there\n");
    Ok(())
}

#[tokio::test]
async fn names_that_windows_reads_as_something_else_are_left_out_and_told() -> Result<()> {
    let Some(windows) = Windows::find().await? else {
        return Ok(());
    };
    let lab = Lab::new()?;
    lab.environments(&entry(&windows, true)?)?;
    let (_, folder) = windows.folder()?;
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let tree = lab.folder("tree")?;
    let bad = [
        "nul", "con.txt", "a:stream", "..\\up", "C:", "dot.", "star*",
    ];
    for name in bad.iter().chain(&["fine"]) {
        std::fs::write(tree.join(name), "x")?;
    }
    let done = lab
        .run(&["cp", "-r", "tree/.", &format!("win:C:\\{name}\\out")])
        .await?;
    assert_eq!(done.code, Some(1), "{}", done.err());
    for name in bad {
        let place = format!("out\\{name}`");
        ensure!(done.err().contains(&place), "{place}: {}", done.err());
    }
    let found: Vec<_> = std::fs::read_dir(folder.join("out"))?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<Result<_>>()?;
    assert_eq!(found, ["fine"]);
    assert_eq!(std::fs::read_dir(&folder)?.count(), 1);
    Ok(())
}
