//! Which clients may change something: those of the admin socket by its file mode, those of its TCP address by a token, and no
//! others, neither local users nor web pages nor clients of the monitoring listener.

use crate::harness::gateway::text_of;
use crate::harness::{Config, Frame, Gateway, Request, TestBed, Workspace, eventually};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Everything that changes something.
const ACTIONS: [(&str, &str); 7] = [
    ("POST", "/api/drain"),
    ("DELETE", "/api/drain"),
    ("POST", "/api/upgrade"),
    ("DELETE", "/api/sessions/0000000000000001"),
    ("POST", "/api/reload"),
    ("DELETE", "/api/answers"),
    ("PUT", "/api/later"),
];

/// Runs a command of the program with these words, and nothing in the environment that names a gateway.
fn tidegate(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(words).env_remove("TIDEGATE_ADMIN").env_remove("TIDEGATE_ADMIN_TOKEN");
    command
}

/// The TCP address of an admin listener with a token, for a configuration.
fn with_token(config: &mut Config, workspace: &Workspace) {
    config.set("admin.listen", workspace.second_gateway().to_string());
    config.set("admin.token", "env:TOKEN_OF_TEST");
    config.set_env("TOKEN_OF_TEST", TOKEN);
}

#[test]
fn the_monitoring_listener_changes_nothing() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    for (method, target) in ACTIONS {
        let answer = bed.gateway.send_monitoring(&bed.gateway.monitoring_request(method, target));
        assert_eq!((answer.status(), answer.field("allow")), (405, Some("GET, HEAD")), "{method} {target}");
        assert!(answer.json()["error"].as_str().unwrap().contains("[admin]"), "{answer:?}");
    }
    assert_eq!((bed.gateway.ready(), bed.gateway.revision()), (Some(200), 1));
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
    let refused = tidegate(&["drain", "--admin", &bed.workspace.monitoring().to_string()]).output().unwrap();
    assert!(text_of(&refused, 1).contains("[monitoring] only shows"));
}

#[test]
fn sessions_are_shown_where_the_key_says_so_and_a_reload_changes_it() {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    let gateway = Gateway::start(&workspace, &config);
    assert_eq!(gateway.monitoring_get("/api/sessions").status(), 200, "auto on loopback");
    config.set("monitoring.sessions", "off");
    config.write(&workspace);
    assert_eq!(gateway.reload().0, Some(0));
    let refused = gateway.monitoring_get("/api/sessions");
    assert_eq!(refused.status(), 403);
    assert!(refused.json()["error"].as_str().unwrap().contains("[monitoring].sessions"), "{refused:?}");
    assert_eq!(gateway.monitoring_get("/api/status").status(), 200);
    assert_eq!(gateway.monitoring_get("/").status(), 200, "the page shows the rest");
    assert_eq!(gateway.admin_get("/api/sessions").status(), 200);
}

#[test]
fn monitoring_is_asked_by_addresses_and_configured_names_and_no_others() {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    config.set("monitoring.names", vec!["edge1.example.com"]);
    let gateway = Gateway::start(&workspace, &config);
    let status =
        |path: &str, host: &str| gateway.send_monitoring(&Request::get(path).instead("Host", host)).status();
    for host in ["edge1.example.com", "EDGE1.example.com:9180", "10.1.2.3:9180", "[fd00::1]", "localhost"] {
        assert_eq!(status("/readyz", host), 200, "{host}");
    }
    for host in ["evil.example", "edge2.example.com:9180", "edge1.example.com.evil.example"] {
        assert_eq!((status("/readyz", host), status("/metrics", host)), (421, 421), "{host}");
    }
    config.set("monitoring.names", vec!["edge2.example.com"]);
    config.write(&workspace);
    assert_eq!(gateway.reload().0, Some(0));
    assert_eq!((status("/readyz", "edge1.example.com"), status("/readyz", "edge2.example.com")), (421, 200));
}

/// Runs a command as another user, which is in `group`.
fn as_other_user(program: &Path, group: u32, words: &[&str], admin: &str) -> Output {
    let mut command = Command::new(program);
    command.args(words).args(["--admin", admin]).uid(65_534).gid(group);
    command.current_dir("/").output().expect("the program starts")
}

