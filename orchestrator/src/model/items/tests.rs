use super::*;

#[test]
fn a_providers_item_travels_back_byte_for_byte() {
    let json = r#"{"type":"function_call","id":"fc_1","call_id":"c1","name":"exec_command",
        "arguments":"{\"cmd\":\"ls\"}", "from_the_future": 1.50}"#;
    let item = Item::from_json(json).unwrap();
    assert_eq!(item.json(), json);
    assert_eq!(
        serde_json::to_string(std::slice::from_ref(&item)).unwrap(),
        format!("[{json}]")
    );
    assert_eq!(item.id(), Some("fc_1"));
    let expected = ToolCall {
        call_id: "c1".into(),
        name: "exec_command".into(),
        namespace: None,
        payload: Payload::Function {
            arguments: r#"{"cmd":"ls"}"#.into(),
        },
    };
    assert_eq!(item.as_call(), Some(&expected));
}

#[test]
fn a_message_joins_its_text_blocks_and_skips_what_it_does_not_know() {
    let item = Item::from_json(
        r#"{"type":"message","role":"assistant","phase":"final_answer","content":[
            {"type":"output_text","text":"one"},{"type":"hologram"},{"type":"output_text","text":"two"}]}"#,
    )
    .unwrap();
    let expected = Message {
        role: Role::Assistant,
        text: "one\ntwo".into(),
        phase: Some("final_answer".into()),
    };
    assert_eq!(item.as_message(), Some(&expected));
}

#[test]
fn an_item_that_cannot_be_used_is_named_in_the_error() {
    let unknown = Item::from_json(r#"{"type":"item_of_the_future","id":"iof_1"}"#);
    assert_eq!(
        unknown,
        Err(ItemError::UnknownType("item_of_the_future".into()))
    );
    let nameless = Item::from_json(r#"{"type":"function_call","call_id":"c1","arguments":"{}"}"#);
    let expected = ItemError::Lacks {
        kind: "function_call".into(),
        member: "name",
    };
    assert_eq!(nameless, Err(expected));
    assert_eq!(Item::from_json("[1]"), Err(ItemError::Shapeless));
    assert_eq!(Item::from_json("{"), Err(ItemError::Shapeless));
}

#[test]
fn an_answer_has_the_shape_of_its_call() {
    let mut call = ToolCall {
        call_id: "c1".into(),
        name: "x".into(),
        namespace: None,
        payload: Payload::Function {
            arguments: "{}".into(),
        },
    };
    let answer = call.answer(&Output::Text("done\n".into()));
    assert!(answer.id().unwrap().starts_with("fco_"));
    assert_eq!(
        without_id(&answer),
        json!({"type":"function_call_output","call_id":"c1","output":"done\n"})
    );

    call.payload = Payload::Custom {
        input: String::new(),
    };
    let image = Block::Image {
        url: "data:image/png;base64,AA==".into(),
        detail: Detail::High,
    };
    let answer = call.answer(&Output::Blocks(vec![Block::Text("see".into()), image]));
    assert!(answer.id().unwrap().starts_with("ctco_"));
    let expected = json!({"type":"custom_tool_call_output","call_id":"c1","output":[
        {"type":"input_text","text":"see"},
        {"type":"input_image","image_url":"data:image/png;base64,AA==","detail":"high"}]});
    assert_eq!(without_id(&answer), expected);
}

#[test]
fn our_messages_have_an_id_and_one_block_per_text() {
    let item = Item::message(Role::Developer, ["a", "b"]);
    assert!(item.id().unwrap().starts_with("msg_"));
    let expected = json!({"type":"message","role":"developer","content":[
        {"type":"input_text","text":"a"},{"type":"input_text","text":"b"}]});
    assert_eq!(without_id(&item), expected);
}

#[test]
fn debug_output_holds_no_content() {
    let shown = format!("{:?}", Item::message(Role::User, ["a secret"]));
    assert!(!shown.contains("secret"), "{shown}");
}

fn without_id(item: &Item) -> Value {
    let mut value: Value = serde_json::from_str(item.json()).unwrap();
    value.as_object_mut().unwrap().remove("id");
    value
}
