//! A WebRTC client without a browser: one UDP socket, one session. Each test carries the SDP in its own way.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use str0m::media::{MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// How long a condition may take to hold.
pub const DEADLINE: Duration = Duration::from_secs(15);

pub struct Media {
    udp: UdpSocket,
    pub rtc: Rtc,
    pub video: Option<Mid>,
    /// Messages from the node, on the WebSocket and on the data channel.
    pub received: Vec<Value>,
    pub frames: Vec<Arc<[u8]>>,
    pub keyframe_requests: usize,
    written: u64,
}

impl Media {
    pub fn new() -> Self {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("loopback has free ports");
        udp.set_read_timeout(Some(Duration::from_millis(2))).expect("a socket");
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(crypto)
            .clear_codecs()
            .enable_vp8(true)
            .build(Instant::now());
        let local = udp.local_addr().expect("a bound socket");
        rtc.add_local_candidate(Candidate::host(local, "udp").expect("a valid address"));
        let (received, frames) = (Vec::new(), Vec::new());
        Self { udp, rtc, video: None, received, frames, keyframe_requests: 0, written: 0 }
    }

    /// Reads at most one datagram and lets the session run until it waits.
    pub fn pump(&mut self) {
        let mut datagram = [0; 2048];
        if let Ok((len, source)) = self.udp.recv_from(&mut datagram) {
            let contents = datagram[..len].try_into().expect("a packet of WebRTC");
            let destination = self.udp.local_addr().expect("a bound socket");
            let receive = Receive { proto: Protocol::Udp, source, destination, contents };
            self.rtc.handle_input(Input::Receive(Instant::now(), receive)).expect("a valid packet");
        }
        self.rtc.handle_input(Input::Timeout(Instant::now())).expect("the session takes the time");
        loop {
            match self.rtc.poll_output().expect("the session lives") {
                Output::Timeout(_) => return,
                Output::Transmit(out) => {
                    self.udp.send_to(&out.contents, out.destination).expect("loopback takes the packet");
                }
                Output::Event(event) => self.event(event),
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::MediaData(frame) => self.frames.push(frame.data),
            Event::KeyframeRequest(_) => self.keyframe_requests += 1,
            Event::ChannelData(data) => {
                self.received.push(serde_json::from_slice(&data.data).expect("JSON"));
            }
            _ => {}
        }
    }

    /// Writes one video frame of 3006 bytes.
    pub fn write_frame(&mut self) {
        let writer = self.video.and_then(|mid| self.rtc.writer(mid)).expect("video was negotiated");
        let pt = writer.payload_params().next().expect("VP8 was negotiated").pt();
        self.written += 1;
        let time = MediaTime::from_90khz(self.written * 3000);
        let frame = [&[0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a][..], &[7; 3000]].concat();
        writer.write(pt, Instant::now(), time, frame).expect("a valid frame");
    }
}
