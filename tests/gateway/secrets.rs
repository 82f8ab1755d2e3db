//! Secrets that are marked, said in every place where there is one, on good ways and on failing ones, at the levels of the
//! log that say most; then everything that the gateway emits is searched for them.
//!
//! `markers` has the table: each marker names where it may turn up, has to turn up there, and may nowhere else, neither as
//! it is nor escaped, in hexadecimal or in base64.

use crate::town::certs::ECDSA;
use crate::town::link::{Link, Side};
use crate::town::reign::Reign;
use crate::town::whip::{SDP, TRICKLE, delete};
use crate::town::{Frame, Gate, HttpPeer, Origin, Reply, Request, eventually};
use markers::{Markers, Place};
use std::process::Command;

mod markers;

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

/// WebSockets that open, and that don't.
fn sockets(scene: &mut Scene) {
    let good = scene.reign.town.ip(2);
    for (what, route) in [
        ("a two-step WebSocket", format!("/streammanager/?id=s&host={good}&app=live")),
        ("a one-step WebSocket", format!("/as/v1/proxy/ws/publish/live/s?id=s&host={good}")),
    ] {
        let query = scene.query(what, &[Place::Node]);
        let request = Request::upgrade(&format!("{route}{query}"));
        let protocol = scene.mark(format!("a token among the subprotocols of {what}"), &[]);
        let request = scene
            .with_fields(request, what, &[])
            .with("Sec-WebSocket-Protocol", &format!("bearer, {protocol}"));
        let cookie = scene.mark(format!("a cookie of the node of {what}"), &[]);
        let mut client = scene.reign.town.client();
        client.ask(&request);
        let mut node = scene.origin.accept();
        let head = node.agree_with(&format!("Set-Cookie: {cookie}\r\nX-Debug: {cookie}\r\n"));
        scene.markers.saw(Place::Node, format!("{head:?}"));
        let response = client.read_response();
        assert_eq!(response.status(), 101);
        scene.markers.saw(Place::Sender, everything(&response));
        talk(scene, what, &mut client, &mut node);
        look_around(scene);
        end(scene, what, client, node);
    }
    refused_sockets(scene);
}

/// What both sides say to each other.
fn talk(scene: &mut Scene, what: &str, client: &mut Link, node: &mut Link) {
    let to_node = scene.mark(format!("what a client says on {what}"), &[Place::Node]);
    client.say(Frame::text(&format!("{{\"ice-pwd\":\"{to_node}\"}}")));
    scene.markers.saw(Place::Node, node.hear().payload);
    let to_client = scene.mark(format!("what a node says on {what}"), &[Place::Sender]);
    node.say(Frame::text(&to_client));
    scene.markers.saw(Place::Sender, client.hear().payload);
}

/// A Close with a reason on one, a frame that is none on the other.
fn end(scene: &mut Scene, what: &str, mut client: Link, mut node: Link) {
    let secret = scene
        .mark(format!("the last word on {what}"), if what.contains("two") { &[Place::Node] } else { &[] });
    if what.contains("two") {
        client.say(Frame::close(1000, &secret));
        scene.markers.saw(Place::Node, node.hear().payload);
        return;
    }
    client.send(&Frame { rsv: 4, ..Frame::text(&secret) }.masked([0; 4]));
    scene.markers.saw(Place::Sender, client.told(1002));
    scene.markers.saw(Place::Node, node.told(1001));
}

/// WebSockets that come to nothing, for reasons of ours and of a node.
fn refused_sockets(scene: &mut Scene) {
    let town = &scene.reign.town;
    let (good, nobody, stranger) = (town.ip(2), town.ip(3), town.ip(20));
    for (what, host, status) in [
        ("a stranger", stranger.to_string(), 403),
        ("a node that refuses", nobody.to_string(), 502),
        ("a host that is none", "x@y".to_owned(), 400),
        ("a node that is silent", good.to_string(), 504),
    ] {
        let query = scene.query(what, if status == 504 { &[Place::Node] } else { &[] });
        let request = Request::upgrade(&format!("/streammanager/?id=s&host={host}&app=live{query}"));
        let request = scene.with_fields(request, what, &[]);
        scene.ask(&request, status);
        if status == 504 {
            let head = scene.origin.accept().read_head();
            scene.markers.saw(Place::Node, format!("{head:?}"));
        }
    }
    let secret = scene.mark("a node's refusal of a WebSocket", &[]);
    let mut client = scene.reign.town.client();
    client.ask(&Request::upgrade(&format!("/streammanager/?id=s&host={good}&app=live")));
    let mut node = scene.origin.accept();
    node.read_head();
    node.send(
        format!(
            "HTTP/1.1 403 {secret}\r\nX-Debug: {secret}\r\nContent-Length: {}\r\n\r\n{secret}",
            secret.len()
        )
        .as_bytes(),
    );
    let response = client.read_response();
    assert_eq!(response.status(), 502);
    scene.markers.saw(Place::Sender, everything(&response));
}

