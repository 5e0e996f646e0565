//! Decisions as arithmetic: facts, the time and a roll of the dice come in, a decision goes out.
//! Nothing here is async, does I/O, reads a clock or draws a random number.

pub mod approval;
pub mod breaker;
pub mod budget;
pub mod catalog;
pub mod gate;
pub mod health;
pub mod incidents;
pub mod measures;
pub mod order;
pub mod pressure;
pub mod remediation;
pub mod retry;
pub mod scaling;
pub mod shedding;
pub mod verdict;
pub mod why;
pub mod wildcard;
pub mod window;
