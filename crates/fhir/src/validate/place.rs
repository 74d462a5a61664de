//! Where the checker is. Places live on the stack, linked upwards; text is made only
//! for an issue.

use crate::json::path_name;

pub(super) struct Place<'p> {
    up: Option<&'p Place<'p>>,
    step: Step<'p>,
}

enum Step<'p> {
    /// A name from the tables.
    Known(&'p str),
    /// A name from the resource.
    Sent(&'p str),
    Item(usize),
}

impl<'p> Place<'p> {
    pub(super) fn root(name: &'p str) -> Self {
        Place { up: None, step: Step::Known(name) }
    }

    pub(super) fn member(&'p self, name: &'p str) -> Place<'p> {
        Place { up: Some(self), step: Step::Sent(name) }
    }

    pub(super) fn known(&'p self, name: &'p str) -> Place<'p> {
        Place { up: Some(self), step: Step::Known(name) }
    }

    pub(super) fn item(&'p self, index: usize) -> Place<'p> {
        Place { up: Some(self), step: Step::Item(index) }
    }

    pub(super) fn path(&self) -> String {
        let mut path = self.up.map(Place::path).unwrap_or_default();
        let name = match self.step {
            Step::Known(name) => name,
            Step::Sent(name) => path_name(name),
            Step::Item(index) => {
                path.push_str(&format!("[{index}]"));
                return path;
            }
        };
        if !path.is_empty() && !name.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        path
    }
}
