//! What names mean at a place in the text. Mirrors, node by node, the environment that evaluation will have there.

#[derive(Debug)]
pub(super) enum Scope {
    Definition { name: String, arity: usize },
    Arguments(Vec<String>),
    Variables(Vec<String>),
    Label(String),
}

pub(super) enum Function {
    Local { up: u32 },
    Parameter { up: u32, index: u32 },
}

#[derive(Debug, Default)]
pub(super) struct Scopes {
    nodes: Vec<Scope>,
}

impl Scopes {
    pub(super) fn push(&mut self, node: Scope) {
        self.nodes.push(node);
    }

    pub(super) fn pop(&mut self) {
        self.nodes.pop();
    }

    fn upwards(&self) -> impl Iterator<Item = (u32, &Scope)> {
        (0u32..).zip(self.nodes.iter().rev())
    }

    /// Distance and slot.
    pub(super) fn variable(&self, name: &str) -> Option<(u32, u32)> {
        self.upwards().find_map(|(up, node)| match node {
            Scope::Variables(names) => place(names, name).map(|slot| (up, slot)),
            _ => None,
        })
    }

    pub(super) fn label(&self, name: &str) -> Option<u32> {
        self.upwards().find_map(|(up, node)| matches!(node, Scope::Label(label) if label == name).then_some(up))
    }

    pub(super) fn function(&self, name: &str, arity: usize) -> Option<Function> {
        self.upwards().find_map(|(up, node)| match node {
            Scope::Definition { name: own, arity: takes } if own == name && *takes == arity => Some(Function::Local { up }),
            Scope::Arguments(names) if arity == 0 => place(names, name).map(|index| Function::Parameter { up, index }),
            _ => None,
        })
    }

    /// Local functions and parameters in sight, with how many arguments they take.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&str, usize)> {
        self.nodes.iter().flat_map(|node| {
            let found: Vec<(&str, usize)> = match node {
                Scope::Definition { name, arity } => vec![(name, *arity)],
                Scope::Arguments(names) => names.iter().map(|name| (name.as_str(), 0)).collect(),
                _ => Vec::new(),
            };
            found
        })
    }
}

/// The last of equal names wins, as an inner binding would.
fn place(names: &[String], name: &str) -> Option<u32> {
    names.iter().rposition(|own| own == name).and_then(|index| u32::try_from(index).ok())
}
