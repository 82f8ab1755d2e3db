//! The texts of the manual pages. What stands between backticks is set in bold.

/// What a page says besides name, synopsis and options. Lists are terms with their meanings.
pub(crate) struct Page {
    /// The name of the command; empty for the program itself.
    pub(crate) command: &'static str,
    /// Paragraphs of the description.
    pub(crate) text: &'static [&'static str],
    pub(crate) exits: &'static [(&'static str, &'static str)],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) signals: &'static [(&'static str, &'static str)],
    /// What each example is for, and its command.
    pub(crate) examples: &'static [(&'static str, &'static str)],
    /// Other pages.
    pub(crate) see: &'static [&'static str],
}

impl Page {
    pub(crate) const EMPTY: Self = Self {
        command: "",
        text: &[],
        exits: &[],
        environment: &[],
        files: &[],
        signals: &[],
        examples: &[],
        see: &[],
    };
}

/// The page of a command, of the program itself for the empty name.
pub(crate) fn page(command: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.command == command)
}

const USAGE: (&str, &str) = ("64", "The command line is wrong.");
const CONFIGURATION: (&str, &str) =
    ("78", "The configuration is wrong; every problem was printed with its line.");
const NO_GATEWAY: (&str, &str) = ("71", "No gateway answers at the address.");
const FILE: (&str, &str) =
    ("/etc/tidegate/tidegate.toml", "The configuration, unless `--config` names another file.");

/// Exit codes of a command that asks the running gateway.
const ASKS: &[(&str, &str)] =
    &[("0", "The gateway answered."), ("1", "The gateway refused; the message says why."), USAGE, NO_GATEWAY];

/// What leads a command to the running gateway.
const FINDS: &[(&str, &str)] = &[
    (
        "TIDEGATE_ADMIN",
        "The listener of the gateway, ADDRESS:PORT or unix:/PATH, unless `--admin` names one.",
    ),
    (
        "TIDEGATE_ADMIN_TOKEN",
        "The token for a TCP address of `admin.listen` that the configuration does not name.",
    ),
];

const SIGNALS: &[(&str, &str)] = &[
    ("SIGTERM, SIGINT", "Drain, then exit with code 0. A second one ends the process at once."),
    (
        "SIGHUP",
        "Read the configuration and every file that it names again; a refused reload changes nothing and is logged.",
    ),
    (
        "SIGUSR2",
        "Start the program that is now at tidegate's path, hand it the listeners, and drain: an upgrade that refuses no client.",
    ),
];

const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES",
        "Listening sockets that systemd passes; each is matched to an address of the configuration.",
    ),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "Where and how often the gateway reports its state to systemd."),
    ("FDSTORE", "How many sockets systemd keeps during a restart (FileDescriptorStoreMax=)."),
    ("RUNTIME_DIRECTORY", "Where the admin socket is made (RuntimeDirectory=); without it in /run/tidegate."),
    ("CREDENTIALS_DIRECTORY", "Where the files of `credential:NAME` are (LoadCredential=)."),
    (
        "MIMALLOC_PURGE_DELAY",
        "With 0, as in the unit, freed memory goes back to the kernel at once; without it the allocator keeps it for a while.",
    ),
    (
        "TIDEGATE_ADMIN, TIDEGATE_ADMIN_TOKEN",
        "The listener that commands use without --admin, and the token for a TCP address of `[admin]`.",
    ),
    ("RUNTIME_DIRECTORY", "The folder of the admin socket, which systemd makes for RuntimeDirectory=."),
    ("CREDENTIALS_DIRECTORY", "The folder of the secrets that the configuration names as `credential:NAME`."),
    ("any name", "Wherever the configuration says `env:NAME` for a secret, this variable holds it."),
];

