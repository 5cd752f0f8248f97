//! Whose work the cores did meanwhile: what a time is bound by.
