"""Kernels for a CPU in C++, compiled by the machine's own compiler when first wanted; see README.md."""
