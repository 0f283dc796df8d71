"""Speed and memory against other libraries: ratios within one run, after a comparison of outputs."""
