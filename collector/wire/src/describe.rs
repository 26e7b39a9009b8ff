//! Events in words.
