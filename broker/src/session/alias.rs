//! Topic aliases, both ways: what a client may call a topic, and what this side calls it. They live as long as one connection.

use crate::session::close::Close;
use crate::session::encode::Alias;
use std::collections::HashMap;

/// Aliases kept towards one client, whatever it offers: the first topics it gets are mostly the ones it goes on getting.
const OUTGOING_MAX: u16 = 32;

/// Towards the client.
pub(crate) struct Aliases {
    known: HashMap<String, u16>,
    max: u16,
}

impl Aliases {
    pub fn new(client_max: u16) -> Self {
        Self { known: HashMap::new(), max: client_max.min(OUTGOING_MAX) }
    }

    /// How to write a topic; call `used` once it is written.
    pub fn of(&self, topic: &str) -> Alias {
        if self.max == 0 {
            return Alias::None;
        }
        match self.known.get(topic) {
            Some(alias) => Alias::Known(*alias),
            None => match u16::try_from(self.known.len()) {
                Ok(len) if len < self.max => Alias::New(len + 1),
                _ => Alias::None,
            },
        }
    }

    pub fn used(&mut self, topic: &str, alias: Alias) {
        if let Alias::New(alias) = alias {
            self.known.insert(topic.to_owned(), alias);
        }
    }
}

/// From the client: alias `n` at place `n - 1`.
pub(crate) struct Incoming {
    topics: Vec<Option<String>>,
    max: u16,
}

impl Incoming {
    pub fn new(max: u16) -> Self {
        Self { topics: Vec::new(), max }
    }

    /// Puts the topic in place of the alias, or learns what the alias stands for.
    pub fn resolve(&mut self, topic: &mut String, alias: Option<u16>) -> Result<(), Close> {
        let Some(alias) = alias else {
            return if topic.is_empty() { Err(Close::Protocol("neither a topic nor an alias")) } else { Ok(()) };
        };
        let place = match usize::from(alias).checked_sub(1) {
            Some(place) if alias <= self.max => place,
            _ => return Err(Close::AliasInvalid),
        };
        if topic.is_empty() {
            let known = self.topics.get(place).and_then(Option::as_ref);
            *topic = known.ok_or(Close::Protocol("an alias that stands for nothing yet"))?.clone();
        } else {
            if self.topics.len() <= place {
                self.topics.resize(place + 1, None);
            }
            if let Some(slot) = self.topics.get_mut(place) {
                *slot = Some(topic.clone());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_is_learnt_once_and_stands_for_its_topic_until_it_is_given_anew() {
        let mut incoming = Incoming::new(2);
        let mut resolve = |topic: &str, alias| {
            let mut topic = topic.to_owned();
            incoming.resolve(&mut topic, alias).map(|()| topic)
        };
        assert_eq!(resolve("a", Some(2)), Ok("a".into()));
        assert_eq!(resolve("", Some(2)), Ok("a".into()));
        assert_eq!(resolve("b", Some(2)), Ok("b".into()));
        assert_eq!(resolve("", Some(2)), Ok("b".into()));
        assert!(matches!(resolve("", Some(1)), Err(Close::Protocol(_))));
        assert_eq!((resolve("a", Some(0)), resolve("a", Some(3))), (Err(Close::AliasInvalid), Err(Close::AliasInvalid)));

        let mut out = Aliases::new(1);
        assert_eq!(out.of("a"), Alias::New(1));
        out.used("a", Alias::New(1));
        assert_eq!((out.of("a"), out.of("b"), Aliases::new(0).of("a")), (Alias::Known(1), Alias::None, Alias::None));
    }
}
