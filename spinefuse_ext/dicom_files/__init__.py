"""DICOM files as they are read: the series of a folder, their stacks and pixels, archives, segmentations."""
