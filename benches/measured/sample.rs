//! Inputs as they arrive from a network: heads, targets, parameters, answers, frames.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tidegate::proto::admission::AdmissionRules;
use tidegate::proto::http::forward_fields::trim_user_agent;
use tidegate::proto::http::forward_fields::{Fields, NodeRequest};
use tidegate::proto::http::head;
use tidegate::proto::http::head::{BodyLength, HeadLimits, Request};
use tidegate::proto::red5::params::ConnectionParams;
use tidegate::proto::websocket::upgrade::Upgrade;

/// A request head of a monitor or a script.
pub const SMALL: &str = "GET /streammanager/api/4.0/event/live/stream1?action=broadcast HTTP/1.1\r\n\
    Host: edge.example.net\r\n\
    User-Agent: curl/7.88.1\r\n\
    Accept: */*\r\n\r\n";

/// The request head with which Chromium opens the vendor's signalling.
pub const UPGRADE: &str = "GET /streammanager/?id=stream1&host=10.0.0.5&app=live HTTP/1.1\r\n\
    Host: edge.example.net\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://edge.example.net\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

/// The same head with the cookies of a site that sets many: about 4 KiB.
pub fn large() -> String {
    let cookie = format!("Cookie: {}\r\n", "preference0123=4567890abcdef; ".repeat(115));
    UPGRADE.replace("Upgrade: websocket\r\n", &format!("{cookie}Upgrade: websocket\r\n"))
}

/// A node's answer to an upgrade, the example of RFC 6455, 1.3.
pub const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// The key that belongs to [`SWITCHING`].
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

pub const LIMITS: HeadLimits =
    HeadLimits { head_size_max: 16 << 10, target_size_max: 6 << 10, headers_max: 100 };

pub const EVENT: &str = "/streammanager/api/4.0/event/live/room1/stream1?action=subscribe&region=us-east-1&strict=true&endpoints=2";

pub const TWO_STEP: &str = "/streammanager/?id=stream1&host=10.0.0.5&app=live";

pub const PLAIN_QUERY: &str = "id=stream1&host=10.0.0.5&app=live";

/// A query with a digest token, as round-trip authentication sends it.
pub const QUERY: &str = "id=stream1&region=us-east&strict=true&username=u&password=p&\
    token=stream1%3Auser%3Astreamer%3Akey1%3Dvalue1%3Aapp%3A1234567891%3A\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef&host=10.0.0.5&app=live&context=room1";

pub const ONE_STEP: &str = "/as/v1/proxy/ws/publish/live/stream1?id=stream1&nodeGroup=ng1&region=us-east";

pub const WHIP: &str = "/as/v1/proxy/whip/live/stream1?signal=true&nodeGroup=ng1&mode=live&transport=udp&\
    keyFramerate=3000&host=10.0.0.7";

pub const RESOURCE: &str =
    "/as/v1/proxy/whip/live/stream1~00112233445566778899aabbccddeeff?nodeGroup=ng1&host=10.0.0.7";

pub const ANSWER: &str =
    r#"{"name":"stream1","scope":"/live","serverAddress":"10.0.0.5","region":"us-east-1"}"#;

/// The web origin of a page.
pub const PAGE: &str = "https://edge.example.net";

/// A session id in the gateway's form.
pub const SESSION: &str = "0-1a2b3c4d5e";

/// The address of the node in all samples.
pub const NODE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 5)), 5080);

/// The address of the client in all samples.
pub const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 50_711);

/// Parses a whole request head.
pub fn read(head: &str) -> Request<'_> {
    let read = head::request(head.as_bytes(), 0, &LIMITS).expect("a valid head");
    read.expect("a whole head").0
}

/// The gateway's request to a node for a client that sent [`UPGRADE`] with these parameters.
pub fn upgrade(params: ConnectionParams) -> Upgrade {
    let request = read(UPGRADE);
    Upgrade {
        target: params.node_target,
        client_key: KEY.to_owned(),
        user_agent: request.user_agent.and_then(trim_user_agent),
        extensions: None,
        client_protocols: None,
        node_protocol: None,
        origin_header: None,
        trace: None,
    }
}

/// The gateway's request to a node with the fields of this client request: a WHIP offer of 8,000 bytes.
pub fn whip_forward<'r>(request: &Request<'r>) -> NodeRequest<'r> {
    NodeRequest {
        method: "POST",
        target: "/live/whip/endpoint/stream1?requestId=stream1&signal=true&mode=live&transport=udp",
        node: NODE,
        client: CLIENT,
        body: BodyLength::Length(8000),
        close: true,
        fields: Fields::of(request, true),
    }
}

/// Admission rules with sixteen listed networks; learned nodes are admitted too.
pub fn admission_rules() -> AdmissionRules {
    let networks = (0..16).map(|n| format!("192.168.{n}.0/24").parse().expect("a network")).collect();
    let own = vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
    AdmissionRules { networks, learned: true, strict: false, own, port: 5080 }
}

/// At least 64 KiB of masked client frames with payloads of `size` bytes.
pub fn frames(size: usize) -> Vec<u8> {
    let mut frame = vec![0x82];
    match size {
        0..126 => frame.push(0x80 | u8::try_from(size).expect("short")),
        126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(size).expect("medium").to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((size as u64).to_be_bytes());
        }
    }
    frame.extend([1, 2, 3, 4]);
    frame.resize(frame.len() + size, b'x');
    frame.repeat((64 * 1024_usize).div_ceil(frame.len()))
}
