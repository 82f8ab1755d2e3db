//! Tests real WebRTC through a node without a browser: frames of a publisher reach a subscriber before and after the
//! hand-off.

mod support;

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::media::{Direction, MediaKind};
use support::{DEADLINE, Media};
use tidegate_sandbox::{Cluster, ClusterConfig, NodeHandle};
use tungstenite::{Error, Message, WebSocket};

const NAME: &str = "a";

/// A minimal client: a WebSocket for signalling and a UDP socket for media.
struct Client {
    ws: WebSocket<TcpStream>,
    media: Media,
    channel: Option<ChannelId>,
}

impl Client {
    fn join(node: NodeHandle<'_>) -> Self {
        let stream = TcpStream::connect(node.address()).expect("the node listens");
        let url = format!("ws://{}/live/?id={NAME}", node.address());
        let (ws, _) = tungstenite::client(url.as_str(), stream).expect("the node upgrades");
        ws.get_ref().set_nonblocking(true).expect("a socket");
        Self { ws, media: Media::new(), channel: None }
    }

    fn send(&mut self, message: &Value) {
        self.ws.send(message.to_string().into()).expect("the socket is open");
    }

    fn send_on_channel(&mut self, message: &Value) {
        let channel = self.channel.and_then(|id| self.media.rtc.channel(id));
        channel
            .expect("the data channel is open")
            .write(false, message.to_string().as_bytes())
            .expect("the data channel takes the text");
    }

    /// Reads what has arrived and lets the WebRTC session run once.
    fn pump(&mut self) {
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) => {
                    self.media.received.push(serde_json::from_str(&text).expect("JSON"))
                }
                Ok(_) => {}
                Err(Error::Io(why)) if why.kind() == ErrorKind::WouldBlock => break,
                Err(_) => break,
            }
        }
        self.media.pump();
    }

    fn has(&self, matches: impl Fn(&Value) -> bool) -> bool {
        self.media.received.iter().any(matches)
    }

    fn sdp(&self) -> Option<&str> {
        self.media.received.iter().find_map(|message| message["data"]["sdp"]["sdp"].as_str())
    }
}

/// Lets all clients run until `condition` holds; fails after the deadline.
fn until<const N: usize>(
    mut clients: [&mut Client; N],
    what: &str,
    condition: impl Fn(&[&mut Client; N]) -> bool,
) {
    let end = Instant::now() + DEADLINE;
    while !condition(&clients) {
        let received: Vec<_> = clients.iter().map(|client| &client.media.received).collect();
        assert!(Instant::now() < end, "not within {DEADLINE:?}: {what}; received: {received:?}");
        for client in &mut clients {
            client.pump();
        }
    }
}

fn code(expected: &'static str) -> impl Fn(&Value) -> bool {
    move |message| message["data"]["code"] == expected
}

fn starting(message: &Value) -> bool {
    message["data"]["message"] == format!("{NAME} starting")
}

fn end_of_candidates() -> Value {
    json!({ "handleCandidate": NAME, "data": { "candidate": { "type": "candidate", "candidate": "" } } })
}

fn publish(node: NodeHandle<'_>) -> Client {
    let mut client = Client::join(node);
    let mut change = client.media.rtc.sdp_api();
    client.media.video = Some(change.add_media(MediaKind::Video, Direction::SendOnly, None, None, None));
    client.channel = Some(change.add_channel("red5pro".to_owned()));
    let (offer, pending) = change.apply().expect("the change has media");
    let sdp = json!({ "type": "offer", "sdp": offer.to_sdp_string() });
    client.send(&json!({ "handleOffer": NAME, "transport": "udp", "data": { "sdp": sdp } }));
    until([&mut client], "an answer", |[c]| c.sdp().is_some());
    let answer = SdpAnswer::from_sdp_string(client.sdp().expect("an answer")).expect("valid SDP");
    client.media.rtc.sdp_api().accept_answer(pending, answer).expect("the answer fits the offer");
    client.send(&end_of_candidates());
    until([&mut client], "the node's candidates", |[c]| c.has(code("NetConnection.ICE.TricleCompleted")));
    client.send(&json!({ "publish": NAME, "mode": "live", "keyFramerate": 3000 }));
    until([&mut client], "the stream starts", |[c]| c.has(starting));
    client
}

