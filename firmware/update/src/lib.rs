//! A new model for a device in the field.
//!
//! Flash has two slots for model files, where they are used in place. An [update](Installer) goes into the slot that is not in use; only
//! when all of it is written, read back and found good does the slot's record say so. [`boot`] takes the newest record whose file is whole, else the other one's, else the
//! device uses the model that is built in. So at every moment a device has a model, whatever happens to its power.
//!
//! What comes is a [`Package`], from anything that is [`embedded_io::Read`]: a serial line, a radio, a card. A transfer that broke off goes on where it was. A checksum answers
//! accident; with the feature `signed`, a signature answers attack. The package names the kind of model that it is for and its version; an older one is refused
//! unless it is asked for.
//!
//! ```text
//! record (64 bytes)    erased                                                       ─►  record
//! transfer (64 bytes)  erased  ─►  head of the transfer
//! file                 erased                            ─►  data, read back
//! ```
//!
//! The order is what keeps the promise. The slot in use is never touched. The other one is erased from its first page on, so that its record cannot vouch for a file that is
//! being overwritten. The head of the transfer is written when the slot is erased, so that what follows it is known to be of this package. No word is written twice between two
//! erasures, as flash with error correction demands. A slot may be a single page, such as a sector of 128 KB; a transfer that broke off goes on only where slots have several.

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
pub use layout::{Layout, LayoutError, SLOT_HEAD_BYTES};
pub use package::{PACKAGE_BYTES, Package, PackageError, SIGNATURE_BYTES};
