"""A Python without the packages that MONAI and its extras do not bring."""

#: To be run first in a process of its own.
HIDE = """
import sys
HIDDEN = {"itk", "pydicom", "scipy", "skimage", "matplotlib", "pywt", "highdicom", "imageio"}
class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)
sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
"""
