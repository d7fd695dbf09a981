//! A new model for a device in the field.
//!
//! Flash has two slots for model files, where they are used in place, and a page of records for each slot. An [update](Installer) goes into the slot that is not in use; only
//! when all of it is written, read back and found good does a record say so. [`boot`] takes the newest record whose file is whole, else the other one's, else the
//! device uses the model that is built in. So at every moment a device has a model, whatever happens to its power.
//!
//! What comes is a [`Package`], from anything that is [`embedded_io::Read`]: a serial line, a radio, a card. A transfer that broke off goes on where it was. A checksum answers
//! accident; with the feature `signed`, a signature answers attack. The package names the kind of model that it is for and its version; an older one is refused
//! unless it is asked for.
//!
//! ```text
//! record page of a slot       erased  ─►  transfer (64 bytes)  ─►  erased  ─►  record (64 bytes)
//! slot                                 erased ─►         data, page by page, read back
//! ```
//!
//! The order is what keeps the promise. The page of records that belongs to the slot in use is never touched, nor is that slot. The other page is erased first, so that
//! its record cannot vouch for a slot that is being overwritten. The head of the transfer is written when the slot is erased, so that what follows
//! it is known to be of this package. No word is written twice between two erasures, as flash with error correction demands.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod boot;
mod install;
mod layout;
mod package;
mod record;

pub use boot::{Booted, Device, boot};
pub use install::{Installed, Installer, Policy, UpdateError};
pub use layout::{Layout, LayoutError};
pub use package::{PACKAGE_BYTES, Package, PackageError, SIGNATURE_BYTES};