fn subscribe(node: NodeHandle<'_>, publisher: &mut Client) -> Client {
    let mut client = Client::join(node);
    client.send(&json!({ "requestOffer": NAME, "requestId": "subscriber-1", "datachannel": true }));
    until([&mut client, publisher], "an offer", |[c, _]| c.sdp().is_some());
    let offer = SdpOffer::from_sdp_string(client.sdp().expect("an offer")).expect("valid SDP");
    let answer = client.media.rtc.sdp_api().accept_offer(offer).expect("the offer is acceptable");
    let label = "red5pro".to_owned();
    let config = ChannelConfig { label, ..ChannelConfig::default() };
    client.channel = Some(client.media.rtc.direct_api().create_data_channel(config));
    let sdp = json!({ "type": "answer", "sdp": answer.to_sdp_string() });
    client.send(&json!({ "handleAnswer": NAME, "requestId": "subscriber-1", "data": { "sdp": sdp } }));
    client.send(&end_of_candidates());
    client.send(&json!({ "subscribe": NAME, "requestId": "subscriber-1" }));
    until([&mut client, publisher], "the stream plays", |[c, _]| c.has(starting));
    client
}

/// Writes frames until the subscriber has received `count` more.
fn stream(publisher: &mut Client, subscriber: &mut Client, count: usize) {
    let expected = subscriber.media.frames.len() + count;
    let end = Instant::now() + DEADLINE;
    while subscriber.media.frames.len() < expected {
        assert!(Instant::now() < end, "{} of {expected} frames", subscriber.media.frames.len());
        publisher.media.write_frame();
        publisher.pump();
        subscriber.pump();
    }
}

#[test]
fn frames_reach_a_subscriber_before_and_after_the_hand_off() {
    let cluster = Cluster::start(ClusterConfig::default()).unwrap();
    let node = cluster.node(1);
    let mut publisher = publish(node);
    assert_eq!(cluster.streams()[0].node, 1);
    let mut subscriber = subscribe(node, &mut publisher);
    assert_eq!(cluster.streams()[0].subscribers, 1);
    stream(&mut publisher, &mut subscriber, 10);
    assert!(subscriber.media.frames.iter().all(|frame| frame.len() == 3006));
    until([&mut publisher], "a keyframe is requested", |[p]| p.media.keyframe_requests > 0);

    let channel = code("NetConnection.DataChannel.Available");
    until([&mut publisher, &mut subscriber], "data channels", |both| both.iter().all(|c| c.has(&channel)));
    for client in [&mut publisher, &mut subscriber] {
        client.send(&json!({ "switchChannel": "red5pro" }));
        client.ws.close(None).unwrap();
    }
    until([&mut publisher, &mut subscriber], "both WebSockets are closed", |_| node.counts().open == 0);
    assert_eq!(node.counts().handed_off, 2);
    stream(&mut publisher, &mut subscriber, 10);

    publisher.send_on_channel(&json!({ "unpublish": NAME }));
    until([&mut publisher, &mut subscriber], "the end is announced on both data channels", |[p, s]| {
        p.has(|m| m["data"]["message"] == format!("{NAME} stopping"))
            && s.has(code("NetStream.Play.UnpublishNotify"))
    });
    assert!(cluster.streams().is_empty());
}

#[test]
fn a_connection_lost_before_the_hand_off_ends_the_stream() {
    let cluster = Cluster::start(ClusterConfig::default()).unwrap();
    let publisher = publish(cluster.node(0));
    drop(publisher);
    let end = Instant::now() + DEADLINE;
    while !cluster.streams().is_empty() {
        assert!(Instant::now() < end, "the stream is still there");
        std::thread::yield_now();
    }
}

#[test]
fn a_stream_is_available_only_at_the_node_where_it_is_live() {
    let cluster = Cluster::start(ClusterConfig::default()).unwrap();
    cluster.pretend_live("live", NAME, 0);
    let mut other = Client::join(cluster.node(1));
    other.send(&json!({ "isAvailable": NAME, "bundle": true }));
    until([&mut other], "an answer", |[c]| c.has(|m| m["isAvailable"] == false));
    let mut same = Client::join(cluster.node(0));
    same.send(&json!({ "isAvailable": NAME, "bundle": true }));
    until([&mut same], "an answer", |[c]| c.has(|m| m["isAvailable"] == true));
}
