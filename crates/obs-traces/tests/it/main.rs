//! The engine against a plain model, through crashes, damage and full disks.

mod crash;
mod limits;
mod model;
mod queries;
mod world;
