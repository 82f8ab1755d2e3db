//! Every way in which some resolver, parser or library spells a machine: the values that a client may put where a node is
//! named.
//!
//! Spellings are unescaped bytes; `escaped` turns them into a value of a query.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A query value that unescapes to this text: everything but letters, digits, dots and hyphens is escaped.
pub fn escaped(text: &[u8]) -> String {
    text.iter().fold(String::new(), |mut out, byte| {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'.' | b'-' => out.push(char::from(*byte)),
            _ => write!(out, "%{byte:02X}").unwrap(),
        }
        out
    })
}

/// All spellings of an IPv4 address. `good` is an admitted node, for spellings that name two machines.
pub fn of_v4(address: Ipv4Addr, good: &str) -> Vec<Vec<u8>> {
    let [a, b, c, d] = address.octets();
    let whole = address.to_bits();
    let plain = address.to_string();
    let mut texts = vec![
        plain.clone(),
        // inet_aton: decimal, octal and hexadecimal parts, and fewer than four of them
        format!("{whole}"),
        format!("{whole:#x}"),
        format!("0X{whole:X}"),
        format!("0x{whole:016x}"),
        format!("0{whole:o}"),
        format!("{a}.{}", whole & 0x00ff_ffff),
        format!("{a}.{b}.{}", whole & 0xffff),
        format!("{a:#x}.{:#x}", whole & 0x00ff_ffff),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("{a:#x}.{b:#x}.{c:#x}.{d:#x}"),
        format!("{a:03}.{b:03}.{c:03}.{d:03}"),
        format!("0000{a}.{b}.{c}.{d}"),
        format!("{a:#x}.0{b:o}.{c}.{d}"),
        format!("{a}.{b}.{c}.{d:#x}"),
        // values that wrap around
        format!("{}", u64::from(whole) + (1 << 32)),
        format!("{}.{b}.{c}.{d}", u32::from(a) + 256),
        format!("{a}.{b}.{c}.{}", u32::from(d) + 256),
        format!("-{}", (1_u64 << 32) - u64::from(whole)),
        // dots
        format!("{plain}."),
        format!("{plain}.."),
        format!(".{plain}"),
        format!("{a}..{b}.{c}.{d}"),
        format!("{plain}.0"),
    ];
    texts.extend(digits(&plain));
    texts.extend(around(&plain, good));
    texts.extend(inside_v6(address).into_iter().flat_map(|v6| of_v6(v6, good, false)));
    texts.extend(names_of(address));
    let mut spellings: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    spellings.extend(raw_bytes(plain.as_bytes()));
    spellings
}

/// Digits and dots of other scripts, which IDNA and compatibility forms map to ASCII.
fn digits(plain: &str) -> Vec<String> {
    let map = |zero: u32| {
        let digit = |letter: char| match letter.to_digit(10) {
            Some(digit) => char::from_u32(zero + digit).unwrap(),
            None => letter,
        };
        plain.chars().map(digit).collect::<String>()
    };
    let circled = |letter: char| match letter.to_digit(10) {
        Some(0) => '⓪',
        Some(digit) => char::from_u32(0x2460 + digit - 1).unwrap(),
        None => letter,
    };
    let mut texts = vec![map(0xff10), map(0x0660), map(0x0966), map(0x1d7ce)];
    texts.push(plain.chars().map(circled).collect());
    texts.extend(['。', '．', '｡', '․'].map(|dot| plain.replace('.', &dot.to_string())));
    // invisible letters
    texts.extend(['\u{200b}', '\u{00ad}', '\u{feff}', '\u{2060}'].map(|hidden| format!("{plain}{hidden}")));
    texts
}

/// What URLs and lists put around an address.
fn around(plain: &str, good: &str) -> Vec<String> {
    [
        "P:5080",
        "P:80",
        "P:22",
        "P:0",
        "P:65536",
        "P:",
        "[P]",
        "[P]:5080",
        "http://P",
        "HTTP://P/",
        "//P",
        "///P",
        "https:P",
        "file://P/",
        "gopher://P:80/_x",
        "dict://P",
        "ftp://P",
        "jar:http://P!/",
        "P/",
        "P/x",
        "P?x",
        "P#",
        "P#G",
        "P\\",
        "x@P",
        "G@P",
        "P@G",
        "G:5080@P",
        "G#@P",
        "G?@P",
        "G/@P",
        "G\\@P",
        "P,G",
        "G,P",
        "G;P",
        "G P",
        "P|G",
        "G&host=P",
        "P%00.G",
        "G%2c P",
        "(P)",
        "<P>",
        "\"P\"",
        "'P'",
        "P*",
        "*",
        "$P",
        "P!",
        "~P",
        "P=",
        "=P",
        "P+",
    ]
    .map(|form| form.replace('P', plain).replace('G', good))
    .to_vec()
}

