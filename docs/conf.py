"""Sphinx settings: MyST pages, and the reference straight from the docstrings."""

from __future__ import annotations

from spinefuse_ext import __version__

project = "spinefuse"
author = "The spinefuse authors"
project_copyright = "The spinefuse authors"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_numpy_docstring = False

html_theme = "alabaster"
html_title = f"spinefuse {release}"
html_theme_options = {
    "description": "See and segment the spine in CT and MR together",
    "fixed_sidebar": True,
    "page_width": "1100px",
    "sidebar_width": "240px",
}
