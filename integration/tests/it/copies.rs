//! `farstep cp`: what arrives is what was there, and what goes wrong is said.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Result, ensure};
use farstep_integration::{Lab, Stage};

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(std::fs::set_permissions(
        path,
        std::fs::Permissions::from_mode(mode),
    )?)
}

fn mode(path: &Path) -> Result<u32> {
    Ok(path.metadata()?.permissions().mode() & 0o7777)
}

/// A tree with whatever makes copies go wrong.
fn furnish(root: &Path) -> Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let at = |name: &str| root.join(name);
    std::fs::create_dir_all(at("deep/er/empty"))?;
    std::fs::write(at("crlf"), b"one\r\ntwo\n\r\n")?;
    std::fs::write(at("empty-file"), "")?;
    std::fs::write(at("deep/run me"), "#!/bin/sh\n")?;
    let odd = std::ffi::OsStr::from_bytes(b"tab\tnew\nline\xff%2F");
    std::fs::write(root.join(odd), "odd")?;
    // Several blocks, the last one short; and one that ends where a block does.
    let long: Vec<u8> = (0..5_000_000_u32)
        .map(|n| (n.wrapping_mul(n) >> 9) as u8)
        .collect();
    std::fs::write(at("deep/er/long"), &long)?;
    std::fs::write(at("edge"), &long[..2 << 20])?;
    let sparse = std::fs::File::create(at("sparse"))?;
    sparse.set_len(40 << 20)?;
    symlink("/etc", at("deep/link"))?;
    set_mode(&at("deep/run me"), 0o751)?;
    set_mode(&at("crlf"), 0o600)?;
    set_mode(&at("deep/er"), 0o700)
}

fn same(a: &Path, b: &Path) -> Result<()> {
    let names = |folder: &Path| -> Result<Vec<_>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_symlink() {
                names.push(entry.file_name());
            }
        }
        names.sort();
        Ok(names)
    };
    assert_eq!(mode(a)?, mode(b)?, "{}", a.display());
    if a.is_file() {
        ensure!(std::fs::read(a)? == std::fs::read(b)?, "{}", a.display());
        return Ok(());
    }
    assert_eq!(names(a)?, names(b)?, "{}", a.display());
    for name in names(a)? {
        same(&a.join(&name), &b.join(&name))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_tree_goes_there_and_across_and_comes_back_as_it_was() -> Result<()> {
    let lab = Lab::new()?;
    let (one, two) = (lab.executor("one").await?, lab.executor("two").await?);
    lab.websockets(&[("one", &one.url), ("two", &two.url)])?;
    let tree = lab.folder("tree")?;
    furnish(&tree)?;
    let run = async |args: &[&str]| -> Result<()> {
        let done = lab.run(&[&["cp", "-r"], args].concat()).await?;
        ensure!(done.code == Some(0), "{}", done.err());
        Ok(())
    };
    run(&["tree", "one:there"]).await?;
    same(&tree, &one.folder.join("there"))?;
    run(&["one:there", "two:"]).await?;
    same(&tree, &two.folder.join("there"))?;
    run(&["two:there/.", "back"]).await?;
    same(&tree, &lab.path().join("back"))?;
    run(&["one:there", "one:copy"]).await?;
    same(&tree, &one.folder.join("copy"))?;
    for place in [
        one.folder.join("there"),
        two.folder.join("there"),
        lab.path().join("back"),
    ] {
        ensure!(!place.join("deep/link").is_symlink(), "a link was made");
        let sparse = place.join("sparse").metadata()?;
        ensure!(
            sparse.blocks() * 512 < 1 << 20,
            "{} blocks",
            sparse.blocks()
        );
        // Nothing of ours is left.
        for entry in std::fs::read_dir(&place)? {
            let name = entry?.file_name();
            ensure!(!name.to_string_lossy().contains("farstep"), "{name:?}");
        }
    }
    // A second time, what is there is replaced.
    std::fs::write(tree.join("crlf"), "new")?;
    run(&["tree", "one:"]).await?;
    run(&["tree/.", "one:there"]).await?;
    same(&tree, &one.folder.join("there"))?;
    same(&tree, &one.folder.join("tree"))
}

#[tokio::test]
async fn a_link_in_the_place_of_a_copy_is_replaced_and_never_written_through() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    std::fs::write(lab.path().join("new"), "new")?;
    for folder in [lab.path(), &far.folder] {
        std::fs::write(folder.join("kept"), "kept")?;
        symlink("kept", folder.join("link"))?;
    }
    let done = lab.run(&["cp", "new", "far:link"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    let done = lab.run(&["cp", "far:link", "link"]).await?;
    ensure!(done.code == Some(0), "{}", done.err());
    for folder in [lab.path(), &far.folder] {
        assert_eq!(std::fs::read_to_string(folder.join("kept"))?, "kept");
        assert_eq!(std::fs::read_to_string(folder.join("link"))?, "new");
        ensure!(!folder.join("link").is_symlink());
    }
    Ok(())
}

#[tokio::test]
async fn each_file_is_told_with_its_digest_and_all_of_them_at_the_end() -> Result<()> {
    let lab = Lab::new()?;
    let far = lab.executor("far").await?;
    lab.websockets(&[("far", &far.url)])?;
    std::fs::write(lab.path().join("abc"), "abc")?;
    let done = lab
        .run(&["cp", "--json", "abc", "missing", "far:."])
        .await?;
    assert_eq!(done.code, Some(1), "{}", done.err());
    let lines = done.json_lines()?;
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(lines[0]["sha256"], digest);
    assert_eq!(
        (&lines[0]["bytes"], &lines[0]["resumedAt"]),
        (&3.into(), &0.into())
    );
    assert_eq!(lines[1]["place"], "missing");
    assert_eq!(
        (&lines[2]["files"], &lines[2]["failed"]),
        (&1.into(), &1.into())
    );
    Ok(())
}

#[tokio::test]
async fn what_goes_wrong_with_a_copy_is_said() -> Result<()> {
    let mut stage = Stage::set().await?;
    let mut told = String::new();
    for line in [
        "mkdir -p d/sub; printf x > f; ln -s f link; mkfifo pipe; mkdir locked",
        "farstep cp f",
        "farstep cp f g",
        "farstep cp missing builder:",
        "farstep cp builder:missing .",
        "farstep cp f nowhere:",
        "farstep cp f builder:no/such/folder/f",
        "farstep cp f builder:none/",
        "farstep cp builder:none no/such/folder/",
        "farstep cp d builder:",
        "farstep cp -r d builder:",
        "farstep cp f builder:d/sub/f",
        "farstep cp f d builder:d/sub/f",
        "farstep cp -r d builder:d/sub/f",
        "farstep cp builder:d/sub/f d/sub/f/g",
        "farstep cp builder:d/sub/f d/sub",
        "farstep cp builder:d/sub/f builder:d/sub/f",
        "farstep cp -r builder:d builder:d/sub/again",
        "farstep cp pipe builder:",
        "farstep cp builder:/dev/null x",
        "farstep cp f 'builder:C:\\f'",
        "farstep cp a:b builder:",
        "printf y > a:b; farstep cp ./a:b builder:",
        "farstep cp builder:a:b 'c d' && cat 'c d'",
        "farstep mkdir builder:d/f; farstep cp f builder:d",
        "farstep ls -a builder:d",
        "mkdir -p out; ln -s / out/d; farstep cp -r builder:d out",
    ] {
        let printed = stage.run(&format!("{line}; echo \"= $?\"")).await?;
        told.push_str(&format!("$ {line}\n{printed}"));
    }
    insta::assert_snapshot!(told);
    Ok(())
}
