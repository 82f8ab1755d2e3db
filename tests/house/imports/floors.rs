//! The plan of `src`: which floor stands on which, and which room of a floor uses which. `docs/architecture.md` explains it.

/// A folder (or file) directly in `src`.
pub struct Floor {
    pub name: &'static str,
    /// A floor imports only from floors with a smaller number.
    pub height: usize,
    /// The folders and files of the floor, the upper ones first. A room imports only from rooms of later lines, so never
    /// from one that stands in the same line. Without lines only circles are refused.
    pub rooms: &'static [&'static [&'static str]],
}

pub const FLOORS: &[Floor] = &[
    // May import everything. Nothing imports it: a release binary has no oracles.
    Floor { name: ORACLES, height: 5, rooms: &[] },
    Floor {
        name: "control",
        height: 4,
        rooms: &[
            &["run"],
            &["supervise"],
            &["reload", "upgrade", "cli"],
            &["doctor"],
            &["workers", "admin", "acme"],
            &["process", "exit"],
            &["start"],
            &["stream_manager", "log", "systemd", "signals"],
            &["log_format", "log_queue", "cpu_time"],
            &["journal"],
        ],
    },
    Floor {
        name: "worker",
        height: 3,
        rooms: &[
            &["thread"],
            &["main_loop"],
            &["listener", "drain"],
            &["connection"],
            &["http"],
            &["node", "relay"],
            &["session"],
            &["local"],
            &["io"],
        ],
    },
    Floor {
        name: "shared",
        height: 2,
        rooms: &[
            &["transfer", "node_list"],
            &["gateway"],
            &["questions"],
            &["answers"],
            &["nodes", "whip_sessions", "revision"],
            &["silences", "node_metrics"],
            &["limits", "record"],
            &["evictions", "pending", "bucket", "refusal_throttle", "node_faults"],
            &["client_address", "counters", "clock", "session_id", "cache_status"],
            &["atomic"],
        ],
    },
    Floor { name: "config", height: 1, rooms: &[] },
    Floor { name: "metrics", height: 1, rooms: &[] },
    Floor {
        name: "proto",
        height: 0,
        rooms: &[&["websocket", "red5"], &["http"], &["admission", "proxy_protocol"], &["refusal", "millis"]],
    },
];

pub const ORACLES: &str = "oracles";

/// Above all floors: they may import everything, and nothing imports them.
pub const ROOF: &[&str] = &["src/lib.rs", "src/main.rs"];

/// Words of code that only some files may say, so that what they stand for stays in one place.
pub const CONFINED: &[(&str, &[&str])] = &[
    // the runtime could be another one
    ("monoio", &["src/worker/io/runtime.rs", "src/worker/io/socket.rs"]),
    // each block has its argument and a test
    (
        "unsafe",
        &[
            "src/worker/io/socket.rs",
            "src/control/start/inherited.rs",
            "src/control/signals.rs",
            "src/control/doctor/clock.rs",
        ],
    ),
];

/// Lines of a file, tests included.
pub const FILE_MAX: usize = 450;

/// Lines of a function, from `fn` to its last brace: a function fits a screen.
pub const FUNCTION_MAX: usize = 60;
