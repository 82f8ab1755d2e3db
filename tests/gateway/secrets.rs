//! Secrets that are marked, said in every place where there is one, on good ways and on failing ones, at the levels of the
//! log that say most; then everything that the gateway emits is searched for them.
//!
//! `markers` has the table: each marker names where it may turn up, has to turn up there, and may nowhere else, neither as
//! it is nor escaped, in hexadecimal or in base64.

use crate::town::certs::ECDSA;
use crate::town::link::{Link, Side};
use crate::town::reign::Reign;
use crate::town::whip::SDP;
use crate::town::{Gate, HttpPeer, Origin, Reply, Request, eventually};
use configurations::{good_configurations, wrong_configurations};
use markers::{Markers, Place};
use sessions::{sockets, whip};

mod configurations;
mod markers;
mod sessions;

/// Keys whose values are secret, in the spellings that some server reads as such.
const KEYS: [&str; 14] = [
    "password",
    "token",
    "username",
    "user",
    "ice-credential",
    "ice-username",
    "Password",
    "TOKEN",
    "p%61ssword",
    "%74%6f%6b%65%6e",
    "?token",
    "tok%2565n",
    "password+",
    "%3Fuser",
];

/// A gateway and its neighbours, and everything that was said and heard.
struct Scene {
    reign: Reign,
    markers: Markers,
    /// Speaks HTTP.
    node: HttpPeer,
    /// Speaks WebSocket.
    origin: Origin,
}

impl Scene {
    fn set(level: &str, format: &str, access: &str) -> Self {
        let mut markers = Markers::default();
        let own = markers.mark("authorization, written out", &[Place::Manager]);
        let from_environment =
            markers.mark("authorization, from the environment", &[Place::Manager, Place::Environment]);
        let reign = Reign::begin(|config, place| {
            config.set("log.level", level);
            config.set("log.format", format);
            let file = place.file("access.log");
            config.set("log.access", if access == "file" { file.to_str().unwrap() } else { access });
            config.set("stream_manager.authorization", format!("Bearer {own}"));
            config.set("stream_manager.timeout", "300ms");
            config.set("stream_manager.node_group", "ng1");
            config.set("origins.upgrade_timeout", "300ms");
            config.set("limits.body_timeout", "500ms");
            config.set("answers.missing_ttl", "1ms");
            config.environment("TIDEGATE_TEST_SECRET", format!("Bearer {from_environment}"));
        });
        let (node, origin) = (reign.town.whip_node(1), reign.town.node(2));
        Self { reign, markers, node, origin }
    }

    fn mark(&mut self, what: impl Into<String>, may: &[Place]) -> String {
        self.markers.mark(what, may)
    }

    /// A query in which every secret key has a secret value.
    fn query(&mut self, what: &str, may: &[Place]) -> String {
        KEYS.map(|key| format!("&{key}={}", self.mark(format!("{key} of {what}"), may))).concat()
    }

    /// Fields that carry secrets. `authorization` may go so far; the others go nowhere.
    fn with_fields(&mut self, request: Request, what: &str, authorization: &[Place]) -> Request {
        let bearer = self.mark(format!("Authorization of {what}"), authorization);
        let fields = ["Cookie", "X-Api-Key", "Proxy-Authorization", "X-Amz-Security-Token", "Referer"];
        fields.into_iter().fold(
            request.with("Authorization", &format!("Bearer {bearer}")),
            |request, name| {
                let value = self.mark(format!("{name} of {what}"), &[]);
                let value =
                    if name == "Referer" { format!("https://app.test/?token={value}") } else { value };
                request.with(name, &value)
            },
        )
    }

    /// Asks on a connection of its own and takes down the answer.
    #[track_caller]
    fn ask(&mut self, request: &Request, status: u16) -> crate::town::Response {
        let response = self.reign.town.refused(request);
        assert_eq!(response.status(), status, "{response:?}");
        self.markers.saw(Place::Sender, everything(&response));
        response
    }

    /// Everybody else asks too: what was said by one is not told to another.
    fn others_ask(&mut self) {
        for target in [
            "/nowhere",
            "/streammanager/api/4.0/event/live/other?action=subscribe",
            "/streammanager/?id=s&app=live",
        ] {
            let response = self.reign.town.get(target);
            self.markers.saw(Place::Others, everything(&response));
        }
    }
}

fn everything(response: &crate::town::Response) -> Vec<u8> {
    let mut bytes = format!("{:?}", response.head).into_bytes();
    bytes.extend_from_slice(&response.body);
    bytes
}

const EVENT: &str = "/streammanager/api/4.0/event/live";

/// Questions to the stream manager, answered in all ways.
fn questions(scene: &mut Scene) {
    let node = scene.reign.town.ip(1);
    let gate = Gate::default();
    let secret = scene.mark("a field of the manager", &[]);
    let hidden =
        |reply: Reply| reply.field("Set-Cookie", &secret).field("X-Debug", &secret).field("Server", &secret);
    let body = scene.mark("an error of the manager, which is the client's", &[Place::Sender]);
    let place = scene.mark("where the manager redirects to", &[]);
    let cases = [
        ("a good question", hidden(Reply::node(node)), 200),
        ("a missing stream", hidden(Reply::missing(404)), 404),
        (
            "an error of the manager",
            hidden(Reply::json(500, format!("{{\"errorMessage\":\"{body}\"}}"))),
            500,
        ),
        ("a manager that hangs up", Reply::gone(), 502),
        ("a manager that is silent", Reply::json(200, "{}").held(&gate), 504),
        (
            "a redirect",
            Reply::empty(302).field("Location", &format!("http://other.test/?token={place}")),
            502,
        ),
        ("no HTTP", Reply::raw(format!("BANNER {place}\r\n\r\n")), 502),
    ];
    for (n, (what, reply, status)) in cases.into_iter().enumerate() {
        scene.reign.town.manager.answer(&format!("/s{n}?"), reply);
        let query = scene.query(what, &[Place::Manager]);
        let request = Request::get(&format!("{EVENT}/s{n}?action=subscribe{query}"));
        let request = scene.with_fields(request, what, &[]);
        scene.ask(&request, status);
    }
    gate.open();
    let token = scene.mark("an admin's token", &[]);
    scene.ask(&Request::get(&format!("{EVENT}/s?action=subscribe&accessToken={token}")), 403);
    scene.ask(&Request::get(&format!("/streammanager/api/4.0/admin/event?accessToken={token}")), 404);
}

