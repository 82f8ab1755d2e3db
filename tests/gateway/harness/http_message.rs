//! Heads, requests and responses of HTTP/1.1, read strictly.

use std::fmt;

/// A request or response head.
#[derive(Clone)]
pub struct Head {
    /// The request line or status line.
    pub line: String,
    pub fields: Vec<(String, String)>,
}

impl Head {
    #[track_caller]
    pub fn parse(bytes: &[u8]) -> Self {
        let text =
            std::str::from_utf8(bytes).expect("a head in ASCII").strip_suffix("\r\n\r\n").expect("whole");
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let fields = lines
            .map(|line| {
                assert!(!line.starts_with([' ', '\t']) && !line.contains(['\r', '\n', '\0']), "{line:?}");
                let (name, value) = line.split_once(':').expect("name: value");
                assert!(!name.is_empty() && !name.contains(' '), "{line:?}");
                (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
            })
            .collect();
        Self { line, fields }
    }

    /// The value of the field with this name. Two such fields fail the test.
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = found.next();
        assert!(found.next().is_none(), "two fields {name}: {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).expect("a target")
    }

    pub fn is_chunked(&self) -> bool {
        self.field("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    }

    pub fn has_no_body(&self) -> bool {
        matches!(self.target(), "101" | "204" | "304")
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.line)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, "\n  {name}: {value}"))
    }
}

/// A whole request.
#[derive(Clone)]
pub struct ReceivedRequest {
    pub head: Head,
    pub body: Vec<u8>,
}

impl ReceivedRequest {
    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// Method and target.
    pub fn line(&self) -> &str {
        self.head.line.trim_end_matches(" HTTP/1.1")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\n\n{}", self.head, self.text().chars().take(400).collect::<String>())
    }
}

/// A whole response.
#[derive(Clone)]
pub struct Response {
    pub head: Head,
    pub body: Vec<u8>,
}

impl Response {
    #[track_caller]
    pub fn status(&self) -> u16 {
        let (version, rest) = self.head.line.split_once(' ').expect("a status line");
        assert_eq!(version, "HTTP/1.1");
        rest.get(..3).and_then(|s| s.parse().ok()).expect("a status")
    }

    #[track_caller]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// All values of a field that may be repeated.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}\n\n{}", self.head, self.text().chars().take(400).collect::<String>())
    }
}
