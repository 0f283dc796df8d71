"""The inference form of a model, the engines that run it, and export to other programs."""