/// Heads that can't be read, and bytes that are no TLS.
fn broken(scene: &mut Scene) {
    let secret = scene.mark("a request that can't be read", &[]);
    for head in [
        format!("GET /?token={secret}#x HTTP/1.1\r\nHost: gateway.test\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: gateway.test\r\nAuthorization Bearer {secret}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {secret}@gateway.test\r\n\r\n"),
        format!("GET / HTTP/9.9\r\nX: {secret}\r\n\r\n"),
        format!("{secret}\r\n\r\n"),
        format!("GET /{} HTTP/1.1\r\nHost: gateway.test\r\n\r\n", secret.repeat(500)),
        format!("GET / HTTP/1.1\r\nHost: gateway.test\r\nCookie: {}\r\n\r\n", secret.repeat(2000)),
        format!(
            "POST /live/whip/endpoint/s HTTP/1.1\r\nHost: gateway.test\r\nContent-Type: {SDP}\r\nTransfer-Encoding: chunked\r\n\r\n{secret}\r\n"
        ),
    ] {
        let mut client = scene.reign.town.client();
        client.try_send(head.as_bytes()).ok();
        let (rest, _) = client.rest();
        assert!(rest.starts_with(b"HTTP/1.1 4"), "{head}");
        scene.markers.saw(Place::Sender, rest);
    }
    let mut plain = Link::new(Box::new(scene.reign.town.door().knock()), Side::Client);
    plain.send(format!("GET /?token={secret} HTTP/1.1\r\n\r\n").as_bytes());
    let (rest, _) = plain.rest();
    scene.markers.saw(Place::Sender, rest);
}

/// Everything that operators see, now.
fn look_around(scene: &mut Scene) {
    let town = &scene.reign.town;
    let mut seen = Vec::new();
    for page in
        ["/", "/metrics", "/livez", "/readyz", "/api/status", "/api/sessions", "/api/sessions?limit=1000"]
    {
        seen.extend(everything(&town.gateway.admin(page)));
    }
    for (method, page) in [("DELETE", "/api/answers"), ("DELETE", "/api/sessions/1"), ("POST", "/api/reload")]
    {
        seen.extend(everything(&town.gateway.ask_admin(&town.gateway.to_admin(method, page))));
    }
    scene.markers.saw(Place::Admin, seen);
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["sessions"],
        &["sessions", "--json"],
        &["kick", "1"],
        &["reload"],
    ] {
        let said = scene.reign.town.gateway.command(words);
        scene.markers.saw(Place::Commands, [said.stdout, said.stderr].concat());
    }
    for pid in scene.reign.running() {
        // who drains may end meanwhile
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        scene.markers.saw(Place::Process, read("cmdline"));
        scene.markers.saw(Place::Environment, read("environ"));
    }
    scene.others_ask();
}

/// What the peers heard in all, and what the program wrote.
fn gather(scene: &mut Scene) {
    let text = |peer: &HttpPeer| {
        let asked = peer.asked().into_iter();
        asked
            .flat_map(|asked| [format!("{:?}\n", asked.head).into_bytes(), asked.body])
            .flatten()
            .collect::<Vec<u8>>()
    };
    scene.markers.saw(Place::Manager, text(&scene.reign.town.manager));
    scene.markers.saw(Place::Node, text(&scene.node));
    // the last lines are on their way through a thread of their own
    eventually("the log of the last question", || {
        let file = std::fs::read_to_string(scene.reign.town.place.file("access.log")).unwrap_or_default();
        (scene.reign.town.gateway.stderr() + &file).contains("/after?action=subscribe")
    });
    let log = scene.reign.town.gateway.stderr();
    scene.markers.saw(Place::Log, &log);
    if let Ok(file) = std::fs::read(scene.reign.town.place.file("access.log")) {
        scene.markers.saw(Place::AccessLog, file);
    }
    // the town's own key, which every test serves
    let der: String = ECDSA.key_pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!log.contains(&der[..40]), "the private key is in the log");
}

fn all_secrets_are_kept(level: &str, format: &str, access: &str) {
    let mut scene = Scene::set(level, format, access);
    questions(&mut scene);
    broken(&mut scene);
    sockets(&mut scene);
    whip(&mut scene);
    look_around(&mut scene);
    wrong_configurations(&mut scene);
    good_configurations(&mut scene);
    gather(&mut scene);
    scene.reign.town.gateway.assert_no_panic();
    assert!(scene.markers.len() > 200, "{} secrets", scene.markers.len());
    scene.markers.assert_kept();
}

#[test]
fn no_secret_is_told_in_text_at_trace() {
    all_secrets_are_kept("trace", "text", "stderr");
}

#[test]
fn no_secret_is_told_in_json_at_debug() {
    all_secrets_are_kept("debug", "json", "file");
}
