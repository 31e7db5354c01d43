//! The reader of the live kernel; it changes nothing.