/// The whole course of a WHIP session in each form, and what can go wrong on it.
fn whip(scene: &mut Scene) {
    let node = scene.reign.town.ip(1);
    for (what, target, authorization) in [
        ("WHIP of 2.0", format!("/as/v1/proxy/whip/live/s?host={node}"), &[Place::Node][..]),
        ("WHIP of 1.x", format!("/live/whip/endpoint/s?host={node}"), &[]),
        ("WHIP below the manager", format!("/streammanager/whip/endpoint/s?host={node}&app=live"), &[]),
    ] {
        let location = scene.mark(format!("a parameter of the node's Location of {what}"), &[Place::Node]);
        let answer = scene.mark(format!("the node's answer of {what}"), &[Place::Sender]);
        let turn = scene.mark(format!("a TURN credential of {what}"), &[Place::Sender]);
        let hidden = scene.mark(format!("a field of the node of {what}"), &[]);
        let link = format!("<turn:turn.test>; rel=\"ice-server\"; username=\"u\"; credential=\"{turn}\"");
        let created = Reply::created(
            &format!("/live/whip/resource/s?jwt={location}"),
            &format!("a=ice-pwd:{answer}\r\n"),
        );
        scene.node.answer(
            "POST ",
            created.field("Link", &link).field("Set-Cookie", &hidden).field("X-Debug", &hidden),
        );
        let offer = scene.mark(format!("the offer of {what}"), &[Place::Node]);
        let query = scene.query(what, &[Place::Node]);
        let request = Request::new("POST", &format!("{target}{query}"))
            .body(SDP, format!("v=0\r\na=ice-pwd:{offer}\r\n"));
        let request = scene.with_fields(request, what, authorization);
        let session = scene.ask(&request, 201).location().to_owned();
        let candidates = scene.mark(format!("the candidates of {what}"), &[Place::Node]);
        let request = Request::new("PATCH", &session).body(TRICKLE, format!("a=ice-pwd:{candidates}\r\n"));
        let request = scene.with_fields(request, &format!("PATCH of {what}"), authorization);
        scene.ask(&request, 204);
        let query = scene.query(&format!("DELETE of {what}"), &[Place::Node]);
        let request = delete(&format!("{session}?{}", &query[1..]));
        let request = scene.with_fields(request, &format!("DELETE of {what}"), authorization);
        scene.ask(&request, 200);
    }
    failing_whip(scene);
}

