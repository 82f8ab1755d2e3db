//! What the gateway tells of sessions: lists, and why each ended.

use super::http_message::Response;
use super::{Gateway, eventually};
use serde_json::Value;

impl Gateway {
    /// What is known of a session that is open or has ended.
    #[track_caller]
    pub fn why(&self, id: &str) -> Value {
        let answer = self.admin_get(&format!("/api/sessions/{id}"));
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.json()
    }

    /// The same of a session, once it has ended.
    #[track_caller]
    pub fn why_ended(&self, id: &str) -> Value {
        let mut told = Value::Null;
        eventually("the session ends", || {
            told = self.why(id);
            told["open"] == false
        });
        told
    }

    /// The sessions of a list, `/api/sessions?…` or `/api/ends?…`.
    #[track_caller]
    pub fn rows(&self, path: &str) -> Vec<Value> {
        let answer = self.admin_get(path);
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.json()["sessions"].as_array().unwrap().clone()
    }

    /// The ids of the sessions of a list.
    #[track_caller]
    pub fn ids(&self, path: &str) -> Vec<String> {
        self.rows(path).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    }
}

impl Response {
    /// The id of the session, as the answer names it.
    #[track_caller]
    pub fn session_id(&self) -> String {
        self.field("x-tidegate-session").unwrap_or_else(|| panic!("an id: {self:?}")).to_owned()
    }
}

/// The events of a session as lines, without their times.
pub fn events(told: &Value) -> String {
    let events = told["events"].as_array().expect("events");
    events.iter().map(|event| format!("{}\n", event["text"].as_str().expect("a text"))).collect()
}

/// Checks that a session has these values in its summary, and a verdict and events with these words.
#[track_caller]
pub fn assert_told(told: &Value, fields: &[(&str, Value)], verdict: &str, words: &[&str]) {
    for (field, value) in fields {
        assert_eq!(&told["session"][field], value, "{field}: {told:#}");
    }
    assert!(told["verdict"].as_str().unwrap().contains(verdict), "{verdict}: {told:#}");
    for word in words {
        assert!(events(told).contains(word), "{word}: {told:#}");
    }
}
