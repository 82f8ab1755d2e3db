//! A gateway whose every secret is marked, and everything that was sent to it and received from it.

use super::markers::{Markers, Place};
use crate::harness::certs::ECDSA;
use crate::harness::takeover::Reign;
use crate::harness::{HttpPeer, Origin, Request, eventually};

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
pub struct Scene {
    pub reign: Reign,
    pub markers: Markers,
    /// Speaks HTTP.
    pub node: HttpPeer,
    /// Speaks WebSocket.
    pub origin: Origin,
}

impl Scene {
    pub fn set(level: &str, format: &str, access: &str) -> Self {
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

    pub fn mark(&mut self, what: impl Into<String>, may: &[Place]) -> String {
        self.markers.mark(what, may)
    }

    /// A query in which every secret key has a secret value.
    pub fn query(&mut self, what: &str, may: &[Place]) -> String {
        KEYS.map(|key| format!("&{key}={}", self.mark(format!("{key} of {what}"), may))).concat()
    }

    /// Fields that carry secrets. `authorization` may go so far; the others go nowhere.
    pub fn with_fields(&mut self, request: Request, what: &str, authorization: &[Place]) -> Request {
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
    pub fn ask(&mut self, request: &Request, status: u16) -> crate::harness::Response {
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

pub fn everything(response: &crate::harness::Response) -> Vec<u8> {
    let mut bytes = format!("{:?}", response.head).into_bytes();
    bytes.extend_from_slice(&response.body);
    bytes
}

pub const EVENT: &str = "/streammanager/api/4.0/event/live";

/// Everything that operators see, now.
pub fn look_around(scene: &mut Scene) {
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
pub fn gather(scene: &mut Scene) {
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
