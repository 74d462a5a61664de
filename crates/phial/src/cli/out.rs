//! What commands print: words for people, or JSON. Errors come with a hint.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the command line prints")]

use phial_store::Error as StoreError;

/// How results are printed.
pub(crate) struct Out {
    pub(crate) json: bool,
}

impl Out {
    /// One result: `text` for people, `value` for programs.
    pub(crate) fn result(&self, text: &str, value: &serde_json::Value) {
        if self.json {
            println!("{value}");
        } else {
            println!("{text}");
        }
    }

    /// A line for people alone.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    /// An error with its causes and a hint. Causes name stores, codes and paths that
    /// the operator gave, never a value of a record.
    pub(crate) fn error(&self, e: &anyhow::Error) {
        let hint = e.chain().find_map(hint);
        if self.json {
            let causes: Vec<String> = e.chain().map(ToString::to_string).collect();
            println!("{}", serde_json::json!({ "error": causes, "hint": hint }));
            return;
        }
        eprintln!("error: {e}");
        let mut last = e.to_string();
        for cause in e.chain().skip(1) {
            let text = cause.to_string();
            if text != last {
                eprintln!("  because {text}");
            }
            last = text;
        }
        if let Some(hint) = hint {
            eprintln!("hint: {hint}");
        }
    }
}

fn hint(e: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(e) = e.downcast_ref::<StoreError>() {
        return match e {
            StoreError::NotAHome(_) => {
                Some("`phial init --home DIR` makes one; `phial demo` needs none".to_owned())
            }
            StoreError::HomeLocked { .. } => Some(
                "stop the server first, or send the work to it (import: --server URL --token-file \
                 FILE)"
                    .to_owned(),
            ),
            StoreError::Unavailable(_) => {
                Some("look at the disk and at keys/; nothing was acknowledged".to_owned())
            }
            StoreError::Corrupt(_) => Some("`phial verify` names what is damaged".to_owned()),
            _ => None,
        };
    }
    if let Some(e) = e.downcast_ref::<phial_identity::Error>() {
        return match e {
            phial_identity::Error::NoAccount => {
                Some("`phial user list` shows the accounts".to_owned())
            }
            phial_identity::Error::Exists => {
                Some("`phial user list` shows it; choose another name".to_owned())
            }
            _ => None,
        };
    }
    if let Some(f) = e.downcast_ref::<phial_engine::Failure>() {
        return match f {
            phial_engine::Failure::Forbidden(_) => {
                Some("act as an account whose role may do this: --user NAME".to_owned())
            }
            phial_engine::Failure::Busy(_) => {
                Some("nothing was released or acknowledged; try again".to_owned())
            }
            _ => None,
        };
    }
    None
}