/// Whitespace and control bytes that a trim function or a C library removes.
fn raw_bytes(plain: &[u8]) -> Vec<Vec<u8>> {
    let odd: [&[u8]; 11] =
        [b" ", b"\t", b"\n", b"\r\n", b"\0", b"\x0b", b"\x0c", b"\x7f", b"\xff", b"\xc0\xae", b"\xc2\xa0"];
    let mut all: Vec<Vec<u8>> =
        odd.iter().flat_map(|odd| [[odd, plain].concat(), [plain, odd].concat()]).collect();
    all.push([plain, b"\r\nHost: other.test"].concat());
    all.push([plain, b"\0.other.test"].concat());
    // escapes that are left after unescaping once
    let again = plain.iter().map(|byte| format!("%{byte:02x}")).collect::<String>();
    all.push(again.into_bytes());
    all
}

/// IPv6 addresses that some gateway, kernel or library turns into this one.
fn inside_v6(address: Ipv4Addr) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = address.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    vec![
        address.to_ipv6_mapped(),
        // compatible, translated (SIIT)
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        // NAT64, well known and local
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low),
        // 6to4, Teredo, ISATAP
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !high, !low),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5efe, high, low),
    ]
}

/// All spellings of an IPv6 address; only the usual ones unless `all`.
pub fn of_v6(address: Ipv6Addr, good: &str, all: bool) -> Vec<String> {
    let groups = address.segments();
    let join = |groups: &[u16]| groups.iter().map(|group| format!("{group:x}")).collect::<Vec<_>>().join(":");
    let expanded = groups.map(|group| format!("{group:04X}")).join(":");
    let [a, b] = [groups[6], groups[7]].map(u16::to_be_bytes);
    let mut texts = vec![
        address.to_string(),
        join(&groups),
        format!("[{address}]"),
        format!("{}:{}.{}.{}.{}", join(&groups[..6]), a[0], a[1], b[0], b[1]),
    ];
    if !all {
        return texts;
    }
    texts.extend(
        [
            "[P]:5080",
            "[P]:22",
            "[P]:",
            "[P",
            "P]",
            "[[P]]",
            "P%25lo",
            "P%lo",
            "[P%1]",
            "P%0",
            "P/128",
            "P.",
            " P",
            "P\0",
            "x@[P]",
            "http://[P]/",
            "[P]@G",
            "G@[P]",
            "P,G",
            "::P",
            "P::",
            "[vF.P]",
            "P.ipv6-literal.net",
        ]
        .map(|form| form.replace('P', &address.to_string()).replace('G', good)),
    );
    texts.extend([expanded, format!("0{}", join(&groups)), format!("{}:0", join(&groups))]);
    texts
}

/// Names that some public DNS service resolves to the address, or to a machine inside.
fn names_of(address: Ipv4Addr) -> Vec<String> {
    let [a, b, c, d] = address.octets();
    vec![
        format!("{address}.nip.io"),
        format!("x.{address}.sslip.io"),
        format!("{a}-{b}-{c}-{d}.nip.io"),
        format!("{:08x}.nip.io", address.to_bits()),
        format!("{d}.{c}.{b}.{a}.in-addr.arpa"),
        format!("ip-{a}-{b}-{c}-{d}.ec2.internal"),
    ]
}

/// Names that mean this machine, its network or its cloud.
pub fn names() -> Vec<Vec<u8>> {
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned();
    let names = [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "localhost.localdomain",
        "x.localhost",
        "ip6-localhost",
        "ip6-loopback",
        "loopback",
        "broadcasthost",
        "localtest.me",
        "lvh.me",
        "metadata",
        "metadata.google.internal",
        "instance-data",
        "metadata.azure.internal",
        "host.docker.internal",
        "gateway.docker.internal",
        "kubernetes.default.svc",
        "kubernetes",
        "router",
        "wpad",
        "_gateway",
        "_outbound",
        "xn--1lqs71d",
        "ⓛocalhost",
        "ｌocalhost",
        "loc\u{200d}alhost",
        "localhoſt",
        "manager",
        "node1.test",
        "node1",
        "1",
        "0",
        "00",
        "0x",
        "0x0",
        "127",
        "127.1",
        "::",
        "[::]",
        "[]",
        ".",
        "..",
        "-",
        "_",
        "%",
        "/",
        "//",
        "?",
        "unix:/run/tidegate.sock",
        "unix:///run/x",
        "@x",
        "/etc/hosts",
        "undefined",
        "",
    ];
    names.iter().map(|name| (*name).to_owned()).chain([own]).map(String::into_bytes).collect()
}
