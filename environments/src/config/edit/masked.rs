//! A file as it may be shown.

use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::ENTRIES;

const STARS: &str = "***";

/// `text` with every value hidden that may be a secret: tokens, values of variables and headers,
/// and URLs that carry a user or a query. A text that is not TOML is hidden as a whole.
pub(super) fn masked(text: &str) -> String {
    let Ok(mut document) = text.parse::<DocumentMut>() else {
        return STARS.to_owned();
    };
    match document.get_mut(ENTRIES) {
        Some(Item::ArrayOfTables(tables)) => tables.iter_mut().for_each(|table| hide(table)),
        Some(Item::Value(Value::Array(values))) => values
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .for_each(|table| hide(table)),
        _ => {}
    }
    document.to_string()
}

fn hide(entry: &mut dyn TableLike) {
    if let Some(token) = entry.get_mut("auth_bearer_token") {
        star(token);
    }
    let is_open = |url: &str| !url.contains(['@', '?']);
    if let Some(url) = entry.get_mut("url")
        && !url.as_str().is_some_and(is_open)
    {
        star(url);
    }
    hide_values(entry.get_mut("env"));
    let Some(ours) = entry.get_mut("farstep").and_then(Item::as_table_like_mut) else {
        return;
    };
    hide_values(ours.get_mut("headers"));
    let env = ours.get_mut("env").and_then(Item::as_table_like_mut);
    hide_values(env.and_then(|env| env.get_mut("set")));
}

fn hide_values(table: Option<&mut Item>) {
    let Some(table) = table.and_then(Item::as_table_like_mut) else {
        return;
    };
    for (_, value) in table.iter_mut() {
        star(value);
    }
}

/// The layout stays.
fn star(item: &mut Item) {
    let mut stars = Value::from(STARS);
    if let Some(value) = item.as_value() {
        *stars.decor_mut() = value.decor().clone();
    }
    *item = Item::Value(stars);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_stars_and_the_rest_is_as_it_was() {
        let text = "# A.\n[[environments]]\nid = \"a\"\nurl = \"wss://me:word@h\" # where\n\
            auth_bearer_token = 'token'\nfarstep.headers = { X-Team = \"core\" }\n\
            [[environments]]\nid = \"b\"\nprogram = \"ssh\"\nargs = [\"h\"]\n\
            env = { A = \"hidden\" }\n[environments.farstep.env]\nset.B = \"hidden\"\n";
        let expected = text
            .replace("\"wss://me:word@h\"", "\"***\"")
            .replace("'token'", "\"***\"")
            .replace("\"core\"", "\"***\"")
            .replace("\"hidden\"", "\"***\"");
        assert_eq!(masked(text), expected);
        assert_eq!(masked("token = "), "***");
    }
}
