//! Where signatures live, and how they are gathered.