fn failing_whip(scene: &mut Scene) {
    let node = scene.reign.town.ip(1);
    let (body, challenge) = (
        scene.mark("a node's no, which is the client's", &[Place::Sender]),
        scene.mark("a node's field", &[]),
    );
    scene.node.answer(
        "/whip/endpoint/no",
        Reply::json(409, format!("{{\"x\":\"{body}\"}}")).field("Server", &challenge),
    );
    scene.node.answer("/whip/endpoint/gone", Reply::gone());
    scene.node.answer(
        "/whip/endpoint/moved",
        Reply::empty(307).field("Location", &format!("http://other.test/?token={challenge}")),
    );
    for (stream, kind, status) in
        [("no", SDP, 409), ("gone", SDP, 502), ("moved", SDP, 502), ("text", "text/plain", 400)]
    {
        let may: &[Place] = if status == 400 { &[] } else { &[Place::Node] };
        let offer = scene.mark(format!("the offer to {stream}"), may);
        let query = scene.query(&format!("the offer to {stream}"), may);
        let target = format!("/live/whip/endpoint/{stream}?host={node}{query}");
        scene.ask(&Request::new("POST", &target).body(kind, format!("a=ice-pwd:{offer}\r\n")), status);
    }
    let half = scene.mark("half a body", &[]);
    let query = scene.query("half a body", &[]);
    let request = Request::new("POST", &format!("/live/whip/endpoint/half?host={node}{query}"));
    let bytes = request.body(SDP, format!("{half}{}", "x".repeat(100))).bytes();
    for cut in [90, 0] {
        let mut client = scene.reign.town.client();
        client.send(&bytes[..bytes.len() - cut - 1]);
        if cut == 0 {
            client.abort();
        } else {
            let response = client.read_response();
            assert_eq!(response.status(), 408);
            scene.markers.saw(Place::Sender, everything(&response));
        }
    }
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

/// A configuration that is wrong, with a secret in it: `check`, `run` and a reload say what is wrong, and not the secret.
fn wrong_configurations(scene: &mut Scene) {
    let place = scene.reign.town.place.file("");
    let good = std::fs::read_to_string(place.join("tidegate.toml")).unwrap();
    let key = scene.mark("a private key", &[]);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{key}{key}{key}\n-----END PRIVATE KEY-----\n");
    std::fs::write(place.join("wrong.pem"), &pem).unwrap();
    std::fs::write(place.join("half.pem"), pem.replace("END", "ENDE")).unwrap();
    let lines = scene.mark("a file of two lines", &[]);
    std::fs::write(place.join("two-lines"), format!("Bearer {lines}\n{lines}\n")).unwrap();
    let secret = "SECRET";
    let manager = |entry: &str| good.replace("[stream_manager]\n", &format!("[stream_manager]\n{entry}\n"));
    let without: String = good
        .lines()
        .filter(|line| !line.starts_with("authorization"))
        .map(|line| format!("{line}\n"))
        .collect();
    let instead =
        |entry: String| without.replace("[stream_manager]\n", &format!("[stream_manager]\n{entry}\n"));
    let url = scene.reign.town.place.manager();
    let wrong = [
        instead(format!("authorization = \"Bearer {secret}\\u0007\"")),
        instead(format!("authorization = [\"Bearer {secret}\"]")),
        instead(format!("authorization = {{ bearer = \"{secret}\" }}")),
        instead(format!("authorization = {{ bearer = [\"{secret}\"] }}")),
        instead(format!("authorization = \"Bearer {secret}")),
        instead(format!("authorization = Bearer {secret}")),
        instead(format!("authorization = '{secret}' '{secret}'")),
        instead(format!("authorisation = \"Bearer {secret}\"")),
        instead(format!("password = \"{secret}\"")),
        instead(format!("authorization = \"file:{}\"", place.join("two-lines").display())),
        instead("authorization = \"env:TIDEGATE_TEST_NOWHERE\"".to_owned()),
        manager(&format!("authorization = \"Bearer {secret}\"")),
        good.replace(&format!("http://{url}"), &format!("http://user:{secret}@{url}")),
        good.replace(&format!("http://{url}"), &format!("http://{url}/?token={secret}")),
        good.replace(&format!("\"http://{url}\""), &format!("[\"http://user:{secret}@{url}\"]")),
        good.replace("[stream_manager]", &format!("[[stream_manager]]\nauthorization = \"{secret}\"")),
        format!(
            "stream_manager = [{{ authorization = \"{secret}\" }}]\n{}",
            good.replace("[stream_manager]", "[x]")
        ),
        good.replace("ecdsa.key.pem", "wrong.pem"),
        good.replace("ecdsa.key.pem", "half.pem"),
        good.replace("ecdsa.chain.pem", "wrong.pem"),
        manager(&format!("ca = \"{}\"", place.join("wrong.pem").display())),
    ];
    let file = place.join("wrong.toml");
    for (n, text) in wrong.into_iter().enumerate() {
        assert_ne!(text, good, "a change");
        let secret = scene.mark(format!("wrong configuration {n}"), &[]);
        let text = text.replace("SECRET", &secret);
        std::fs::write(&file, &text).unwrap();
        for words in [&["check"][..], &["check", "--effective"], &["run"], &["doctor"]] {
            let said = Command::new(env!("CARGO_BIN_EXE_tidegate"))
                .args(words)
                .arg("--config")
                .arg(&file)
                .output()
                .unwrap();
            assert!(!said.status.success() || words == ["doctor"], "{words:?} of {text}");
            scene.markers.saw(Place::Commands, [said.stdout, said.stderr].concat());
        }
        std::fs::write(place.join("tidegate.toml"), &text).unwrap();
        let (code, said) = scene.reign.town.gateway.reload();
        assert_ne!(code, Some(0), "{said}");
        scene.markers.saw(Place::Commands, said);
    }
    std::fs::write(place.join("tidegate.toml"), &good).unwrap();
}

/// The good one is shown, wherever its secret comes from; then it is served by this process and by the next.
fn good_configurations(scene: &mut Scene) {
    let from_file = scene.mark("authorization, from a file", &[Place::Manager]);
    let file = scene.reign.town.place.file("secret");
    std::fs::write(&file, format!("Basic {from_file}\n")).unwrap();
    for (n, authorization) in
        ["env:TIDEGATE_TEST_SECRET".to_owned(), format!("file:{}", file.display())].into_iter().enumerate()
    {
        scene.reign.configure(|config| config.set("stream_manager.authorization", authorization));
        assert_eq!(scene.reign.town.gateway.reload().0, Some(0));
        for words in [&["check"][..], &["check", "--effective"], &["doctor"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
            let config = scene.reign.town.place.file("tidegate.toml");
            // what `check` sees is not what it prints
            let said = command
                .args(words)
                .arg("--config")
                .arg(config)
                .env("TIDEGATE_TEST_SECRET", &from_file)
                .output()
                .unwrap();
            scene.markers.saw(Place::Commands, [said.stdout, said.stderr].concat());
        }
        scene.reign.town.manager.answer(&format!("/again{n}"), Reply::node(scene.reign.town.ip(1)));
        scene.ask(&Request::get(&format!("{EVENT}/again{n}?action=subscribe")), 200);
    }
    scene.reign.upgrade();
    scene.ask(&Request::get(&format!("{EVENT}/after?action=subscribe")), 200);
    look_around(scene);
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
