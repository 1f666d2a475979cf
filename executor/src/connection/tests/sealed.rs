//! A connection inside a sealed stream.

use farstep_transport::relay;

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
    let params = json!({"clientName": "test", "farstepChannel": {"rekey": true}});
    let result = peer.call("initialize", params).await.unwrap();
    assert_eq!(result["farstepChannel"], json!({}));
}