const PAGES: &[Page] = &[
    Page {
        text: &[
            "tidegate is the edge of a Red5 Pro cluster: browsers and apps connect to it by TLS, and it passes their signalling \
             (WebSockets, WHIP and WHEP) on to the nodes, which it dials without TLS. Which node has a stream it learns from the \
             stream manager. Media do not pass through it.",
            "A configuration file says where it listens, which certificates it serves and where the stream manager is; \
             `tidegate check` judges the file, `tidegate doctor` judges the machine, and `tidegate run` serves. All other \
             commands ask the running gateway, or print what a package needs. Each command has a page of its own, such as \
             `tidegate-run`(1).",
        ],
        exits: &[
            ("0", "Success."),
            ("1", "The gateway refused a request, or `tidegate doctor` found a problem."),
            USAGE,
            ("70", "An internal failure. Always report it."),
            ("71", "A port, a file or a gateway is not available."),
            ("78", "The configuration is wrong."),
        ],
        environment: ENVIRONMENT,
        files: &[
            FILE,
            ("/run/tidegate", "Made by the unit, for the admin socket."),
            ("/var/log/tidegate", "Made by the unit, for the access log."),
        ],
        signals: SIGNALS,
        examples: &[
            ("Before the first start:", "tidegate check && tidegate doctor"),
            ("Serve:", "systemctl start tidegate"),
            ("Look at the running gateway:", "tidegate status"),
        ],
        see: &[
            "tidegate-run(1)",
            "tidegate-check(1)",
            "tidegate-doctor(1)",
            "tidegate-status(1)",
            "systemctl(1)",
        ],
        ..Page::EMPTY
    },
    Page {
        command: "run",
        text: &[
            "Reads the configuration, opens the listeners, starts one worker for each core and serves until it is told to end. \
             Logs go to stderr. Nothing is served before everything that the configuration names was read and checked, and each \
             failure is one sentence that names its cause and the next step.",
            "At the end it drains: it accepts no new connections, closes sessions spread over the time of `gateway.drain`, and \
             exits. WebSocket clients get a Close with the code of `gateway.drain_close_code` at the next boundary of a frame.",
            "Under systemd use Type=notify: the unit is active once every worker listens.",
        ],
        exits: &[
            ("0", "A clean drain."),
            USAGE,
            ("70", "A worker ended by itself, and the others were drained. Always report it."),
            ("71", "A port or a file is not available: taken, missing, or closed to this user."),
            CONFIGURATION,
        ],
        environment: ENVIRONMENT,
        files: &[FILE],
        signals: SIGNALS,
        examples: &[
            ("Serve with a configuration of one's own:", "tidegate run --config ./tidegate.toml"),
            ("Read the configuration again:", "systemctl reload tidegate"),
            (
                "Upgrade to the binary that was just installed:",
                "kill -USR2 \"$(systemctl show --property MainPID --value tidegate)\"",
            ),
        ],
        see: &[
            "tidegate(1)",
            "tidegate-check(1)",
            "tidegate-doctor(1)",
            "tidegate-reload(1)",
            "systemd.service(5)",
        ],
    },
    Page {
        command: "check",
        text: &[
            "Reads the configuration and every file that it names, as a start or a reload does: certificates with their keys, the \
             CA bundle, secrets, the access log, names. It opens no port and changes nothing. Every problem is printed as \
             FILE:LINE: KEY, with what was found and what was expected there, and so is every warning: what allows a start but \
             is probably not meant, such as a certificate that expires soon or a key that other users may read.",
            "Whether a file can be read depends on the user. Root can read all of them, and the service can not: use `--user` to \
             check with the rights and groups of the service's user.",
            "`--effective` prints the configuration as it is used, with every default and with masked secrets.",
        ],
        exits: &[
            ("0", "A gateway can start, perhaps with warnings."),
            USAGE,
            ("71", "The configuration can't be read, or the process may not become the user of `--user`."),
            CONFIGURATION,
        ],
        files: &[FILE],
        examples: &[
            ("Check as the service sees it:", "sudo tidegate check --user tidegate"),
            ("See every default:", "tidegate check --effective"),
        ],
        see: &["tidegate(1)", "tidegate-doctor(1)", "tidegate-reload(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "doctor",
        text: &[
            "Looks at the machine and at everything that a gateway with this configuration needs of it, and prints one line for \
             each finding; below a warning or a problem stands what to do about it. It looks at the kernel and at io_uring, at \
             the limits of open files and memory against `limits.sessions`, at CPUs against workers, at ports and the processes \
             that hold them, at settings of the kernel's network, at the clock, at certificates and their keys, and it asks the \
             stream manager a harmless question and dials the nodes that the configuration names.",
            "A problem keeps the gateway from starting, or from serving as configured. With a warning it serves, but not as \
             well, as much or as long as it should. It changes nothing, and waits at most three seconds for any peer.",
            "If a gateway runs with this configuration, its limits are judged; otherwise those of a process started from here, \
             which may be others than the unit sets. Run it as root: other users do not see which process holds a port.",
        ],
        exits: &[("0", "Nothing stands in the way."), ("1", "There is at least one problem."), USAGE],
        files: &[FILE, ("/proc, /sys/fs/cgroup", "What the kernel tells about itself and about processes.")],
        examples: &[
            ("Before the first start, and whenever something is odd:", "sudo tidegate doctor"),
            (
                "Only what needs attention, for a program:",
                "tidegate doctor --json | jq '.findings[] | select(.level != \"ok\")'",
            ),
        ],
        see: &["tidegate(1)", "tidegate-check(1)", "tidegate-status(1)", "sysctl(8)", "prlimit(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "status",
        text: &[
            "Prints the state of the running gateway: its phase and revision, why the last reload was refused if it was, where it \
             listens, which driver the workers use and why, how many sessions it has, each limit of which more than a half is used, \
             each stream manager with since when it answers or not and why not, how many nodes there are and which of them fail, \
             how sessions ended and which requests were refused since the start, and each certificate with the days that are left.",
        ],
        exits: ASKS,
        environment: FINDS,
        files: &[FILE],
        examples: &[("For people and for programs:", "tidegate status\ntidegate status --json | jq .phase")],
        see: &["tidegate(1)", "tidegate-sessions(1)", "tidegate-nodes(1)", "tidegate-doctor(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "sessions",
        text: &[
            "Lists the open sessions of the running gateway, WHIP and WHEP sessions included: id, route, role, state, app and \
             stream, the addresses of client and node, age and idle time. With `--ended` it lists sessions and requests that have \
             ended, the last ones first, with how they ended: the gateway keeps the newest tens of thousands of them.",
            "The id is the one in the log, in the field X-Tidegate-Session of each answer, and at the end of the reason of each \
             Close that the gateway wrote; `tidegate why` tells more of it. A table fits the terminal, or 100 columns elsewhere: \
             wide cells are cut in their middle. With `--json` nothing is cut, and ports, frames and bytes are there too.",
            "With `--watch` the table is redrawn in place every two seconds; where stdout is no terminal, each one is appended \
             below the time, and with `--json` each is a line.",
        ],
        exits: ASKS,
        environment: FINDS,
        files: &[FILE],
        examples: &[
            (
                "The subscribers of one stream:",
                "tidegate sessions --app live --stream stream1 --role subscriber",
            ),
            ("What ended last at a node:", "tidegate sessions --ended --node 10.0.0.5 --limit 20"),
            ("The publishers, all the time:", "tidegate sessions --role publisher --watch"),
        ],
        see: &[
            "tidegate(1)",
            "tidegate-why(1)",
            "tidegate-kick(1)",
            "tidegate-nodes(1)",
            "tidegate-status(1)",
        ],
        ..Page::EMPTY
    },
    Page {
        command: "nodes",
        text: &[
            "Lists the nodes as the running gateway sees them: whether a node is avoided because it failed (with the time that is \
             left), fails, or was named by the stream manager; its sessions through this gateway; how often it was dialled since \
             the start and how often in vain; how long half and 95 % of the dials took; and what went wrong last.",
            "The busiest nodes are counted one by one, all others together in the row `other`. `--watch` works as with \
             `tidegate-sessions`(1).",
        ],
        exits: ASKS,
        environment: FINDS,
        files: &[FILE],
        examples: &[(
            "The nodes that fail, for a program:",
            "tidegate nodes --json | jq '.nodes[] | select(.last_fault.failing)'",
        )],
        see: &["tidegate(1)", "tidegate-sessions(1)", "tidegate-status(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "why",
        text: &[
            "Tells what happened in a session or a request: first in a sentence or two why it ended, then what it was, then each \
             event with its time since the connection was accepted: TLS, the request with secret parameters masked, answers of \
             the stream manager and whether they came from memory, each node that was tried, the answer, the first frames, \
             signalling messages by kind and size, what was slow, and the Closes of both sides. No payload is kept.",
            "It knows sessions that are open and the newest tens of thousands that have ended. They are kept in memory: an upgrade \
             and a restart forget those that have ended.",
        ],
        exits: ASKS,
        environment: FINDS,
        files: &[FILE],
        examples: &[
            ("Why a viewer dropped, by the id that its page shows:", "tidegate why 00000000000000ff"),
            (
                "Which party ended it and how, for a program:",
                "tidegate why 00000000000000ff --json | jq -r '.session.by, .session.how'",
            ),
        ],
        see: &["tidegate(1)", "tidegate-sessions(1)", "tidegate-kick(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "kick",
        text: &[
            "Ends one session of the running gateway. Both sides of a WebSocket get a Close; a WHIP or WHEP session is deleted at \
             its node, and the node's answer is told; any other connection ends after the answer that is under way. The client \
             may connect again.",
        ],
        exits: ASKS,
        environment: FINDS,
        files: &[FILE],
        examples: &[("End a session that `tidegate sessions` shows:", "tidegate kick 00000000000000ff")],
        see: &["tidegate(1)", "tidegate-sessions(1)", "tidegate-drain(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "drain",
        text: &[
            "Begins a drain of the running gateway: from this moment `/readyz` answers 503, new sessions are refused, and \
                 those that are open are closed one after the other in the time of `gateway.drain`. Then the process exits with \
                 0, and the unit starts it again; to take a machine out of service, stop the unit.",
            "With --undo it takes such a drain back, as long as it is under way: the gateway accepts again, and sessions that \
                 have not got their Close stay. After a signal or a hand-over a drain can't be taken back.",
        ],
        exits: ASKS,
        environment: FINDS,
        files: &[FILE],
        examples: &[
            ("Start the process anew, and wait for the end of the old one:", "tidegate drain --wait"),
            ("It was a mistake:", "tidegate drain --undo"),
        ],
        see: &["tidegate(1)", "tidegate-run(1)", "tidegate-status(1)", "tidegate-upgrade(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "reload",
        text: &[
            "Tells the running gateway to read its configuration and every file that it names again, and waits for the \
                 result. All or nothing: if anything is wrong, nothing changes, and every problem is printed with its line. Open \
                 sessions are not touched. Listeners, workers, pinning and driver change only with a restart, which is said.",
        ],
        exits: &[
            ("0", "The new configuration is served."),
            USAGE,
            ("71", "No gateway answers, or a file is not available."),
            CONFIGURATION,
        ],
        environment: FINDS,
        files: &[FILE],
        examples: &[("After an edit:", "tidegate check && tidegate reload")],
        see: &["tidegate(1)", "tidegate-check(1)", "tidegate-run(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "upgrade",
        text: &[
            "Starts the program that is now at the path of the running gateway and hands it the listeners, so that no client is \
                 refused; the old process keeps its sessions for `gateway.upgrade_drain`. It does what SIGUSR2 does, and \
                 returns when the new process is in charge, or with the reason why the old one serves on.",
        ],
        exits: ASKS,
        files: &[FILE],
        examples: &[(
            "Install a new version:",
            "install -m 0755 tidegate.new /usr/bin/tidegate.next && mv /usr/bin/tidegate.next /usr/bin/tidegate\ntidegate upgrade",
        )],
        see: &["tidegate(1)", "tidegate-drain(1)", "tidegate-run(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "completions",
        text: &[
            "Prints a script with which a shell completes tidegate's commands and options. The shells are bash, zsh, fish, \
                 elvish and powershell.",
        ],
        exits: &[("0", "The script was printed."), USAGE],
        examples: &[
            ("bash:", "tidegate completions bash >/usr/share/bash-completion/completions/tidegate"),
            ("zsh:", "tidegate completions zsh >/usr/share/zsh/vendor-completions/_tidegate"),
            ("fish:", "tidegate completions fish >/usr/share/fish/vendor_completions.d/tidegate.fish"),
        ],
        see: &["tidegate(1)", "tidegate-man(1)"],
        ..Page::EMPTY
    },
    Page {
        command: "man",
        text: &[
            "Prints a manual page, in the form that man(1) reads: that of a command, or without a name that of tidegate. \
                 Packages install each as tidegate-COMMAND.1.",
        ],
        exits: &[("0", "The page was printed."), ("64", "There is no such command.")],
        examples: &[
            ("Read a page that is not installed:", "tidegate man doctor | man -l -"),
            ("Install one:", "tidegate man run >/usr/share/man/man1/tidegate-run.1"),
        ],
        see: &["tidegate(1)", "tidegate-completions(1)", "man(1)"],
        ..Page::EMPTY
    },
];
