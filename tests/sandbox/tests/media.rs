//! Real WebRTC through a node without a browser: frames from a publisher reach a subscriber, before and after the hand-off.

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

/// A client as small as it gets: one socket for words, one for media.
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

    fn say(&mut self, message: &Value) {
        self.ws.send(message.to_string().into()).expect("the socket is open");
    }

    fn say_on_channel(&mut self, message: &Value) {
        let channel = self.channel.and_then(|id| self.media.rtc.channel(id));
        channel.expect("it is open").write(false, message.to_string().as_bytes()).expect("it takes text");
    }

    /// One step of everything that may have something to do.
    fn pump(&mut self) {
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) => self.media.heard.push(serde_json::from_str(&text).expect("JSON")),
                Ok(_) => {}
                Err(Error::Io(why)) if why.kind() == ErrorKind::WouldBlock => break,
                Err(_) => break,
            }
        }
        self.media.pump();
    }

    fn has(&self, right: impl Fn(&Value) -> bool) -> bool {
        self.media.heard.iter().any(right)
    }

    fn sdp(&self) -> Option<&str> {
        self.media.heard.iter().find_map(|message| message["data"]["sdp"]["sdp"].as_str())
    }
}

/// Lets all clients run until something is true.
fn until<const N: usize>(
    mut clients: [&mut Client; N],
    what: &str,
    right: impl Fn(&[&mut Client; N]) -> bool,
) {
    let end = Instant::now() + DEADLINE;
    while !right(&clients) {
        let heard: Vec<_> = clients.iter().map(|client| &client.media.heard).collect();
        assert!(Instant::now() < end, "not in time: {what}: {heard:?}");
        for client in &mut clients {
            client.pump();
        }
    }
}

fn code(wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |message| message["data"]["code"] == wanted
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
    let (offer, pending) = change.apply().expect("there is something to offer");
    let sdp = json!({ "type": "offer", "sdp": offer.to_sdp_string() });
    client.say(&json!({ "handleOffer": NAME, "transport": "udp", "data": { "sdp": sdp } }));
    until([&mut client], "an answer", |[c]| c.sdp().is_some());
    let answer = SdpAnswer::from_sdp_string(client.sdp().expect("it came")).expect("good SDP");
    client.media.rtc.sdp_api().accept_answer(pending, answer).expect("it fits");
    client.say(&end_of_candidates());
    until([&mut client], "the node's candidates", |[c]| c.has(code("NetConnection.ICE.TricleCompleted")));
    client.say(&json!({ "publish": NAME, "mode": "live", "keyFramerate": 3000 }));
    until([&mut client], "the stream starts", |[c]| c.has(starting));
    client
}

fn subscribe(node: NodeHandle<'_>, publisher: &mut Client) -> Client {
    let mut client = Client::join(node);
    client.say(&json!({ "requestOffer": NAME, "requestId": "subscriber-1", "datachannel": true }));
    until([&mut client, publisher], "an offer", |[c, _]| c.sdp().is_some());
    let offer = SdpOffer::from_sdp_string(client.sdp().expect("it came")).expect("good SDP");
    let answer = client.media.rtc.sdp_api().accept_offer(offer).expect("it fits");
    let label = "red5pro".to_owned();
    let config = ChannelConfig { label, ..ChannelConfig::default() };
    client.channel = Some(client.media.rtc.direct_api().create_data_channel(config));
    let sdp = json!({ "type": "answer", "sdp": answer.to_sdp_string() });
    client.say(&json!({ "handleAnswer": NAME, "requestId": "subscriber-1", "data": { "sdp": sdp } }));
    client.say(&end_of_candidates());
    client.say(&json!({ "subscribe": NAME, "requestId": "subscriber-1" }));
    until([&mut client, publisher], "the stream plays", |[c, _]| c.has(starting));
    client
}

/// Writes frames until the subscriber has so many more.
fn stream(publisher: &mut Client, subscriber: &mut Client, more: usize) {
    let wanted = subscriber.media.frames.len() + more;
    let end = Instant::now() + DEADLINE;
    while subscriber.media.frames.len() < wanted {
        assert!(Instant::now() < end, "{} of {wanted} frames", subscriber.media.frames.len());
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
    until([&mut publisher], "a whole picture is asked for", |[p]| p.media.keyframes_asked > 0);

    let channel = code("NetConnection.DataChannel.Available");
    until([&mut publisher, &mut subscriber], "data channels", |both| both.iter().all(|c| c.has(&channel)));
    for client in [&mut publisher, &mut subscriber] {
        client.say(&json!({ "switchChannel": "red5pro" }));
        client.ws.close(None).unwrap();
    }
    until([&mut publisher, &mut subscriber], "both sockets are gone", |_| node.counts().open == 0);
    assert_eq!(node.counts().handed_off, 2);
    stream(&mut publisher, &mut subscriber, 10);

    publisher.say_on_channel(&json!({ "unpublish": NAME }));
    until([&mut publisher, &mut subscriber], "the end is told on both channels", |[p, s]| {
        p.has(|m| m["data"]["message"] == format!("{NAME} stopping"))
            && s.has(code("NetStream.Play.UnpublishNotify"))
    });
    assert!(cluster.streams().is_empty());
}

#[test]
fn a_socket_that_dies_before_the_hand_off_ends_the_stream() {
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
fn a_name_is_in_use_only_where_it_is_live() {
    let cluster = Cluster::start(ClusterConfig::default()).unwrap();
    cluster.pretend_live("live", NAME, 0);
    let mut late = Client::join(cluster.node(1));
    late.say(&json!({ "isAvailable": NAME, "bundle": true }));
    until([&mut late], "an answer", |[c]| c.has(|m| m["isAvailable"] == false));
    let mut same = Client::join(cluster.node(0));
    same.say(&json!({ "isAvailable": NAME, "bundle": true }));
    until([&mut same], "an answer", |[c]| c.has(|m| m["isAvailable"] == true));
}
