//! A flow as a picture sees it: blocks in blocks, in plain words, without a place on paper yet.

use std::sync::Arc;

/// What a step is, told by its icon and colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Person,
    Device,
    /// Keys, cards, QR codes, rights to open doors.
    Access,
    /// Parking spots, docks, rooms.
    Resource,
    Message,
    /// Another system over HTTP, or a spreadsheet.
    System,
    Wait,
    EventIn,
    EventOut,
    SubFlow,
    /// Remembering, noting: nothing that anybody sees happen.
    Note,
    Stop,
}

/// One box.
#[derive(Clone, Debug)]
pub struct Step {
    pub kind: Kind,
    pub title: String,
    /// Whom, what, which; each a line or more.
    pub lines: Vec<String>,
    /// "at most 10 minutes".
    pub limit: Option<String>,
    /// "only if …".
    pub only_if: Option<String>,
    /// JSON pointer to the task: what a running instance is matched by.
    pub reference: Arc<str>,
}

#[derive(Clone, Debug)]
pub enum Block {
    Step(Step),
    Sequence(Vec<Block>),
    /// Branches side by side.
    Parallel {
        label: &'static str,
        branches: Vec<Block>,
    },
    /// (words on the way, what stands on it).
    Decision {
        question: String,
        ways: Vec<(String, Block)>,
        reference: Arc<str>,
    },
    /// A `try`, with the side road that errors take; `road` is empty where it only tries again.
    Guarded {
        body: Box<Block>,
        label: String,
        road: Box<Block>,
    },
    /// A frame with words on it: a loop, a part with a name.
    Frame {
        title: String,
        only_if: Option<String>,
        body: Box<Block>,
        reference: Arc<str>,
    },
    /// Control goes elsewhere: "back to …", "leaves this part".
    Jump(String),
}

impl Block {
    pub fn empty() -> Self {
        Self::Sequence(Vec::new())
    }
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Sequence(blocks) if blocks.iter().all(Self::is_empty))
    }
}

/// A whole flow.
#[derive(Clone, Debug)]
pub struct Model {
    pub title: String,
    /// `namespace/name:version`.
    pub flow: String,
    /// "when a fire is confirmed", "when somebody starts it".
    pub start: String,
    pub body: Block,
    /// "at most 12 hours".
    pub limit: Option<String>,
}
