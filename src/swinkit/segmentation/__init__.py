"""Semantic segmentation: UperNet on any backbone (section 4.3).

`config` holds plain data and is imported by `swinkit.spec`, so this package imports nothing by itself.
"""
