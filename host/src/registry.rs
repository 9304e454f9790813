//! Size-limited access to registries.
