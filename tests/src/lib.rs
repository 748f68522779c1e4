//! Starts real servers and our programs for whole-system tests.
