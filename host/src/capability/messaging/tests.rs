//! The NATS broker over a real server.

use std::time::Duration;

use futures::StreamExt;

use super::{Backend, Message, NatsBroker};
use crate::capability::nats::LazyClient;
use crate::capability::testing::Server;

#[tokio::test]
async fn a_broker_publishes_and_asks() {
    let server = Server::nats();
    let client = async_nats::connect(server.address()).await.expect("nats");
    let broker = NatsBroker::new(LazyClient::new(None, &client));
    let mut heard = client.subscribe("orders.>").await.expect("subscribe");
    client.flush().await.expect("flush");

    let order = Message {
        subject: "orders.new".into(),
        body: "1".into(),
        reply_to: Some("r".into()),
    };
    assert_eq!(broker.publish(order).await, Ok(()));
    let message = heard.next().await.expect("a message");
    assert_eq!(
        (message.payload.as_ref(), message.reply.as_deref()),
        (&b"1"[..], Some("r"))
    );

    let answer = broker.request("orders.count", "".into(), Duration::from_secs(5));
    let respond = async {
        let message = heard.next().await.expect("a request");
        let reply = message.reply.expect("a reply subject");
        client.publish(reply, "42".into()).await.expect("publish");
    };
    let (answer, ()) = tokio::join!(answer, respond);
    assert_eq!(answer.expect("an answer").body, "42");

    let nobody = broker
        .request("nobody", "".into(), Duration::from_secs(5))
        .await;
    assert!(nobody.expect_err("refused").0.contains("responders"));
    let late = broker
        .request("orders.count", "".into(), Duration::from_millis(50))
        .await;
    assert!(late.expect_err("refused").0.contains("timed out"));
}
