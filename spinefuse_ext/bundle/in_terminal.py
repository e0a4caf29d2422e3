"""``python -m monai.bundle``, whose words reach the terminal as printable text from the first one on.

MONAI tells the values of a run before it looks at a config, so at that time nothing of a bundle can step in.
"""

from runpy import run_module

from spinefuse_ext.printable import protect_terminal

if __name__ == "__main__":
    protect_terminal()
    run_module("monai.bundle", run_name="__main__", alter_sys=True)
