//! What an observer hears, on the cluster in memory.

use super::{Fake, ok};
use crate::observer::Observer;
use crate::{Api, Error, Options};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Default)]
struct Notes(Mutex<Vec<String>>);

impl Notes {
    fn note(&self, text: String) {
        self.0.lock().push(text);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Observer for Notes {
    fn called(&self, call: &'static str, _: Duration) {
        self.note(format!("called {call}"));
    }

    fn attempt_failed(&self, call: &'static str) {
        self.note(format!("again {call}"));
    }

    fn gave_up(&self, call: &'static str) {
        self.note(format!("gave up {call}"));
    }

    fn requested(&self, request: &'static str, _: Duration, problem: Option<&'static str>) {
        self.note(format!("{request} {}", problem.unwrap_or("ok")));
    }
}

#[test]
fn an_observer_hears_of_calls_requests_and_problems() {
    let notes = Arc::new(Notes::default());
    let fake = Fake::new(&[], 1);
    let raw = fake.client(Options {
        api: Api::V1,
        observer: Some(notes.clone()),
        ..Options::default()
    });
    let raw = raw.raw();
    ok(fake.run(raw.put("a", "1")));
    notes.take();
    ok(fake.run(raw.put("a", "2")));
    assert_eq!(notes.take(), ["RawPut ok", "called raw put"]);

    fake.with(|cluster| cluster.lead(Some(3)));
    ok(fake.run(raw.put("a", "3")));
    let heard = notes.take();
    assert_eq!(heard[..2], ["RawPut not_leader", "again raw put"]);
    assert_eq!(heard[heard.len() - 2..], ["RawPut ok", "called raw put"]);

    fake.with(|cluster| cluster.lead(None));
    let result = fake.run(raw.get("a"));
    assert!(matches!(result, Err(Error::Unavailable { .. })));
    let heard = notes.take();
    assert_eq!(
        heard[heard.len() - 2..],
        ["gave up raw get", "called raw get"]
    );
}
