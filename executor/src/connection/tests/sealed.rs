//! A connection inside a sealed stream.

use farstep_transport::{Padding, PaddingWish, relay};

use super::*;

#[tokio::test(start_paused = true)]
async fn keys_of_a_sealed_stream_change_if_the_orchestrator_asks() {
    for asks in [true, false] {
        let (mut peer, wire) = relay::memory().unwrap();
        let server = Server::for_tests();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served =
            tokio::spawn(
                async move { serve(&server, wire, Who::default(), None, &stopped).await.0 },
            );
        let mut params = json!({"clientName": "test"});
        if asks {
            params["farstepChannel"] = json!({"rekey": true, "later": 1});
        }
        let mut talk = async |method: &str, params: Value| {
            let request = json!({"id": 1, "method": method, "params": params});
            peer.send(request.to_string().into()).await.unwrap();
            // Ours change too, beginning with the answer: what comes of it says whether both do.
            peer.set_rekeys(if asks { Rekeys::Agreed } else { Rekeys::Never });
            let answer = peer.next().await.unwrap();
            answer.map(|text| serde_json::from_str::<Value>(&text).unwrap())
        };
        let answer = talk("initialize", params).await.unwrap();
        let agreed = asks.then(|| json!({"rekey": true}));
        assert_eq!(answer["result"].get("farstepChannel"), agreed.as_ref());
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(3600)).await;
            let answer = talk("unheard/of", Value::Null).await.unwrap();
            assert_eq!(answer["error"]["code"], -32601);
        }
        tokio::time::advance(Duration::from_secs(3600)).await;
        let request = json!({"id": 1, "method": "unheard/of"}).to_string();
        peer.send(request.into()).await.unwrap();
        // Whoever forgets the agreement now sees the executor's marker, if it sends one.
        peer.set_rekeys(Rekeys::Never);
        assert_eq!(peer.next().await.unwrap().is_err(), asks);
        stop.cancel();
        served.await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_without_keys_agrees_to_nothing() {
    let mut peer = Peer::connect(&Server::for_tests());
    let asked = json!({"rekey": true, "padding": true});
    let params = json!({"clientName": "test", "farstepChannel": asked});
    let result = peer.call("initialize", params).await.unwrap();
    assert_eq!(result["farstepChannel"], json!({}));
}

/// What `initialize` with these terms is answered by an executor that wants this of padding, and
/// whether the answer and what follows can be read by an end that thinks so of padding.
async fn answered(wish: PaddingWish, asked: Value, thought: Padding) -> Option<Value> {
    let (mut peer, wire) = relay::memory().unwrap();
    let server = Server::for_tests();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let wire = wire.wishing(wish);
    let served =
        tokio::spawn(async move { serve(&server, wire, Who::default(), None, &stopped).await.0 });
    let mut params = json!({"clientName": "test"});
    if !asked.is_null() {
        params["farstepChannel"] = asked;
    }
    let mut answers = Vec::new();
    for (id, method, params) in [(1, "initialize", params), (2, "unheard/of", Value::Null)] {
        let request = json!({"id": id, "method": method, "params": params});
        peer.send(request.to_string().into()).await.unwrap();
        // An end that pads knows that it does before it reads the answer.
        peer.set_padding(thought);
        let Some(Ok(text)) = peer.next().await else {
            return None;
        };
        answers.push(serde_json::from_str::<Value>(&text).unwrap());
    }
    assert_eq!(answers[1]["error"]["code"], -32601);
    stop.cancel();
    served.await.unwrap();
    Some(answers.swap_remove(0))
}

#[tokio::test]
async fn records_are_padded_for_an_orchestrator_that_asks_and_for_no_other() {
    let both = json!({"rekey": true, "padding": true});
    for (wish, asked, agreed, thought) in [
        (
            PaddingWish::IfAsked,
            both.clone(),
            both.clone(),
            Padding::Agreed,
        ),
        (
            PaddingWish::Always,
            both.clone(),
            both.clone(),
            Padding::Agreed,
        ),
        // One of before padding, and the peer.
        (
            PaddingWish::IfAsked,
            json!({"rekey": true}),
            json!({"rekey": true}),
            Padding::Never,
        ),
        (
            PaddingWish::IfAsked,
            Value::Null,
            Value::Null,
            Padding::Never,
        ),
        (
            PaddingWish::Never,
            both.clone(),
            json!({"rekey": true}),
            Padding::Never,
        ),
        (
            PaddingWish::Never,
            both,
            json!({"rekey": true}),
            Padding::Offered,
        ),
    ] {
        let answer = answered(wish, asked.clone(), thought).await;
        let answer = answer.unwrap_or_else(|| panic!("{wish:?} {asked} was not understood"));
        assert_eq!(
            answer["result"]["farstepChannel"], agreed,
            "{wish:?} {asked}"
        );
    }
    // Whoever did not ask could not read it.
    let asked = json!({"padding": true});
    let answer = answered(PaddingWish::IfAsked, asked, Padding::Never).await;
    assert_eq!(answer, None);
}

#[tokio::test]
async fn an_executor_that_always_pads_refuses_who_does_not_ask() {
    for asked in [Value::Null, json!({"rekey": true})] {
        let answer = answered(PaddingWish::Always, asked, Padding::Never).await;
        let error = answer.unwrap()["error"].clone();
        assert_eq!(error["code"], -32602);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("padding = true"), "{message}");
    }
}