#[test]
fn another_local_user_changes_nothing_unless_its_group_may() {
    if !rustix::process::getuid().is_root() {
        return crate::harness::skipped(
            "another_local_user_changes_nothing",
            "only root can be another user",
        );
    }
    let mut bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    // a copy, because others may not enter the folder of the build
    let program = bed.workspace.file("tidegate");
    std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).unwrap();
    for path in [bed.workspace.file(""), program.clone()] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mode = std::fs::metadata(bed.workspace.admin_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let id = bed.gateway.admin_get("/api/sessions").json()["sessions"][0]["id"].as_str().unwrap().to_owned();
    let changes: [&[&str]; 5] = [&["drain"], &["drain", "--undo"], &["kick", &id], &["reload"], &["upgrade"]];
    for words in changes {
        let refused = text_of(&as_other_user(&program, 65_534, words, &bed.gateway.admin()), 71);
        for part in ["can't connect to unix:", "admin.sock", "its group (root)", "as root"] {
            assert!(refused.contains(part), "{words:?}: {refused}");
        }
        let monitoring = bed.workspace.monitoring().to_string();
        let refused = text_of(&as_other_user(&program, 65_534, words, &monitoring), 1);
        assert!(refused.contains("[monitoring] only shows"), "{refused}");
    }
    assert_eq!((bed.gateway.ready(), bed.gateway.revision()), (Some(200), 1));
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
    // what only reads takes the monitoring listener instead
    let config = bed.workspace.file("tidegate.toml");
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut status = Command::new(&program);
    status.args(["status", "--config"]).arg(&config).uid(65_534).gid(65_534).current_dir("/");
    assert!(text_of(&status.output().unwrap(), 0).contains("phase       serving"));
    let member = text_of(&as_other_user(&program, 0, &["drain"], &bed.gateway.admin()), 0);
    assert!(member.starts_with("draining: 1 sessions"), "{member}");
    client.expect_close(1001);
    client.answer_close(1001);
    node.expect_close(1001);
    node.answer_close(1001);
    assert_eq!(bed.gateway.wait_for_exit().code(), Some(0));
}

#[test]
fn a_tcp_address_of_the_admin_listener_asks_for_the_token() {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    with_token(&mut config, &workspace);
    let file = workspace.file("token");
    let gateway = Gateway::start(&workspace, &config);
    let admin = workspace.second_gateway();
    let send = |request: &Request| {
        let tcp = std::net::TcpStream::connect(admin).expect("it listens");
        let mut connection =
            crate::harness::Connection::new(Box::new(tcp), crate::harness::connection::Side::Client);
        connection.send(&request.clone().with("Connection", "close").bytes());
        connection.read_response()
    };
    let request = |method, target| Request::new(method, target).instead("Host", &admin.to_string());
    let right = format!("Bearer {TOKEN}");
    for (method, target) in ACTIONS.into_iter().chain([
        ("GET", "/metrics"),
        ("GET", "/livez"),
        ("GET", "/api/events"),
        ("GET", "//"),
    ]) {
        for wrong in ["", "Bearer", "Bearer 0123456789abcdef0123456789abcdee", "Basic eDp5"] {
            let answer = send(&request(method, target).with("Authorization", wrong));
            assert_eq!(answer.status(), 401, "{method} {target} {wrong}");
            assert!(answer.field("www-authenticate").is_some_and(|field| field.starts_with("Bearer")));
        }
        assert_eq!(send(&request(method, target).with("Cookie", &right)).status(), 401);
    }
    // the page that asks for the token, with nothing of the gateway in it
    let page = send(&request("GET", "/"));
    assert_eq!(page.status(), 200);
    assert!(page.text().contains("data-access=\"token\""));
    assert_eq!(send(&request("POST", "/")).status(), 401);
    assert_eq!(send(&request("GET", "/metrics").with("Authorization", &right)).status(), 200);
    assert_eq!(send(&request("POST", "/api/reload").with("Authorization", &right)).status(), 200);
    // a page of another site stays out, whatever it sends
    let foreign = request("POST", "/api/reload").with("Authorization", &right);
    assert_eq!(send(&foreign.clone().with("Origin", "https://evil.example")).status(), 403);
    assert_eq!(send(&foreign.instead("Host", "evil.example")).status(), 421);
    eventually("a line in the log", || gateway.stderr().contains("without the token of [admin]"));
    assert!(!gateway.stderr().contains(TOKEN));

    // the token changes with a reload
    let next = "fedcba9876543210fedcba9876543210";
    std::fs::write(&file, format!("{next}\n")).unwrap();
    config.set("admin.token", format!("file:{}", file.display()));
    config.write(&workspace);
    assert_eq!(send(&request("POST", "/api/reload").with("Authorization", &right)).status(), 200);
    assert_eq!(send(&request("GET", "/livez").with("Authorization", &right)).status(), 401);
    let path = workspace.file("tidegate.toml");
    let path = path.to_str().unwrap();
    assert_eq!(text_of(&tidegate(&["reload", "--config", path]).output().unwrap(), 0), "serves revision 4\n");
    let by_hand = |token: &str| {
        let mut command = tidegate(&["reload", "--admin", &admin.to_string()]);
        command.env("TIDEGATE_ADMIN_TOKEN", token).output().unwrap()
    };
    assert_eq!(text_of(&by_hand(next), 0), "serves revision 5\n");
    let refused = text_of(&by_hand(TOKEN), 1);
    assert!(refused.contains("expected the token of [admin]"), "{refused}");
}

