//! The package, tested from outside.

mod fuzz;
