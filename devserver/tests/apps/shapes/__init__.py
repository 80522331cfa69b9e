"""An app in many shapes: one `work`, and a main module for each framework.

They run on many releases of Python and packages, so they have no annotations.
"""
