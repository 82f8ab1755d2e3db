//! The words that no sentence here uses, each with what to write instead, and what may say them all the same.

pub struct Banned {
    /// Lower case; several words in one entry follow each other on one line.
    pub words: &'static [&'static str],
    pub instead: &'static str,
    /// Whether names of functions, types, constants and modules are read too.
    pub names: bool,
}

pub const BANNED: &[Banned] = &[
    // The subject of a sentence is a thing of the lexicon, never a person without a name.
    Banned {
        words: &[
            "somebody",
            "someone",
            "anybody",
            "anyone",
            "everybody",
            "everyone",
            "nobody",
            "no one",
            "noone",
            "whoever",
            "whomever",
            "who",
            "whom",
            "he",
            "him",
            "his",
            "himself",
            "she",
            "her",
            "hers",
            "herself",
        ],
        instead: "name the thing that acts: client, node, worker, session, connection, request, listener, process, operator, test",
        names: true,
    },
    // Words of an older, private vocabulary. The right column is the lexicon's.
    Banned { words: &["crew", "crews"], instead: "the workers", names: false },
    Banned { words: &["desk"], instead: "worker queries", names: false },
    Banned { words: &["town", "towns"], instead: "harness, test bed", names: false },
    Banned { words: &["street", "streets"], instead: "subnet", names: false },
    Banned { words: &["siege", "besiege", "besieges", "besieged"], instead: "flood, attack", names: false },
    Banned { words: &["herd", "herds"], instead: "drain load, the reconnecting clients", names: false },
    Banned { words: &["reign", "reigns"], instead: "takeover, time as the serving process", names: false },
    Banned { words: &["succession"], instead: "hand-over", names: false },
    Banned { words: &["newcomer", "newcomers"], instead: "new clients, pending handshakes", names: false },
    Banned { words: &["leftover", "leftovers"], instead: "draining listeners, the rest", names: false },
    Banned { words: &["visitor", "visitors", "guest", "guests"], instead: "client, session", names: false },
    Banned { words: &["stranger", "strangers"], instead: "unknown client, unknown node", names: false },
    Banned { words: &["knock", "knocks", "knocked"], instead: "connect", names: false },
    Banned { words: &["ceiling", "ceilings"], instead: "limit", names: false },
    Banned { words: &["appetite"], instead: "read size", names: false },
    Banned { words: &["patience"], instead: "timeout, backpressure", names: false },
    Banned {
        words: &["deaf", "deafen", "deafens", "deafened"],
        instead: "write failed, no longer writable",
        names: false,
    },
    Banned { words: &["bell"], instead: "latch", names: false },
    Banned { words: &["pager"], instead: "wake handle", names: false },
    Banned { words: &["asker"], instead: "manager client", names: false },
    Banned { words: &["parting"], instead: "exit", names: false },
    Banned { words: &["in the air"], instead: "under way", names: false },
    Banned { words: &["goes round", "go round"], instead: "works around, repeats", names: false },
];

pub struct Allowed {
    /// A file, or a folder with `/` at its end; `""` is every file.
    pub file: &'static str,
    /// What may stand there, in lower case; `""` is every word.
    pub phrase: &'static str,
    pub reason: &'static str,
}

pub const ALLOWED: &[Allowed] = &[
    Allowed { file: "systemd/README.md", phrase: "--kill-whom=main", reason: "an option of systemctl" },
    Allowed {
        file: "tests/systemd/",
        phrase: "--kill-who=main",
        reason: "the option of systemctl before 252, still known",
    },
    Allowed {
        file: "systemd/README.md",
        phrase: "--kill-who=",
        reason: "the same option before systemd 252",
    },
    Allowed {
        file: "tests/house/words/",
        phrase: "",
        reason: "the list and the invented files of its tests",
    },
    Allowed {
        file: "",
        phrase: "thundering herd",
        reason: "the field's name for many clients that return at once",
    },
    Allowed {
        file: "",
        phrase: "script_leftover",
        reason: "a refusal's code, fixed by what clients and monitoring read",
    },
];

/// Endings of the files that are read. Whole texts are read, of Rust only comments, strings and names.
pub const READ: &[&str] = &[
    ".rs",
    ".md",
    ".sh",
    ".py",
    ".js",
    ".mjs",
    ".toml",
    ".service",
    ".socket",
    ".html",
    ".css",
    ".conf",
    ".svg",
    "/allowed.txt",
    ".ci/run",
];

/// Inputs of tests and texts of others.
pub const NOT_READ: &[&str] = &["tests/data/", "fuzz/corpus/", "LICENSE", "Cargo.lock", "package-lock.json"];
