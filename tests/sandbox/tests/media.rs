//! Real WebRTC through a node without a browser: frames from a publisher reach a subscriber, before and after the hand-off.

use std::io::ErrorKind;
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId};
use str0m::media::{Direction, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tidegate_sandbox::{Cluster, ClusterConfig, NodeHandle};
use tungstenite::{Error, Message, WebSocket};

const DEADLINE: Duration = Duration::from_secs(15);
const NAME: &str = "a";

/// A client as small as it gets: one socket for words, one for media.
struct Client {
    ws: WebSocket<TcpStream>,
    udp: UdpSocket,
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    channel: Option<ChannelId>,
    video: Option<Mid>,
    heard: Vec<Value>,
    frames: Vec<Arc<[u8]>>,
    keyframes_asked: usize,
    written: u64,
}

impl Client {
    fn join(node: NodeHandle<'_>) -> Self {
        let stream = TcpStream::connect(node.address()).expect("the node listens");
        let url = format!("ws://{}/live/?id={NAME}", node.address());
        let (ws, _) = tungstenite::client(url.as_str(), stream).expect("the node upgrades");
        ws.get_ref().set_nonblocking(true).expect("a socket");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
        udp.set_read_timeout(Some(Duration::from_millis(2))).expect("a socket");
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(crypto)
            .clear_codecs()
            .enable_vp8(true)
            .build(Instant::now());
        let local = udp.local_addr().expect("it is bound");
        rtc.add_local_candidate(Candidate::host(local, "udp").expect("a good address"));
        Self {
            ws,
            udp,
            rtc,
            pending: None,
            channel: None,
            video: None,
            heard: Vec::new(),
            frames: Vec::new(),
            keyframes_asked: 0,
            written: 0,
        }
    }

    fn say(&mut self, message: &Value) {
        self.ws.send(message.to_string().into()).expect("the socket is open");
    }

    fn say_on_channel(&mut self, message: &Value) {
        let channel = self.channel.and_then(|id| self.rtc.channel(id));
        channel.expect("it is open").write(false, message.to_string().as_bytes()).expect("it takes text");
    }

    /// One step of everything that may have something to do.
    fn pump(&mut self) {
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) => self.heard.push(serde_json::from_str(&text).expect("JSON")),
                Ok(_) => {}
                Err(Error::Io(why)) if why.kind() == ErrorKind::WouldBlock => break,
                Err(_) => break,
            }
        }
        let mut datagram = [0; 2048];
        if let Ok((len, source)) = self.udp.recv_from(&mut datagram) {
            let contents = datagram[..len].try_into().expect("a packet of WebRTC");
            let destination = self.udp.local_addr().expect("it is bound");
            let receive = Receive { proto: Protocol::Udp, source, destination, contents };
            self.rtc.handle_input(Input::Receive(Instant::now(), receive)).expect("a good packet");
        }
        self.rtc.handle_input(Input::Timeout(Instant::now())).expect("time passes");
        loop {
            match self.rtc.poll_output().expect("the session lives") {
                Output::Timeout(_) => return,
                Output::Transmit(out) => {
                    self.udp.send_to(&out.contents, out.destination).expect("loopback");
                }
                Output::Event(event) => self.event(event),
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::MediaData(frame) => self.frames.push(frame.data),
            Event::KeyframeRequest(_) => self.keyframes_asked += 1,
            Event::ChannelData(data) => {
                self.heard.push(serde_json::from_slice(&data.data).expect("JSON"));
            }
            _ => {}
        }
    }

    /// A frame that only this publisher could have sent.
    fn write_frame(&mut self) {
        let writer = self.video.and_then(|mid| self.rtc.writer(mid)).expect("video was agreed on");
        let pt = writer.payload_params().next().expect("VP8 was agreed on").pt();
        self.written += 1;
        let time = MediaTime::from_90khz(self.written * 3000);
        let frame = [&[0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a][..], &[7; 3000]].concat();
        writer.write(pt, Instant::now(), time, frame).expect("a good frame");
    }

    fn has(&self, right: impl Fn(&Value) -> bool) -> bool {
        self.heard.iter().any(right)
    }

    fn sdp(&self) -> Option<&str> {
        self.heard.iter().find_map(|message| message["data"]["sdp"]["sdp"].as_str())
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
        let heard: Vec<_> = clients.iter().map(|client| &client.heard).collect();
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
    let mut change = client.rtc.sdp_api();
    client.video = Some(change.add_media(MediaKind::Video, Direction::SendOnly, None, None, None));
    client.channel = Some(change.add_channel("red5pro".to_owned()));
    let (offer, pending) = change.apply().expect("there is something to offer");
    client.pending = Some(pending);
    let sdp = json!({ "type": "offer", "sdp": offer.to_sdp_string() });
    client.say(&json!({ "handleOffer": NAME, "transport": "udp", "data": { "sdp": sdp } }));
    until([&mut client], "an answer", |[c]| c.sdp().is_some());
    let answer = SdpAnswer::from_sdp_string(client.sdp().expect("it came")).expect("good SDP");
    let pending = client.pending.take().expect("we offered");
    client.rtc.sdp_api().accept_answer(pending, answer).expect("it fits");
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
    let answer = client.rtc.sdp_api().accept_offer(offer).expect("it fits");
    let label = "red5pro".to_owned();
    let config = ChannelConfig { label, ..ChannelConfig::default() };
    client.channel = Some(client.rtc.direct_api().create_data_channel(config));
    let sdp = json!({ "type": "answer", "sdp": answer.to_sdp_string() });
    client.say(&json!({ "handleAnswer": NAME, "requestId": "subscriber-1", "data": { "sdp": sdp } }));
    client.say(&end_of_candidates());
    client.say(&json!({ "subscribe": NAME, "requestId": "subscriber-1" }));
    until([&mut client, publisher], "the stream plays", |[c, _]| c.has(starting));
    client
}

/// Writes frames until the subscriber has so many more.
fn stream(publisher: &mut Client, subscriber: &mut Client, more: usize) {
    let wanted = subscriber.frames.len() + more;
    let end = Instant::now() + DEADLINE;
    while subscriber.frames.len() < wanted {
        assert!(Instant::now() < end, "{} of {wanted} frames", subscriber.frames.len());
        publisher.write_frame();
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
    assert!(subscriber.frames.iter().all(|frame| frame.len() == 3006));
    until([&mut publisher], "a whole picture is asked for", |[p]| p.keyframes_asked > 0);

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
