//! JSON merge patch: to make one, and to use one.

use serde_json::{Map, Value};

/// The patch that turns `older` into `newer`, or `None` when they are equal.
///
/// A merge patch cannot say "this member is null": neither value may hold a null.
pub fn difference(older: &Value, newer: &Value) -> Option<Value> {
    if older == newer {
        return None;
    }
    let (Value::Object(older), Value::Object(newer)) = (older, newer) else {
        return Some(newer.clone());
    };
    let mut patch = Map::new();
    for (name, value) in newer {
        let change = match older.get(name) {
            Some(before) => difference(before, value),
            None => Some(value.clone()),
        };
        if let Some(change) = change {
            patch.insert(name.clone(), change);
        }
    }
    for name in older.keys().filter(|name| !newer.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Some(Value::Object(patch))
}

/// Applies a patch.
pub fn apply(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(members) = target else {
        return;
    };
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            apply(members.entry(name.clone()).or_insert(Value::Null), change);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_names_only_what_changed_and_null_deletes() {
        let older = json!({"environments": {"alpha": {"status": "available", "is_primary": true},
                                            "beta": {"status": "starting"}}});
        let newer = json!({"environments": {"alpha": {"status": "available"},
                                            "beta": {"status": "available", "is_primary": true}}});
        assert_eq!(
            difference(&older, &newer),
            Some(json!({"environments": {"alpha": {"is_primary": null},
                                         "beta": {"status": "available", "is_primary": true}}}))
        );
    }

    #[test]
    fn equal_values_need_no_patch() {
        assert_eq!(difference(&json!({"a": {}}), &json!({"a": {}})), None);
    }

    #[test]
    fn a_value_that_became_an_object_replaces_the_old_one() {
        let mut value = json!({"a": "text"});
        apply(&mut value, &json!({"a": {"b": 1}}));
        assert_eq!(value, json!({"a": {"b": 1}}));
    }

    /// Values a world can hold: no nulls anywhere.
    fn world_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            "[a-c]{0,2}".prop_map(Value::from),
            prop::collection::vec("[ab]", 0..3).prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn a_difference_applied_to_the_older_value_gives_the_newer_one(
            older in world_value(), newer in world_value()
        ) {
            // The top is always an object, as a world is.
            let (older, newer) = (json!({"top": older}), json!({"top": newer}));
            let mut patched = older.clone();
            if let Some(patch) = difference(&older, &newer) {
                apply(&mut patched, &patch);
            }
            prop_assert_eq!(patched, newer);
        }
    }
}
