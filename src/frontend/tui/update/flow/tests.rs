//! What keys come to on the screens of runs.