#[test]
fn a_tcp_address_without_a_token_is_refused_at_the_start_and_by_a_reload() {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    config.set("admin.listen", workspace.second_gateway().to_string());
    let mut gateway = Gateway::spawn(&workspace, &config);
    assert_eq!(gateway.wait_for_exit().code(), Some(78));
    assert!(gateway.stderr().contains("admin.token beside the address"), "{}", gateway.stderr());
    config.set("admin.token", "env:TOKEN_OF_TEST");
    config.set_env("TOKEN_OF_TEST", "short");
    let mut gateway = Gateway::spawn(&workspace, &config);
    assert_eq!(gateway.wait_for_exit().code(), Some(78));
    assert!(gateway.stderr().contains("at least 16"), "{}", gateway.stderr());
    assert!(!gateway.stderr().contains("short"), "{}", gateway.stderr());
}

#[test]
fn an_admin_listener_that_loses_its_token_in_the_file_keeps_the_running_one() {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    with_token(&mut config, &workspace);
    let gateway = Gateway::start(&workspace, &config);
    config.set("admin.listen", "auto");
    config.unset("admin.token");
    config.write(&workspace);
    gateway.send_sighup();
    gateway.wait_for_revision_at_monitoring(2);
    let admin = workspace.second_gateway().to_string();
    let reload = |token: &str| {
        tidegate(&["reload", "--admin", &admin]).env("TIDEGATE_ADMIN_TOKEN", token).output().unwrap()
    };
    text_of(&reload(""), 1);
    text_of(&reload(TOKEN), 0);
    let status = gateway.monitoring_get("/api/status").json();
    assert_eq!(status["needs_restart"], serde_json::json!(["admin.listen", "admin.token"]));
}

