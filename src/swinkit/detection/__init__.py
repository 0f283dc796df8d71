"""Object detection and instance segmentation (section 4.2)."""
