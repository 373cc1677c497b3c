//! Words that several modules must agree on: paths, digests, sizes, identifiers and failure classes.
//!
//! - Nothing here acts: no files, no clocks, no processes.
//! - Each type is parsed once, at the edge; afterwards it carries the proof that it is well-formed.

mod credential;
mod digest;
mod failure;
mod fold;
mod id;
mod money;
mod nearest;
mod path;
pub mod schema;
mod size;
mod template;
mod text;

pub use credential::{Credential, credential_in, credential_name, end_without_credentials, without_credentials};
pub use digest::{DigestError, Sha256};
pub use failure::{FailureClass, Problem};
pub use fold::fold_name;
pub use id::{IdError, ObjectId, RunId};
pub use money::{MoneyError, NanoUsd};
pub use nearest::{nearest_in_message, nearest_word, similar_word};
pub use path::{PathError, RepoPath};
pub use size::{Bytes, SizeError, format_duration, parse_duration};
pub use template::render_template;
pub use text::{escape_control, fenced, truncate};