#[test]
fn the_default_admin_socket_is_in_the_runtime_directory_of_the_service() {
    let workspace = Workspace::claim();
    let mut config = Config::new(&workspace);
    config.unset("admin.listen");
    let folder = workspace.file("run");
    config.set_env("RUNTIME_DIRECTORY", folder.to_str().unwrap());
    {
        let gateway = Gateway::start(&workspace, &config);
        let log = gateway.stderr();
        assert!(
            log.contains("serving without an admin listener") && log.contains("RuntimeDirectory=tidegate"),
            "{log}"
        );
        assert_eq!(gateway.monitoring_get("/api/status").status(), 200, "the gateway serves on");
    }
    std::fs::create_dir(&folder).unwrap();
    let mut gateway = Gateway::start(&workspace, &config);
    let socket = folder.join("admin.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let path = workspace.file("tidegate.toml");
    let mut drain = tidegate(&["drain", "--config", path.to_str().unwrap()]);
    text_of(&drain.env("RUNTIME_DIRECTORY", &folder).output().unwrap(), 0);
    assert_eq!(gateway.wait_for_exit().code(), Some(0));
    assert!(!socket.exists(), "the file goes with the process");
}

#[test]
fn commands_find_the_gateway_by_option_then_variable_then_configuration() {
    let (one, other) = (TestBed::start(), TestBed::start());
    let pid = |change: &dyn Fn(&mut Command)| {
        let mut command = tidegate(&["status", "--json"]);
        change(&mut command);
        let status: serde_json::Value =
            serde_json::from_slice(&command.output().unwrap().stdout).expect("JSON");
        u32::try_from(status["pid"].as_u64().expect("a process id")).unwrap()
    };
    let config = other.workspace.file("tidegate.toml");
    let by_config = |command: &mut Command| {
        command.arg("--config").arg(&config);
    };
    assert_eq!(pid(&by_config), other.gateway.pid());
    let by_variable = |command: &mut Command| {
        by_config(command);
        command.env("TIDEGATE_ADMIN", one.gateway.admin());
    };
    assert_eq!(pid(&by_variable), one.gateway.pid(), "the variable comes before the configuration");
    let by_option = |command: &mut Command| {
        by_variable(command);
        command.args(["--admin", &other.gateway.admin()]);
    };
    assert_eq!(pid(&by_option), other.gateway.pid(), "the option comes first");
    let wrong = tidegate(&["status"]).env("TIDEGATE_ADMIN", "nowhere").output().unwrap();
    assert!(text_of(&wrong, 64).contains("TIDEGATE_ADMIN: expected an address"));
    let missing = tidegate(&["status", "--config", "/nonexistent/tidegate.toml"]).output().unwrap();
    assert!(text_of(&missing, 71).contains("--admin"));
}

#[test]
fn pages_of_other_sites_cannot_use_the_admin_api() {
    let bed = TestBed::start();
    let listener = bed.node(1);
    let (mut client, mut node) = bed.relay(&listener);
    for (method, target) in ACTIONS {
        let admin = bed.gateway.admin_request(method, target);
        let monitoring = bed.gateway.monitoring_request(method, target);
        for (name, value) in [
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
        ] {
            let by_socket = bed.gateway.send_admin(&admin.clone().with(name, value)).status();
            let by_monitoring = bed.gateway.send_monitoring(&monitoring.clone().with(name, value)).status();
            assert_eq!((by_socket, by_monitoring), (403, 403), "{method} {target} {name}: {value}");
        }
        // DNS rebinding: a name of the attacker points to this address now. The page is same-site, but the host is foreign
        let rebound =
            monitoring.instead("Host", "evil.example:9180").with("Origin", "http://evil.example:9180");
        assert_eq!(bed.gateway.send_monitoring(&rebound).status(), 421, "{method} {target}");
    }
    // a link or an image sends GET
    for target in ["/api/drain", "/api/reload", "/api/upgrade", "/api/answers"] {
        assert_eq!(bed.gateway.admin_get(target).status(), 405, "{target}");
    }
    assert_eq!((bed.gateway.ready(), bed.gateway.revision()), (Some(200), 1));
    client.send_frame(Frame::text("still here"));
    assert_eq!(node.read_frame(), Frame::text("still here"));
    let preflight =
        bed.gateway.monitoring_request("OPTIONS", "/api/drain").with("Origin", "https://evil.example");
    let answer = bed.gateway.send_monitoring(&preflight.with("Access-Control-Request-Method", "POST"));
    assert!(answer.field("access-control-allow-origin").is_none() && !(200..300).contains(&answer.status()));
    let own = bed.gateway.admin_request("DELETE", "/api/answers").with("Sec-Fetch-Site", "same-origin");
    let own = own.with("Origin", "http://localhost");
    assert_eq!(bed.gateway.send_admin(&own).status(), 200, "the gateway's own page may");
}
