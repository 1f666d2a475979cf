use super::*;

fn available(primary: bool, cwd: &str) -> EnvironmentEntry {
    EnvironmentEntry {
        is_primary: primary,
        cwd: Some(cwd.into()),
        os: Some("linux".into()),
        roots: Vec::new(),
        labels: BTreeMap::new(),
        state: State::Available {
            shell: "bash".into(),
            problem: None,
        },
    }
}

fn with_state(state: State) -> EnvironmentEntry {
    EnvironmentEntry {
        is_primary: false,
        cwd: None,
        os: None,
        roots: Vec::new(),
        labels: BTreeMap::new(),
        state,
    }
}

fn section<const N: usize>(entries: [(&str, EnvironmentEntry); N]) -> EnvironmentsSection {
    EnvironmentsSection {
        environments: entries
            .into_iter()
            .map(|(id, entry)| (id.to_owned(), entry))
            .collect(),
        current_date: "2026-11-20".into(),
        timezone: "Etc/UTC".into(),
        workspace_roots: vec!["/srv/app".into()],
        profile: None,
    }
}

const FILESYSTEM: &str = "  <filesystem><workspace_roots><root>/srv/app</root></workspace_roots>\
    <permission_profile type=\"disabled\"><file_system type=\"unrestricted\" />\
    </permission_profile></filesystem>\n";

#[test]
fn one_available_environment_is_described_without_a_list() {
    let text = section([("alpha", available(true, "/srv/app"))]).text();
    let expected = format!(
        "<environment_context>\n  <cwd>/srv/app</cwd>\n  <shell>bash</shell>\n  \
         <current_date>2026-11-20</current_date>\n  <timezone>Etc/UTC</timezone>\n\
         {FILESYSTEM}</environment_context>"
    );
    assert_eq!(text, expected);
}

#[test]
fn two_environments_are_listed_by_id_whatever_their_priority() {
    let beta = EnvironmentEntry {
        cwd: Some("/srv/other".into()),
        ..with_state(State::Failed {
            reason: "refused <os error 111>".into(),
        })
    };
    let text = section([("beta", beta), ("alpha", available(true, "/srv/app"))]).text();
    let expected = format!(
        "<environment_context>\n  <environments>\n    \
         <environment id=\"alpha\" primary=\"true\">\n      <cwd>/srv/app</cwd>\n      \
         <shell>bash</shell>\n    </environment>\n    \
         <environment id=\"beta\" primary=\"false\">\n      <cwd>/srv/other</cwd>\n      \
         <status>failed</status>\n      <error>refused &lt;os error 111&gt;</error>\n    \
         </environment>\n  </environments>\n  <current_date>2026-11-20</current_date>\n  \
         <timezone>Etc/UTC</timezone>\n{FILESYSTEM}</environment_context>"
    );
    assert_eq!(text, expected);
}

#[test]
fn without_an_environment_only_the_date_and_the_time_zone_are_told() {
    let text = EnvironmentsSection {
        workspace_roots: Vec::new(),
        ..section([])
    }
    .text();
    assert_eq!(
        text,
        "<environment_context>\n  <current_date>2026-11-20</current_date>\n  \
         <timezone>Etc/UTC</timezone>\n</environment_context>"
    );
}

#[test]
fn nothing_is_called_primary_while_nothing_is_available() {
    let text = section([("alpha", with_state(State::Starting))]).text();
    assert!(
        text.contains("<environment id=\"alpha\">\n      <status>starting</status>"),
        "{text}"
    );
}

#[test]
fn operating_systems_are_named_only_where_they_differ() {
    let windows = EnvironmentEntry {
        os: Some("windows".into()),
        ..available(false, "C:\\proj")
    };
    let mixed = section([("a", available(true, "/srv")), ("b", windows)]).text();
    assert!(
        mixed.contains("<os>linux</os>") && mixed.contains("<os>windows</os>"),
        "{mixed}"
    );
    let alike = section([
        ("a", available(true, "/srv")),
        ("b", available(false, "/srv")),
    ])
    .text();
    assert!(!alike.contains("<os>"), "{alike}");
}

#[test]
fn an_update_lists_only_the_entry_that_changed() {
    let before = section([
        ("a", available(true, "/srv")),
        ("b", available(false, "/srv")),
    ]);
    let lost = EnvironmentEntry {
        cwd: Some("/srv".into()),
        ..with_state(State::Disconnected {
            reason: "link cut".into(),
        })
    };
    let after = section([("a", available(true, "/srv")), ("b", lost)]);
    assert_eq!(
        after.update(&before).unwrap(),
        "<environment_context>\n  <environments>\n    <environment id=\"b\" primary=\"false\">\n\
         \x20     <cwd>/srv</cwd>\n      <status>disconnected</status>\n      \
         <error>link cut</error>\n    </environment>\n  </environments>\n</environment_context>"
    );
}

#[test]
fn a_change_of_primary_lists_both() {
    let before = section([
        ("a", available(true, "/srv")),
        ("b", with_state(State::Starting)),
    ]);
    let after = section([
        ("a", available(false, "/srv")),
        ("b", available(true, "/srv")),
    ]);
    let text = after.update(&before).unwrap();
    assert!(text.contains("id=\"a\" primary=\"false\""), "{text}");
    assert!(text.contains("id=\"b\" primary=\"true\""), "{text}");
}

#[test]
fn other_ids_make_an_update_whole() {
    let before = section([("a", available(true, "/srv"))]);
    let after = section([
        ("a", available(true, "/srv")),
        ("b", with_state(State::Starting)),
    ]);
    assert_eq!(after.update(&before), Some(after.text()));
}

#[test]
fn no_change_is_no_update() {
    let same = section([("a", available(true, "/srv"))]);
    assert_eq!(same.update(&same.clone()), None);
}

#[test]
fn an_id_cannot_leave_its_attribute_and_a_reason_cannot_fill_the_window() {
    let long = "x\n".repeat(5_000);
    let text = section([("a\"b>", with_state(State::Failed { reason: long }))]).text();
    assert!(text.contains("id=\"a&quot;b&gt;\""), "{text}");
    assert!(text.len() < 2_000, "{}", text.len());
}
