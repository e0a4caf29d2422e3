"""Image files of every format but DICOM: what a file is, its voxels and their place, and what is odd about them."""
