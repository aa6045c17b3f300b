//! Words and rules of Spalla, with no doing: nothing here opens a file or a socket, waits, reads a clock or rolls dice.
//!
//! A building behaves as a pure function of its log: `engine::apply` takes the next entry and says what happens.

pub mod codec;
pub mod device;
pub mod engine;
pub mod event;
pub mod expression;
pub mod flow;
pub mod id;
pub mod rehearsal;
pub mod resource;
pub mod schema;
pub mod small_map;
pub mod summary;
pub mod time;
pub mod topic;
pub mod value;
